"""Where a method comes from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """Where a method comes from.

    Attributes:
        title: Title of the paper.
        authors: All authors, comma-separated.
        venue: Venue and year.
        arxiv: arXiv identifier; empty where the paper is not on arXiv.
        layers: Which blocks the method reads, and how that follows the depth of the model.
        deviations: One line for each point where this implementation differs from the paper, with the reason.
    """

    title: str
    authors: str
    venue: str
    arxiv: str
    layers: str = "last block, for any depth"
    deviations: tuple[str, ...] = ()
