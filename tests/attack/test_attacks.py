"""A part of the attacks; `python tests/attack/run.py --all` and `python tests/attack/mutants.py` run the whole."""

import os
import subprocess
import sys

import pytest
from paths import ROOT, TESTS

PARTS = ("markup", "hostile inputs", "kills of evaluate", "full disk", "two runs in one folder")
"""Attacks of which a share runs here; reports and evaluations are corrupted in tests of their own."""
SHARE = 0.03


def run(script, *words):
    """A script of this folder in a process of its own, for its children are forks."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "attack" / script), *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="forks and sends signals")
def test_nothing_is_lost_or_used_silently_and_nothing_crashes():
    done = run("run.py", "--only", *PARTS, "--share", str(SHARE), "--seed", "1")
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count("none lost or used silently") == len(PARTS)


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_faults_on_purpose_are_noticed():
    done = run("mutants.py", "--quick")
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
