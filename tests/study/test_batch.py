"""The batch: what runs, what is skipped, what a failure and a kill leave behind."""

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from damage import attack_report
from processes import processes_in
from study_notebooks import write_config, write_notebook, write_study

from ovss.cli import main
from ovss.errors import InputError
from ovss.files import file_digest, only_run
from ovss.study.config import load_config
from ovss.study.plan import find_templates
from ovss.study.progress import Display
from ovss.study.run import run_study

pytestmark = pytest.mark.slow


class Study:
    """A small study in a folder, with the parameters of its first notebook."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "report"
        self.notebooks = write_study(folder)

    def run(self, parameters: str = "", only=(), datasets='["scenes", "voc21"]'):
        more = f"[notebooks.22_table]\ndatasets = {datasets}\nparameters = {{ {parameters} }}\n"
        config = load_config(write_config(self.folder, more))
        self.shown = io.StringIO()
        templates = find_templates(self.notebooks)
        return run_study(config, self.out, templates, only=only, jobs=2, display=Display(self.shown))

    def tables(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.out / "tables").iterdir())}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that has run once."""
    study = Study(tmp_path_factory.mktemp("study"))
    study.result = study.run()
    return study


def test_a_run_joins_tables_and_writes_its_record_last(finished):
    assert [status.state for status in finished.result.statuses] == ["done"] * 3
    text = (finished.out / "tables" / "results.csv").read_text()
    assert text.splitlines()[0] == "dataset,method,mIoU"
    assert [line.split(",")[0] for line in text.splitlines()[1:]] == ["scenes", "scenes", "voc21", "voc21"]
    assert (finished.out / "tables" / "total.csv").read_text() == "rows\n4\n"
    record = finished.out / "run.json"
    assert json.loads(record.read_text())["study"] == "demo"
    others = [path for path in finished.out.rglob("*") if path.is_file() and ".state" not in path.parts]
    assert all(path.stat().st_mtime_ns <= record.stat().st_mtime_ns for path in others)


def test_figures_of_several_tasks_keep_apart(finished):
    names = sorted(path.name for path in (finished.out / "figures").iterdir())
    assert names == [f"bars--{data}.{kind}" for data in ("scenes", "voc21") for kind in ("png", "svg")]


def test_executed_notebooks_hold_parameters_but_no_times_or_paths(finished):
    path = finished.out / "notebooks" / "22_table--voc21.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert any('dataset = "voc21"' in cell.source for cell in notebook.cells)
    text = path.read_text()
    for word in ("papermill", "start_time", "iopub", str(finished.folder)):
        assert word not in text.replace('root = "' + str(finished.folder), "")


def test_each_task_leaves_log_state_and_time(finished):
    folder = finished.out / ".state" / "22_table--scenes"
    assert "Executing Cell" in (folder / "log.txt").read_text()
    state = json.loads((folder / "state.json").read_text())
    assert state["state"] == "done"
    assert state["seconds"] > 0


def test_a_second_run_does_nothing(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.out.rglob("*.csv")}
    result = finished.run()
    assert not result.rebuilt
    assert [status.state for status in result.statuses] == ["up to date"] * 3
    assert before == {path: path.stat().st_mtime_ns for path in finished.out.rglob("*.csv")}


def test_a_changed_parameter_reruns_what_depends_on_it(tmp_path):
    study = Study(tmp_path)
    study.run(datasets='["scenes"]')
    first = study.tables()
    result = study.run("offset = 1.0", datasets='["scenes"]')
    assert [status.state for status in result.statuses] == ["done"] * 2
    moved = study.tables()
    assert moved["results.csv"] != first["results.csv"]
    assert moved["total.csv"] == first["total.csv"]


def test_a_damaged_output_is_made_again(tmp_path):
    study = Study(tmp_path)
    study.run(only=["22"])
    first = study.tables()
    damaged = study.out / ".state" / "22_table--voc21" / "tables" / "results.csv"
    damaged.write_text("nothing")
    result = study.run(only=["22"])
    assert [status.state for status in result.statuses] == ["up to date", "done"]
    assert study.tables() == first


def test_damage_of_a_report_and_of_what_it_is_made_from_is_seen_and_mended(finished):
    outcomes = attack_report(finished.out, finished.run, count=6, seed=0, states=1)
    assert set(outcomes) == {
        ("table", "joined again"),
        ("page", "joined again"),
        ("record", "joined again"),
        ("state", "run again"),
    }


def test_a_failing_notebook_fails_the_run_but_not_the_others(tmp_path):
    study = Study(tmp_path)
    notebooks = study.notebooks / "22_table.ipynb"
    text = notebooks.read_text()
    notebooks.write_text(text.replace("if fail:", "if dataset == 'voc21':"))
    result = study.run()
    assert [status.state for status in result.statuses] == ["done", "failed", "blocked"]
    assert not (study.out / "run.json").exists()
    (failure,) = result.failures
    assert failure.describe().startswith("22_table--voc21, cell 4: ValueError: planted failure")
    assert "outputs = Outputs(out)" in failure.describe()
    assert "planted failure" in failure.log.read_text()
    page = (study.out / "index.html").read_text()
    assert "planted failure" in page
    assert (study.out / "tables" / "results.csv").read_text().count("scenes") == 2
    notebooks.write_text(text)
    assert [status.state for status in study.run().statuses] == ["done"] * 3
    assert (study.out / "run.json").exists()


