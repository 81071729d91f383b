"""`ovss evaluate`: methods on a data set, under a protocol, with intervals."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovss.cli.common import (
    add_companion_argument,
    add_model_arguments,
    add_windows_argument,
    backbone_from,
    bars,
    companion_from,
    described,
    fault_to_stderr,
    method_names,
    note_on_weights,
    note_to_stderr,
    open_dataset,
    require_positive,
    show,
)

if TYPE_CHECKING:
    from ovss.evaluation import Evaluation

__all__ = ["add_command"]

FORMATS = ("float32", "float16")
SHARD_SIZE = 32
EXTRAS = ("oracles", "errors", "calibration")
"""These three are those of `ovss.evaluation`, stated again because importing it takes seconds."""


def add_command(commands: Any) -> None:
    """Add `evaluate`."""
    parser = commands.add_parser("evaluate", **described("measure methods on a data set under a protocol"))
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["all"],
        metavar="METHOD",
        help="names, optionally with parameters as in 'naclip(sigma=2.0)'; default: all",
    )
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="Python file that registers methods of your own; may be repeated",
    )
    parser.add_argument("--data", required=True, help="see 'ovss list datasets'; scenes needs no files")
    parser.add_argument(
        "--root", type=Path, help="folder of the data set, as its authors distribute or mmsegmentation prepares it"
    )
    parser.add_argument("--split", default="val", help="default: val")
    parser.add_argument("--classes", type=Path, help="class file of data set 'folder'")
    parser.add_argument("--encoding", help="for COCO: what masks of the plain name hold, if their values leave a doubt")
    parser.add_argument("--protocol", help="see 'ovss list protocols' (default: window224; study for tiny)")
    add_windows_argument(parser)
    parser.add_argument("--out", type=Path, help="folder for records and tables; the same command resumes there")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out images that cannot be read; rows say how many"
    )
    parser.add_argument("--cluster", metavar="WHERE", help="local:N worker processes, or tcp://scheduler:8786")
    parser.add_argument("--worker-device", metavar="KIND", help="cpu or cuda, where workers have another one than here")
    parser.add_argument(
        "--worker-timeout", type=int, default=3600, metavar="S", help="seconds to wait for workers (default: an hour)"
    )
    parser.add_argument("--keep-scores", choices=FORMATS, help="save scores in --out for 'ovss relabel'")
    parser.add_argument(
        "--keep-variants", nargs="+", default=[], metavar="V", help="save the scores of these vocabulary variants, too"
    )
    parser.add_argument(
        "--oracles", action="store_true", help="record where points are lost: presence, place, naming, resolution"
    )
    parser.add_argument("--errors", action="store_true", help="record kinds of errors and boundary IoU")
    parser.add_argument("--calibration", action="store_true", help="record how sure labels are")
    parser.add_argument("--batch-size", type=int, metavar="N", help="windows per backbone pass (default: 16; CUDA 64)")
    parser.add_argument(
        "--shard-size", type=int, default=SHARD_SIZE, metavar="N", help="images per record (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the intervals (default: 0)")
    add_model_arguments(parser)
    add_companion_argument(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    """Evaluate and print the table; returns 0, or 1 when images were skipped."""
    from ovss.evaluation import evaluate
    from ovss.methods import load_plugin

    for plugin in arguments.plugin:
        load_plugin(plugin)
    require_positive(arguments, "limit", "batch_size", "shard_size", "worker_timeout")
    dataset = open_dataset(arguments, arguments.data, arguments.split)
    backbone = backbone_from(arguments)
    note_on_weights(backbone, drawn=arguments.data.startswith("scenes"))
    evaluation = evaluate(
        backbone,
        method_names(arguments.methods),
        dataset,
        protocol=arguments.protocol,
        windows=arguments.windows,
        out=arguments.out,
        limit=arguments.limit,
        cluster=arguments.cluster,
        worker_device=arguments.worker_device,
        worker_timeout=arguments.worker_timeout,
        skip_bad=arguments.skip_bad,
        keep_scores=arguments.keep_scores,
        keep_variants=arguments.keep_variants,
        batch_size=arguments.batch_size,
        shard_size=arguments.shard_size,
        seed=arguments.seed,
        progress=bars(),
        companion=companion_from(arguments, backbone),
        **{name: getattr(arguments, name) for name in EXTRAS},
    )
    return _show(evaluation, arguments.out)


def _show(evaluation: "Evaluation", out: Path | None) -> int:
    """Print the table and what was skipped; returns the exit code."""
    from ovss.files.tables import to_markdown

    show(to_markdown(evaluation.table()).rstrip("\n"))
    for name in evaluation.extras:
        frame = getattr(evaluation, name)()
        show(f"\n{to_markdown(frame.round(1)).rstrip()}")
    facts = evaluation.facts
    note_to_stderr(
        f"{facts['dataset']} ({facts['split']}), protocol {facts['protocol']}, {facts['model']} "
        f"{facts['pretrained']}; percent with 95 % intervals over images"
    )
    if out is not None:
        note_to_stderr(f"tables and records in '{out}'")
    for name, reason in evaluation.skipped.items():
        fault_to_stderr(f"skipped {name}: {reason}")
    return 1 if evaluation.skipped else 0
