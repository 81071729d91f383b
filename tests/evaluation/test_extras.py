"""What a run records beside its counts, against plain loops over images, patches and pixels."""

from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
import torch
from evaluation_helpers import StopAt, contents, quick_protocol, records, run

import ovss
from ovss.cli import main
from ovss.errors import InputError
from ovss.evaluation import rank_agreement
from ovss.evaluation.extras import ERRORS, UPPER, dense_confidences, dense_errors
from ovss.methods.base import finish_block, unit
from ovss.metrics import (
    area_under_risk_coverage,
    confidence_record,
    count_labels,
    error_counts,
    expected_calibration_error,
    measure,
)
from ovss.metrics.resampling import Resampler

ALL = {"oracles": True, "errors": True, "calibration": True}
METHODS = ("clip", "naclip", "scclip")
IMAGES = 12


@pytest.fixture(scope="module")
def tiny():
    return ovss.load_backbone("tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="module", params=["scenes", "scenes-objects"])
def scenes(request):
    return ovss.load_dataset(request.param, length=IMAGES)


@pytest.fixture(scope="module")
def protocol():
    return quick_protocol()


@pytest.fixture(scope="module")
def card(tiny, scenes, protocol):
    return ovss.evaluate(tiny, list(METHODS), scenes, protocol=protocol, shard_size=5, **ALL)


def oracle_counts(card, oracle, label="naclip"):
    return card.oracle_counts(label, oracle)


def brute_counts(card, scenes, label_map):
    return np.stack([count_labels(label_map(sample), sample.labels, len(card.classes)) for sample in scenes])


def segmenter(tiny, scenes, protocol, words=None, label="naclip"):
    return ovss.Segmenter(tiny, label, words or protocol.vocabulary(scenes.name), protocol=protocol)


def test_presence_is_a_vocabulary_of_the_images_classes(card, tiny, scenes, protocol):
    words = protocol.for_dataset(scenes.name).vocabulary(scenes.name)

    def label_map(sample):
        present = np.unique(sample.labels[sample.labels != 255])
        kept = [
            (query, owner) for query, owner in zip(words.queries, words.query_class, strict=True) if owner in present
        ]
        offered = replace(
            words,
            classes=tuple(words.classes[index] for index in present),
            queries=tuple(query for query, _ in kept),
            query_class=tuple(int(np.searchsorted(present, owner)) for _, owner in kept),
            background=0 if words.background in present else None,
        )
        rules = protocol.for_dataset(scenes.name)
        if words.background not in present:
            rules = replace(rules, background="none", threshold=None)
        return present[segmenter(tiny, scenes, rules, offered)(sample.image).labels]

    np.testing.assert_array_equal(oracle_counts(card, "presence"), brute_counts(card, scenes, label_map))


def test_naming_takes_the_mean_over_the_pixels_of_a_region(card, tiny, scenes, protocol):
    found = segmenter(tiny, scenes, protocol)
    rule = found._scorer.rule

    def label_map(sample):
        cosines = found(sample.image)._score_map.cosines()  # (Q, H, W)
        labels = np.zeros_like(sample.labels)
        for index in np.unique(sample.labels[sample.labels != 255]):
            inside = sample.labels == index
            means = [fmean(one[inside].tolist()) for one in cosines.numpy()]
            chances = np.exp(rule.scale * (np.array(means) - max(means)))
            sure = rule.threshold is None or chances.max() / chances.sum() >= rule.threshold
            labels[inside] = rule.query_class[int(np.argmax(means))] if sure else rule.background
        return labels

    np.testing.assert_array_equal(oracle_counts(card, "naming"), brute_counts(card, scenes, label_map))


def test_the_ceiling_gives_each_patch_the_class_of_most_of_its_pixels(card, tiny, scenes, protocol):
    short = protocol.geometry(tiny).short_side

    def label_map(sample):
        scale = short / min(sample.labels.shape)
        side = int(tiny.patch_size / scale)
        assert side * scale == tiny.patch_size
        assert sample.labels.shape[0] % side == sample.labels.shape[1] % side == 0
        labels = np.zeros_like(sample.labels)
        for top in range(0, labels.shape[0], side):
            for left in range(0, labels.shape[1], side):
                cell = sample.labels[top : top + side, left : left + side]
                votes = [(cell == index).sum() for index in range(len(scenes.classes))]
                labels[top : top + side, left : left + side] = int(np.argmax(votes))
        return labels

    for label in METHODS:
        np.testing.assert_array_equal(oracle_counts(card, "ceiling", label), brute_counts(card, scenes, label_map))


def test_place_keeps_each_row_of_the_attention_within_its_class(card, tiny, scenes, protocol):
    """The whole way by hand: windows, patch classes, rows of the attention one by one, embeddings, scores."""
    found = segmenter(tiny, scenes, protocol)
    scorer, patch, method = found._scorer, tiny.patch_size, ovss.create_method("naclip")

    def label_map(sample):
        image = scorer.prepare(sample.image)
        step = sample.labels.shape[0] // image.pixels.shape[1]
        offset = step // 2  # of the pixel that is nearest to the centre, the later one of two
        small = sample.labels[offset::step, offset::step]
        windows, scores = range(len(image.offsets)), []
        for number in windows:
            tokens = tiny.encode_tokens(image.crop(number)[None], layers={tiny.depth - 1})
            top, left = image.offsets[number].tolist()
            classes = []
            for row in range(tokens.grid[0]):
                for column in range(tokens.grid[1]):
                    y, x = top + row * patch, left + column * patch
                    values = small[y : y + patch, x : x + patch].ravel().tolist()
                    classes.append(max(sorted(set(values)), key=values.count))
            v = tokens.qkv(tokens.depth)[2]
            size = v.shape[2]
            attention = method.mix(tokens, torch.eye(size).expand(1, v.shape[1], size, size)).clone()
            for row, own in enumerate(classes):
                total = attention[:, :, row + 1].sum(-1, keepdim=True)
                kept = torch.tensor([0.0, *(float(other == own) for other in classes)])
                attention[:, :, row + 1] *= kept
                attention[:, :, row + 1] *= total / attention[:, :, row + 1].sum(-1, keepdim=True)
            patches = finish_block(tokens, attention @ v, *method.residual_and_ffn)[:, 1:]
            scores.append((unit(tokens.read_out(patches))[0] @ scorer.text.T).T.unflatten(1, tokens.grid))
        return scorer._score_map(image, scores).labels()

    by_hand = brute_counts(card, scenes, label_map)
    recorded = oracle_counts(card, "place")
    assert np.abs(by_hand - recorded).sum() <= 1e-4 * recorded.sum(), "more than ties differ"
    assert (recorded != card.counts("naclip")).any()


def test_attention_of_a_patch_to_itself_is_within_its_class_already(tiny, protocol):
    found = ovss.evaluate(tiny, "maskclip", "scenes", protocol=protocol, limit=4, oracles=True).oracles()
    gains = found.set_index("oracle")["gain"]
    assert gains["place"] == 0
    assert gains["presence + place"] == gains["presence"]


def test_methods_without_a_mix_have_no_oracle_of_place_and_say_why(tiny, protocol):
    label = "registers(neurons=((2, 3),))"
    card = ovss.evaluate(tiny, {"clip": "clip", "moved": label}, "scenes", protocol=protocol, limit=2, oracles=True)
    found = card.oracles().set_index(["method", "oracle"])
    without = [("moved", "place"), ("moved", "presence + place")]
    for row in without:
        assert np.isnan(found.loc[row, "mIoU"])
        assert "no single attention map" in found.loc[row, "note"]
    assert found.loc[("clip", "place"), "note"] == ""
    with pytest.raises(InputError, match="'moved' has no oracle of place"):
        card.oracle_counts("moved", "place")
    with pytest.raises(InputError, match=r"oracle 'presense' is unknown.*presence"):
        card.oracle_counts("clip", "presense")
    assert found["mIoU"].drop(without).notna().all()


def test_methods_of_two_passes_have_an_oracle_of_place(card):
    found = card.oracles().set_index(["method", "oracle"]).loc["scclip"]
    assert found["mIoU"].notna().all()
    assert found.loc["place", "gain"] > 5


def test_frames_of_oracles_hold_the_counts_and_the_ladder_adds_up(card):
    found = card.oracles().set_index(["method", "oracle"])
    for label in ("clip", "naclip"):
        for oracle in ("presence", "place", "naming", "ceiling"):
            expected = measure(oracle_counts(card, oracle, label).sum(0)).mean[0]
            assert found.loc[(label, oracle), "mIoU"] == pytest.approx(expected)
        steps = card.ladder().set_index(["method", "step"]).loc[label]["points"]
        assert steps.sum() == pytest.approx(100 - found.loc[(label, "none"), "mIoU"])
        assert steps["presence"] == pytest.approx(found.loc[(label, "presence"), "gain"])


def test_error_counts_are_those_of_the_label_maps(card, tiny, scenes, protocol):
    labels = segmenter(tiny, scenes, protocol, label="clip")
    number = list(card.methods).index("clip")
    parts = [dense_errors(record.extras["errors"], record.counts("clip"), number) for _, record in card.records()]
    for found, sample in zip(np.concatenate(parts), scenes, strict=True):
        expected = error_counts(labels(sample.image).labels, sample.labels, len(card.classes))
        for row, name in enumerate(ERRORS[:-2]):
            np.testing.assert_array_equal(found[row], expected[name])


def test_losses_and_miou_add_up_to_all(card):
    found = card.errors().pivot(index="method", columns="measure", values="value")
    losses = found[["lost to boundaries", "lost to extent", "lost to segments"]].sum(axis=1)
    assert np.allclose(losses + found["mIoU"], 100)
    summary = card.summary().set_index("method")["mIoU"]
    assert np.allclose(found["mIoU"], summary[found.index])


def test_image_level_measures_equal_loops_over_images(card):
    frame = card.per_image()
    frame = frame[frame["method"] == "clip"]
    by_image = frame.groupby("image")["IoU"].mean().sort_values()
    found = card.errors().set_index(["method", "measure"]).loc["clip"]["value"]
    assert found["image mIoU"] == pytest.approx(by_image.mean())
    first, second = by_image.iloc[:2]
    assert found["image mIoU, worst tenth"] == pytest.approx((first + 0.2 * second) / 1.2)  # a tenth of 12 images
    shown = frame[frame["truth_pixels"] > 0].sort_values("truth_pixels", kind="stable")
    low, high = np.quantile(shown["truth_pixels"], [1 / 3, 2 / 3])
    small = shown[shown["truth_pixels"] <= low]["IoU"].mean()
    large = shown[shown["truth_pixels"] > high]["IoU"].mean()
    assert found["IoU of small regions"] == pytest.approx(small)
    assert found["IoU of large regions"] == pytest.approx(large)


def test_calibration_is_that_of_all_pixels_of_all_images(card, tiny, scenes, protocol):
    found = segmenter(tiny, scenes, protocol)
    pixels = []
    for sample in scenes:
        segmentation = found(sample.image)
        chances = segmentation.scores
        sure = np.take_along_axis(chances, segmentation.labels[None], axis=0)[0]
        threshold = found._scorer.rule.threshold
        if threshold is not None:  # a background with words: uncertain pixels have the threshold
            best = chances.max(0)
            sure = np.where(best < threshold, threshold, sure)
        pixels.append([part.ravel() for part in (sure.clip(0, 1), segmentation.labels, sample.labels)])
    confidence, labels, truth = (np.concatenate(part) for part in zip(*pixels, strict=True))
    measures = card.calibration().set_index(["method", "measure"]).loc["naclip"]["value"] / 100
    uniform = confidence_record(confidence[None], labels[None], truth[None])
    assert measures["ECE"] == pytest.approx(expected_calibration_error(uniform), abs=1e-4)
    recorded = confidence_record(confidence[None], labels[None], truth[None], bins=UPPER)
    assert measures["AURC"] == pytest.approx(area_under_risk_coverage(recorded), abs=1e-5)
    order = np.argsort(-confidence, kind="stable")
    wrong = (labels != truth)[order]
    exact = np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1))
    assert measures["AURC"] == pytest.approx(exact, rel=0.005), "bins keep the order of pixels but for half a percent"
    parts = [dense_confidences(record.extras["calibration"], len(record.ids), 1) for _, record in card.records()]
    stored = np.concatenate(parts).sum(0)
    np.testing.assert_array_equal(stored[0].sum(), recorded[0].sum())
    # Near 1 the two ways to a probability differ by a few float32 steps, and so do bins of pixels at their ends.
    assert np.abs(stored[:2] - recorded[:2]).sum() <= 0.01 * stored[0].sum()
    assert stored[2].sum() == pytest.approx(confidence.sum(), rel=1e-5)


