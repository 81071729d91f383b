"""Measurements give the answers that are known by hand, and agree with slow, plain definitions."""

import math

import numpy as np
import pytest
import torch
from analysis_helpers import CLASSES, random_rows, value
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from ovss import analysis as an
from ovss.backbone import Tokens
from ovss.ingredients import coherence_auc, denoise, self_correlation


class TestHandKnownCases:
    def test_uniform_attention_has_entropy_one_and_one_hot_attention_zero(self) -> None:
        assert torch.allclose(an.entropy(torch.full((5, 9), 1 / 9)), torch.ones(5))
        assert torch.equal(an.entropy(torch.eye(9)), torch.zeros(9))
        assert an.entropy(torch.ones(1, 1)).item() == 0

    def test_identity_attention_has_distance_zero(self) -> None:
        assert torch.equal(an.mean_distance(torch.eye(12), (3, 4)), torch.zeros(12))

    def test_attention_to_the_opposite_corner_has_the_diagonals_length(self) -> None:
        maps = torch.zeros(12, 12)
        maps[0, 11] = 1
        assert an.mean_distance(maps, (3, 4))[0].item() == pytest.approx(math.hypot(2, 3))

    def test_uniform_attention_puts_nine_patches_of_mass_near_an_inner_patch(self) -> None:
        near = an.mass_within(torch.full((25, 25), 1 / 25), (5, 5), 1.5)
        assert near[12].item() == pytest.approx(9 / 25)
        assert near[0].item() == pytest.approx(4 / 25)

    def test_rollout_of_identities_is_the_identity(self) -> None:
        eye = torch.eye(5).expand(2, 3, 5, 5)
        assert torch.allclose(an.rollout([eye, eye, eye]), torch.eye(5).expand(2, 5, 5))

    def test_a_planted_column_is_the_only_global_patch_and_uniform_attention_has_none(self) -> None:
        logits = torch.zeros(16, 16)
        logits[:, 5] = 4
        assert an.global_patches(torch.softmax(logits, -1)).nonzero().flatten().tolist() == [5]
        assert not an.global_patches(torch.full((16, 16), 1 / 16)).any()

    def test_overlap_of_sets(self) -> None:
        a, b = torch.tensor([True, True, False]), torch.tensor([False, True, True])
        assert an.overlap(a, b).item() == pytest.approx(1 / 3)
        assert math.isnan(an.overlap(~a & a, ~a & a).item())

    def test_top_patches_takes_as_many_as_asked_for_each_image(self) -> None:
        values = torch.tensor([[1.0, 3, 2], [5, 5, 1]])
        assert an.top_patches(values, torch.tensor([2, 1])).tolist() == [[False, True, True], [True, False, False]]

    def test_coherence_of_separated_classes_is_one_and_of_constant_similarity_a_half(self) -> None:
        labels = np.array([0, 0, 1, 1, -1])
        similarity = (labels[:, None] == labels[None, :]).astype(float)
        assert coherence_auc(similarity, labels) == 1
        assert coherence_auc(-similarity, labels) == 0
        assert coherence_auc(np.ones((5, 5)), labels) == 0.5
        assert math.isnan(coherence_auc(similarity, np.zeros(5, int)))

    def test_uniform_attention_has_the_class_share_as_in_class_mass_and_void_patches_have_none(self) -> None:
        mass = an.in_class_mass(torch.full((1, 1, 4, 4), 0.25), np.array([[0, 0, 0, -1]]))
        assert mass[0, 0, :3].tolist() == [0.75] * 3
        assert mass[0, 0, 3].isnan()

    def test_patch_labels_are_the_majority_and_void_only_without_any_class(self) -> None:
        labels = np.array([[0, 0, 255, 255], [0, 1, 255, 255], [2, 255, 1, 1], [255, 255, 1, 2]])
        assert an.patch_labels(labels, (2, 2), 3).tolist() == [[0, -1], [2, 1]]

    def test_patch_labels_of_sizes_that_do_not_divide_use_every_pixel_once(self) -> None:
        labels = np.arange(35).reshape(5, 7) % 2
        assert an.patch_labels(labels, (2, 3), 2).shape == (2, 3)
        assert an.patch_labels(np.ones((5, 7), int), (2, 3), 2).tolist() == [[1] * 3] * 2

    def test_equal_features_have_cka_one_up_to_rotation_and_scale_and_independent_ones_near_zero(self) -> None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(4000, 6, generator=generator)
        rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
        assert an.linear_cka(x, 3 * x @ rotation + 5) == pytest.approx(1)
        assert an.linear_cka(x, torch.randn(4000, 6, generator=generator)) < 0.02

    def test_k_means_finds_planted_clusters_largest_first(self) -> None:
        features = torch.zeros(1, 6, 2)
        features[0, 4:] = 10
        assert an.cluster_patches(features, (2, 3), 2).tolist() == [[[0, 0, 0], [0, 1, 1]]]

    def test_pca_colours_separate_what_differs_and_lie_in_the_unit_range(self) -> None:
        features = torch.randn(2, 12, 5, generator=torch.Generator().manual_seed(0)) * 0.01
        features[:, :6, 2] += 10
        colours = an.pca_rgb(features, (3, 4))
        assert colours.shape == (2, 3, 4, 3)
        assert 0 <= colours.min() <= colours.max() <= 1
        red = colours[..., 0].reshape(2, 12)
        assert (red[:, :6] > 0.9).all()
        assert (red[:, 6:] < 0.1).all()

    def test_pca_colours_do_not_depend_on_the_order_of_the_channels(self) -> None:
        features = torch.randn(1, 12, 5, generator=torch.Generator().manual_seed(1))
        assert np.allclose(an.pca_rgb(features, (3, 4)), an.pca_rgb(features[..., [3, 0, 4, 2, 1]], (3, 4)), atol=1e-5)


