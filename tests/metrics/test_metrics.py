import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import shared_path

from ovss.errors import InputError
from ovss.metrics import MEASURES, count_labels, measure


def oracle(prediction, labels, classes, void):
    """The definitions, pixel by pixel."""
    inter, truth, guess = ([0] * classes for _ in range(3))
    for p, g in zip(prediction.ravel().tolist(), labels.ravel().tolist(), strict=True):
        if g == void:
            continue
        truth[g] += 1
        guess[p] += 1
        inter[g] += p == g
    return inter, truth, guess


def oracle_means(inter, truth, guess):
    ious, accs, weighted = [], [], 0.0
    for i, t, p in zip(inter, truth, guess, strict=True):
        if t + p:
            iou = i / (t + p - i)
            ious.append(iou)
            weighted += iou * t
        if t:
            accs.append(i / t)
    total = sum(truth)
    values = (sum(ious) / len(ious), sum(accs) / len(accs), sum(inter) / total, weighted / total)
    return [100 * value for value in values]


@given(
    classes=st.sampled_from([1, 2, 7, 300]),
    void=st.sampled_from([255, 65535]),
    seed=st.integers(0, 2**31),
    void_share=st.floats(0, 0.5),
)
@settings(max_examples=40, deadline=None)
def test_records_and_means_equal_a_plain_implementation(classes, void, seed, void_share):
    void = 65535 if classes > 255 else void
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, (9, 7)).astype(np.int64)
    labels[generator.random(labels.shape) < void_share] = void
    labels[0, 0] = 0
    prediction = np.where(generator.random(labels.shape) < 0.5, labels, generator.integers(0, classes, (9, 7)))
    prediction[prediction == void] = classes - 1
    counts = count_labels(prediction, labels, classes, void=void)
    assert counts.dtype == np.int64
    assert counts.tolist() == [list(row) for row in oracle(prediction, labels, classes, void)]
    assert measure(counts).mean == pytest.approx(oracle_means(*counts.tolist()))


def test_hand_computed_case_with_void_an_absent_and_an_only_predicted_class():
    labels = np.array([[0, 0, 1, 255], [0, 1, 1, 255]])
    prediction = np.array([[0, 0, 1, 1], [2, 1, 0, 2]])
    counts = count_labels(prediction, labels, 4)
    assert counts.tolist() == [[2, 2, 0, 0], [3, 3, 0, 0], [3, 2, 1, 0]]
    found = measure(counts)
    assert found.iou[:3] == pytest.approx([50, 200 / 3, 0])
    assert np.isnan(found.iou[3])
    assert dict(zip(MEASURES, found.mean, strict=True)) == pytest.approx(
        {"mIoU": (50 + 200 / 3 + 0) / 3, "mAcc": 200 / 3, "pAcc": 200 / 3, "fwIoU": (50 + 200 / 3) / 2}
    )


def test_iou_is_of_the_whole_data_set_and_never_a_mean_over_images():
    large = count_labels(np.zeros((10, 10), int), np.zeros((10, 10), int), 2)
    small = count_labels(np.ones((1, 2), int), np.zeros((1, 2), int), 2)
    assert measure(large + small).iou[0] == pytest.approx(100 * 100 / 102)


def test_order_of_classes_follows_the_labels():
    labels = np.array([[3, 1, 0, 2]])
    for index in range(4):
        counts = count_labels(np.full((1, 4), index), labels, 4)
        assert counts[2].argmax() == index
        assert counts[0].tolist() == [int(k == index) for k in range(4)]


def test_an_ignored_zero_label_arrives_as_void_and_moves_no_number():
    raw = np.array([[0, 1, 2, 0]])
    labels = np.where(raw == 0, 255, raw - 1)
    assert count_labels(np.array([[1, 0, 1, 0]]), labels, 2).tolist() == [[1, 1], [1, 1], [1, 1]]


def test_more_than_255_classes_need_a_larger_void_value():
    labels = np.array([[255, 300, 65535]])
    counts = count_labels(np.array([[255, 300, 0]]), labels, 301, void=65535)
    assert counts[0, [255, 300]].tolist() == [1, 1]
    assert counts.sum() == 6
    with pytest.raises(InputError, match="void value 255 is also a class; 301 classes"):
        count_labels(labels, labels, 301, void=255)


