"""Corruptions: seeded, of the size of the image, each one different, and none that moves the ground truth away."""

import numpy as np
import pytest
from PIL import Image

import ovss
from ovss.datasets.changed import CorruptedDataset, with_distractors
from ovss.errors import InputError
from ovss.images.corruptions import CORRUPTIONS, corrupt
from ovss.metrics import measure


@pytest.fixture(scope="module")
def scene():
    return ovss.load_dataset("scenes")[3].image.crop((0, 0, 96, 72))


def test_there_are_fifteen():
    assert len(CORRUPTIONS) == 15


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corruption_is_seeded_and_changes_the_image_but_not_beyond_recognition(scene, kind):
    first, again, other = (np.asarray(corrupt(scene, kind, seed), dtype=float) for seed in (0, 0, 1))
    before = np.asarray(scene, dtype=float)
    assert first.shape == before.shape
    np.testing.assert_array_equal(first, again)
    drawn = kind not in ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg")
    assert (first != other).any() == drawn
    assert 2 < np.abs(first - before).mean() < 100
    assert np.corrcoef(first.ravel(), before.ravel())[0, 1] > 0.4


@pytest.mark.parametrize("kind", ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "elastic", "pixelate"])
def test_what_moves_light_leaves_an_even_image_as_it_is(kind):
    grey = Image.new("RGB", (40, 30), (90, 120, 150))
    np.testing.assert_allclose(np.asarray(corrupt(grey, kind)).astype(int), np.asarray(grey).astype(int), atol=1)


def test_zoom_and_elastic_move_a_dot_by_less_than_a_patch():
    dot = np.zeros((96, 96, 3), np.uint8)
    dot[30:34, 60:64] = 255
    for kind in ("zoom_blur", "elastic", "glass_blur", "motion_blur", "defocus_blur"):
        weight = np.asarray(corrupt(Image.fromarray(dot), kind), dtype=float).sum(-1)
        y, x = (np.average(grid, weights=weight) for grid in np.indices(weight.shape))
        assert np.hypot(y - 31.5, x - 61.5) < 6, kind


def test_unknown_corruptions_are_named(scene):
    with pytest.raises(InputError, match=r"'frog' is unknown.*fog"):
        corrupt(scene, "frog")
    with pytest.raises(InputError, match="'frog' is unknown"):
        CorruptedDataset(ovss.load_dataset("scenes"), "frog")


def test_a_corrupted_data_set_has_its_own_images_and_the_same_ground_truth():
    plain = ovss.load_dataset("scenes", length=3)
    noisy, other = (CorruptedDataset(plain, "gaussian_noise", seed) for seed in (0, 1))
    assert noisy.ids == plain.ids
    assert noisy.benchmark == "scenes"
    assert len({plain.fingerprint, noisy.fingerprint, other.fingerprint}) == 3
    for index in range(3):
        np.testing.assert_array_equal(noisy[index].labels, plain[index].labels)
        assert noisy[index].image.tobytes() == noisy[index].image.tobytes() != other[index].image.tobytes()
    residue = [np.asarray(noisy[i].image, float) - np.asarray(plain[i].image, float) for i in range(2)]
    assert np.abs(residue[0] - residue[1]).mean() > 5, "images share their noise"


def test_distractors_take_pixels_and_are_left_out_of_the_measure():
    backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
    data = ovss.load_dataset("scenes", length=2)
    protocol = ovss.load_protocol("study", templates=["a {}."])
    words = protocol.vocabulary("scenes")
    more, wider = with_distractors(data, words, 100)
    assert not set(words.queries) & set(wider.words[-1])
    plain = ovss.evaluate(backbone, "maskclip", data, protocol=protocol)
    with pytest.warns(UserWarning, match="accordion"):
        found = ovss.evaluate(backbone, "maskclip", more, protocol=protocol, vocabulary=wider)
    counts = found.counts("maskclip")
    assert counts.shape[2] == plain.counts("maskclip").shape[2] + 1
    assert counts[:, 1, -1].sum() == 0
    lost = plain.counts("maskclip").sum() - counts[:, :, :-1].sum()
    assert lost >= 0
    assert measure(counts[:, :, :-1].sum(0)).mean[0] <= 100
    with pytest.raises(InputError, match="1 to"):
        with_distractors(data, words, 1000)