def test_a_kernel_that_dies_is_a_failure(tmp_path):
    study = Study(tmp_path)
    notebook = study.notebooks / "22_table.ipynb"
    notebook.write_text(notebook.read_text().replace("time.sleep(pause)", "import os; os._exit(9)"))
    result = study.run(only=["22"], datasets='["scenes"]')
    assert {status.state for status in result.statuses} == {"failed"}
    assert "DeadKernelError" in result.failures[0].error


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_killed_run_leaves_nothing_behind_and_goes_on_to_the_same_tables(finished, tmp_path):
    study = Study(tmp_path)
    more = '[notebooks.22_table]\ndatasets = ["scenes", "voc21"]\nparameters = { pause = 60.0 }\n'
    config = write_config(tmp_path, more)
    command = [sys.executable, "-m", "ovss", "reproduce", str(config), "--out", str(study.out)]
    process = subprocess.Popen([*command, "--notebooks", str(study.notebooks)], stderr=subprocess.DEVNULL)
    state = study.out / ".state"
    wait_for(lambda: any("Executing Cell 4" in log.read_text() for log in state.glob("*/log.txt")), 300)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (study.out / "run.json").exists()
    wait_for(lambda: not processes_in(state), 30)
    study.run()
    assert study.tables() == finished.tables()


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGTERM")
def test_sigterm_says_how_much_is_done_and_ends_the_notebooks(tmp_path):
    study = Study(tmp_path)
    config = write_config(tmp_path, '[notebooks.22_table]\ndatasets = ["scenes"]\nparameters = { pause = 60.0 }\n')
    command = [sys.executable, "-m", "ovss", "reproduce", str(config), "--out", str(study.out)]
    command += ["--notebooks", str(study.notebooks)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    state = study.out / ".state"
    wait_for(lambda: any("Executing Cell 4" in log.read_text() for log in state.glob("*/log.txt")), 300)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    left = f"0 of 2 notebooks are done in '{study.out}'; the same command resumes there"
    assert errors.splitlines()[-1] == f"ovss: ended by SIGTERM; {left}"
    assert "Traceback" not in errors
    wait_for(lambda: not processes_in(state), 30)


def wait_for(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_a_second_run_in_the_same_folder_is_refused(finished):
    with (
        only_run(finished.out, finished.out / ".state" / "lock"),
        pytest.raises(InputError, match="in use by another run"),
    ):
        finished.run()
    assert not finished.run().rebuilt


def test_each_output_is_hashed_once_per_run(finished, monkeypatch):
    hashed = Counter()

    def counting(path):
        if Path(path).is_relative_to(state):
            hashed[Path(path).relative_to(state)] += 1
        return file_digest(path)

    monkeypatch.setattr("ovss.study.batch.file_digest", counting)
    state = finished.out / ".state"
    outputs = {
        Path(task.name) / name
        for task in state.glob("2*")
        for name in json.loads((task / "done.json").read_text())["files"]
    }
    assert len(outputs) > 10
    assert not finished.run().rebuilt
    assert hashed == dict.fromkeys(outputs, 1)
    hashed.clear()
    tables = finished.tables()
    shutil.rmtree(state / "25_total")
    assert [status.state for status in finished.run().statuses] == ["up to date", "up to date", "done"]
    others = {path for path in outputs if path.parts[0] != "25_total"}
    assert hashed == dict.fromkeys(others, 1), "what was made in this run was hashed by the process that made it"
    assert finished.tables() == tables


@pytest.mark.skipif(sys.platform == "win32", reason="lists the processes of a folder through /proc")
def test_a_notebook_ends_with_its_batch_even_before_it_has_imported_anything(tmp_path):
    command = [sys.executable, "-X", "importtime", "-m", "ovss.study.process"]
    imported = []
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        for line in process.stderr:
            imported.append(line.split("|")[-1].strip())
            if imported[-1] == "psutil":
                process.stdin.close()
    assert process.returncode == 3
    assert not {"ovss.study.execute", "papermill"} & set(imported)


def test_what_measures_time_runs_alone_and_last(tmp_path):
    study = Study(tmp_path)
    write_notebook(study.notebooks / "20_timed.ipynb", "Timed", 'out: str = ""  # out', "x = 1", exclusive=True)
    shown = []

    class Recorder(Display):
        def show(self, statuses, final=False):
            shown.append({status.id for status in statuses if status.state == "running"})

    config = load_config(write_config(study.folder))
    result = run_study(
        config, study.out, find_templates(study.notebooks), only=["20", "22"], jobs=3, display=Recorder()
    )
    assert [status.state for status in result.statuses] == ["done"] * 3
    assert {"22_table--scenes", "22_table--voc21"} in shown
    assert [running for running in shown if "20_timed" in running and len(running) > 1] == []
    assert shown.index({"20_timed"}) > shown.index({"22_table--scenes", "22_table--voc21"})


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    study = Study(tmp_path)
    study.out.mkdir()
    (study.out / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no report"):
        study.run()
    assert [path.name for path in study.out.iterdir()] == ["thesis.tex"]


def test_a_run_writes_where_git_does_not_look_and_is_compared_with_the_reference(tmp_path, monkeypatch, capsys):
    study = Study(tmp_path)
    config = write_config(tmp_path, '[notebooks.22_table]\ndatasets = ["scenes"]\n')
    monkeypatch.chdir(tmp_path)
    command = ["reproduce", str(config), "--notebooks", str(study.notebooks)]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith(f"{Path('reports/run/demo/index.html')}: written")
    shutil.copytree("reports/run/demo", "reports/demo")
    assert main(command) == 0
    assert "no numbers differ from reports/demo" in capsys.readouterr().out
    results = Path("reports/demo/tables/results.csv")
    results.write_text(results.read_text().replace("20.25", "20.75"))
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "1 numbers differ from reports/demo" in printed.out
    assert "DRIFT results, row 1, mIoU: 20.75 -> 20.25" in printed.err
    assert main([*command, "--compare", "reports/demo"]) == 1
