"""The files of a finished run, as bytes."""

from typing import TYPE_CHECKING

from ovss.files import sealed_json
from ovss.files.tables import to_csv, to_json, to_latex, to_markdown

if TYPE_CHECKING:
    from ovss.evaluation.results import Evaluation

RUN_FILE = "run.json"
_FORMAT = 2
"""Of run folders; those without one are from when protocol `sclip` had other values, see `evaluation.continuing`."""


def run_files(evaluation: "Evaluation") -> dict[str, bytes]:
    """Tables of a run and, last, the note that tells what was run, by the name of their file."""
    differences = evaluation.differences()  # first, because it leaves the intervals of the others behind
    short, summary = evaluation.table(), evaluation.summary()
    texts = {
        "summary.csv": to_csv(summary),
        "summary.md": to_markdown(short),
        "summary.tex": to_latex(short),
        "summary.json": to_json(summary),
        "per_class.csv": to_csv(evaluation.per_class()),
    }
    if len(differences):
        texts["differences.csv"] = to_csv(differences, decimals=5)
    texts |= {f"{name}.csv": to_csv(getattr(evaluation, name)()) for name in evaluation.extras}
    files = {name: text.encode() for name, text in texts.items()}
    files["per_image.parquet"] = evaluation.per_image().to_parquet(index=False)
    run = {
        "format": _FORMAT,
        "facts": evaluation.facts,
        "methods": evaluation.methods,
        "rule": evaluation.rule,
        "classes": evaluation.classes,
        "images": len(evaluation.ids),
        "skipped": evaluation.skipped,
        "shards": [shard for shard, _ in evaluation.records()],
        "seconds": {stage: round(seconds, 3) for stage, seconds in evaluation.seconds.items()},
    }
    if evaluation.extras:
        run |= {"extras": evaluation.extras, "refused": evaluation.refused}
    files[RUN_FILE] = sealed_json(run)
    return files
