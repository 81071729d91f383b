"""Methods that need more than one plain pass of one window: own passes, windows that share, second networks."""

import numpy as np
import pytest
import torch
from method_helpers import random_backbone

from ovss.backbone import Block, JoinedTokens
from ovss.errors import InputError
from ovss.ingredients import (
    Blur,
    redistribute,
    similarity_attention,
    surroundings,
)
from ovss.methods import create_method, resolve_methods


@pytest.fixture(scope="module")
def tokens():
    backbone = random_backbone()
    return backbone.encode_tokens(torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(0)))


class TestOwnPass:
    def test_an_intervention_changes_what_later_blocks_see_and_no_other_pass(self, tokens):
        def silence(x, grid):
            return torch.cat([x[:, :1], torch.zeros_like(x[:, 1:])], dim=1)

        backbone, plain = tokens.backbone, tokens.hidden(12).clone()
        own = tokens.intervened(silence)
        assert own is tokens.intervened(silence)
        assert not own.hidden(1)[:, 1:].any()
        assert not own.hidden(12)[:, 1:].any()
        x = tokens.hidden(0)
        for number in range(1, 13):
            x = silence(backbone.block(number).forward(x), tokens.grid)
        assert torch.equal(own.hidden(12), x)
        assert torch.equal(tokens.hidden(12), plain)

    def test_encoding_with_an_intervention_is_the_same_pass(self):
        backbone = random_backbone(depth=3)
        images = torch.randn(2, 3, 24, 32, generator=torch.Generator().manual_seed(4))
        blur = Blur((1, 2), 1.5, 0.4)
        direct = backbone.encode_tokens(images, layers=[1, 2], intervene=blur)
        later = backbone.encode_tokens(images).intervened(blur)
        for number in (1, 2, 3):
            assert torch.equal(direct.hidden(number), later.hidden(number))
        assert not torch.equal(direct.hidden(3), backbone.encode_tokens(images).hidden(3))

    def test_its_blocks_run_once_whichever_state_is_asked_for_first(self, tokens, monkeypatch):
        runs, forward = [], Block.forward
        monkeypatch.setattr(
            Block, "forward", lambda block, x, qkv=None: runs.append(block.module) or forward(block, x, qkv)
        )
        fresh = tokens.backbone.encode_tokens(torch.zeros(1, 3, 40, 56), layers=[0])
        del runs[:]
        create_method("rfclip", channels=(1, 5, 14)).patch_embeddings(fresh)
        assert runs == [tokens.backbone.block(number).module for number in range(1, 13)]

    def test_weights_and_channels_that_do_not_fit_are_refused(self, tokens):
        with pytest.raises(InputError, match=r"massive channels of 'random' are unknown; give channels"):
            create_method("rfclip").patch_embeddings(tokens)
        with pytest.raises(InputError, match=r"channels=64 is outside 0\.\.63"):
            create_method("rfclip", channels=(3, 64)).patch_embeddings(tokens)

    def test_only_distracted_patches_change_and_cls_never_does(self):
        x = torch.ones(1, 7, 4)
        x[0, 1:, 0] = 0
        x[0, 3] = torch.tensor([0.0, 9.0, 1.0, 2.0])
        changed = Blur((1,), 2.0, 0.5)(x, (2, 3))
        assert (changed != x).any(-1)[0].nonzero().flatten().tolist() == [3]
        neighbours = x[0, [2, 3, 5, 6]].sum(0) / 9  # padding counts as zeros
        torch.testing.assert_close(changed[0, 3], (x[0, 3] + neighbours) / 2)

    def test_redistributed_attention_is_that_of_the_formula(self):
        maps = torch.softmax(4 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(7)), dim=-1)
        maps[0, 0, 1:, 1:] = torch.eye(7)[2] * (1 - maps[0, 0, 1:, :1])  # all of it gathers at one patch
        got = redistribute(maps, 0.1).numpy()
        changed = 0
        for image, head in np.ndindex(2, 3):
            expected = maps[image, head].double().numpy().copy()
            given = [sum(expected[row, 1:][patch] for row in range(1, 8)) / 8 for patch in range(7)]
            crowded = [patch for patch in range(7) if given[patch] > 0.1]
            changed += len(crowded)
            for row in range(1, 8):
                before = expected[row, 1:].copy()
                rest = sum(before[patch] for patch in range(7) if patch not in crowded)
                freed = sum(0.4 * before[patch] for patch in crowded)
                for patch in range(7):
                    if patch in crowded:
                        expected[row, 1 + patch] = 0.6 * before[patch]
                    else:
                        expected[row, 1 + patch] = before[patch] + freed * before[patch] / (rest + 1e-8)
            np.testing.assert_allclose(got[image, head], expected, atol=1e-6)
        assert changed > 6
        np.testing.assert_allclose(got.sum(-1)[1], 1, atol=1e-4)

    def test_refocusing_changes_every_block_but_the_last(self, tokens):
        plain, never, often = (
            create_method("rfclip", channels=(1, 5), refocus=value).blurred(tokens) for value in (None, 1.0, 0.05)
        )
        for number in (1, 6, 12):
            torch.testing.assert_close(never.hidden(number), plain.hidden(number), atol=1e-4, rtol=1e-4)
        assert not torch.allclose(often.hidden(1), plain.hidden(1), atol=1e-3)
        last = Blur((1, 5), 5.0, 0.4)(tokens.block(12).forward(often.hidden(11)), tokens.grid)
        torch.testing.assert_close(often.hidden(12), last)
        q, k, v = tokens.qkv(1)
        maps = redistribute(torch.softmax(q @ k.mT / 4, dim=-1), 0.05)
        first = tokens.hidden(0) + tokens.block(1).merge(maps @ v)
        first = Blur((1, 5), 5.0, 0.4)(first + tokens.block(1).ffn(first), tokens.grid)
        torch.testing.assert_close(often.hidden(1), first, atol=1e-5, rtol=1e-5)

    def test_all_stands_for_methods_that_run_on_any_weights(self):
        chosen = resolve_methods("all")
        assert {"sfp", "dihclip", "pearl", "cliper"} <= set(chosen)
        assert not {"rfclip", "glaclip", "proxyclip", "compose"} & set(chosen)


