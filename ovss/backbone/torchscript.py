"""Tensors of a TorchScript archive, which is how OpenAI publishes its weights, without running what it holds.

`torch.jit.load` would build the modules of the archive and so run their code. Here the archive's table of modules is
read by torch's weights-only unpickler, with an empty stand-in for each module class; code in the archive is not opened.
"""

import io
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["is_torchscript", "read_torchscript"]

_TABLE, _CONSTANTS = "data.pkl", "constants.pkl"


class _Module:
    """Stands for a module of the archive: attributes, nothing else."""


def is_torchscript(file: Path) -> bool:
    """Whether a file is an archive that `torch.jit.save` wrote."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    return {_TABLE, _CONSTANTS} <= {name.partition("/")[2] for name in names}


def read_torchscript(file: Path) -> dict[str, Tensor]:
    """State dict of an archive, parameters and buffers by their path from the outermost module.

    Raises:
        pickle.UnpicklingError: The table names something that is neither a module nor a tensor.
        zipfile.BadZipFile: The archive is damaged.
    """
    copy = io.BytesIO()
    classes: list[str] = []
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(copy, "w") as plain:
        # Without the code and the constants, it is an archive as `torch.save` writes it.
        for entry in archive.namelist():
            name = entry.partition("/")[2]
            if name == _TABLE or name.startswith("data/") or name in ("version", "byteorder"):
                plain.writestr(f"archive/{name}", archive.read(entry))
            if name == _TABLE:
                classes = _class_names(archive.read(entry))
    copy.seek(0)
    stand_ins = [(_Module, name) for name in classes]
    with torch.serialization.safe_globals([*stand_ins, (list, "torch.jit._pickle.build_intlist")]):
        outermost = torch.load(copy, map_location="cpu", weights_only=True)
    return dict(_tensors(outermost, ""))


def _class_names(table: bytes) -> list[str]:
    """Names of the module classes that a table refers to; the table is parsed, not run."""
    names = {str(argument) for code, argument, _ in pickletools.genops(table) if code.name == "GLOBAL"}
    return [name.replace(" ", ".") for name in sorted(names) if name.startswith("__torch__.")]


def _tensors(module: object, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(module).items() if isinstance(module, _Module) else ():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        else:
            yield from _tensors(value, f"{prefix}{name}.")