def test_ranks_come_from_one_resampling_and_paired_comparisons(card):
    resampler = Resampler(IMAGES, seed=0)
    scores = []
    for weights in resampler.weights:
        sums = [np.tensordot(weights.astype(np.int64), card.counts(label), axes=1) for label in METHODS]
        scores.append([measure(total).mean[0] for total in sums])
    ranks = [[1 + sum(other > own for other in row) for own in row] for row in scores]
    found = card.ranks().set_index("method").loc[list(METHODS)]
    assert found["best"].tolist() == pytest.approx([fmean(row[i] == 1 for row in ranks) for i in range(len(METHODS))])
    assert found["rank"].tolist() == found["mIoU"].rank(ascending=False).tolist()
    for label in METHODS:
        mine = [card.compare(label, other).iloc[0] for other in METHODS if other != label]
        # A limit for two comparisons lies between that of one (95 %) and of Bonferroni, here taken 1.3 times as wide.
        better, worse = (sum(sign * row["difference"] > 0 for row in mine) for sign in (1, -1))
        sure = [sum(row["low"] > 0.3 * (row["high"] - row["low"]) for row in mine)]
        sure.append(sum(row["high"] < -0.3 * (row["high"] - row["low"]) for row in mine))
        assert 1 + sure[0] <= found.loc[label, "rank_low"] <= 1 + sum(row["low"] > 0 for row in mine) <= 1 + better
        assert len(METHODS) - sure[1] >= found.loc[label, "rank_high"] >= len(METHODS) - worse


