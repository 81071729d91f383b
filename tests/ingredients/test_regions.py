"""Regions get names, and pixels made row by row are the pixels made all at once."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import ovss.ingredients.regions
from ovss.ingredients import RegionMeans, RegionVotes, WindowScores, name_by_mean, name_by_vote
from ovss.ingredients.regions import best_query


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_a_vote_puts_one_class_on_top_of_a_region():
    scores = torch.tensor([[0.9, 0.9, 0.1, 0.1], [0.2, 0.2, 0.8, 0.9], [0.1, 0.1, 0.2, 0.3]])[:, None]  # (3, 1, 4)
    region = torch.tensor([[0, 0, 0, 1]])
    voted = name_by_vote(scores, region)
    assert voted.argmax(0).tolist() == [[0, 0, 0, 1]]
    torch.testing.assert_close(voted[:, 0, 2], torch.tensor([0.8, 0.1, 0.2]))
    torch.testing.assert_close(voted[:, 0, [0, 1, 3]], scores[:, 0, [0, 1, 3]])


def test_queries_of_one_class_vote_together():
    scores = torch.tensor([[0.9, 0.9, 0.1, 0.1, 0.1], [0.1, 0.1, 0.9, 0.9, 0.2], [0.2, 0.2, 0.3, 0.3, 0.9]])[:, None]
    region = torch.zeros(1, 5, dtype=torch.long)
    assert name_by_vote(scores, region).argmax(0).unique().tolist() == [0]
    together = name_by_vote(scores, region, [0, 1, 1])
    assert set(together.argmax(0).flatten().tolist()) == {1, 2}
    torch.testing.assert_close(together[:, 0, 0], torch.tensor([0.2, 0.1, 0.9]))


@pytest.mark.parametrize("shape", [(1, 5, 7), (40, 6, 9), (3, 20), (4, 0)])
def test_the_best_query_is_the_first_of_equal_ones(shape):
    scores = seeded(*shape).mul(3).round()  # few values, so that there are ties
    scores = scores.masked_fill(scores == 1, -torch.inf)
    top, query = best_query(scores)
    by_hand = torch.tensor([column.index(max(column)) for column in scores.flatten(1).T.tolist()], dtype=torch.long)
    assert torch.equal(query.flatten(), by_hand)
    assert torch.equal(top, scores.gather(0, query[None])[0])


def test_a_tie_cannot_undo_the_vote():
    scores = torch.zeros(2, 1, 3)
    scores[1, 0, :2] = 1
    assert name_by_vote(scores, torch.zeros(1, 3, dtype=torch.long)).argmax(0).tolist() == [[1, 1, 1]]


def test_mean_naming_averages_within_regions():
    scores, region = seeded(2, 4, 5), torch.tensor([[0, 0, 1, 1, 3]] * 4)
    named = name_by_mean(scores, region)
    for number in (0, 1, 3):
        inside = region == number
        torch.testing.assert_close(named[:, inside], scores[:, inside].mean(1, keepdim=True).expand(2, inside.sum()))


def means_by_hand(pixels: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
    result = torch.empty_like(pixels)
    for number in region.unique():
        inside = region == number
        result[:, inside] = pixels[:, inside].mean(1, keepdim=True)
    return result


def votes_by_hand(pixels: torch.Tensor, region: torch.Tensor, owner: list[int]) -> torch.Tensor:
    """The vote pixel by pixel; what is second best keeps its place only up to rounding."""
    result, first = pixels.clone(), pixels.argmax(0)
    for number in region.unique():
        inside = (region == number).nonzero().tolist()
        votes = [owner[first[row, column]] for row, column in inside]
        elected = max(sorted(set(votes)), key=votes.count)
        members = [query for query, of in enumerate(owner) if of == elected]
        for row, column in inside:
            pixel = result[:, row, column]
            best, own = int(first[row, column]), members[int(pixel[members].argmax())]
            if owner[best] != elected:
                pixel[[best, own]] = pixel[[own, best]]
    return result


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    grid=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(5, 40), st.integers(5, 40)),
    queries=st.integers(1, 6),
    count=st.integers(1, 4),
    bound=st.sampled_from([1, 2000, 2**26]),
    seed=st.integers(0, 99),
)
def test_pixels_on_demand_are_the_enlarged_and_named_scores(grid, size, queries, count, bound, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(queries, *grid, generator=generator)
    region = torch.randint(0, count, size, generator=generator)
    owner = sorted(torch.randint(0, 3, (queries,), generator=generator).tolist())
    pixels = F.interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ovss.ingredients.regions, "STRIP_BYTES", bound)
        plain, means = WindowScores(scores, size), RegionMeans(scores, region)
        votes = RegionVotes(scores, region, owner)
    torch.testing.assert_close(plain.full(), pixels, atol=1e-6, rtol=0)
    torch.testing.assert_close(means.full(), means_by_hand(pixels, region), atol=1e-6, rtol=0)
    torch.testing.assert_close(votes.full(), votes_by_hand(plain.full(), region, owner), atol=1e-6, rtol=0)
    some, rows = slice(queries // 3, queries), torch.arange(0, size[0], 3)
    for window in (plain, votes):
        assert torch.equal(window.rows(rows, some), window.full()[some, rows])


def test_what_lies_at_pixels_already_is_left_as_it_is():
    pixels = seeded(3, 6, 7)
    assert torch.equal(WindowScores(pixels, (6, 7)).full(), pixels)
    assert torch.equal(RegionVotes(pixels, torch.zeros(6, 7, dtype=torch.long), [0, 0, 0]).full(), pixels)
