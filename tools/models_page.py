"""The tables of docs/models.md, from those behind `ovss list models`: `python tools/models_page.py`."""

import sys
from collections.abc import Iterable
from pathlib import Path

from ovss.cli.models import Model, known_models

PAGE = Path(__file__).resolve().parents[1] / "docs" / "models.md"
MARK = "<!-- What follows is written by tools/models_page.py. -->\n"
"""Ends the part of the page that people write."""


def page(prose: str) -> str:
    """The page with the tables of today.

    Args:
        prose: The page as it is.
    """
    models = known_models().values()
    taken = [model for model in models if not model.refused]
    parts = [prose.partition(MARK)[0], MARK, f"\n{len(taken)} of {len(models)} configurations are taken.\n"]
    for family in sorted({model.facts["family"] for model in taken}):
        parts.append(f"\n## {family}\n\n{_table(model for model in taken if model.facts['family'] == family)}")
    reasons: dict[str, list[str]] = {}
    for model in models:
        if model.refused:
            reasons.setdefault(model.refused, []).append(model.name)
    rows = "".join(f"| {reason} | {', '.join(names)} |\n" for reason, names in reasons.items())
    parts.append(f"\n## Not taken\n\n| it | models |\n|---|---|\n{rows}")
    return "".join(parts)


def _table(models: Iterable[Model]) -> str:
    head = "| model | patch | pixels | blocks | parameters | image embedding from | weights (trained on) |\n"
    rows = [head, "|---|---|---|---|---|---|---|\n"]
    for model in models:
        base = model.name.removesuffix("-quickgelu")
        weights = "; ".join(f"{item.tag} ({item.data})" for item in model.weights) or "none published"
        weights = weights if base == model.name else f"those of {base}"
        cells = (model.name, model.facts["patch"], model.size, model.facts["depth"], model.parameters, model.pooling)
        rows.append(f"| {' | '.join(cells)} | {weights} |\n")
    return "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