def test_agreement_of_runs_is_kendalls_tau_with_pairs_counted_by_hand(tiny, protocol):
    labels = ["clip", "maskclip", "naclip", "gem"]
    runs = {
        name: ovss.evaluate(tiny, labels, data, protocol=protocol, limit=12)
        for name, data in (("pixels", "scenes"), ("objects", "scenes-objects"))
    }
    found = rank_agreement(runs)
    one, other = (dict(zip(run.summary()["method"], run.summary()["mIoU"], strict=True)) for run in runs.values())
    signs = [np.sign(one[a] - one[b]) * np.sign(other[a] - other[b]) for i, a in enumerate(labels) for b in labels[:i]]
    assert found.loc[0, "tau"] == pytest.approx(sum(signs) / len(signs))
    assert found.loc[0, "low"] <= found.loc[0, "tau"]
    assert rank_agreement({"a": runs["pixels"], "b": runs["pixels"]}).loc[0, ["tau", "low", "high"]].tolist() == [1] * 3
    with pytest.raises(InputError, match="give at least two"):
        rank_agreement({"a": runs["pixels"]})


def test_a_run_without_extras_has_the_records_it_had(backbone, data, tmp_path):
    plain, full = run(backbone, data, tmp_path / "plain"), run(backbone, data, tmp_path / "full", **ALL)
    for (_, one), (_, other) in zip(plain.records(), full.records(), strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)
        assert not one.extras
    for path in (tmp_path / "plain").rglob("*.npz"):
        with np.load(path) as stored:
            assert sorted(stored.files) == ["note", "rows"]
    shown = [one.summary(provenance=False) for one in (plain, full)]
    assert shown[0].equals(shown[1])
    assert not {"extras", "refused"} & set((tmp_path / "plain" / "run.json").read_text().split('"'))