class TestWindowsThatShare:
    """Three windows of one image, of which two overlap by whole patches."""

    OFFSETS = torch.tensor([[0, 0], [0, 24], [5, 40]])

    def windows(self):
        backbone = random_backbone()
        image = torch.randn(3, 45, 96, generator=torch.Generator().manual_seed(5))
        crops = [image[:, y : y + 40, x : x + 56] for y, x in self.OFFSETS.tolist()]
        return backbone.encode_tokens(torch.stack(crops))

    def formula(self, tokens, offsets, window_beta=False, size_gamma=True):
        """Attention (B N, B N) of the formula, row by row in double precision."""
        q = tokens.qkv(12)[0][:, :, 1:].numpy().astype(np.float64)
        windows, height, width = len(offsets), *tokens.grid
        u = q.transpose(0, 2, 1, 3).reshape(windows * height * width, -1)
        n = u / np.linalg.norm(u, axis=1, keepdims=True)
        spots = [(b, y, x) for b in range(windows) for y in range(height) for x in range(width)]
        place = [(int(offsets[b][0]) + 8 * y, int(offsets[b][1]) + 8 * x) for b, y, x in spots]
        result = np.zeros((len(u), len(u)))
        for i, (b, y, x) in enumerate(spots):
            near = [
                j
                for j, (c, v, w) in enumerate(spots)
                if place[j] == place[i] or (c == b and max(abs(v - y), abs(w - x)) <= 1)
            ]
            start = u[near].mean(0)
            for _ in range(2):
                s = n @ start / np.linalg.norm(start)
                alike = [j for j in range(len(u)) if s[j] > 0.55] or [i]
                start = n[alike].sum(0)
            s = n @ start / np.linalg.norm(start)
            g = 1 + 30 / len(alike) if size_gamma else 3.0
            share = 1 + 0.3 * np.log(1 + windows) if window_beta else 1.2
            t = g * (s - share * max(s.mean(), 0))
            weights = np.where(t < min(t.max(), 0), 0, np.exp(t - t.max()))
            result[i] = weights / weights.sum()
        return result

    @pytest.mark.parametrize("switches", [{}, {"window_beta": True}, {"size_gamma": False}], ids=str)
    def test_attention_is_that_of_the_formula_in_chunks_of_any_size(self, switches, monkeypatch):
        tokens = self.windows()
        expected = self.formula(tokens, self.OFFSETS, **switches)
        for entries in (2**23, 800):
            monkeypatch.setattr("ovss.ingredients.attention._ENTRIES", entries)
            joined = JoinedTokens([tokens], self.OFFSETS)
            got = create_method("glaclip", **switches).mix(joined, torch.eye(105).expand(1, 4, 105, 105))
            np.testing.assert_allclose(got[0, 2], expected, atol=2e-5)

    def test_with_one_window_sharing_changes_nothing(self, tokens):
        method = create_method("glaclip")
        apart = method.patch_embeddings(tokens)
        first = tokens.backbone.encode_tokens(torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))[:1])
        got = method.patch_embeddings(first, torch.tensor([[0, 0]]))
        torch.testing.assert_close(got, apart[:1], atol=1e-5, rtol=0)

    def test_patches_that_are_equally_alike_share_the_attention(self):
        keys = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1], [1.0, -0.1]]), dim=-1)
        maps = create_method("glaclip").attention(keys.mean(0, keepdim=True).expand(2, 2), keys, 0, 1)
        torch.testing.assert_close(maps, torch.full((2, 2), 0.5), atol=1e-4, rtol=0)
        moved = create_method("glaclip").attention(torch.tensor([[1.0, 1e-7]]), keys, 0, 1)
        torch.testing.assert_close(moved, maps[:1], atol=1e-4, rtol=0)

    def test_what_one_window_shows_reaches_the_others(self):
        tokens, method = self.windows(), create_method("glaclip")
        shared = method.patch_embeddings(tokens, self.OFFSETS)
        assert (shared - method.patch_embeddings(tokens)).abs().max() > 1e-2

    def test_patches_at_one_place_are_averaged_over_the_windows(self):
        queries = torch.arange(12.0).view(2, 6, 1)
        columns = torch.tensor([0, 4, 8, 12, 16, 20])

        def at(shift):
            x = torch.cat([columns, columns + shift])
            return torch.stack([torch.zeros_like(x), x], dim=1)

        got = surroundings(queries, (1, 6), at(8)).flatten()
        assert got[0] == pytest.approx((0 + 1) / 2)
        assert got[2] == pytest.approx((2 + 6 + 1 + 3) / 4)
        apart = surroundings(queries, (1, 6), at(7)).flatten()
        assert apart[2] == pytest.approx((1 + 2 + 3) / 3)

    def test_another_number_of_offsets_is_refused(self, tokens):
        with pytest.raises(InputError, match=r"offsets of 2 windows must be \(2, 2\), not \(3, 2\)"):
            create_method("glaclip").patch_embeddings(tokens, self.OFFSETS)


