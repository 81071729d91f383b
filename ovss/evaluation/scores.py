"""Scores of a run saved on disk, one file per image, so that rules and words can be compared without another pass."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ovss.errors import InputError
from ovss.evaluation.records import write_bytes
from ovss.files import EMPTY_SEAL, check_seal, seal
from ovss.segment.labels import ScoreMap
from ovss.segment.stitching import PatchScores
from ovss.segment.windows import Windows1D

__all__ = ["SavedScores", "read_scores", "save_scores", "scores_path"]


FORMATS = {"float32": torch.float32, "float16": torch.float16}


class SavedScores(NamedTuple):
    """Scores of one image.

    Attributes:
        id: Name of the image.
        cells: Per method label, scores (Q, rows, columns) of all windows side by side.
        rows: Windows along the height.
        columns: Windows along the width.
        size: Height and width of the label map.
    """

    id: str
    cells: dict[str, Tensor]
    rows: Windows1D
    columns: Windows1D
    size: tuple[int, int]


def scores_path(folder: Path, index: int) -> Path:
    """File of the image at a position of the data set."""
    return folder / f"{index:06d}.safetensors"


def save_scores(folder: Path, index: int, id: str, score_maps: Mapping[str, ScoreMap], number_format: str) -> None:
    """Write the scores of one image.

    Args:
        folder: Where to.
        index: Position in the data set.
        id: Name of the image.
        score_maps: Scores per method label.
        number_format: "float32" (relabelling gives the same labels) or "float16" (half the size, other labels at
            near ties).

    Raises:
        InputError: The file cannot be written.
    """
    patches = {label: scores for label, scores in score_maps.items() if isinstance(scores, PatchScores)}
    assert len(patches) == len(score_maps), "a run that saves scores has none at pixels"
    first = next(iter(patches.values()))
    path = scores_path(folder, index)
    note = {"id": id, "rows": first.rows, "columns": first.columns, "size": first.size}
    note |= {"place": _place(path), "checksum": EMPTY_SEAL}
    tensors = {label: scores.cells.to("cpu", FORMATS[number_format]).contiguous() for label, scores in patches.items()}
    write_bytes(path, seal(save(tensors, metadata={"picture": json.dumps(note)})))


def _place(path: Path) -> str:
    """Run and position that a file of scores is of; its name says so, and its content must say the same."""
    return f"{path.parent.name}/{path.stem}"


def read_scores(path: Path) -> SavedScores:
    """Read the scores of one image, in float32.

    Raises:
        InputError: No such file, or a damaged one.
    """
    if not path.is_file():
        raise InputError(f"no scores at '{path}'; the run must be made with saved scores (--keep-scores)")
    try:
        content = path.read_bytes()
        check_seal(content)
        length = int.from_bytes(content[:8], "little")
        note = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["picture"])
        if note["place"] != _place(path):
            raise ValueError(f"they are those of '{note['place']}'")
        cells = {label: cell.float() for label, cell in load(content).items()}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"scores '{path}' are damaged ({error}); remove the file and evaluate again") from error
    rows, columns = (
        Windows1D(size, window, tuple(starts), tuple(padding))
        for size, window, starts, padding in (note["rows"], note["columns"])
    )
    return SavedScores(note["id"], cells, rows, columns, (note["size"][0], note["size"][1]))
