"""Parts that are taken out change what another way of taking them out changes, and nothing else ever."""

import copy
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from method_helpers import random_backbone

import ovss
from ovss.analysis.causal import Part, ablate, list_parts
from ovss.analysis.causal.edits import EditedBackbone, Record, Replace
from ovss.analysis.causal.means import Means
from ovss.backbone.checkpoints import hash_weights
from ovss.datasets import Dataset
from ovss.errors import InputError
from ovss.metrics import count_labels, measure

IMAGES = 6


@pytest.fixture(scope="module")
def backbone():
    return ovss.load_backbone("tiny", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def scenes():
    return ovss.load_dataset("scenes")


def written_to(backbone, change):
    """A copy of the model whose weights are changed for good."""
    other = copy.copy(backbone)
    other.__dict__.pop("weights_hash", None)
    other.model = copy.deepcopy(backbone.model)
    other._tower = type(backbone._tower)(other.model.visual)
    with torch.no_grad():
        change(other.model.visual.transformer.resblocks)
    return other


def miou(backbone, method, scenes):
    found = ovss.evaluate(backbone, method, scenes, protocol="study", limit=IMAGES)
    return float(found.summary()["mIoU"].iloc[0])


def zero_head(blocks):
    blocks[4].attn.out_proj.weight[:, 32:64] = 0  # block 5, head 2


def zero_last_head(blocks):
    blocks[7].attn.out_proj.weight[:, :32] = 0  # block 8, head 1


def zero_attention(blocks):
    blocks[2].attn.out_proj.weight[:] = 0
    blocks[2].attn.out_proj.bias[:] = 0


def zero_neurons(blocks):
    blocks[5].mlp.c_proj.weight[:, [3, *range(50, 200)]] = 0


def zero_ffn(blocks):
    blocks[5].mlp.c_proj.weight[:] = 0
    blocks[5].mlp.c_proj.bias[:] = 0


@pytest.mark.parametrize("method", ["naclip", "clip", "clip_surgery"])
def test_zero_is_what_a_model_without_those_weights_does(backbone, scenes, method):
    oracle = {
        "block 5 head 2 zero": zero_head,
        "block 8 head 1 zero": zero_last_head,
        "block 3 attention zero": zero_attention,
        "block 6 ffn zero": zero_ffn,
        f"block 6 neurons 3,{','.join(map(str, range(50, 200)))} zero": zero_neurons,
    }
    found = ablate(backbone, method, scenes, list(oracle), limit=IMAGES)
    assert found["untouched"].unique() == pytest.approx([miou(backbone, method, scenes)], abs=1e-9)
    for row, change in zip(found.itertuples(), oracle.values(), strict=True):
        expected = miou(written_to(backbone, change), method, scenes)
        assert row.mIoU == pytest.approx(expected, abs=1e-3), row.part
        assert row.change == pytest.approx(expected - row.untouched, abs=1e-3)
        assert row.change != 0


def test_a_method_that_changes_states_of_its_own_pass_sees_the_part_missing_there_too(backbone, scenes):
    method = ovss.create_method("rfclip", channels=(5,), sigma=3.0)
    found = ablate(backbone, method, scenes, ["block 3 attention"], limit=IMAGES)
    assert found["mIoU"][0] == pytest.approx(miou(written_to(backbone, zero_attention), method, scenes), abs=1e-3)


def test_the_mean_is_that_of_all_images_by_kind_of_token(backbone, scenes):
    method, module = "maskclip", backbone.model.visual.transformer.resblocks[4].mlp
    seen = []
    handle = module.register_forward_hook(lambda _m, _i, out: seen.append(out))
    miou(backbone, method, scenes)
    handle.remove()
    values = torch.cat(seen)  # windows of all images, (24, 65, 128)
    assert len(values) == 4 * IMAGES
    mean = torch.cat([values[:, :1].mean(0), values[:, 1:].mean((0, 1))[None].expand(64, -1)])
    handle = module.register_forward_hook(lambda _m, _i, out: mean.expand_as(out))
    expected = miou(backbone, method, scenes)
    handle.remove()
    found = ablate(backbone, method, scenes, ["block 5 ffn mean"], limit=IMAGES, shard_size=4)
    assert found["mIoU"][0] == pytest.approx(expected, abs=1e-3)
    assert abs(found["change"][0]) > 0.1


def test_means_and_swaps_of_neurons_are_those_of_the_ffn_in_two_halves(backbone):
    pixels = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    means, plain = Means(), backbone.encode_tokens(pixels, layers=range(9))
    for part in (pixels[:2], pixels[2:]):
        EditedBackbone(backbone, Record(means, {4})).recorded(part, range(9), "scale")
    block, x = backbone.model.visual.transformer.resblocks[3], plain.hidden(3)
    x = x + block.attn(block.ln_1(x), block.ln_1(x), block.ln_1(x), need_weights=False)[0]
    fired = block.mlp.gelu(block.mlp.c_fc(block.ln_2(x)))
    mean, swapped = fired.clone(), fired.clone()
    mean[:, :1, [5, 8]] = fired[:, :1, [5, 8]].mean(0)
    mean[:, 1:, [5, 8]] = fired[:, 1:, [5, 8]].mean((0, 1))
    swapped[..., [5, 8]] = fired[[2, 0, 1]][..., [5, 8]]
    for how, expected in (("mean", mean), ("swap", swapped)):
        part = Part("neurons", 4, neurons=(5, 8), how=how)
        edit = Replace([part], backbone.prefix, means, torch.tensor([2, 0, 1]))
        found = EditedBackbone(backbone, edit).continued(plain)
        torch.testing.assert_close(found.hidden(4), x + block.mlp.c_proj(expected), rtol=1e-4, atol=1e-4)
        assert (found.hidden(4) - plain.hidden(4)).abs().max() > 1e-3


def test_neurons_are_named_in_words_and_checked(backbone):
    part = Part.parse("block 4 neurons 5,8 mean")
    assert part == Part("neurons", 4, neurons=(5, 8), how="mean")
    assert str(part) == "block 4 neurons 5,8 mean"
    assert part.check(backbone) is part
    with pytest.raises(InputError, match=r"neuron 256 is outside 0..255 of an FFN"):
        Part("neurons", 4, neurons=(256,)).check(backbone)
    with pytest.raises(InputError, match="needs the numbers of its neurons"):
        Part("neurons", 4)


def test_means_of_heads_are_those_of_the_method_in_its_last_block(backbone):
    pixels = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    method, means = ovss.create_method("naclip"), Means()
    for part in (pixels[:1], pixels[1:]):
        method.patch_embeddings(EditedBackbone(backbone, Record(means)).recorded(part, range(8), "scale"))
    mixed = method.mix(backbone.encode_tokens(pixels))
    found = means.like(("head", 8, 1), mixed, (8, 8))
    assert torch.allclose(found[0, :, 1], mixed[:, :, 1:].mean((0, 2)), atol=1e-5)
    assert torch.allclose(found[2, :, 0], mixed[:, :, 0].mean(0), atol=1e-5)


def test_swapping_all_tokens_gives_each_image_the_labels_of_the_next(backbone, scenes):
    part = Part("tokens", 7, tokens=tuple(range(65)), how="swap")
    found = ablate(backbone, "naclip", scenes, [part], limit=IMAGES)
    segmenter = ovss.Segmenter(backbone, "naclip", "scenes", protocol="study")
    samples = [scenes[index] for index in range(IMAGES)]
    labels = [segmenter(sample.image).labels for sample in samples]
    counts = [
        count_labels(labels[(number + 1) % IMAGES], sample.labels, len(scenes.classes))
        for number, sample in enumerate(samples)
    ]
    assert found["mIoU"][0] == pytest.approx(float(measure(np.sum(counts, axis=0)).mean[0]), abs=1e-9)


class Repeated(Dataset):
    """The same image many times."""

    def __init__(self, source, times):
        self.__dict__.update(source.__dict__)
        self.source, self.times = source, times
        self.ids, self.fingerprint = tuple(f"copy {number}" for number in range(times)), "repeated"

    def __len__(self):
        return self.times

    def __getitem__(self, index):
        return replace(self.source[0], id=self.ids[index])


def test_what_changes_nothing_changes_nothing_at_all(backbone, scenes):
    nothing = ["block 3 tokens none zero", "block 8 ffn zero", "block 7 tokens 0 zero"]
    found = ablate(backbone, "maskclip", scenes, nothing, limit=12)
    assert (found[["change", "low", "high"]] == 0).all(axis=None)
    assert (found["p"] == 1).all()
    same = ablate(backbone, "naclip", Repeated(scenes, 3), ["block 2 head 1 swap", "block 8 attention swap"])
    assert (same["change"] == 0).all()


def test_parts_under_one_label_are_changed_together(backbone, scenes):
    heads = [part for part in list_parts(backbone) if part.block == 8]
    given = {"all heads of block 8": heads, "its attention": Part("attention", 8, how="zero")}
    found = ablate(backbone, "clip", scenes, given, limit=IMAGES).set_index("part")
    assert found.loc["all heads of block 8", "kind"] == "joint"

    def without_weights(blocks):
        blocks[7].attn.out_proj.weight[:] = 0

    expected = miou(written_to(backbone, without_weights), "clip", scenes)
    assert found.loc["all heads of block 8", "mIoU"] == pytest.approx(expected, abs=1e-3)


def test_a_channel_is_clipped_to_the_largest_other_one():
    backbone = random_backbone(depth=3, heads=2, width=32)
    tokens = backbone.encode_tokens(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    loud = tokens.hidden(1).clone()
    loud[:, 3, 7], loud[:, 4, 7] = 1000.0, -1000.0
    edit = Replace([Part("channel", 1, channel=7, how="clip")], 1)
    clipped = edit.state(1, loud, tokens.grid)
    others = loud[..., [channel for channel in range(32) if channel != 7]].abs().amax(-1)
    assert torch.equal(clipped[:, 3, 7], others[:, 3])
    assert torch.equal(clipped[:, 4, 7], -others[:, 4])
    quiet = loud[..., 7].abs() <= others
    assert torch.equal(clipped[..., 7][quiet], loud[..., 7][quiet])
    assert torch.equal(edit.state(2, loud, tokens.grid), loud)


@dataclass(frozen=True)
class Failing(ovss.Method):
    """Fails at its third pass."""

    name: ClassVar[str] = "failing"
    paper: ClassVar[ovss.Paper] = ovss.Paper(title="-", authors="-", venue="-", arxiv="")
    calls: ClassVar[list[int]] = []

    def mix(self, tokens, values=None):
        self.calls.append(1)
        if len(self.calls) == 3:
            raise RuntimeError("third pass")
        return tokens.qkv(tokens.depth)[2]


def test_the_model_stays_as_it_is_even_where_a_pass_fails(backbone, scenes):
    before = hash_weights(backbone.model.state_dict())
    with pytest.raises(RuntimeError, match="third pass"):
        ablate(backbone, Failing(), scenes, "heads", limit=2)
    assert len(Failing.calls) == 3
    assert hash_weights(backbone.model.state_dict()) == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in backbone.model.modules())
    assert "block" not in vars(backbone)


class Unreadable(Repeated):
    """A data set that cannot be read from some image on."""

    def __init__(self, source, first):
        super().__init__(source, len(source))
        self.ids, self.fingerprint, self.first = source.ids, source.fingerprint, first

    def __getitem__(self, index):
        if index >= self.first:
            raise InputError(f"image {index} is unreadable")
        return self.source[index]


def test_a_run_that_was_cut_off_goes_on_and_ends_in_the_same_numbers(backbone, scenes, tmp_path):
    parts, options = ["block 3 head 1", "block 7 ffn mean", "block 8 head 2 swap"], {"limit": 6, "shard_size": 2}
    with pytest.raises(InputError, match="image 4 is unreadable"):
        ablate(backbone, "naclip", Unreadable(scenes, 4), parts[:1], out=tmp_path, **options)
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert len(made) == 4  # two shards of the untouched pass and of the part
    found = ablate(backbone, "naclip", scenes, parts, out=tmp_path, **options)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert found.equals(ablate(backbone, "naclip", scenes, parts, **options))
    assert len(list(tmp_path.rglob("*.npz"))) == 12
    assert (tmp_path / "atlas.csv").read_text().count("\n") == 4
    ablate(backbone, "clearclip", scenes, parts[:1], out=tmp_path, **options)
    assert len(list(tmp_path.rglob("*.npz"))) == 18, "another method shares no counts"


def test_the_images_after_those_that_chose_can_be_measured(backbone, scenes):
    part = ["block 8 head 3"]
    both, last = (ablate(backbone, "maskclip", scenes, part, **at) for at in ({"limit": 2}, {"limit": 1, "first": 1}))
    found = ovss.evaluate(backbone, "maskclip", scenes, protocol="study", limit=2)
    assert last["images"][0] == 1
    assert last["untouched"][0] == pytest.approx(measure(found.counts("maskclip")[1]).mean[0])
    assert both["untouched"][0] == pytest.approx(measure(found.counts("maskclip").sum(0)).mean[0])
    with pytest.raises(InputError, match=r"first=500 is outside 0\.\.499"):
        ablate(backbone, "maskclip", scenes, part, first=500)


def test_intervals_and_corrected_tests_come_with_ten_images(backbone, scenes):
    found = ablate(backbone, "maskclip", scenes, ["block 8 head 1", "block 8 head 2", "block 1 head 1"], limit=12)
    assert (found["low"] < found["change"]).all()
    assert (found["change"] < found["high"]).all()
    lowest = found["p"].idxmin()
    assert found["p_holm"][lowest] == pytest.approx(min(1, 3 * found["p"][lowest]))
    assert found["part"].tolist() == ["block 8 head 1 zero", "block 8 head 2 zero", "block 1 head 1 zero"]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("block 9 head 1", "block 9 is outside 1..8, the blocks"),
        ("block 2 head 5 mean", "head 5 is outside 1..4"),
        ("block 8 channel 3", "block 8 is outside 0..7, the hidden states"),
        ("block 2 channel 128 clip", "channel 128 is outside 0..127"),
        ("block 2 tokens 65", "token 65 is outside 0..64"),
        ("head 3 of block 2", "is not like 'block 3 head 2 zero'"),
        ("block 2 ffn clip", "must be one of zero, mean, swap"),
    ],
)
def test_a_part_that_is_not_there_is_named(backbone, scenes, part, message):
    with pytest.raises(InputError, match=message):
        ablate(backbone, "maskclip", scenes, [part], limit=1)


