"""Attention kept within true classes: what other classes hold has no part in a patch, and rows keep their sums."""

import pytest
import torch

import ovss
from ovss.methods import create_method
from ovss.segment.place import TrueImage, keep_within, majority, why_not, within_classes
from ovss.segment.scorer import Scorer

ONE_MIX = ["clip", "maskclip", "sclip", "clearclip", "naclip", "cliptrase", "resclip", "pearl", "cliper", "glaclip"]
OWN_PATH = ["clip_surgery", "gem"]


@pytest.fixture(scope="module")
def tokens():
    backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
    scenes = ovss.load_dataset("scenes")
    windows = [backbone.preprocess(scenes[index].image)[:, :48, :64] for index in range(2)]
    layers = range(backbone.depth + 1)
    return backbone.encode_tokens(torch.stack(windows), layers=layers)


@pytest.fixture(scope="module")
def classes():
    return torch.randint(-1, 3, (2, 48), generator=torch.Generator().manual_seed(0))


def random_values(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [*ONE_MIX, *OWN_PATH, "proxyclip"])
def test_patches_hear_their_own_class_alone_and_rows_keep_their_sums(tokens, classes, name):
    method = create_method(name)
    assert why_not(method) == ""
    kept = within_classes(method, classes)
    if name in OWN_PATH:
        whole, within = (lambda v, m=each: m.mix_block(tokens, tokens.depth - 1, v) for each in (method, kept))
    else:
        whole, within = (lambda v, m=each: m.mix(tokens, v) for each in (method, kept))
    first = 0 if method.patches_only else tokens.prefix
    shape = (2, 4, 48 + first, 5)
    values, others = random_values(*shape), 100 * random_values(*shape)
    for own in (-1, 0, 1, 2):
        mine = classes == own
        mixed = torch.cat([torch.zeros(2, first, dtype=torch.bool), mine], dim=1)[:, None, :, None]
        before, after = (within(torch.where(mixed, values, rest))[:, :, first:] for rest in (values, others))
        rows = mine[:, None, :, None].expand_as(before)
        torch.testing.assert_close(before[rows], after[rows], rtol=1e-4, atol=1e-5)
    ones = torch.ones(*shape[:3], 1)
    torch.testing.assert_close(within(ones), whole(ones), rtol=1e-4, atol=1e-5)
    if first:
        torch.testing.assert_close(within(values)[:, :, :first], whole(values)[:, :, :first], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["scclip", "dihclip", "sfp", "rfclip(channels=(0,))", "clipseg_aaai25", "registers"])
def test_methods_of_several_mixes_say_so(name):
    parsed = ovss.methods.registry.parse_method(name)
    assert why_not(parsed)


def test_a_row_with_nothing_left_attends_to_itself():
    rows = torch.tensor([[0.0, 1.0], [0.5, 0.5]])[None, None]
    assert keep_within(rows, torch.tensor([[0, 1]]))[0, 0].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_a_patch_has_the_class_of_most_of_its_pixels():
    labels = torch.tensor([[0, 0, 1, -1, 2], [0, 2, 1, -1, 2], [-1, -1, 0, 1, 2], [-1, -1, 2, 2, 2]])
    assert majority(labels, 2, 3).tolist() == [[0, 1], [-1, 2]]
    assert majority(torch.tensor([[1, 0]]), 1, 3).tolist() == [[1, 0]]


def test_windows_cut_the_ground_truth_as_the_pixels(tokens):
    sample = ovss.load_dataset("scenes")[0]
    backbone = tokens.backbone
    words = ovss.load_protocol("study", templates=["a {}."]).vocabulary("scenes")
    protocol = ovss.load_protocol("study", window_remainder="pad", stride=0.4)
    scorer = Scorer(backbone, {"clip": create_method("clip")}, words, protocol)
    shown = torch.from_numpy(sample.labels)
    image = TrueImage.of(scorer.prepare(sample.image), shown)
    for number, (top, left) in enumerate(image.offsets.tolist()):
        crop = image.crop(number)
        assert crop.shape[0] == 4
        torch.testing.assert_close(crop[:3], scorer.prepare(sample.image).crop(number))
        expected = shown[1::2, 1::2][top : top + crop.shape[1], left : left + crop.shape[2]]
        assert torch.equal(crop[3].long() - 1, expected)
