"""LPOSS: the solution of a dense linear system, on a graph over all windows, as protocol data under every method."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_helpers import random_backbone

from ovss.backbone import JoinedTokens
from ovss.errors import InputError
from ovss.methods import create_method
from ovss.protocols import load_protocol
from ovss.segment import lposs
from ovss.segment.patch_graph import PatchGraph
from ovss.segment.scorer import Scorer
from ovss.vocabulary import load_vocabulary

PLACES = torch.tensor(
    [(16 * y + top, 16 * x + left) for top, left in ((0, 0), (0, 40)) for y in range(4) for x in range(5)]
)


def inputs(queries=3, channels=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, queries, 4, 5, generator=generator), torch.randn(2, channels, 4, 5, generator=generator) + 0.5


def solved(scores, features, places, neighbours, alpha=0.95):
    """The system of the paper entry by entry in double precision, solved exactly."""
    f = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1]).double().numpy()
    f /= np.linalg.norm(f, axis=1, keepdims=True)
    y = scores.permute(0, 2, 3, 1).reshape(len(f), -1).double().numpy()
    at = places.double().numpy()
    w = np.zeros((len(f), len(f)))
    for i in range(len(f)):
        cosines = f @ f[i]
        for j in np.argsort(-cosines, kind="stable")[:neighbours]:
            if i != j:
                w[i, j] = max(cosines[j], 0) ** 3 * np.exp(-0.01 * np.hypot(*(at[i] - at[j])))
    w = w + w.T
    d = w.sum(1)
    d[d == 0] = 1
    s = w / np.sqrt(d[:, None] * d[None, :])
    z = (1 - alpha) * np.linalg.solve(np.eye(len(f)) - alpha * s, y)
    return z.reshape(2, 4, 5, -1).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("neighbours", [1, 2, 6, 40, 400])
def test_scores_are_the_solution_of_the_linear_system(neighbours, monkeypatch):
    scores, features = inputs()
    monkeypatch.setattr("ovss.ingredients.attention._ENTRIES", 100)
    got = lposs(scores, features, PLACES, neighbours)
    np.testing.assert_allclose(got, solved(scores, features, PLACES, neighbours), atol=1e-5)


def test_patches_bound_to_none_keep_a_share_of_their_scores():
    scores, _ = inputs()
    opposite = torch.eye(40).T.view(2, 4, 5, 40).permute(0, 3, 1, 2)
    torch.testing.assert_close(lposs(scores, opposite, PLACES, 5), 0.05 * scores)


def test_scores_that_agree_everywhere_stay():
    """Where all patches have equally firm neighbours, S has rows of sum 1."""
    scores = torch.tensor([0.2, -0.4]).view(1, 2, 1, 1).expand(2, 2, 4, 5)
    nowhere = torch.zeros(40, 2, dtype=torch.long)
    torch.testing.assert_close(lposs(scores, torch.ones(2, 3, 4, 5), nowhere, 40), scores, atol=1e-5, rtol=0)


def test_each_query_is_solved_for_alone():
    scores, features = inputs(4)
    whole = lposs(scores, features, PLACES, 6)
    for query in range(4):
        alone = lposs(scores[:, query : query + 1], features, PLACES, 6)
        torch.testing.assert_close(alone, whole[:, query : query + 1], atol=1e-6, rtol=1e-4)


def test_scores_spread_from_one_window_to_the_other():
    _, features = inputs()
    scores = torch.zeros(2, 1, 4, 5)
    scores[0] = 1
    assert lposs(scores, features, PLACES, 10)[1].min() > 0.05


def test_features_of_a_companion_are_brought_to_the_grid_of_the_scores():
    scores, _ = inputs()
    fine = torch.randn(2, 6, 8, 10, generator=torch.Generator().manual_seed(3))
    small = F.interpolate(fine, size=(4, 5), mode="bilinear", align_corners=False)
    torch.testing.assert_close(lposs(scores, fine, PLACES, 6), lposs(scores, small, PLACES, 6))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(2, 3, 4, 5), torch.zeros(3, 6, 4, 5), PLACES), "are not those of the same windows"),
        ((torch.zeros(2, 3, 4, 5), torch.zeros(2, 6, 4, 5), PLACES[:9]), "and 9 places are not those"),
        ((torch.zeros(2, 3, 4, 5), torch.zeros(2, 6, 4, 5), PLACES, 0), "neighbours = 0 must be at least 1"),
        ((torch.zeros(2, 3, 4, 5), torch.zeros(2, 6, 4, 5), PLACES, 4, -1), "iterations = -1 must be at least 0"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        lposs(*arguments)


@pytest.mark.parametrize("name", ["naclip", "scclip", "gem", "cliptrase", "glaclip"])
def test_a_protocol_propagates_the_patch_scores_of_any_method_by_the_keys_of_the_last_block(name):
    backbone, method = random_backbone(), create_method(name)
    words = load_vocabulary("cat; dog; grass")
    picture = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)

    def scorer(**changed):
        made = Scorer(
            backbone, {name: method}, words, load_protocol("study", templates=["a {}."], **changed), batch_size=3
        )
        made.text = F.normalize(torch.randn(3, 32, generator=torch.Generator().manual_seed(4)), dim=-1)
        return made

    on = scorer(lposs_iterations=50, lposs_neighbours=20)
    prepared = on.prepare(picture)
    got = on.score([prepared])[0][name]
    tokens = backbone.encode_tokens(torch.stack([prepared.crop(n) for n in range(len(prepared.offsets))]))
    keys = tokens.qkv(12)[1][:, :, 1:].transpose(2, 3).flatten(1, 2).unflatten(-1, tokens.grid)
    places = JoinedTokens([tokens], prepared.offsets).places
    expected = lposs(method.patch_scores(tokens, on.text), keys, places, 20)
    if method.refines:
        refined = method.refine_windows(expected, tokens, (64, 64), words.query_class, True)
        assert len(refined) == len(got.windows)
        for one, other in zip(refined, got.windows, strict=True):
            torch.testing.assert_close(one.full(), other.full(), atol=1e-4, rtol=0)
    else:
        rows, columns = (len(axis.starts) for axis in (prepared.rows, prepared.columns))
        cells = got.cells.unflatten(1, (rows, -1)).unflatten(3, (columns, -1)).permute(1, 3, 0, 2, 4).flatten(0, 1)
        torch.testing.assert_close(cells, expected, atol=1e-5, rtol=0)
    assert (got.cosines() - scorer().score([prepared])[0][name].cosines()).abs().max() > 1e-3


def test_the_graph_of_an_image_is_made_once_for_all_methods(monkeypatch):
    made = []
    original = PatchGraph.of.__func__

    def counted(cls, *arguments):
        made.append(len(arguments[0]))
        return original(cls, *arguments)

    monkeypatch.setattr(PatchGraph, "of", classmethod(counted))
    names = ("clip", "naclip", "sclip")
    protocol = load_protocol("study", templates=["a {}."], lposs_iterations=5, lposs_neighbours=9)
    scorer = Scorer(
        random_backbone(), {name: create_method(name) for name in names}, load_vocabulary("cat; dog"), protocol
    )
    scorer.text = torch.eye(2, 32)
    scorer.score([scorer.prepare(np.zeros((64, 64, 3), dtype=np.uint8))])
    assert len(made) == 1


def test_protocols_without_it_have_the_hash_they_had_and_with_it_another():
    plain = load_protocol("naclip")
    assert plain.hash == load_protocol("naclip", lposs_iterations=0, windows="apart").hash
    hashes = {
        load_protocol("naclip", lposs_iterations=50, lposs_neighbours=k, windows=kind).hash
        for k in (100, 400)
        for kind in ("apart", "shared")
    }
    assert len(hashes | {plain.hash}) == 5
    with pytest.raises(InputError, match="lposs_iterations = 50 needs lposs_neighbours"):
        load_protocol("naclip", lposs_iterations=50)
