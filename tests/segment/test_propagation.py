"""Text-aware label propagation: a linear system on a coarse grid, the same by strips and at once, as protocol data."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_helpers import random_backbone

from ovss.errors import InputError
from ovss.methods import create_method
from ovss.protocols import load_protocol
from ovss.segment import tlp
from ovss.segment.labels import LabelRule
from ovss.segment.propagation import Propagation
from ovss.segment.scorer import Scorer
from ovss.segment.stitching import PatchScores
from ovss.segment.windows import Windows1D
from ovss.vocabulary import load_vocabulary


def rows(count, seed=0):
    return F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)), dim=-1)


def scene(queries=3, height=43, width=50, seed=0):
    """An image of two halves with noise, and rough scores."""
    generator = torch.Generator().manual_seed(seed)
    image = 0.1 * torch.randn(3, height, width, generator=generator)
    image[:, :, width // 2 :] += 1
    low = 0.3 * torch.rand(1, queries, 6, 7, generator=generator)
    return image, F.interpolate(low, size=(height, width), mode="bilinear", align_corners=False)[0]


def solved(image, scores, text, pool):
    """The system of the formula entry by entry in double precision, solved exactly."""
    image, scores = (F.avg_pool2d(part[None].double(), pool)[0].numpy() for part in (image, scores))
    grey = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
    queries, height, width = scores.shape
    p = np.exp(scores) / np.exp(scores).sum(0)
    gate = np.zeros(queries)
    if text is not None:
        likeness = np.exp((text.double() @ text.double().T).numpy() / 0.5)
        gate = (np.diag(likeness) / likeness.sum(1) + 10) / (11 + 1e-6)
    cells = list(itertools.product(range(height), range(width)))
    matrix = np.zeros((len(cells), len(cells)))
    right = np.zeros((len(cells), queries))
    for number, (y, x) in enumerate(cells):
        sure = max(p[:, y, x].max(), 0.05) ** 2 * (1 + min(max((gate * p[:, y, x] ** 2).sum(), 0), 1))
        matrix[number, number] += sure
        right[number] = sure * scores[:, y, x]
    for dy, dx in ((1, 0), (0, 1)):
        pairs = [(cell, (cell[0] + dy, cell[1] + dx)) for cell in cells if (cell[0] + dy, cell[1] + dx) in cells]
        mean = np.mean([abs(grey[a] - grey[b]) for a, b in pairs])
        for a, b in pairs:
            words = 1 + min(max((gate * p[:, a[0], a[1]] * p[:, b[0], b[1]]).sum(), 0), 1)
            weight = min(1, np.exp(-5 * abs(grey[a] - grey[b]) / (mean + 1e-6)) * words)
            i, j = cells.index(a), cells.index(b)
            matrix[[i, j], [i, j]] += weight
            matrix[[i, j], [j, i]] -= weight
    return np.linalg.solve(matrix, right).T.reshape(queries, height, width)


@pytest.mark.parametrize("with_text", [True, False])
def test_many_steps_reach_the_solution_of_the_linear_system(with_text):
    image, scores = scene()
    text = rows(3) if with_text else None
    graph = Propagation.of(image, text, 8, 400)
    assert graph.pool == (5, 6)
    got = graph.propagate([scores.transpose(0, 1)])
    expected = solved(image, scores, text, graph.pool)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    enlarged = F.interpolate(torch.from_numpy(expected)[None], size=(43, 50), mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(tlp(image, scores, text, 8, 400), enlarged, atol=1e-5)


def test_half_a_pixel_is_rounded_to_the_even_cell():
    image = torch.zeros(3, 20, 28)
    assert Propagation.of(image, None, 8, 1).pool == (2, 4)
    assert Propagation.of(image, None, 100, 1).pool == (1, 1)


def test_cells_of_one_pixel_without_a_step_leave_the_scores_as_they_are():
    image, scores = scene()
    torch.testing.assert_close(tlp(image, scores, rows(3), 100, 0), scores)


def test_an_edge_of_the_image_stops_what_spreads():
    image, scores = torch.zeros(3, 20, 20), torch.zeros(2, 20, 20)
    image[:, :, 10:] = 3
    scores[0, 8:12, 2:6] = 1
    spread = tlp(image, scores, None, 20, 25)[0]
    assert spread[:, 9].mean() > 100 * spread[:, 10].mean()
    assert tlp(torch.zeros_like(image), scores, None, 20, 25)[0][:, 10].mean() > 0.1 * spread[:, 9].mean()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_an_image_of_one_row_or_column_has_no_edges_along_it(size):
    image, scores = torch.randn(3, *size), torch.rand(2, *size)
    assert torch.isfinite(tlp(image, scores, rows(2), 80, 25)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3, 4, 4), torch.zeros(2, 4, 5)), r"must have one size, not \(3, 4, 4\) and \(2, 4, 5\)"),
        ((torch.zeros(3, 4, 4), torch.zeros(2, 4, 4), rows(3)), "text has 3 rows, the scores have 2 queries"),
        ((torch.zeros(3, 4, 4), torch.zeros(2, 4, 4), None, 0), "grid = 0 must be at least 1 cell"),
        ((torch.zeros(3, 4, 4), torch.zeros(2, 4, 4), None, 4, -1), "iterations = -1 at least 0"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        tlp(*arguments)


def test_labels_by_strips_are_those_of_whole_maps():
    image, scores = scene(5, 67, 41)
    text = rows(5)
    whole = tlp(image, scores, text, 20, 10)
    rule = LabelRule((0, 0, 1, 2, 2), 3, 40.0, 0, None, None)
    field = PatchScores(
        cells=scores,
        rows=Windows1D(67, 67, (0,)),
        columns=Windows1D(41, 41, (0,)),
        size=(67, 41),
        rule=rule,
        protocol=load_protocol("window224"),
        propagation=Propagation.of(image, text, 20, 10),
    )
    torch.testing.assert_close(field.cosines(), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(field.cosines(slice(1, 3)), whole[1:3], atol=1e-5, rtol=0)
    expected = torch.tensor(rule.query_class)[whole.argmax(0)].numpy()
    assert (field.labels() == expected).mean() > 0.999
    plain = dataclasses.replace(field, propagation=None)
    assert (plain.labels() != field.labels()).mean() > 0.02


@pytest.mark.parametrize("name", ["naclip", "pearl", "cliptrase"])
@pytest.mark.parametrize("pamr", [0, 2])
def test_a_protocol_propagates_the_scores_of_any_method(name, pamr):
    backbone = random_backbone()
    options = {"pamr_iterations": pamr, "pamr_dilations": [1], "templates": ["a {}."]}
    words = load_vocabulary("cat; dog; grass")
    picture = np.random.default_rng(0).integers(0, 255, (90, 130, 3), dtype=np.uint8)

    def cosines(**changed):
        protocol = load_protocol("study", **options, **changed)
        scorer = Scorer(backbone, {name: create_method(name)}, words, protocol)
        scorer.text = F.normalize(torch.randn(3, 32, generator=torch.Generator().manual_seed(4)), dim=-1)
        prepared = scorer.prepare(picture)
        return scorer, prepared, scorer.score([prepared])[0][name]

    scorer, prepared, plain = cosines()
    _, _, propagated = cosines(tlp_iterations=6, tlp_grid=30)
    stitched = dataclasses.replace(plain, guide=None).cosines()
    expected = tlp(scorer._guide(prepared), stitched, scorer.text, 30, 6)
    if pamr:
        from ovss.segment.pamr import pamr as refine

        expected = refine(scorer._guide(prepared), expected, 2, (1,))
    torch.testing.assert_close(propagated.cosines(), expected, atol=1e-5, rtol=0)
    assert (plain.cosines() - expected).abs().max() > 1e-3


def test_fields_that_say_nothing_leave_the_hash_of_a_protocol_as_it_was():
    plain = load_protocol("naclip")
    assert plain.hash == load_protocol("naclip", tlp_iterations=0).hash
    assert plain.hash != load_protocol("naclip", tlp_iterations=25, tlp_grid=80).hash
    assert load_protocol("pearl").hash != load_protocol("pearl", tlp_grid=81).hash
