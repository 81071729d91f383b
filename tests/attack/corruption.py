"""Damage every kind of file that an evaluation writes, evaluate again, and see that no damage moves a number.

`python tests/attack/corruption.py --count 500 --seed 0` runs all of it; the test beside it runs a tenth.
"""

import argparse
import os
import random
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from damage import DAMAGES
from evaluation_helpers import METHODS, quick_protocol, write_folder

import ovss
from ovss.backbone import Backbone
from ovss.datasets import Dataset
from ovss.errors import InputError
from ovss.evaluation.relabel import relabel
from ovss.evaluation.results import Evaluation

KINDS = {
    "record": ("run", "records/*/*.npz"),
    "text cache": ("cache", "text/*.safetensors"),
    "kept scores": ("run", "scores/*/*.safetensors"),
    "kept.json": ("run", "scores/*/kept.json"),
    "run.json": ("run", "run.json"),
    "parquet": ("run", "*.parquet"),
    "csv": ("run", "*.csv"),
    "other table": ("run", "summary.[mtj]*"),
}


def attack(folder: Path, count: int, seed: int) -> Counter[tuple[str, str]]:
    """Damage files one at a time.

    Args:
        folder: An empty folder to work in.
        count: Number of corruptions; they go round the kinds of files.
        seed: Of the choice of files and damages.

    Returns:
        How often each kind of file met each outcome: "refused" with its name, "made again" with a warning, "written
        anew" (tables, which nothing reads), "computed again" (text cache).

    Raises:
        AssertionError: A damage went unseen, moved a number, or raised another error.
    """
    os.environ["OVSS_CACHE"] = str(folder / "cache")
    draw = random.Random(seed)
    backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
    data = ovss.load_dataset("folder", write_folder(folder / "data", images=4, size=(70, 70)))
    evaluate(backbone, data, folder / "run")
    files = {kind: sorted((folder / where).glob(pattern)) for kind, (where, pattern) in KINDS.items()}
    assert all(files.values()), "a kind of file is no longer written"
    whole = {path: path.read_bytes() for paths in files.values() for path in paths}
    outcomes: Counter[tuple[str, str]] = Counter()
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        path = draw.choice(files[kind])
        name, damage = draw.choice([*DAMAGES.items(), ("another's content", None)])
        others = [whole[other] for other in files[kind] if whole[other] != whole[path]]
        if damage is None and not others:
            name, damage = "a flipped bit", DAMAGES["a flipped bit"]
        content = draw.choice(others) if damage is None else damage(whole[path], draw)
        if content == whole[path]:
            continue
        path.write_bytes(content)
        try:
            outcomes[kind, _outcome(kind, path, backbone, data, folder / "run")] += 1
        except Exception as error:
            raise AssertionError(f"corruption {number} of seed {seed}: {name} in '{path}': {error!r}") from error
        if kind in ("kept scores", "run.json"):
            path.write_bytes(whole[path])  # these are not made again, or hold times
        for file, expected in whole.items():
            assert file.name == "run.json" or file.read_bytes() == expected, f"{name} in '{path}' moved '{file}'"
    return outcomes


def evaluate(backbone: Backbone, data: Dataset, out: Path) -> Evaluation:
    """The run that is attacked, from its beginning or from what is there."""
    protocol = quick_protocol()
    warnings.filterwarnings("ignore", message="tiny has never seen these words")
    return ovss.evaluate(backbone, METHODS, data, protocol=protocol, out=out, shard_size=2, keep_scores="float32")


def _outcome(kind: str, path: Path, backbone: Backbone, data: Dataset, out: Path) -> str:
    refused = {"kept scores": relabel, "kept.json": relabel, "run.json": lambda run, _: Evaluation.load(run)}
    if kind in refused:
        with pytest.raises(InputError) as caught:
            refused[kind](out, data)
        assert str(path) in str(caught.value), f"the error does not name the file: {caught.value}"
        assert "\n" not in str(caught.value)
    damaged = path.read_bytes()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        evaluate(backbone, data, out)
    said = [str(warning.message) for warning in warned if str(path) in str(warning.message)]
    assert (len(said) == 1) == (kind == "record"), f"warnings: {said}"
    if kind in refused:
        return "refused"
    assert path.read_bytes() != damaged, "the damaged file is still there"
    return {"record": "made again", "text cache": "computed again"}.get(kind, "written anew")


def table(outcomes: Counter[tuple[str, str]]) -> str:
    """A line per kind of file and outcome."""
    lines = [f"{count:5}  {kind}: {outcome}" for (kind, outcome), count in sorted(outcomes.items())]
    return "\n".join([*lines, f"{outcomes.total():5}  in all, none used silently"])


def main() -> None:
    """Run the attack and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        print(table(attack(Path(folder), arguments.count, arguments.seed)))


if __name__ == "__main__":
    main()
