"""Settings of all tests."""

import os
import sys
from pathlib import Path

import pytest
import torch
from paths import ROOT, shared_path

sys.path.insert(0, str(ROOT / "tools"))  # maintainers' scripts are tested, too

# Under xdist every core has a worker of its own; alone, a test may use both cores of a small machine.
torch.set_num_threads(min(torch.get_num_threads(), 1 if "PYTEST_XDIST_WORKER" in os.environ else 2))


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Folder of reference outputs."""
    return shared_path("goldens")
