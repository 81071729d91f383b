"""`ovss evaluate`: methods on a data set, under a protocol, with intervals."""

import argparse
from pathlib import Path
from typing import Any

from ovss.cli.common import TINY_NOTE, add_model_arguments, backbone_from, say, show, terminable
from ovss.datasets import Dataset, load_dataset
from ovss.errors import InputError
from ovss.evaluation import SHARD_SIZE, evaluate
from ovss.evaluation.results import Evaluation
from ovss.evaluation.scores import FORMATS
from ovss.files.tables import to_markdown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["all"],
        metavar="METHOD",
        help="names, perhaps with parameters as in 'naclip(sigma=2.0)'; default: all",
    )
    add_data_arguments(parser)
    parser.add_argument("--protocol", help="see 'ovss protocols' (default: window224; study for tiny)")
    parser.add_argument("--out", type=Path, help="folder for records and tables; the same command goes on there")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out images that cannot be read; rows say how many"
    )
    parser.add_argument("--cluster", metavar="WHERE", help="local:N worker processes, or tcp://scheduler:8786")
    parser.add_argument("--worker-device", metavar="KIND", help="cpu or cuda, where workers have another one than here")
    parser.add_argument("--keep-scores", choices=FORMATS, help="keep scores in --out for 'ovss rescore'")
    parser.add_argument(
        "--keep-variants", nargs="+", default=[], metavar="V", help="keep the scores of these vocabulary variants, too"
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="windows per backbone pass (default: 16; CUDA 64)")
    parser.add_argument(
        "--shard-size", type=int, default=SHARD_SIZE, metavar="N", help=f"images per record (default: {SHARD_SIZE})"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the intervals (default: 0)")
    add_model_arguments(parser)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that choose the data set."""
    parser.add_argument("--data", required=True, help="see 'ovss datasets'; scenes needs no files")
    parser.add_argument(
        "--root", type=Path, help="folder of the data set, as its authors distribute or mmsegmentation prepares it"
    )
    parser.add_argument("--split", default="val", help="default: val")
    parser.add_argument("--classes", type=Path, help="class file of data set 'folder'")
    parser.add_argument("--encoding", help="for COCO: what masks of the plain name hold, if their values do not tell")


def dataset_from(arguments: argparse.Namespace) -> Dataset:
    """The data set that the options of `add_data_arguments` name."""
    given = {"classes": arguments.classes, "encoding": getattr(arguments, "encoding", None)}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return load_dataset(arguments.data, arguments.root, arguments.split, **options)


@terminable()
def run(arguments: argparse.Namespace) -> int:
    """Evaluate and print the table; returns 0, or 1 when images were skipped."""
    for name in ("limit", "batch_size", "shard_size"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
    dataset = dataset_from(arguments)
    backbone = backbone_from(arguments)
    if backbone.is_tiny and not arguments.data.startswith("scenes"):
        say(TINY_NOTE)
    evaluation = evaluate(
        backbone,
        arguments.methods,
        dataset,
        protocol=arguments.protocol,
        out=arguments.out,
        limit=arguments.limit,
        cluster=arguments.cluster,
        worker_device=arguments.worker_device,
        skip_bad=arguments.skip_bad,
        keep_scores=arguments.keep_scores,
        keep_variants=arguments.keep_variants,
        batch_size=arguments.batch_size,
        shard_size=arguments.shard_size,
        seed=arguments.seed,
        progress=True,
    )
    return report(evaluation, arguments.out)


def report(evaluation: Evaluation, out: Path | None) -> int:
    """Print the table and what was skipped; returns the exit code."""
    show(to_markdown(evaluation.table()).rstrip("\n"))
    facts = evaluation.facts
    say(
        f"{facts['dataset']} ({facts['split']}), protocol {facts['protocol']}, {facts['model']} "
        f"{facts['pretrained']}; percent with 95 % intervals over images"
    )
    if out is not None:
        say(f"tables and records in '{out}'")
    for name, reason in evaluation.skipped.items():
        say(f"skipped {name}: {reason}")
    return 1 if evaluation.skipped else 0
