"""`ovss atlas`: what each head (or each block's attention or FFN) does for mIoU, by taking it out."""

import argparse
from pathlib import Path
from typing import Any

from ovss.cli.common import (
    add_model_arguments,
    backbone_from,
    described,
    left_behind,
    note_on_weights,
    note_to_stderr,
    open_dataset,
    require_positive,
    show,
)

__all__ = ["add_command"]

_LOST = "nothing was written, because there was no output folder (--out)"


def add_command(commands: Any) -> None:
    """Add `atlas`."""
    parser = commands.add_parser("atlas", **described("take parts of the model out, and see what that does to mIoU"))
    parser.add_argument("--method", default="naclip", help="method that reads the model (default: naclip)")
    parser.add_argument(
        "--parts",
        nargs="+",
        default=["heads"],
        metavar="PART",
        help="heads, attention or ffn (all of them, the default: heads); or single ones as in 'block 3 head 2 zero'",
    )
    parser.add_argument(
        "--how", choices=("zero", "mean", "swap"), default="zero", help="what takes their place (default: zero)"
    )
    parser.add_argument("--data", required=True, help="see 'ovss list datasets'; scenes needs no files")
    parser.add_argument("--root", type=Path, help="folder of the data set")
    parser.add_argument("--split", default="val", help="default: val")
    parser.add_argument("--classes", type=Path, help="class file of data set 'folder'")
    parser.add_argument("--encoding", help="for COCO: what masks of the plain name hold, if their values leave a doubt")
    parser.add_argument("--protocol", help="see 'ovss list protocols' (default: window224; study for tiny)")
    parser.add_argument("--out", type=Path, help="folder for counts and atlas.csv; the same command resumes there")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="windows per pass (default: 64)")
    parser.add_argument(
        "--shard-size", type=int, default=8, metavar="N", help="images held in memory at a time (default: 8)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the intervals (default: 0)")
    add_model_arguments(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Print the parts, the one that matters most first; returns 0."""
    from ovss.analysis.causal import ablate
    from ovss.files.tables import to_markdown

    require_positive(arguments, "limit", "batch_size", "shard_size")
    dataset = open_dataset(arguments, arguments.data, arguments.split)
    backbone = backbone_from(arguments)
    note_on_weights(backbone, drawn=arguments.data.startswith("scenes"))
    parts = arguments.parts[0] if len(arguments.parts) == 1 else arguments.parts
    out = arguments.out
    with left_behind(lambda: f"counts of finished parts are in '{out}'; the same command goes on" if out else _LOST):
        found = ablate(
            backbone,
            arguments.method,
            dataset,
            parts,
            how=arguments.how,
            protocol=arguments.protocol,
            out=out,
            limit=arguments.limit,
            batch_size=arguments.batch_size,
            shard_size=arguments.shard_size,
            seed=arguments.seed,
            progress=True,
        )
    table = found.sort_values("change", kind="stable")[["part", "mIoU", "change", "low", "high", "p_holm"]]
    show(to_markdown(table.round(3)).rstrip("\n"))
    note_to_stderr(
        f"{arguments.method} on {found['images'].iloc[0]} images of {dataset.name}, {backbone.name}: untouched "
        f"{found['untouched'].iloc[0]:.1f} mIoU; change in points with its paired 95 % interval, p Holm-corrected"
    )
    if out is not None:
        note_to_stderr(f"table and counts in '{out}'")
    return 0
