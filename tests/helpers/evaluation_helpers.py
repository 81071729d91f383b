"""A small random model and small data sets for the tests of evaluation."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import ovss
from ovss.backbone import Backbone, load_backbone
from ovss.backbone.names import register_tiny
from ovss.datasets import Dataset, load_dataset
from ovss.protocols import Protocol, load_protocol

CLASSES = ("background", "cat", "sofa", "wall")
METHODS = ["clip", "maskclip"]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights for the architecture of the embedded model."""
    architecture = register_tiny()
    config = open_clip.get_model_config(architecture)
    assert config is not None
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = open_clip.CLIP(**config)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return path


@pytest.fixture(scope="session")
def backbone(checkpoint: Path) -> Backbone:
    return load_backbone("tiny", str(checkpoint), device="cpu", dtype="float32")


def quick_protocol(**overrides: object) -> Protocol:
    """`study` with a single template, so that text costs nothing."""
    return load_protocol("study", **{"templates": ["a {}."], **overrides})


def write_folder(root: Path, images: int = 10, size: tuple[int, int] = (90, 70)) -> Path:
    """A data set of random images and block-wise masks with some void, in the layout of `folder`."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    for number in range(images):
        generator = np.random.default_rng(number)
        width, height = size if number % 3 else size[::-1]
        blocks = generator.integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
        picture = Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC)
        picture.save(root / "images" / f"p{number:02d}.jpg", quality=95)
        mask = generator.choice([0, 1, 2, 3, 255], (height // 10, width // 10), p=[0.3, 0.2, 0.2, 0.2, 0.1])
        mask = mask.astype(np.uint8).repeat(10, 0).repeat(10, 1)
        Image.fromarray(mask).save(root / "masks" / f"p{number:02d}.png")
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data")


@pytest.fixture
def data(folder: Path) -> Dataset:
    return load_dataset("folder", folder)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a finished run but the one that holds times, by relative name."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "run.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def run(backbone, data, out=None, **options):
    settings = {"protocol": quick_protocol(), "shard_size": 3, "methods": METHODS} | options
    return ovss.evaluate(backbone, settings.pop("methods"), data, out=out, **settings)


def records(out: Path) -> dict[str, int]:
    """Record files with the time they were written."""
    return {path.name: path.stat().st_mtime_ns for path in sorted(out.rglob("*.npz"))}


class StopAt:
    """A data set that is interrupted at its n-th image."""

    def __init__(self, data, index, error):
        self._data, self._index, self._error = data, index, error

    def __getattr__(self, name):
        return getattr(self._data, name)

    def __len__(self):
        return len(self._data)

    def __getitem__(self, index):
        if index == self._index:
            raise self._error
        return self._data[index]
