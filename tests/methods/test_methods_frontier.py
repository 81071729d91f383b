"""What the methods of 2025 and 2026 promise beyond their authors' outputs: switches, limits, slow formulas."""

import numpy as np
import pytest
import torch
from method_helpers import random_backbone

from ovss.errors import InputError
from ovss.ingredients import (
    balanced_attention,
    cls_outliers,
    sharpest_heads,
)
from ovss.methods import create_method


@pytest.fixture(scope="module")
def tokens():
    backbone = random_backbone()
    return backbone.encode_tokens(torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(0)))


def softmax_map(a, b):
    logits = a.astype(np.float64) @ b.astype(np.float64).swapaxes(-1, -2) / np.sqrt(a.shape[-1])
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def random_maps(*shape):
    return torch.softmax(2 * torch.randn(*shape, generator=torch.Generator().manual_seed(1)), dim=-1)


class TestOutliers:
    def test_they_are_the_patches_that_cls_looks_at_more_than_they_look_at_themselves(self):
        attention = torch.full((1, 5, 5), 0.1)
        attention[0, 0] = torch.tensor([0.0, 0.4, 0.1, 0.3, 0.2])
        attention[0].diagonal()[1:] = torch.tensor([0.5, 0.2, 0.2, 0.3])
        assert cls_outliers(attention, 1.0).tolist() == [[False, False, True, False]]
        assert cls_outliers(attention, 1.6).tolist() == [[True, False, True, True]]
        assert cls_outliers(attention, 1.6, largest=2).tolist() == [[True, False, True, False]]
        assert not cls_outliers(attention, 0.0).any()

    def test_the_weight_of_cls_changes_the_detector_unless_a_gain_is_given(self, tokens):
        counts = [int(create_method("sfp", w_cls=weight).find_outliers(tokens).sum()) for weight in (0.0, 0.02, 3.0)]
        assert counts[0] == 0
        assert counts[0] < counts[1] <= counts[2] == 20
        first, second = (create_method("sfp", w_cls=weight, cls_gain=0.1) for weight in (0.0, 3.0))
        assert torch.equal(first.find_outliers(tokens), second.find_outliers(tokens))

    def test_without_any_outlier_repair_changes_nothing(self, tokens):
        without = create_method("sfp", repair=False).patch_embeddings(tokens)
        assert torch.equal(create_method("sfp", cls_gain=0.0).patch_embeddings(tokens), without)
        assert not torch.equal(create_method("sfp").patch_embeddings(tokens), without)


class TestHeads:
    def test_the_least_diffuse_are_chosen(self):
        maps = random_maps(2, 5, 7, 7)
        wide = maps.double().numpy()
        entropy = -(wide * np.log2(wide + 1e-6)).sum((-1, -2))
        chosen = sharpest_heads(maps, 2)[..., 0, 0]
        assert [sorted(np.argsort(row)[:2]) for row in entropy] == [row.nonzero().flatten().tolist() for row in chosen]

    def test_of_equal_heads_the_first_are_chosen_and_a_model_of_few_heads_keeps_all(self):
        equal = random_maps(1, 1, 4, 4).expand(1, 6, 4, 4)
        assert sharpest_heads(equal, 4).flatten().tolist() == [True] * 4 + [False] * 2
        assert sharpest_heads(equal, 9).all()

    def test_each_kept_map_mixes_all_channels(self, tokens):
        method = create_method("dihclip", heads=1)
        eye = torch.eye(35).expand(2, 4, 35, 35)
        maps = method.mix(tokens, eye)
        torch.testing.assert_close(maps, maps[:, :1].expand_as(maps), atol=0, rtol=0)
        torch.testing.assert_close(maps.sum(-1), torch.full((2, 4, 35), 1 / 4))
        everything = create_method("dihclip", heads=4).mix(tokens, eye)
        torch.testing.assert_close(everything.sum(-1), torch.ones(2, 4, 35))


