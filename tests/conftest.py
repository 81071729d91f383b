"""Reference material that lies beside the repository; tests that need it skip, saying so, where it is missing."""

import os
from pathlib import Path

import pytest
import torch

# Under xdist every core has a worker of its own; alone, a test may use both cores of a small machine.
torch.set_num_threads(min(torch.get_num_threads(), 1 if "PYTEST_XDIST_WORKER" in os.environ else 2))


def shared_path(*parts: str) -> Path:
    """A path under `../shared`; skips the test when it is not there."""
    path = Path(__file__).resolve().parents[2].joinpath("shared", *parts)
    if not path.exists():
        pytest.skip(f"reference material ../shared/{'/'.join(parts)} is not on this machine")
    return path


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Folder of reference outputs."""
    return shared_path("goldens")
