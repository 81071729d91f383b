"""SIGTERM, which batch systems send before they kill: every command says what is left and how to go on."""

import os
import pkgutil
import signal
import threading
import time

import pytest

import ovss
from ovss.cli import main


@pytest.fixture
def ended(capsys):
    """Runs a command and sends SIGTERM once a condition holds; returns the exit code and the last line of errors."""

    def run(words, ready):
        def send():
            deadline = time.monotonic() + 120
            while not ready() and time.monotonic() < deadline:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)

        sender = threading.Thread(target=send)
        sender.start()
        code = main(list(map(str, words)))
        sender.join()
        return code, capsys.readouterr().err.splitlines()[-1]

    before = signal.signal(signal.SIGTERM, lambda number, frame: pytest.fail("SIGTERM came after the command's end"))
    yield run
    signal.signal(signal.SIGTERM, before)


def calls_of(monkeypatch, name):
    """Holds once a function has been called three times: the work is under way, however slow the machine is.

    A signal some seconds after the start may come before that on a busy machine, while modules are imported, whose
    half-imported remains fail later tests.
    """
    called, function = [], pkgutil.resolve_name(name)
    monkeypatch.setattr(name, lambda *values, **options: called.append(1) or function(*values, **options))
    return lambda: len(called) > 2


def test_segment_counts_the_images_that_are_labelled(ended, tmp_path):
    image = ovss.load_dataset("scenes", length=1)[0].image
    (tmp_path / "in").mkdir()
    for number in range(300):
        image.save(tmp_path / "in" / f"{number:03d}.bmp")
    out = tmp_path / "out"
    words = ["segment", tmp_path / "in", "-c", "grass; sky", "-o", out, "--device", "cpu"]
    code, line = ended(words, lambda: len(list(out.glob("*_classes.json"))) > 1)
    assert code == 143
    done = len(list(out.glob("*_classes.json")))
    assert line in (
        f"ovss: ended by SIGTERM; {number} of 300 images are labelled in '{out}'; "
        "the same command labels all of them again"
        for number in (done - 1, done)
    )


def test_bench_and_relabel_say_that_nothing_was_written(ended, tmp_path, monkeypatch):
    said = "ovss: ended by SIGTERM; nothing was written; the same command starts over"
    bench = ["bench", "--ratios", "--model", "tiny", "--methods", "clip", "--rounds", 10**6, "--device", "cpu"]
    begun = calls_of(monkeypatch, "ovss.lab.timing._wait")
    assert ended([*bench, "--json", tmp_path / "timings.json"], begun) == (143, said)
    assert not (tmp_path / "timings.json").exists()
    run = ["evaluate", "--data", "scenes", "--methods", "clip", "--limit", 4, "--out", tmp_path / "run"]
    assert main([*map(str, run), "--device", "cpu", "--keep-scores", "float32"]) == 0
    thresholds = [(number + 1) / 10_000 for number in range(5000)]
    relabel = ["relabel", tmp_path / "run", "--out", tmp_path / "table.csv", "--background", "threshold"]
    begun = calls_of(monkeypatch, "ovss.evaluation.relabel.read_scores")
    assert ended([*relabel, "--threshold", *thresholds], begun) == (143, said)
    assert not (tmp_path / "table.csv").exists()


def test_a_process_gets_its_own_handling_of_the_signal_back(ended):
    before = signal.getsignal(signal.SIGTERM)
    assert main(["list", "methods"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before