class TestAgainstSlowDefinitions:
    def test_attention_is_the_softmax_of_scaled_products(self, tokens: Tokens) -> None:
        q, k, _ = tokens.qkv(2)
        expected = torch.stack(
            [
                torch.stack([torch.softmax(a @ b.T / math.sqrt(16), -1) for a, b in zip(qs, ks, strict=True)])
                for qs, ks in zip(q, k, strict=True)
            ]
        )
        assert torch.allclose(an.attention(tokens, 2), expected, atol=1e-6)

    def test_attention_is_what_the_block_itself_uses(self, tokens: Tokens) -> None:
        block, x = tokens.block(2), tokens.hidden(1)
        mixed = an.attention(tokens, 2) @ tokens.qkv(2)[2]
        y = x + block.merge(mixed)
        assert torch.allclose(y + block.ffn(y), tokens.hidden(2), atol=1e-4)

    def test_attention_of_a_patch_is_its_row_without_cls(self, tokens: Tokens) -> None:
        full = an.attention(tokens, 1, "kk")
        assert torch.equal(an.attention_of(tokens, 1, (2, 3), "kk")[1, 0], full[1, 0, 1 + 2 * 6 + 3, 1:].view(4, 6))
        assert torch.equal(an.attention_of(tokens, 1, None, "kk")[0, 1], full[0, 1, 0, 1:].view(4, 6))

    def test_entropy_and_distance_by_loops(self) -> None:
        maps = random_rows(6, 6)
        for i in range(6):
            row = maps[i].tolist()
            assert an.entropy(maps)[i].item() == pytest.approx(
                -sum(a * math.log(a) for a in row) / math.log(6), abs=1e-6
            )
            far = sum(a * math.dist(divmod(i, 3), divmod(j, 3)) for j, a in enumerate(row))
            assert an.mean_distance(maps, (2, 3))[i].item() == pytest.approx(far, abs=1e-6)

    def test_rollout_multiplies_later_blocks_from_the_left(self) -> None:
        first, second = random_rows(1, 2, 4, 4), random_rows(1, 2, 4, 4).flip(-1)
        eye = torch.eye(4)
        expected = (second.mean(1) + eye) / 2 @ ((first.mean(1) + eye) / 2)
        assert torch.allclose(an.rollout([first, second]), expected)
        assert torch.allclose(an.rollout([first, second]).sum(-1), torch.ones(1, 4))

    def test_coherence_is_scikit_learns_auc_over_all_pairs(self) -> None:
        rng = np.random.default_rng(5)
        similarity, labels = rng.integers(0, 6, (20, 20)).astype(float), rng.integers(-1, 3, 20)
        similarity += similarity.T
        pairs = [(i, j) for i in range(20) for j in range(i) if labels[i] != -1 and labels[j] != -1]
        same = [labels[i] == labels[j] for i, j in pairs]
        assert coherence_auc(similarity, labels) == pytest.approx(roc_auc_score(same, [similarity[p] for p in pairs]))

    def test_coherence_frame_uses_the_cosines_of_each_state(self, tokens: Tokens, truth: np.ndarray) -> None:
        patches = tokens.hidden(2)[1, 1:]
        cosines = torch.cosine_similarity(patches[:, None], patches[None], dim=-1).numpy()
        expected = coherence_auc(cosines, truth[1].ravel())
        assert value(an.coherence(tokens, truth), "coherence_auc", layer=2, image=1) == pytest.approx(expected)

    def test_self_correlation_by_loops(self, tokens: Tokens) -> None:
        got = self_correlation(tokens.qkv(2))[1, 3, 7].item()
        cosines = [
            torch.cosine_similarity(part[1, head, 3], part[1, head, 7], dim=0).item()
            for part in tokens.qkv(2)
            for head in range(2)
        ]
        assert got == pytest.approx(sum(cosines) / len(cosines), abs=1e-5)

    def test_denoising_subtracts_one_row_from_all_so_distances_feel_only_the_clamp(self, tokens: Tokens) -> None:
        correlation = self_correlation(tokens.qkv(2)).double()
        moved = correlation[:, 1:, 1:] - correlation[:, :1, 1:]
        assert torch.allclose(torch.cdist(moved, moved), torch.cdist(correlation[:, 1:, 1:], correlation[:, 1:, 1:]))
        assert torch.equal(denoise(correlation), moved.clamp_min(0))

    def test_in_class_mass_by_loops(self, tokens: Tokens, truth: np.ndarray) -> None:
        maps = an.between_patches(an.attention(tokens, 1))
        labels = truth.reshape(2, -1)
        row = [maps[1, 0, 7, j].item() for j in range(24) if labels[1, j] == labels[1, 7]]
        assert an.in_class_mass(maps, labels)[1, 0, 7].item() == pytest.approx(sum(row), abs=1e-6)

    def test_in_class_frame_splits_the_image_mean_by_class(self, tokens: Tokens, truth: np.ndarray) -> None:
        frame = an.in_class_statistics(tokens, truth, [2])
        chosen = frame[(frame["measure"] == "in_class_mass") & (frame["image"] == 0) & (frame["head"] == 1)]
        areas = np.bincount(truth[0].ravel(), minlength=CLASSES)
        by_class = chosen.dropna(subset="class").set_index("class")["value"]
        total = sum(areas[int(c)] * by_class[c] for c in by_class.index) / areas.sum()
        assert total == pytest.approx(float(chosen[chosen["class"].isna()]["value"].iloc[0]), abs=1e-6)
        chance = frame[(frame["measure"] == "in_class_chance") & (frame["image"] == 0) & (frame["class"] == 1)]
        assert float(chance["value"].iloc[0]) == pytest.approx(areas[1] / 24)

    def test_value_contamination_compares_dominant_and_own_class(self, tokens: Tokens, truth: np.ndarray) -> None:
        text = torch.nn.functional.normalize(
            torch.randn(CLASSES, 32, generator=torch.Generator().manual_seed(4)), dim=-1
        )
        labels = truth[0].ravel()
        dominant = int(np.bincount(labels).argmax())
        block = tokens.block(3)
        embedded = tokens.read_out(block.merge(tokens.qkv(3)[2]))[0, 1:]
        own = [
            torch.cosine_similarity(embedded[i], text[dominant], dim=0).item()
            - torch.cosine_similarity(embedded[i], text[labels[i]], dim=0).item()
            for i in range(24)
            if labels[i] != dominant
        ]
        frame = an.value_contamination(tokens, truth, text, [3])
        assert value(frame, "value_contamination", image=0) == pytest.approx(np.mean(own), abs=1e-5)
        assert value(frame, "value_misled", image=0) == pytest.approx(np.mean(np.array(own) > 0))

    def test_a_narrower_neighbourhood_puts_more_mass_near_the_patch_only_up_to_its_peak(self, tokens: Tokens) -> None:
        frame = an.neighbourhood(tokens, [1.0, 1e6], radii=[1.5])
        near = frame.groupby("sigma")["value"].mean()
        plain = an.attention_statistics(tokens, [3], pair="kk")
        assert near[1.0] > near[1e6]
        flat = plain[plain["measure"] == "mass_near"]["value"].mean()
        assert near[1e6] == pytest.approx(flat, abs=1e-4)

    def test_local_outlier_scores_are_scikit_learns(self, tokens: Tokens) -> None:
        got = an.anomaly_scores(tokens, 2, "lof", neighbours=5)[1].flatten().numpy()
        expected = -LocalOutlierFactor(5).fit(tokens.hidden(2)[1, 1:].numpy()).negative_outlier_factor_
        assert np.allclose(got, expected, rtol=1e-3)

    def test_layer_read_out_ends_with_plain_clip(self, tokens: Tokens, truth: np.ndarray) -> None:
        text = torch.nn.functional.normalize(
            torch.randn(CLASSES, 32, generator=torch.Generator().manual_seed(4)), dim=-1
        )
        counts = an.layer_read_out(tokens, text, truth)
        last = counts[(counts["layer"] == 3) & (counts["image"] == 1)]
        predicted = (tokens.read_out(tokens.hidden(3))[1, 1:] @ text.T).argmax(-1).numpy()
        assert last["prediction"].sum() == last["truth"].sum() == 24
        assert last["intersection"].sum() == (predicted == truth[1].ravel()).sum()
        scores = an.layer_miou(counts)
        summed = counts[counts["layer"] == 3].groupby("class")[["intersection", "truth", "prediction"]].sum()
        iou = summed["intersection"] / (summed["truth"] + summed["prediction"] - summed["intersection"])
        assert value(scores, "mIoU", layer=3) == pytest.approx(100 * iou.mean())

    def test_stream_norms_are_those_of_the_parts_that_sum_to_the_next_state(self, tokens: Tokens) -> None:
        frame = an.stream_norms(tokens, [1])
        block = tokens.block(1)
        added = block.merge(an.attention(tokens, 1) @ tokens.qkv(1)[2])
        ffn = block.ffn(tokens.hidden(0) + added)
        assert torch.allclose(tokens.hidden(0) + added + ffn, tokens.hidden(1), atol=1e-4)
        assert value(frame, "attention_norm", image=1) == pytest.approx(
            added[1, 1:].norm(dim=-1).mean().item(), rel=1e-4
        )
        assert value(frame, "ffn_norm", image=0) == pytest.approx(ffn[0, 1:].norm(dim=-1).mean().item(), rel=1e-4)

    def test_cka_is_the_normalised_alignment_of_centred_gram_matrices(self) -> None:
        generator = torch.Generator().manual_seed(0)
        x, y = torch.randn(9, 4, generator=generator).double(), torch.randn(9, 3, generator=generator).double()
        centre = torch.eye(9).double() - 1 / 9
        k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
        assert an.linear_cka(x, y) == pytest.approx(((k * m).sum() / (k.norm() * m.norm())).item())
