"""Clicking a patch, a block or a head changes what the explorer shows, for the right reason."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from method_helpers import NEEDED, random_backbone
from PIL import Image

import ovss
from ovss import InputError, analysis
from ovss.analysis.mixing import METHODS, method_attention
from ovss.app.explorer import AttentionExplorer, explore_attention
from ovss.methods import create_method
from ovss.vocabulary import embed_vocabulary, load_vocabulary


def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 100, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def backbone() -> Any:
    return random_backbone(depth=4, heads=2, width=32)


@pytest.fixture
def explorer(backbone: Any) -> AttentionExplorer:
    return AttentionExplorer(backbone, image(), ["clip", create_method("naclip", sigma=1.0)])


class TestMethodAttention:
    @pytest.mark.parametrize("name", METHODS)
    def test_rows_are_shares_of_attention(self, backbone: Any, name: str) -> None:
        tokens = backbone.encode_tokens(torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0)))
        maps = method_attention(tokens, create_method(name, **NEEDED.get(name, {})))
        assert maps.shape[0] == 2
        assert maps.shape[2:] == (24, 24)
        assert torch.allclose(maps.sum(-1), torch.ones(maps.shape[:-1]), atol=1e-4)

    @pytest.mark.parametrize("name", ["maskclip", "scclip", "clipseg_aaai25"])
    def test_maps_over_patches_reproduce_the_method(self, backbone: Any, name: str) -> None:
        options = {
            "maskclip": {},
            "scclip": {"two_pass": False, "w_cls": 0.0, "aggregate": False, "repair": False},
            "clipseg_aaai25": {"value_blocks": 1},
        }[name]
        method = create_method(name, **options)
        tokens = backbone.encode_tokens(torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(0)))
        block, (_, _, v) = tokens.block(4), tokens.qkv(4)
        mixed = block.merge(method_attention(tokens, method) @ v[:, :, 1:])
        embeddings = torch.nn.functional.normalize(tokens.read_out(mixed), dim=-1)
        assert torch.allclose(embeddings, method.patch_embeddings(tokens), atol=1e-4)

    def test_methods_without_one_map_are_refused_with_those_that_have_one(self, backbone: Any) -> None:
        tokens = backbone.encode_tokens(torch.zeros(1, 3, 32, 32))
        with pytest.raises(InputError, match=r"method 'gem' has no single attention map.*naclip"):
            method_attention(tokens, create_method("gem"))


class TestExplorer:
    def test_a_click_moves_the_mark_and_changes_every_map(self, explorer: AttentionExplorer) -> None:
        before = [image.value for image in explorer.maps]
        explorer.buttons[3].click()
        assert explorer.patch == (0, 3)
        assert [button.description for button in explorer.buttons].index("x") == 3
        assert all(old != image.value for old, image in zip(before, explorer.maps, strict=True))

    def test_maps_are_the_attention_of_the_chosen_patch_block_and_head(self, explorer: AttentionExplorer) -> None:
        explorer.select(2, 5)
        explorer.block.value, explorer.head.value = 2, "head 2"
        expected = analysis.between_patches(analysis.attention(explorer.tokens, 2))[0, 1, 2 * 8 + 5].view(8, 8)
        assert np.allclose(explorer.attention(0), expected, atol=1e-6)
        explorer.head.value = "mean of heads"
        mean = analysis.between_patches(analysis.attention(explorer.tokens, 2))[0, :, 2 * 8 + 5].mean(0).view(8, 8)
        assert np.allclose(explorer.attention(1), mean, atol=1e-6)

    def test_methods_differ_in_the_last_block_only(self, explorer: AttentionExplorer) -> None:
        assert not np.allclose(explorer.attention(0), explorer.attention(1), atol=1e-4)
        explorer.block.value = 1
        assert np.array_equal(explorer.attention(0), explorer.attention(1))

    def test_maps_are_images_and_captions_name_the_method(self, explorer: AttentionExplorer) -> None:
        with Image.open(io.BytesIO(explorer.maps[0].value)) as drawn:
            assert drawn.size == (264, 264)
        assert "naclip(sigma=1.0)" in explorer.captions[1].value

    def test_the_public_function_returns_a_widget_with_one_button_per_patch(self, backbone: Any) -> None:
        view = ovss.explore_attention(backbone, image(), methods=["clip"])
        clickable, shown, *columns = view.children[1].children
        assert len(clickable.children[1].children) == 64
        assert [column.children[1].format for column in (shown, *columns)] == ["png", "png"]

    def test_scores_are_shown_head_by_head_and_add_up(self) -> None:
        tiny = ovss.load_backbone("tiny", device="cpu", dtype="float32")
        shown = AttentionExplorer(tiny, image(), ["naclip", "clip"], words="fish; tree; sky")
        heads = shown.heads
        assert heads is not None
        assert heads.names == ["fish", "tree", "sky"]
        heads.choice.value = 1
        maps = heads.maps("naclip")
        assert list(maps) == ["head 1", "head 2", "head 3", "head 4", "biases", "score"]
        text = embed_vocabulary(tiny, load_vocabulary("fish; tree"))[1:]
        expected = create_method("naclip").patch_scores(shown.tokens, text)[0, 0]
        assert np.allclose(maps["score"], expected, atol=1e-5)
        assert np.allclose(sum(list(maps.values())[:-1]), expected, atol=1e-5)
        assert len(heads.rows["naclip"].children) == 6
        before = heads.rows["naclip"].children[0].children[1].value
        heads.choice.value = 0
        assert heads.rows["naclip"].children[0].children[1].value != before
        assert "keeps the residual and the FFN" in heads.refusals["clip"]

    def test_wrong_arguments_are_named(self, backbone: Any, explorer: AttentionExplorer) -> None:
        with pytest.raises(InputError, match="at least one method"):
            explore_attention(backbone, image(), [])
        with pytest.raises(InputError, match="method 'nacl' is unknown"):
            explore_attention(backbone, image(), ["nacl"])
        with pytest.raises(InputError, match="outside the grid of 8 rows"):
            explorer.select(8, 0)
