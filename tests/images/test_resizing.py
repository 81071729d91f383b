"""8-bit resizing gives the bytes that OpenCV gives, which mmsegmentation's pipelines resize with."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ovss.images.resizing import opencv_bilinear

SIDE = st.one_of(st.integers(1, 12), st.integers(1, 150))


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def opencv(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR).reshape(size[1], size[0], -1)


@settings(max_examples=600, deadline=None)
@given(
    height=SIDE, width=SIDE, new_height=SIDE, new_width=SIDE, channels=st.sampled_from([1, 3, 4]), seed=st.integers()
)
@example(1, 1, 7, 9, 3, 0)
@example(7, 9, 1, 1, 3, 0)
@example(1, 50, 20, 50, 3, 0)
@example(33, 57, 33, 57, 3, 0)
@example(33, 57, 33, 91, 3, 0)
@example(33, 57, 91, 57, 3, 0)
@example(2, 2, 1, 1, 3, 0)
def test_any_size_to_any_size(height, width, new_height, new_width, channels, seed):
    pixels, size = noise(height, width, channels, abs(seed)), (new_width, new_height)
    np.testing.assert_array_equal(opencv_bilinear(pixels, size), opencv(pixels, size))


@settings(max_examples=100, deadline=None)
@given(height=SIDE, width=SIDE, odd=st.booleans())
def test_exact_halves_and_what_is_nearly_half(height, width, odd):
    pixels, size = noise(2 * height + odd, 2 * width), (width, height)
    np.testing.assert_array_equal(opencv_bilinear(pixels, size), opencv(pixels, size))


@settings(max_examples=100, deadline=None)
@given(height=SIDE, width=SIDE, factor=st.sampled_from([2, 3, 4, 8]), across=st.booleans(), up=st.booleans())
def test_whole_factors_along_one_axis_or_both(height, width, factor, across, up):
    large = (width * factor, height * factor if across else height)
    old, new = ((width, height), large) if up else (large, (width, height))
    pixels = noise(old[1], old[0])
    np.testing.assert_array_equal(opencv_bilinear(pixels, new), opencv(pixels, new))


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_flat_images_lose_a_grey_level_exactly_where_opencv_loses_one(value):
    pixels = np.full((21, 34, 3), value, dtype=np.uint8)
    for size in ((50, 31), (20, 60), (17, 11), (34, 20)):
        np.testing.assert_array_equal(opencv_bilinear(pixels, size), opencv(pixels, size))


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (640, 480, (448, 336)),
        (640, 427, (503, 336)),
        (500, 375, (597, 448)),
        (333, 500, (336, 505)),
        (2048, 1024, (1120, 560)),
        (96, 4096, (48, 2048)),
        (4000, 60, (2048, 31)),
    ],
)
def test_sizes_of_the_benchmarks(width, height, size):
    pixels = noise(height, width)
    np.testing.assert_array_equal(opencv_bilinear(pixels, size), opencv(pixels, size))


def test_the_argument_is_left_alone_and_never_returned():
    pixels = noise(9, 8)
    before = pixels.copy()
    same = opencv_bilinear(pixels, (8, 9))
    same[:] = 0
    opencv_bilinear(pixels, (5, 5))
    np.testing.assert_array_equal(pixels, before)