class TestRotation:
    def covariance(self):
        return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(2))

    def test_the_exact_solver_gives_the_nearest_orthogonal_matrix(self):
        covariance = self.covariance()
        rotation = create_method("pearl", solver="svd").rotation(covariance)
        eye = torch.eye(6).expand(2, 3, 6, 6)
        torch.testing.assert_close(rotation.mT @ rotation, eye, atol=1e-5, rtol=0)
        symmetric = rotation.mT @ covariance
        torch.testing.assert_close(symmetric, symmetric.mT, atol=1e-5, rtol=0)
        assert (torch.linalg.eigvalsh(symmetric) > 0).all()

    def test_newton_schulz_steps_approach_it_and_five_are_far_from_it(self):
        covariance = self.covariance().double()
        exact = create_method("pearl", solver="svd").rotation(covariance)
        far = [
            float((create_method("pearl", steps=steps).rotation(covariance) - exact).abs().max())
            for steps in (0, 5, 12, 40)
        ]
        assert far == sorted(far, reverse=True)
        assert far[1] > 0.05
        assert far[3] < 1e-3

    def test_attention_is_that_of_the_formula(self, tokens):
        q, k, v = (part.numpy().astype(np.float64) for part in tokens.qkv(12))
        length = np.linalg.norm(q, axis=-1, keepdims=True)
        length[:, :, 0] = 0
        weights = length / (length.sum(2, keepdims=True) + 1e-6)
        qc, kc = q - (weights * q).sum(2, keepdims=True), k - (weights * k).sum(2, keepdims=True)
        u, _, vt = np.linalg.svd(kc.swapaxes(-1, -2) @ qc)
        logits = q @ (k @ (u @ vt)).swapaxes(-1, -2) + 0.08 * kc @ kc.swapaxes(-1, -2)
        attention = np.exp((logits - logits.max(-1, keepdims=True)) / np.sqrt(q.shape[-1]))
        expected = attention / attention.sum(-1, keepdims=True) @ v
        got = create_method("pearl", solver="svd").mix(tokens)
        np.testing.assert_allclose(got, expected, atol=2e-4)


class TestBalancedAttention:
    def layers(self, tokens, once):
        """The formula in double precision, with the sum that the paper names."""
        total = sum(softmax_map(*(part.numpy() for part in tokens.qkv(block)[:2])) for block in range(1, 12))
        result = []
        for number in range(12):
            if number == 0 or not once:
                total = total / total.sum(-2, keepdims=True)
                total = total / total.sum(-1, keepdims=True)
            mutual = (total + total.swapaxes(-1, -2)) / 2
            mutual = np.maximum(mutual - mutual.mean(-2, keepdims=True), 0)
            result.append(mutual / mutual.sum(-1, keepdims=True))
        return result

    @pytest.mark.parametrize("once", [False, True])
    def test_every_layer_is_that_of_the_formula(self, tokens, once):
        for got, expected in zip(balanced_attention(tokens, once), self.layers(tokens, once), strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-5)

    @pytest.mark.parametrize("once", [False, True])
    def test_a_layer_asked_for_alone_is_the_same_as_among_all(self, tokens, once):
        together = list(balanced_attention(tokens, once))
        for layer in (1, 5, 12):
            [alone] = balanced_attention(tokens, once, [layer])
            assert torch.equal(alone, together[layer - 1])

    def test_normalising_once_gives_all_layers_one_attention(self, tokens):
        maps = list(balanced_attention(tokens, once=True))
        assert len(maps) == 12
        assert all(torch.equal(one, maps[0]) for one in maps)
        changing = list(balanced_attention(tokens))
        assert torch.equal(changing[0], maps[0])
        assert not torch.allclose(changing[-1], maps[0], atol=1e-4)


class TestWordMaps:
    def words(self, count=5):
        rows = torch.randn(count, 32, generator=torch.Generator().manual_seed(3))
        return torch.nn.functional.normalize(rows, dim=-1)

    def test_fusing_adds_the_mean_over_the_layers(self, tokens):
        method, text = create_method("cliper"), self.words()
        fused, spread = (method.word_maps(tokens, text, 3, fuse=fuse) for fuse in (True, False))
        assert fused.shape == (2, 3, 5, 7)
        mean = fused - spread
        layers = []
        words = torch.cat([text, torch.nn.functional.normalize(text[:3].mean(0, keepdim=True), dim=-1)])
        for layer in range(1, 13):
            rows = create_method("cliper", layer=layer).patch_embeddings(tokens)
            layers.append((100 * rows @ words.T).softmax(-1)[..., :3].mT)
        last = layers[-1]
        layers[-1] = torch.where(last < 0.1 * last.amax(-1, keepdim=True), 0, last)
        torch.testing.assert_close(mean, torch.stack(layers).mean(0).unflatten(-1, (5, 7)), atol=1e-5, rtol=0)

    def test_a_threshold_of_one_leaves_each_word_its_strongest_patch(self, tokens):
        method, text = create_method("cliper"), self.words()
        rows = method.patch_embeddings(tokens)
        words = torch.cat([text, torch.nn.functional.normalize(text[:2].mean(0, keepdim=True), dim=-1)])
        maps = (100 * rows @ words.T).softmax(-1)[..., :2].mT  # (B, F, N)
        strongest = maps.argmax(-1)
        attention = list(method.maps(tokens))[-1].mean(1)[:, 1:, 1:]
        expected = torch.stack(
            [
                torch.stack([maps[b, f, strongest[b, f]] * attention[b, strongest[b, f]] for f in range(2)])
                for b in range(2)
            ]
        )
        got = method.word_maps(tokens, text, 2, threshold=1.0, fuse=False).flatten(2)
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("foreground", [0, 6])
    def test_a_number_of_foreground_words_that_is_not_there_is_refused(self, tokens, foreground):
        with pytest.raises(InputError, match=rf"foreground={foreground} is outside 1\.\.5"):
            create_method("cliper").word_maps(tokens, self.words(), foreground)
