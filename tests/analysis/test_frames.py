"""Anomaly scores, the link to quality, and the form of every frame of measurements."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from analysis_helpers import CLASSES, make_tokens, value
from scipy.stats import rankdata, spearmanr

from ovss import InputError
from ovss import analysis as an
from ovss.backbone import Tokens


class TestAnomalies:
    def planted(self) -> Tokens:
        clean = make_tokens((6, 6), batch=1)
        stream = clean.hidden(2).clone()
        stream[0, 1 + 14] += 40 * torch.nn.functional.normalize(torch.ones(32), dim=0)
        return Tokens(clean.backbone, clean.grid, {2: stream})

    def test_a_planted_outlier_is_the_highest_score_of_every_detector(self) -> None:
        planted = self.planted()
        for detector in ("lof", "kdist", "norm"):
            assert an.anomaly_scores(planted, 2, detector).flatten().argmax().item() == 14

    def test_repair_brings_a_planted_outlier_back_among_the_others(self) -> None:
        frame = an.anomaly_statistics(self.planted(), [2])
        assert value(frame, "lof_max") > 1.5
        assert value(frame, "lof_max_repaired") < 1.5
        assert value(frame, "norm_ratio") > 2 * value(frame, "norm_ratio_repaired")

    def test_attention_received_is_one_where_it_is_uniform(self) -> None:
        tokens = make_tokens((6, 6), batch=1)
        for part in tokens.qkv(3)[:2]:
            part.zero_()
        frame = an.anomaly_statistics(tokens, [2])
        received = frame[frame["measure"] == "anomaly_attention"]["value"]
        assert np.allclose(received, 1)


class TestLinkToQuality:
    def test_rank_correlation_is_spearmans_with_ties(self) -> None:
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 5, 40).astype(float), rng.integers(0, 5, 40).astype(float)
        rho, low, high = an.rank_correlation(x, y, np.arange(40), resamples=200)
        assert rho == pytest.approx(spearmanr(x, y).statistic)
        assert low < rho < high

    def test_each_resample_is_spearmans_of_the_repeated_rows(self) -> None:
        from ovss.analysis.quality import _partial, _ranks

        rng = np.random.default_rng(1)
        x, y, times = (
            rng.integers(0, 4, 15).astype(float),
            rng.normal(size=15),
            rng.integers(0, 3, (1, 15)).astype(float),
        )
        got = _partial(np.stack([_ranks(x, times), _ranks(y, times)], axis=-1), times)[0]
        repeats = times[0].astype(int)
        assert got == pytest.approx(spearmanr(np.repeat(x, repeats), np.repeat(y, repeats)).statistic)

    def test_a_monotone_relation_is_found_per_layer_and_head_and_noise_is_not(self) -> None:
        rng = np.random.default_rng(2)
        quality = pd.DataFrame({"image": range(60), "value": rng.random(60)})
        rows = []
        for image, iou in enumerate(quality["value"]):
            rows.append((image, 1, 1, "good", iou**3))
            rows.append((image, 1, 2, "good", -iou))
            rows.append((image, 2, None, "noise", rng.random()))
        frame = pd.DataFrame(rows, columns=["image", "layer", "head", "measure", "value"]).astype({"head": "Int64"})
        found = an.link_to_quality(frame, quality, resamples=300)
        assert found["measure"].tolist() == ["good", "good", "noise"]
        assert found["rho"].tolist()[:2] == pytest.approx([1, -1])
        assert found["low"].iloc[2] < 0 < found["high"].iloc[2]
        assert found["rows"].tolist() == [60] * 3

    def test_a_controlled_correlation_is_the_partial_one_of_spearmans_coefficients(self) -> None:
        rng = np.random.default_rng(5)
        z = rng.integers(1, 6, 50).astype(float)
        x, y = z + rng.normal(0, 1.5, 50), -2 * z + rng.normal(0, 2, 50)
        xy, xz, yz = (spearmanr(*pair).statistic for pair in ((x, y), (x, z), (y, z)))
        by_hand = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
        rho, low, high = an.rank_correlation(x, y, np.arange(50), control=z[:, None], resamples=300)
        assert rho == pytest.approx(by_hand)
        assert low < rho < high
        # Two controls: correlation of the residuals of ranks.
        w = rng.normal(0, 1, 50) + y
        ranks = [rankdata(values) for values in (x, y, z, w)]
        design = np.stack([np.ones(50), ranks[2], ranks[3]], axis=1)
        left = [each - design @ np.linalg.lstsq(design, each, rcond=None)[0] for each in ranks[:2]]
        both = an.rank_correlation(x, y, np.arange(50), control=np.stack([z, w], 1), resamples=0)[0]
        assert both == pytest.approx(np.corrcoef(left)[0, 1])

    def test_a_correlation_that_is_all_confounder_does_not_survive_the_control(self) -> None:
        rng = np.random.default_rng(6)
        classes = rng.integers(1, 7, 300).astype(float)
        images = np.arange(300)
        measure, quality = 1 / classes + rng.normal(0, 0.03, 300), -classes + rng.normal(0, 0.5, 300)
        plain = an.rank_correlation(measure, quality, images, resamples=200)
        partial = an.rank_correlation(measure, quality, images, control=classes[:, None], resamples=200)
        assert plain[1] > 0.7
        assert partial[1] < 0 < partial[2]
        alone = an.rank_correlation(classes, quality, images, control=classes[:, None], resamples=20)
        assert np.isnan(alone).all()
        constant = an.rank_correlation(measure, quality, images, control=np.ones((300, 1)), resamples=200)
        assert constant == pytest.approx(plain)

    def test_links_show_the_controlled_correlation_beside_the_plain_one(self) -> None:
        rng = np.random.default_rng(8)
        classes = rng.integers(1, 7, 80)
        value = 1 / classes + rng.normal(0, 0.02, 80)
        frame = pd.DataFrame({"image": range(80), "layer": 1, "head": None, "measure": "mass", "value": value})
        quality = pd.DataFrame({"image": range(80), "value": -classes + rng.normal(0, 0.5, 80)})
        control = pd.DataFrame({"image": range(80), "classes": classes})
        (row,) = an.link_to_quality(frame, quality, control=control, resamples=100).to_dict("records")
        assert row["rho"] > 0.7
        assert abs(row["partial"]) < 0.4
        assert row["partial_low"] < row["partial"] < row["partial_high"]

    def test_within_images_ignores_what_the_rows_of_an_image_share(self) -> None:
        rng = np.random.default_rng(7)
        easy = np.repeat(rng.normal(0, 10, 30), 4)
        frame = pd.DataFrame({"image": np.repeat(np.arange(30), 4), "value": easy, "quality": easy})
        assert np.isnan(an.within_images(frame)).all()  # constant within every image
        noise = frame.assign(value=easy + rng.normal(0, 1, 120), quality=easy + rng.normal(0, 1, 120))
        mean, low, high = an.within_images(noise, resamples=300)
        assert low < 0 < high
        expected = [spearmanr(p["value"], p["quality"]).statistic for _, p in noise.groupby("image")]
        assert mean == pytest.approx(np.mean(expected))

    def test_classes_of_one_image_are_resampled_together(self) -> None:
        images = np.repeat(np.arange(12), 5)
        x = np.repeat(np.random.default_rng(3).random(12), 5)
        y = np.repeat(np.random.default_rng(4).random(12), 5)
        _, low, high = an.rank_correlation(x, y, images, resamples=500)
        _, tight_low, tight_high = an.rank_correlation(x, y, np.arange(60), resamples=500)
        assert high - low > 1.5 * (tight_high - tight_low)

    def test_joins_on_image_and_class(self, tokens: Tokens, truth: np.ndarray) -> None:
        frame = an.in_class_statistics(tokens, truth, [1])
        quality = pd.DataFrame(
            [(i, c, i + c / 10) for i in range(2) for c in range(CLASSES)], columns=["image", "class", "value"]
        )
        found = an.link_to_quality(frame, quality, on=("image", "class"), resamples=20)
        assert set(found["measure"]) == {"in_class_mass", "in_class_chance"}
        assert (found["rows"] == 6).all()
        whole = an.link_to_quality(frame, quality[quality["class"] == 0].drop(columns="class"), resamples=20)
        assert (whole["rows"] == 2).all()

    def test_two_methods_at_once_are_refused(self) -> None:
        frame = pd.DataFrame({"image": [0], "layer": [1], "head": [None], "measure": ["m"], "value": [1.0]})
        with pytest.raises(InputError, match="two rows for one image"):
            an.link_to_quality(frame, pd.DataFrame({"image": [0, 0], "value": [1.0, 2.0]}))
        with pytest.raises(InputError, match="share no image"):
            an.link_to_quality(frame, pd.DataFrame({"image": [7], "value": [1.0]}))
        with pytest.raises(InputError, match="quality has no column 'value'"):
            an.link_to_quality(frame, pd.DataFrame({"image": [7]}))


class TestFrames:
    def test_every_frame_is_tidy_and_keeps_heads_and_names(self, tokens: Tokens, truth: np.ndarray) -> None:
        text = torch.nn.functional.normalize(torch.ones(CLASSES, 32), dim=-1)
        names = ["a", "b"]
        frames = {
            "attention": an.attention_statistics(tokens, images=names),
            "global": an.global_statistics(tokens, images=names),
            "coherence": an.coherence(tokens, truth, images=names),
            "correlation": an.self_correlation_statistics(tokens, truth, images=names),
            "in class": an.in_class_statistics(tokens, truth, images=names),
            "contamination": an.value_contamination(tokens, truth, text, images=names),
            "neighbourhood": an.neighbourhood(tokens, [2.0], images=names),
            "anomalies": an.anomaly_statistics(tokens, images=names),
            "norms": an.stream_norms(tokens, images=names),
        }
        for frame in frames.values():
            assert list(frame.columns)[:5] == ["image", "layer", "head", "measure", "value"]
            assert set(frame["image"]) == {"a", "b"}
            assert str(frame["head"].dtype) == "Int64"
        heads = frames["attention"].query("measure == 'entropy'").groupby(["image", "layer"])["head"].apply(list)
        assert all(list(each) == [1, 2] for each in heads)
        assert frames["coherence"]["head"].isna().all()
        assert sorted(set(frames["coherence"]["layer"])) == [0, 1, 2, 3]
        assert sorted(set(frames["attention"]["layer"])) == [1, 2, 3]

    def test_a_batch_gives_what_each_image_gives_alone(self, tokens: Tokens, truth: np.ndarray) -> None:
        alone = Tokens(tokens.backbone, tokens.grid, {layer: tokens.hidden(layer)[1:] for layer in range(4)})
        for measure in (an.attention_statistics, an.global_statistics, an.anomaly_statistics, an.stream_norms):
            both = measure(tokens, images=["x", "y"])
            one = measure(alone, images=["y"])
            merged = one.merge(both, on=["image", "layer", "head", "measure"], suffixes=("", "_both"))
            assert len(merged) == len(one)
            assert np.allclose(merged["value"], merged["value_both"], atol=1e-4, equal_nan=True)

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda t: an.attention(t, 9), "block 9 is outside 1..3"),
            (lambda t: an.attention(t, 1, "xy"), "pair 'xy'"),
            (lambda t: an.attention_of(t, 1, (4, 0)), "outside the grid of 4 rows and 6 columns"),
            (lambda t: an.attention_statistics(t, [0]), "block 0 is outside 1..3"),
            (lambda t: an.coherence(t, np.zeros((2, 3, 3), int)), r"patch labels must be \(2, 4, 6\)"),
            (lambda t: an.anomaly_statistics(t, [3]), "no block follows hidden state 3"),
            (lambda t: an.anomaly_scores(t, 1, "x"), "detector 'x'"),
            (lambda t: an.stream_norms(t, images=["a"]), "images names 1 images, but the batch holds 2"),
            (lambda t: an.cluster_patches(t.hidden(1)[:, 1:], t.grid, 25), "clusters=25 is outside 1..24"),
            (lambda t: an.patch_labels(np.zeros((2, 2), int), (4, 4), 2), "smaller than the grid"),
            (lambda t: an.rollout([]), "at least one block"),
        ],
    )
    def test_wrong_arguments_are_named(self, tokens: Tokens, call: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            call(tokens)
