"""Walkthrough 01 runs unchanged on random models of other families: without class token, with rotary positions."""

import os
from pathlib import Path

import nbformat
import papermill
import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "01_quickstart.ipynb"
SHOWN = {
    "ViT-B-16-SigLIP2": "Backbone('ViT-B-16-SigLIP2', pretrained='random', 12 blocks, 224 px, patch 16",
    "PE-Core-B-16": "Backbone('PE-Core-B-16', pretrained='random', 12 blocks, 224 px, patch 16",
    "EVA02-B-16": "Backbone('EVA02-B-16', pretrained='random', 12 blocks, 224 px, patch 16",
}


@pytest.mark.slow
@pytest.mark.skipif("OVSS_TOWERS" not in os.environ, reason="minutes per model on two cores; set OVSS_TOWERS=1 to run")
@pytest.mark.parametrize("model", SHOWN)
def test_the_quickstart_runs_unchanged_on_another_tower(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVSS_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        str(NOTEBOOK),
        str(out),
        {"model": model, "pretrained": "random"},
        cwd=str(NOTEBOOK.parent),
        progress_bar=False,
        kernel_name="python3",
    )
    cells = [cell for cell in nbformat.read(out, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    texts = "".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs)
    assert SHOWN[model] in texts
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4
