"""A run cut off, killed or doubled: nothing finished is lost, and nothing half-written stays."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from evaluation_helpers import StopAt, contents, records, run

from ovss.cli import main
from ovss.files import _HOST, atomic_write, sweep


def test_an_interrupted_run_goes_on_and_is_bit_identical(backbone, data, tmp_path):
    run(backbone, data, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(backbone, StopAt(data, 7, KeyboardInterrupt()), tmp_path / "cut")
    before = records(tmp_path / "cut")
    assert list(before) == ["000000-000003.npz", "000003-000006.npz"]
    assert not (tmp_path / "cut" / "run.json").exists()
    run(backbone, data, tmp_path / "cut")
    after = records(tmp_path / "cut")
    assert {name: after[name] for name in before} == before, "finished shards were computed again"
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


@pytest.fixture
def command(checkpoint, folder, tmp_path):
    """A command line that evaluates ten images one by one."""
    (tmp_path / "quick.toml").write_text('extends = "study"\ntemplates = ["a {}."]\n')
    options = ["evaluate", "--data", "folder", "--root", str(folder), "--methods", "clip", "--shard-size", "1"]
    return [*options, "--pretrained", str(checkpoint), "--device", "cpu", "--protocol", str(tmp_path / "quick.toml")]


def start(command, out):
    """The command in a process of its own, with at least two records written."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ovss", *command, "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONWARNINGS": "ignore"},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while len(list(out.rglob("*.npz"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    return process


@pytest.mark.slow
def test_a_killed_process_goes_on_and_is_bit_identical(command, tmp_path, capsys):
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    process = start(command, cut)
    process.kill()
    process.communicate()
    finished = records(cut)
    assert 2 <= len(finished) < 10
    assert main([*command, "--out", str(cut)]) == main([*command, "--out", str(whole)]) == 0
    assert "| clip |" in capsys.readouterr().out
    assert finished.items() <= records(cut).items()
    assert contents(cut) == contents(whole)


@pytest.mark.slow
def test_a_second_run_in_a_folder_is_refused_until_the_first_is_gone_however_it_ends(command, tmp_path, capsys):
    out = tmp_path / "run"
    process = start(command, out)
    process.send_signal(signal.SIGSTOP)
    before = records(out)
    assert main([*command, "--out", str(out)]) == 2
    assert f"output folder '{out}' is in use by another run; wait until it has ended" in capsys.readouterr().err
    assert records(out) == before
    process.kill()
    process.communicate()
    assert main([*command, "--out", str(out)]) == 0


@pytest.mark.slow
def test_sigterm_says_what_is_safe_and_how_to_go_on(command, tmp_path):
    out = tmp_path / "run"
    process = start(command, out)
    process.terminate()
    _, errors = process.communicate()
    assert process.returncode == 143
    (line,) = [line for line in errors.splitlines() if "SIGTERM" in line]
    finished = len(records(out))
    assert f"ovss: ended by SIGTERM; {finished} of 10 images are safe in '{out}/records/" in line
    assert line.endswith("the same command resumes there")
    assert "Traceback" not in errors
    assert not list(out.rglob("*.part"))


def test_an_interruption_says_what_is_safe(backbone, data, tmp_path):
    with pytest.raises(KeyboardInterrupt, match=r"3 of 10 images are safe in '.*run/records"):
        run(backbone, StopAt(data, 4, KeyboardInterrupt()), tmp_path / "run")
    with pytest.raises(KeyboardInterrupt, match="nothing was written, because the run had no output folder"):
        run(backbone, StopAt(data, 4, KeyboardInterrupt()))


def test_temporary_files_of_dead_writers_are_swept_and_all_others_stay(backbone, data, tmp_path, monkeypatch):
    out = tmp_path / "run"
    run(backbone, data, out, limit=3)
    (folder,) = (path for path in (out / "records").iterdir() if path.is_dir())
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    def name(pid, host=_HOST):
        return f".000000-000003.npz.{pid}-{host}.abcd1234.part"

    day = time.time() - 2 * 24 * 3600
    swept = [
        out / name(gone.pid),
        folder / name(gone.pid),
        folder / name(7, "0" * 8),
        folder / ".run.json.abcd1234.part",
    ]
    stay = [folder / name(os.getpid()), folder / name(gone.pid, "0" * 8), folder / "notes.part", out / ".x.part"]
    stay += [tmp_path / name(gone.pid), out / "sub" / name(gone.pid), out / ".summary.csv.zzzz9999.part"]
    (out / "sub").mkdir()
    for path in [*swept, *stay]:
        path.write_bytes(b"half")
    for path in swept[2:]:
        os.utime(path, (day, day))
    run(backbone, data, out, limit=3)
    assert [path for path in swept if path.exists()] == []
    assert [path for path in stay if not path.exists()] == []


def test_a_file_of_a_process_that_only_inherited_the_number_is_swept(tmp_path):
    old = time.time() - 10 * 24 * 3600
    path = tmp_path / f".a.npz.{os.getpid()}-{_HOST}.abcd1234.part"
    path.write_bytes(b"half")
    os.utime(path, (old, old))
    assert sweep(tmp_path) == [path]


def test_a_temporary_file_says_who_writes_it(tmp_path):
    with atomic_write(tmp_path / ("n" * 240)) as file:
        (path,) = tmp_path.iterdir()
        assert f".{os.getpid()}-{_HOST}." in path.name
        assert sweep(tmp_path) == []
        file.write(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["n" * 240]
