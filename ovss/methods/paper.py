"""Where a method comes from."""

from dataclasses import dataclass

from ovss.errors import InputError, suggest

__all__ = ["SUPPORT", "Paper"]

SUPPORT = {
    "TR-SF": "trained, support-free",
    "TF-SF": "training-free, support-free",
    "TF-TA": "training-free, adapted to the target",
    "OFF-SA": "with an offline support set",
}
"""What a method had beside the pretrained model, by the word that tables use for it."""


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
        support: A key of `SUPPORT`; empty where nobody has said.

    Raises:
        InputError: Another word for the support.
    """

    title: str
    authors: str
    venue: str
    arxiv: str
    layers: str = "last block, for any depth"
    deviations: tuple[str, ...] = ()
    support: str = ""

    def __post_init__(self) -> None:
        if self.support and self.support not in SUPPORT:
            raise InputError(
                f"support '{self.support}' of paper '{self.title}' is unknown.{suggest(self.support, SUPPORT)}"
            )
