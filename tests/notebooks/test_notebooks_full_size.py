"""Every walkthrough runs unchanged on a real architecture at its full size, from a checkpoint, with an image file."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import open_clip
import papermill
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from walkthroughs import walkthroughs

NOTEBOOKS = walkthroughs(Path(__file__).resolve().parents[2] / "notebooks")
ARCHITECTURE = "ViT-B-16-quickgelu"
FULL_SIZE = {"01": "12 blocks, 224 px, patch 16", "08": "short side 336 window 224 stride 112"}
"""What a notebook prints when the model is of full size; the others print their grid."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parameters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A checkpoint of random weights, an image of two colours with noise, and one cache of text embeddings for all."""
    folder = tmp_path_factory.mktemp("full_size")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = open_clip.create_model(ARCHITECTURE).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "random.safetensors")
    pixels = np.random.default_rng(0).integers(0, 60, (240, 320, 3))
    pixels[:, :150] += (150, 40, 20)
    pixels[90:, 150:] += (20, 60, 160)
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "photo.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVSS_CACHE", str(folder / "cache"))
        if "PYTEST_XDIST_WORKER" in os.environ:  # kernels take one core each, as the workers do
            patch.setenv("OMP_NUM_THREADS", "1")
        yield {
            "model": ARCHITECTURE,
            "pretrained": str(folder / "random.safetensors"),
            "image": str(folder / "photo.png"),
            "classes": "person, skier; snow; trees",
        }
    os.unlink(folder / "random.safetensors")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_walkthrough_runs_on_a_full_size_checkpoint(path: Path, tmp_path: Path, parameters: dict[str, Any]) -> None:
    more = {"images": 2} if "images" in papermill.inspect_notebook(str(path)) else {}
    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        str(path), str(out), parameters | more, cwd=str(path.parent), progress_bar=False, kernel_name="python3"
    )
    cells = [cell for cell in nbformat.read(out, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    text = "".join(o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in outputs)
    assert FULL_SIZE.get(path.name[:2], "12 blocks" if path.name[:2] == "07" else "14 x 14 patches") in text
    assert any("image/png" in output.get("data", {}) for output in outputs)
