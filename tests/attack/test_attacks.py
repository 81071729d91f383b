"""A part of the attacks; `python tests/attack/run.py --all` and `python tests/attack/mutants.py` run the whole."""

import os
import subprocess
import sys

import pytest
from paths import ROOT, TESTS

PARTS = {
    "markup": 0.1,
    "hostile inputs": 0.05,
    "kills of evaluate": 0.1,
    "full disk": 0.1,
    "two runs in one folder": 0.1,
}
"""Share of each attack that runs here; reports and evaluations are corrupted in tests of their own."""


def run(script, *words):
    """A script of this folder in a process of its own, for its children are forks."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "attack" / script), *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="forks and sends signals")
@pytest.mark.parametrize("name", PARTS)
def test_nothing_is_lost_or_used_silently_and_nothing_crashes(name):
    done = run("run.py", "--only", name, "--share", str(PARTS[name]), "--seed", "1")
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "none lost or used silently" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_faults_on_purpose_are_noticed():
    done = run("mutants.py", "--quick")
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