@pytest.mark.parametrize("bad", [-1, 4])
def test_a_value_outside_the_class_list_is_refused_with_the_value(bad):
    inside = np.zeros((2, 2), int)
    outside = np.array([[0, 1], [bad, 3]])
    with pytest.raises(InputError, match=f"label {bad} of the ground truth is outside 0..3"):
        count_labels(inside, outside, 4)
    with pytest.raises(InputError, match=f"label {bad} of the prediction is outside 0..3"):
        count_labels(outside, inside, 4)


def test_maps_of_different_sizes_are_refused_with_both_sizes():
    with pytest.raises(InputError, match="3x2 pixels and the ground truth 2x3"):
        count_labels(np.zeros((2, 3), int), np.zeros((3, 2), int), 1)


def test_an_image_of_void_alone_counts_nothing():
    counts = count_labels(np.zeros((3, 3), int), np.full((3, 3), 255), 2)
    assert not counts.any()
    assert np.isnan(measure(counts).mean).all()


def test_cliptrase_rule_equals_the_authors_evaluator():
    reference = np.load(shared_path("goldens", "cliptrase", "metrics.npz"))
    expected = dict(zip(reference["names"][:4].tolist(), reference["value"].tolist(), strict=True))
    classes = int(reference["n_class"])
    pairs = zip(reference["pred"].astype(int), reference["gt"].astype(int), strict=True)
    counts = sum(count_labels(prediction, labels, classes) for prediction, labels in pairs)
    means = dict(zip(MEASURES, measure(counts, "cliptrase").mean, strict=True))
    assert means == pytest.approx(expected, abs=0.0051)
    assert measure(counts).mean[0] < expected["mIoU"] - 5, "the class that is only predicted must cost here"


@pytest.mark.parametrize("variant", ["plain", "voc20", "bg"])
def test_cliptrase_rule_counts_void_as_background_where_there_is_one(goldens, variant):
    folder = goldens / "cliptrase"
    expected = np.load(folder / "metrics.npz")[f"e2e_astronaut_224_{variant}"]
    labels = np.load(folder / "inputs.npz")["gt_astronaut_224"].astype(int)
    prediction = np.load(folder / "e2e_astronaut_224.npz")[f"{variant}_final"].astype(int)
    classes = int(expected[4])
    background = classes - 1 if variant == "bg" else None
    counts = count_labels(np.minimum(prediction, classes - 1), labels, classes, void_class=background)
    pacc, macc, fwiou, miou, _ = expected.tolist()
    assert measure(counts, "cliptrase").mean == pytest.approx([miou, macc, pacc, fwiou], abs=0.0051)


def test_cliptrase_rule_adds_a_hundredth_of_a_pixel_to_the_denominators_of_a_class():
    truth, guess = np.array([0, 0, 0, 1, 1, 2, 2, 2]), np.array([0, 0, 1, 1, 3, 2, 2, 0])
    confusion = np.zeros((5, 5))
    np.add.at(confusion, (truth, guess), 1)
    hits, of_truth, of_guess = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    iou = [hits[c] / (of_truth[c] + of_guess[c] - hits[c] + 0.01) for c in range(5)]
    accuracy = [hits[c] / (of_truth[c] + 0.01) for c in range(5)]
    expected = [np.mean(iou[:3]), np.mean(accuracy), 5 / 8, sum(iou[c] * of_truth[c] for c in range(3)) / 8]
    found = measure(count_labels(guess[None], truth[None], 5), "cliptrase")
    assert found.mean == pytest.approx([100 * value for value in expected], rel=1e-12)
    assert found.iou[:3] == pytest.approx([100 * value for value in iou[:3]], rel=1e-12)
    assert np.isnan(found.iou[3:]).all()
    assert np.isnan(found.accuracy[3:]).all()


def test_cliptrase_rule_leaves_out_images_of_void_and_background_alone():
    empty, guess = np.array([[0, 255, 255], [0, 0, 255]]), np.array([[0, 1, 1], [2, 0, 0]])
    assert not count_labels(guess, empty, 3, void_class=0).any()
    assert count_labels(guess, empty, 3)[:, 0].tolist() == [2, 3, 2]
    scarce = empty.copy()
    scarce[0, 0] = 2
    assert count_labels(guess, scarce, 3, void_class=0)[1].tolist() == [5, 0, 1]


def test_unknown_rule_is_refused():
    with pytest.raises(InputError, match="metric rule 'mine' is unknown"):
        measure(np.zeros((3, 2), int), "mine")
