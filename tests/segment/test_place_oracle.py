"""Attention kept within true classes: what other classes hold has no part in a patch, and rows keep their sums."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F

import ovss
from ovss.backbone.toy import random_backbone
from ovss.ingredients import similarity_attention
from ovss.methods import create_method
from ovss.methods.registry import parse_method
from ovss.methods.two_pass import calibration_blocks
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


def softmax_of(left, right):
    return (left @ right.mT / left.shape[-1] ** 0.5).softmax(-1)


def dense_scclip(method, tokens):
    """Maps of both passes, from keys that are projected here."""
    x, similarity = method.prepare(tokens)
    block = tokens.block(tokens.depth)
    fused = torch.stack([tokens.hidden(number) for number in method.blocks(tokens.depth)[2]]).sum(0)[:, 1:]
    keys = [block.qkv(part)[1] for part in (x, fused)]
    alike = similarity_attention(similarity)[:, None]
    return [(softmax_of(k, k) + alike) / 2 for k in keys]


def dense_sfp(method, tokens):
    """Keys, queries and similarities in the first pass, similarities alone in the second."""
    x, similarity = method.purify(tokens)
    q, k, _ = tokens.block(tokens.depth).qkv(x)
    alike = similarity_attention(similarity)[:, None].expand(-1, q.shape[1], -1, -1)
    return [(softmax_of(k, k) + softmax_of(q, q) + alike) / 3, alike]


def dense_dihclip(method, tokens):
    """The two sharpest of four heads, chosen here by their entropy, summed for all."""
    similarity = method.similarity(tokens)
    fused = torch.stack([tokens.hidden(number) for number in calibration_blocks(tokens.depth)[2]]).sum(0)[:, 1:]
    keys = [method.project(tokens, similarity)[0], tokens.block(tokens.depth).kv(fused)[0]]
    found = []
    for k in keys:
        maps = (softmax_of(k, k) + similarity_attention(similarity)[:, None]) / 2
        entropy = -(maps * maps.log()).sum(-1).mean(-1)  # (B, H)
        chosen = [[maps[image, head] for head in entropy[image].argsort()[:2]] for image in range(len(maps))]
        whole = torch.stack([sum(heads) / maps.shape[1] for heads in chosen])
        found.append(whole[:, None].expand(-1, maps.shape[1], -1, -1))
    return found


def dense_rfclip(method, tokens):
    """The mean over blocks of attention among keys, the last block's on each of two smoothed streams."""
    own = method.blurred(tokens)
    states = [own.hidden(number) for number in range(1, own.depth + 1)]
    guide = torch.stack(states).mean(0)
    near = F.normalize(guide[:, 1:], dim=-1)
    near = near @ near.mT
    near = torch.where(near >= method.beta, near, 0.0)
    earlier = [softmax_of(k, k) for k in (own.qkv(number)[1] for number in range(1, own.depth))]
    found = []
    for y in (own.hidden(own.depth - 1), guide):
        k = own.block(own.depth).qkv(torch.cat([y[:, :1], near @ y[:, 1:]], dim=1))[1]
        found.append(torch.stack([*earlier, softmax_of(k, k)]).mean(0)[..., 1:, 1:])
    return found


def dense_clipseg(method, tokens):
    """One map for the values of three blocks."""
    return [method.cra(tokens).expand(-1, 4, -1, -1)] * 3


DENSE = {
    "scclip": dense_scclip,
    "sfp": dense_sfp,
    "dihclip(heads=2)": dense_dihclip,
    "rfclip(channels=(0,))": dense_rfclip,
    "clipseg_aaai25": dense_clipseg,
}


def restricted(attention, classes):
    """Row by row, by hand."""
    kept = attention.clone()
    for image, row in itertools.product(range(len(classes)), range(classes.shape[1])):
        total = attention[image, :, row].sum(-1, keepdim=True)
        one = torch.where(classes[image] == classes[image, row], attention[image, :, row], 0.0)
        kept[image, :, row] = one * total / one.sum(-1, keepdim=True)
    return kept


@pytest.fixture(scope="module")
def random_tokens():
    backbone = random_backbone(depth=6, width=32, size=32)
    images = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(5))
    return backbone.encode_tokens(images, layers=range(backbone.depth + 1))


@pytest.mark.parametrize("name", DENSE)
def test_every_mix_of_several_is_the_dense_map_with_rows_kept_by_hand(random_tokens, name):
    method = parse_method(name)
    assert why_not(method) == ""
    count = random_tokens.grid[0] * random_tokens.grid[1]
    classes = torch.randint(0, 3, (2, count), generator=torch.Generator().manual_seed(2))
    maps = [restricted(one, classes) for one in DENSE[name](method, random_tokens)]
    waiting = list(maps)

    class ByHand(type(method)):
        def apply_mix(self, mix, values):
            return waiting.pop(0) @ values

    by_hand = copy.copy(method)
    object.__setattr__(by_hand, "__class__", ByHand)
    expected = by_hand.patch_embeddings(random_tokens)
    assert not waiting, "a mix did not take place"
    found = within_classes(method, classes).patch_embeddings(random_tokens)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found - method.patch_embeddings(random_tokens)).abs().max() > 1e-3


@pytest.mark.parametrize("name", DENSE)
def test_one_class_everywhere_changes_nothing(random_tokens, name):
    method = parse_method(name)
    count = random_tokens.grid[0] * random_tokens.grid[1]
    found = within_classes(method, torch.zeros(2, count, dtype=torch.int64)).patch_embeddings(random_tokens)
    torch.testing.assert_close(found, method.patch_embeddings(random_tokens), rtol=1e-4, atol=1e-5)


def test_a_method_without_a_mix_says_so():
    assert "no single attention map" in why_not(parse_method("registers"))


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
