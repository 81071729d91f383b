"""Windows cover the image, and stitching is the mean of upsampled windows."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from ovss.errors import InputError
from ovss.evaluation.pipeline import crop_truth
from ovss.ingredients.interpolation import bilinear_matrix
from ovss.protocols import Geometry, list_protocols, load_protocol
from ovss.segment.windowed import seen_image
from ovss.segment.windows import Windows1D, axis_windows, resize_image, resized_size, stitch_matrix


@given(size=st.integers(1, 600), window=st.integers(1, 300), stride=st.integers(1, 300))
def test_windows_follow_the_published_count_and_cover_every_pixel_their_stride_allows(size, window, stride):
    axis = axis_windows(size, window, stride)
    assert len(axis.starts) == max(math.ceil((size - window) / stride), 0) + 1
    assert axis.starts[0] == 0
    assert axis.starts[-1] + axis.window == size
    assert all(0 <= start <= size - axis.window for start in axis.starts)


def test_the_last_window_is_moved_back_inside():
    assert axis_windows(500, 224, 112).starts == (0, 112, 224, 276)
    assert axis_windows(100, 224, 112) == Windows1D(100, 100, (0,))
    assert axis_windows(500, None, None).starts == (0,)
    assert not axis_windows(448, 224, 224).overlapping
    assert axis_windows(449, 224, 224).overlapping


def test_windows_need_a_stride():
    with pytest.raises(InputError, match="stride"):
        axis_windows(500, 224, None)


@given(target=st.integers(1, 80), source=st.integers(1, 80))
def test_bilinear_matrix_is_torchs_interpolation(target, source):
    values = torch.randn(1, 1, source, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    oracle = F.interpolate(values, size=target, mode="linear", align_corners=False)
    assert torch.allclose(bilinear_matrix(target, source) @ values[0, 0], oracle[0, 0], atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(20, 90),
    width=st.integers(20, 90),
    window=st.integers(8, 40),
    stride=st.integers(3, 30),
    seed=st.integers(0, 99),
)
def test_stitching_is_upsample_sum_divide_resize(height, width, window, stride, seed):
    stride = min(stride, window)
    rows, columns = axis_windows(height, window, stride), axis_windows(width, window, stride)
    h, w, target = 3, 4, (height * 2 - 5, width + 7)
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(len(rows.starts), len(columns.starts), h, w, generator=generator)
    # In float64: torch's float32 interpolation misplaces pixels by more than our product of matrices does.
    canvas, cover = torch.zeros(2, height, width, dtype=torch.float64)
    for i, top in enumerate(rows.starts):
        for j, left in enumerate(columns.starts):
            size = (rows.window, columns.window)
            up = F.interpolate(maps[i, j].double()[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
            canvas[top : top + rows.window, left : left + columns.window] += up
            cover[top : top + rows.window, left : left + columns.window] += 1
    oracle = F.interpolate((canvas / cover)[None, None], size=target, mode="bilinear", align_corners=False)[0, 0]
    grid = maps.transpose(1, 2).flatten(2).flatten(0, 1)
    ours = stitch_matrix(rows, h, target[0]) @ grid @ stitch_matrix(columns, w, target[1]).T
    assert torch.allclose(ours.double(), oracle, atol=2e-6)


@pytest.mark.parametrize(
    ("size", "short", "limit", "expected"),
    [
        ((500, 375), 336, 2048, (448, 336)),
        ((375, 500), 336, 2048, (336, 448)),
        ((4000, 60), 336, 2048, (2048, 31)),
        ((1, 1), 336, 2048, (336, 336)),
        ((333, 500), 336, None, (336, 505)),
    ],
)
def test_resizing_brings_the_short_side_to_its_length(size, short, limit, expected):
    assert resized_size(*size, short, limit) == expected


@settings(max_examples=400, deadline=None)
@given(width=st.integers(1, 900), height=st.integers(1, 900), side=st.integers(1, 400))
def test_sizes_that_are_cut_are_torchvisions(width, height, side):
    if max(width, height) * side > 2000 * min(width, height):
        return  # longer than any image; torchvision would really make it
    resized = Resize(side, InterpolationMode.NEAREST)(Image.new("L", (width, height)))
    assert resized_size(width, height, side, None, "cut") == resized.size


@settings(max_examples=60, deadline=None)
@given(width=st.integers(4, 300), height=st.integers(4, 300), side=st.integers(1, 120), limit=st.integers(121, 300))
def test_a_limit_of_the_long_side_that_is_cut_is_torchvisions(width, height, side, limit):
    resized = Resize(side, InterpolationMode.NEAREST, max_size=limit)(Image.new("L", (width, height)))
    assert resized_size(width, height, side, limit, "cut") == resized.size


@settings(max_examples=60, deadline=None)
@given(width=st.integers(20, 300), height=st.integers(20, 300), side=st.integers(16, 224))
def test_the_crop_of_image_and_ground_truth_is_that_of_clips_own_transform(width, height, side):
    generator = np.random.default_rng(width * height)
    image = Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
    labels = generator.integers(0, 256, (height, width), dtype=np.uint8)
    geometry = Geometry(side, None, side, None, None, "pil-bicubic", "cut")
    oracle = Compose([Resize(side, InterpolationMode.BICUBIC), CenterCrop(side)])
    np.testing.assert_array_equal(np.array(seen_image(image, geometry)), np.array(oracle(image)))
    nearest = Compose([Resize(side, InterpolationMode.NEAREST), CenterCrop(side)])
    np.testing.assert_array_equal(crop_truth(labels, geometry), np.array(nearest(Image.fromarray(labels))))


@pytest.mark.parametrize("name", list_protocols())
def test_protocols_resize_as_the_library_that_their_authors_used(name):
    protocol = load_protocol(name)
    torchvision = name.startswith("cliptrase")
    expected = ("pil-bicubic", "cut") if torchvision else ("opencv-bilinear", "round")
    assert name == "clip_surgery" or (protocol.resize_filter, protocol.size_rule) == expected


def test_bilinear_resizing_does_not_antialias():
    stripes = Image.new("RGB", (8, 1))
    for x in range(0, 8, 2):
        stripes.putpixel((x, 0), (255, 255, 255))
    # Every second output pixel centre falls between the same two inputs, so a filter over more of them would differ.
    small = resize_image(stripes, (4, 1), "bilinear")
    assert [small.getpixel((x, 0))[0] for x in range(4)] == [128] * 4
    third = resize_image(stripes, (3, 1), "bilinear")
    positions = [(x + 0.5) * 8 / 3 - 0.5 for x in range(3)]
    values = [255 * ((1 - p % 1) if int(p) % 2 == 0 else p % 1) for p in positions]
    assert [third.getpixel((x, 0))[0] for x in range(3)] == pytest.approx(values, abs=0.51)


def test_a_word_that_is_no_filter_resizes_nothing():
    with pytest.raises(InputError, match="'model' is no filter"):
        resize_image(Image.new("RGB", (5, 5)), (4, 4), "model")


def test_nothing_is_resampled_when_the_size_fits():
    picture = Image.new("RGB", (5, 5))
    assert resize_image(picture, (5, 5), "bilinear") is picture
