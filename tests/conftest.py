"""Settings of all tests."""

import os
from pathlib import Path

import pytest
import torch
from paths import shared_path

# Under xdist every core has a worker of its own; alone, a test may use both cores of a small machine.
# That holds for the notebooks' kernels and the commands that tests start, too: threads that wait for a core spin.
torch.set_num_threads(min(torch.get_num_threads(), 1 if "PYTEST_XDIST_WORKER" in os.environ else 2))
os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))

BESIDE_QUICK = {"attack", "browser", "notebooks", "training"}
"""Folders of tests that drive a browser, run whole notebooks or train a model; all of them count as slow."""
LONG = ("test_notebooks_full_size.py", "test_notebooks.py", "test_templates.py", "test_stitching.py")
"""Files that take minutes; they come first, so that no worker ends the day alone with one of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the folders that `make quick` leaves out, and put the longest files first."""
    for item in items:
        if item.path.parent.name in BESIDE_QUICK:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text embeddings are kept for the session, apart from the user's own; workers of a session share them."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "ovss-cache"
    os.environ["OVSS_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Folder of reference outputs."""
    return shared_path("goldens")