class TestProxy:
    def test_attention_is_that_of_the_formula(self):
        features = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(6))
        for image, maps in zip(features, create_method("proxyclip").attention(features), strict=True):
            rows = image.flatten(1).T.double().numpy()
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            similar = rows @ rows.T
            logits = 3 * (similar - 1.2 * similar.mean())
            weights = np.where(logits < 0, 0, np.exp(logits))
            np.testing.assert_allclose(maps[0], weights / weights.sum(1, keepdims=True), atol=1e-6)

    def test_a_uniform_image_leaves_each_token_itself(self):
        maps = similarity_attention(torch.ones(1, 4, 4), share=1.2)
        assert torch.equal(maps, torch.eye(4)[None])

    def test_clip_is_its_own_companion_where_none_is_given(self, tokens):
        method = create_method("proxyclip")
        expected = method.patch_embeddings(tokens, tokens.hidden(9)[:, 1:].mT.unflatten(-1, (5, 7)))
        torch.testing.assert_close(method.patch_embeddings(tokens), expected)
        assert not torch.allclose(create_method("proxyclip", own_block=4).patch_embeddings(tokens), expected)

    @pytest.mark.parametrize("shape", [(3, 6, 5, 7), (2, 35, 6)])
    def test_features_that_are_no_maps_of_these_images_are_refused(self, tokens, shape):
        with pytest.raises(InputError, match=r"features must be \(2, channels, rows, columns\) for 2 images"):
            create_method("proxyclip").patch_embeddings(tokens, torch.zeros(shape))