def test_what_cannot_be_done_is_named(backbone, scenes):
    with pytest.raises(InputError, match="needs at least two images"):
        ablate(backbone, "maskclip", scenes, "heads", how="swap", limit=1)
    with pytest.raises(InputError, match="has no other with windows of 64x64"):
        ablate(backbone, "maskclip", scenes, ["block 1 ffn swap"], limit=2, shard_size=1)
    rules = ovss.load_protocol("study", windows="shared")
    with pytest.raises(InputError, match="lets windows share"):
        ablate(backbone, "naclip", scenes, "heads", protocol=rules, limit=1)
    with pytest.raises(InputError, match="no part was given"):
        ablate(backbone, "maskclip", scenes, [], limit=1)
    with pytest.raises(InputError, match="a part is given twice"):
        ablate(backbone, "maskclip", scenes, ["block 1 ffn", "block 1 ffn zero"], limit=1)
    with pytest.raises(InputError, match="needs the number of its head"):
        Part("head", 1)
    with pytest.raises(InputError, match="kind 'neuron' is unknown"):
        Part("neuron", 1)


def test_all_parts_of_a_kind_are_listed(backbone):
    assert [len(list_parts(backbone, kind)) for kind in ("head", "attention", "ffn")] == [32, 8, 8]
    for part in [*list_parts(backbone, how="swap"), Part("tokens", 2, tokens=(0, 5)), Part("channel", 0, channel=3)]:
        assert Part.parse(str(part)) == part
