"""Window border error on a data set, and its change when windows share."""

import numpy as np
import pytest

import ovss
from ovss.analysis import border_change, border_records
from ovss.errors import InputError
from ovss.protocols import load_protocol


@pytest.fixture(scope="module")
def backbone():
    return ovss.load_backbone("tiny", device="cpu", dtype="float32")


def test_records_are_those_of_the_label_maps(backbone):
    dataset = ovss.load_dataset("scenes")
    protocol = load_protocol("study", short_side=3.0, stride=1.0)
    found = border_records(backbone, ["clearclip", "naclip"], dataset, protocol=protocol, limit=2)
    assert set(found) == {"clearclip", "naclip"}
    assert found["naclip"].shape == (2, 2, 2)
    labels = ovss.Segmenter(backbone, "naclip", "scenes", protocol=protocol)(dataset[1].image).labels
    truth = dataset[1].labels
    assert labels.shape == (192, 192)
    across = np.zeros(2, dtype=int)
    for edge in (64, 128):
        for guess, true in ((labels, truth), (labels.T, truth.T)):
            same = (true[edge - 1] == true[edge]) & (true[edge] != dataset.void)
            across += (same & (guess[edge - 1] != guess[edge])).sum(), same.sum()
    assert found["naclip"][1, 0].tolist() == across.tolist()


def test_the_change_is_paired_over_images():
    apart = np.array([[[10, 100], [5, 1000]]] * 6)
    change = border_change(apart, apart // [[2, 1], [1, 1]])
    np.testing.assert_allclose(change[0], [-50, -50, -50])
    np.testing.assert_allclose(change[1], 100 * ((4.5 / 9.5) - 1))
    with pytest.raises(InputError, match="records of the same images"):
        border_change(apart, apart[:3])


def test_a_protocol_that_crops_has_no_borders(backbone):
    with pytest.raises(InputError, match="which has no borders"):
        border_records(
            backbone, "clip", ovss.load_dataset("scenes"), protocol=load_protocol("window224", crop=100), limit=1
        )


@pytest.mark.slow
def test_labels_change_at_least_30_percent_less_at_window_borders_where_glaclip_shares_windows(backbone):
    dataset = ovss.load_dataset("scenes")
    apart, shared = (
        border_records(backbone, "glaclip", dataset, windows=kind, limit=40)["glaclip"] for kind in ("apart", "shared")
    )
    estimates, _, upper_ends = border_change(apart, shared).T
    assert (estimates < -30).all()
    assert (upper_ends < -30).all(), "beyond the paired interval over scenes"
