"""What the papers claim, and whether the model at hand shows it: the table at the end of each walkthrough."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from ovss.errors import InputError, suggest
from ovss.files.tables import text_table, to_markdown
from ovss.lab.sentences import Measured

__all__ = ["ClaimsTable", "claims_table"]


@dataclass(frozen=True)
class Claim:
    """A claim of a paper.

    Attributes:
        id: Short name, unique.
        notebook: Number of the walkthrough that measures it, such as "04".
        paper: Who claims it.
        claim: What, such that a positive number measured bears it out.
        published: What the paper reports, with the model and data it was measured on; empty for words alone.
        source: Where that is printed.
        measured: What is measured here instead.
        otherwise: Verdict where the number is clearly negative.
    """

    id: str
    notebook: str
    paper: str
    claim: str
    published: str
    source: str
    measured: str
    otherwise: str = "reversed"


def load_claims(notebook: str = "") -> list[Claim]:
    """Claims in the order of their file; of one notebook, or all."""
    text = files("ovss.lab").joinpath("claims.toml").read_text(encoding="utf-8")
    claims = [Claim(id=name, **fields) for name, fields in tomllib.loads(text).items()]
    return [claim for claim in claims if notebook in ("", claim.notebook)]


@dataclass(frozen=True)
class ClaimsTable:
    """Rows of claim, published, measured and verdict, shown as text, and as a table where Markdown is."""

    rows: tuple[tuple[str, str, str, str], ...]
    model: str

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Last column."""
        return tuple(row[-1] for row in self.rows)

    def __repr__(self) -> str:
        return text_table([self._head, *self.rows])

    def _repr_markdown_(self) -> str:
        import pandas as pd

        return to_markdown(pd.DataFrame(list(self.rows), columns=list(self._head)))

    @property
    def _head(self) -> tuple[str, str, str, str]:
        return "claim", "paper", self.model, "seen here?"


def claims_table(notebook: str, found: Mapping[str, Measured], model: str = "tiny") -> ClaimsTable:
    """The claims of a notebook beside what was measured in it.

    Args:
        notebook: Its number, such as "04".
        found: Measured number of each claim by its id, positive where the claim holds.
        model: Name of the model measured.

    Raises:
        InputError: A claim of the notebook has no number, or a number no claim.
    """
    claims = {claim.id: claim for claim in load_claims(notebook)}
    for name in found:
        if name not in claims:
            raise InputError(f"notebook {notebook} has no claim '{name}'.{suggest(name, list(claims))}")
    missing = [name for name in claims if name not in found]
    if missing:
        raise InputError(f"notebook {notebook} measures nothing for claim '{missing[0]}'")
    rows = []
    for name, claim in claims.items():
        number = found[name]
        published = f"{claim.published or 'in words'} ({claim.source})"
        shown = f"{number} ({claim.measured})" if claim.measured else str(number)
        verdict = number.words("yes", claim.otherwise, "cannot be told")
        rows.append((f"{claim.paper}: {claim.claim}", published, shown, verdict))
    return ClaimsTable(tuple(rows), model)
