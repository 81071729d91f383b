"""Semantic feedback of ResCLIP against its formulas, written out as loops over patches and pixels."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_helpers import random_backbone

from ovss.errors import InputError
from ovss.evaluation.checks import check_saving
from ovss.ingredients import feedback_attention, first_labels
from ovss.ingredients.pamr import pamr
from ovss.methods import create_method

PATCH, GRID, QUERIES = 8, (5, 7), 6
ON = {"sfr_lam": 0.7, "sfr_tau": 2.2, "sfr_threshold": 0.3, "sfr_scale": 10.0}


@pytest.fixture(scope="module")
def backbone():
    return random_backbone()


@pytest.fixture(scope="module")
def windows():
    """Two windows of 5 x 7 whole patches and 3 more columns of pixels."""
    return torch.randn(2, 3, 40, 59, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def tokens(backbone, windows):
    return backbone.encode_tokens(windows[..., :56])


@pytest.fixture(scope="module")
def text():
    return F.normalize(torch.randn(QUERIES, 32, generator=torch.Generator().manual_seed(1)), dim=-1)


def labels_by_hand(scores, window, scale, threshold):
    """Most frequent query of the pixels of each patch."""
    enlarged = F.interpolate(scores[None], size=window.shape[1:], mode="bilinear", align_corners=False)[0]
    logits = scale * pamr(window, enlarged, 10, (8, 16)).double().numpy()
    chances = np.exp(logits) / np.exp(logits).sum(0)
    found = np.where(chances.max(0) < threshold, 0, chances.argmax(0))
    h, w = scores.shape[1:]
    tiles = [[found[PATCH * y : PATCH * y + PATCH, PATCH * x : PATCH * x + PATCH] for x in range(w)] for y in range(h)]
    return np.array([[np.bincount(tile.ravel()).argmax() for tile in row] for row in tiles])


def attention_by_hand(labels, sigma):
    """S of one image, patches only."""
    h, w = labels.shape
    longest = max(h, w) - 1
    shares = np.linspace(0, 1, longest + 1, dtype=np.float32)
    between = lambda a, b, share: int(np.rint(np.float32(a) * (1 - share) + np.float32(b) * share))  # noqa: E731
    spots = [(y, x) for y in range(h) for x in range(w)]
    rough = np.zeros((h * w, h * w))
    for i, (y, x) in enumerate(spots):
        for j, (v, u) in enumerate(spots):
            if labels[y, x] != labels[v, u]:
                continue
            steps = max(abs(y - v), abs(x - u))
            way = [(between(y, v, share), between(x, u, share)) for share in shares[: steps + 1]]
            rough[i, j] = 1 if all(labels[spot] == labels[y, x] for spot in way) else math.exp(-steps / longest)
    reach = min(h * w, int(6 * sigma + 1)) // 2
    weights = np.array([math.exp(-(d**2) / (2 * sigma**2)) for d in range(-reach, reach + 1)])
    weights /= weights.sum()
    smooth = np.zeros_like(rough)
    for j in range(h * w):
        for d in range(-reach, reach + 1):
            if 0 <= j + d < h * w:
                smooth[:, j] += weights[d + reach] * rough[:, j + d]
    rows = smooth / smooth.sum(1, keepdims=True)
    return rows / rows.max()


def random_labels(seed, h, w):
    coarse = torch.randint(0, 3, (2, 1, 3, 3), generator=torch.Generator().manual_seed(seed)).float()
    return F.interpolate(coarse, size=(h, w)).long()[:, 0]


@pytest.mark.parametrize(("threshold", "scale"), [(0.0, 40.0), (0.3, 10.0)])
def test_the_first_label_of_a_patch_is_that_of_most_of_its_pixels(windows, threshold, scale):
    scores = 0.2 * torch.randn(2, QUERIES, *GRID, generator=torch.Generator().manual_seed(3))
    found = first_labels(scores, windows, PATCH, scale, threshold)
    expected = [labels_by_hand(one, window, scale, threshold) for one, window in zip(scores, windows, strict=True)]
    assert (found.numpy() == np.array(expected)).mean() > 0.98  # a tie of two queries in a pixel may go either way
    assert len(found.unique()) > 3
    if threshold:
        certain = first_labels(scores, windows, PATCH, scale, 0.0)
        assert 0 < (certain != found).float().mean() < 0.9


@pytest.mark.parametrize(("h", "w", "sigma"), [(5, 7, 5.0), (8, 6, 2.0), (2, 3, 5.0), (1, 4, 1.0)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_feedback_is_smoothed_agreement_that_decays_where_another_label_is_on_the_way(h, w, sigma, seed):
    labels = random_labels(seed, h, w)
    found = feedback_attention(labels, sigma)
    assert found.shape == (2, 1 + h * w, 1 + h * w)
    assert not found[:, 0].any()
    assert not found[:, :, 0].any()
    for one, own in zip(found, labels, strict=True):
        np.testing.assert_allclose(one[1:, 1:].numpy(), attention_by_hand(own.numpy(), sigma), atol=1e-6)


def test_patches_of_one_label_in_two_pieces_agree_less_than_those_of_one_piece():
    whole, cut = torch.zeros(1, 1, 9, dtype=torch.long), torch.zeros(1, 1, 9, dtype=torch.long)
    cut[0, 0, 4] = 1
    first, second = (feedback_attention(labels, 0.2)[0, 1:, 1:] for labels in (whole, cut))
    torch.testing.assert_close(first, torch.ones(9, 9))
    assert second[0, 8] / second[0, 0] == pytest.approx(math.exp(-1), rel=1e-5)
    assert second[0, 4] < 1e-5


def test_one_label_everywhere_and_one_patch_alone_are_not_special_cases():
    assert torch.isfinite(feedback_attention(torch.zeros(1, 3, 3, dtype=torch.long), 5.0)).all()
    assert feedback_attention(torch.zeros(1, 1, 1, dtype=torch.long), 5.0)[0, 1, 1] == pytest.approx(1)


@pytest.mark.parametrize("omega", [True, False])
def test_scores_after_feedback_are_those_of_the_formula(backbone, tokens, windows, text, omega):
    method = create_method("resclip", omega=omega, **ON)
    first = method.patch_scores(tokens, text)
    labels = first_labels(first, windows, PATCH, ON["sfr_scale"], ON["sfr_threshold"]).numpy()
    assert len(np.unique(labels)) > 2
    _, k, v = (part.double().numpy() for part in tokens.qkv(12))
    middle = sum(_softmax(a, b) for a, b, _ in map(tokens.qkv, (6, 7, 8, 9))) / 4
    spots = np.array([(y, x) for y in range(GRID[0]) for x in range(GRID[1])])
    near = np.exp(-((spots[:, None] - spots[None]) ** 2).sum(-1) / 50)
    expected = []
    for image in range(2):
        seen = np.pad(attention_by_hand(labels[image], 5.0), ((1, 0), (1, 0)))
        logits = k[image] @ k[image].swapaxes(-1, -2) / np.sqrt(k.shape[-1])
        logits = 2.2 * (0.3 * logits + 0.7 * seen) + omega * np.pad(near, ((1, 0), (1, 0)))
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        expected.append(2.0 * (0.6 * weights + 0.4 * middle[image]) @ v[image])
    mixed = torch.from_numpy(np.array(expected)).float()
    rows = F.normalize(backbone.read_out(backbone.block(12).merge(mixed)[:, 1:]), dim=-1)
    torch.testing.assert_close(
        method.window_scores(tokens, text, windows), (rows @ text.T).mT.unflatten(-1, GRID), atol=2e-5, rtol=0
    )


def _softmax(a, b):
    logits = a.double().numpy() @ b.double().numpy().swapaxes(-1, -2) / np.sqrt(a.shape[-1])
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def test_feedback_changes_the_scores_and_is_off_by_default(tokens, windows, text):
    plain = create_method("resclip")
    assert torch.equal(plain.window_scores(tokens, text, windows), plain.patch_scores(tokens, text))
    changed = create_method("resclip", **ON).window_scores(tokens, text, windows)
    assert (changed - plain.patch_scores(tokens, text)).abs().max() > 1e-3


def test_each_window_has_its_own_feedback(backbone, tokens, windows, text):
    method = create_method("resclip", **ON)
    together = method.window_scores(tokens, text, windows)
    for image in range(2):
        alone = backbone.encode_tokens(windows[image : image + 1, :, :, :56])
        one = method.window_scores(alone, text, windows[image : image + 1])
        torch.testing.assert_close(one[0], together[image], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "options"), [("resclip", ON), ("clip_surgery", {"feature_surgery": True})])
def test_scores_that_depend_on_all_words_are_not_saved_for_other_words(tmp_path, name, options):
    with pytest.raises(InputError, match=f"scores of '{name}' depend on all words at once"):
        check_saving("float32", tmp_path, None, {name: create_method(name, **options)})
    check_saving("float32", tmp_path, None, {name: create_method(name)})