def test_an_interrupted_run_with_extras_is_bit_identical(backbone, data, tmp_path):
    run(backbone, data, tmp_path / "whole", **ALL)
    with pytest.raises(KeyboardInterrupt):
        run(backbone, StopAt(data, 7, KeyboardInterrupt()), tmp_path / "cut", **ALL)
    run(backbone, data, tmp_path / "cut", **ALL)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_a_stored_run_with_extras_answers_for_less_and_not_for_more(backbone, data, tmp_path):
    full = run(backbone, data, tmp_path, oracles=True, errors=True)
    before = records(tmp_path)
    for less in ({}, {"errors": True}):
        again = run(backbone, data, tmp_path, **less)
        assert records(tmp_path) == before
        assert again.summary(provenance=False).equals(full.summary(provenance=False))
    with pytest.raises(InputError, match="no record of calibration; evaluate with calibration=True"):
        full.calibration()
    more = run(backbone, data, tmp_path, calibration=True)
    assert len(list(tmp_path.rglob("*.npz"))) == 2 * len(before)
    assert len(more.calibration()) == 8
    loaded = ovss.evaluation.Evaluation.load(tmp_path)
    assert loaded.calibration().equals(more.calibration())


def test_shared_windows_have_an_oracle_of_place(tiny, protocol):
    found = ovss.evaluate(tiny, "naclip", "scenes", protocol=protocol, windows="shared", limit=8, oracles=True)
    gains = found.oracles().set_index("oracle")["gain"]
    assert gains["presence + place"] > 5


def test_the_command_line_asks_for_extras(tmp_path, capsys):
    options = ["--data", "scenes", "--limit", "2", "--methods", "clip", "--device", "cpu", "--out", str(tmp_path)]
    assert main(["evaluate", *options, "--oracles", "--errors", "--calibration"]) == 0
    assert {"oracles.csv", "errors.csv", "calibration.csv"} <= {path.name for path in tmp_path.iterdir()}
    assert "presence + place" in capsys.readouterr().out
