"""Calibration error and risk-coverage area against plain loops over pixels."""

from itertools import permutations
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovss.errors import InputError
from ovss.metrics import area_under_risk_coverage, confidence_record, expected_calibration_error


def calibration_oracle(confidences, correct, groups):
    total = 0.0
    for group in range(groups):
        low, high = group / groups, (group + 1) / groups
        members = [i for i, c in enumerate(confidences) if low < c <= high or (group == 0 and c == 0)]
        if members:
            accuracy = fmean(correct[i] for i in members)
            total += len(members) / len(confidences) * abs(accuracy - fmean(confidences[i] for i in members))
    return total


def risk_coverage_oracle(confidences, correct):
    """Pixels enter one by one, most confident first; the risk at each coverage is the share of errors so far."""
    order = sorted(range(len(confidences)), key=lambda i: -confidences[i])
    return fmean(fmean(not correct[i] for i in order[: k + 1]) for k in range(len(order)))


@st.composite
def images(draw, pixels=60):
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    truth = generator.integers(0, 3, pixels).reshape(-1, 6)
    prediction = np.where(generator.random(truth.shape) < 0.6, truth, generator.integers(0, 3, truth.shape))
    truth[generator.random(truth.shape) < 0.2] = 255
    truth[0, 0] = 0
    # Odd 3000ths: in the middle of the fine bins, all different, so that no rounding decides the bin.
    confidence = (2 * generator.choice(1500, pixels, replace=False).reshape(-1, 6) + 1) / 3000
    return confidence, prediction, truth


def known(confidence, prediction, truth):
    valid = truth != 255
    return confidence[valid].tolist(), (prediction == truth)[valid].tolist()


@given(image=images(), groups=st.sampled_from([1, 10, 15, 100]))
@settings(max_examples=60, deadline=None)
def test_both_measures_equal_plain_loops_over_the_pixels(image, groups):
    record = confidence_record(*image)
    assert expected_calibration_error(record, groups) == pytest.approx(calibration_oracle(*known(*image), groups))
    assert area_under_risk_coverage(record) == pytest.approx(risk_coverage_oracle(*known(*image)))


@given(image=images())
@settings(max_examples=20, deadline=None)
def test_upper_ends_of_bins_say_the_same_as_their_number(image):
    ends = np.arange(1, 76) / 75
    np.testing.assert_array_equal(confidence_record(*image, bins=ends), confidence_record(*image, bins=75))
    few = confidence_record(*image, bins=np.array([0.2, 0.5, 1.0]))
    confidences, correct = known(*image)
    for index, (low, high) in enumerate([(-1, 0.2), (0.2, 0.5), (0.5, 1)]):
        members = [i for i, c in enumerate(confidences) if low < c <= high]
        assert few[:2, index].tolist() == [len(members), sum(correct[i] for i in members)]


@given(first=images(), second=images(18))
@settings(max_examples=20, deadline=None)
def test_records_of_two_images_add_up_to_the_record_of_both(first, second):
    both = [np.concatenate(arrays) for arrays in zip(first, second, strict=True)]
    summed = confidence_record(*first) + confidence_record(*second)
    assert np.allclose(summed, confidence_record(*both), rtol=1e-13, atol=0)
    assert expected_calibration_error(summed) == pytest.approx(calibration_oracle(*known(*both), 15))


def test_equal_confidences_count_as_the_mean_over_all_their_orders():
    correct = [True, False, True, False, False, True]
    confidences = [0.9, 0.9, 0.9, 0.9, 0.3, 0.3]
    areas = []
    for first in permutations(range(4)):
        for last in permutations((4, 5)):
            hits = [correct[i] for i in (*first, *last)]
            areas.append(fmean(fmean(not hit for hit in hits[: k + 1]) for k in range(6)))
    truth = np.zeros(6, int)
    record = confidence_record(np.array(confidences), np.where(correct, 0, 1), truth)
    assert area_under_risk_coverage(record) == pytest.approx(fmean(areas))


def test_a_calibrated_record_has_no_error_and_summed_records_of_many_methods_are_measured_at_once():
    pixels = np.full(1500, 3000.0)
    middle = (np.arange(1500) + 0.5) / 1500
    calibrated = np.stack([pixels, pixels * middle, pixels * middle])
    careless = np.stack([pixels, pixels * middle, pixels])
    stacked = np.stack([calibrated, careless])
    assert expected_calibration_error(stacked) == pytest.approx([0, 0.5])
    assert area_under_risk_coverage(stacked)[0] == area_under_risk_coverage(calibrated)
    # With confidences even over 0..1 the risk at coverage c is c / 2, its mean 1 / 4.
    assert area_under_risk_coverage(calibrated) == pytest.approx(0.25, abs=1e-3)


def test_an_image_without_ground_truth_measures_nothing():
    void = np.full((2, 3), 255)
    record = confidence_record(np.full((2, 3), 0.5), np.zeros((2, 3), int), void)
    assert not record.any()
    assert np.isnan(expected_calibration_error(record))
    assert np.isnan(area_under_risk_coverage(record))


def test_what_is_not_a_probability_and_groups_that_do_not_divide_are_refused():
    labels = np.zeros((1, 2), int)
    for value in (1.01, -0.1, float("nan")):
        with pytest.raises(InputError, match="is not a probability"):
            confidence_record(np.array([[0.5, value]]), labels, labels)
    with pytest.raises(InputError, match="must agree"):
        confidence_record(np.zeros((2, 1)), labels, labels)
    with pytest.raises(InputError, match="1500 bins of confidence cannot be cut into 7 groups"):
        expected_calibration_error(np.zeros((3, 1500)), 7)
