"""The study notebooks: how they are stored, that the default study runs, and that its reference has not moved."""

import json
import re
import shutil
from dataclasses import replace

import nbformat
import pandas as pd
import pytest
from paths import ROOT

from ovss.study.compare import compare_tables
from ovss.study.config import NotebookSpec, load_config
from ovss.study.plan import find_templates, plan_study
from ovss.study.run import run_study

TEMPLATES = find_templates(ROOT / "notebooks")
REFERENCE = ROOT / "reports" / "tiny"


def by_name(template):
    return template.path.stem


def test_all_templates_are_there():
    assert [name[:2] for name in map(by_name, TEMPLATES)] == [
        "20",
        "21",
        "22",
        "23",
        "24",
        "25",
        "26",
        "27",
        "28",
        "29",
    ]


@pytest.mark.parametrize("template", TEMPLATES, ids=by_name)
def test_a_template_is_stored_without_outputs_and_begins_with_prose(template):
    notebook = nbformat.read(template.path, as_version=4)
    assert notebook.metadata.kernelspec.name == "python3"
    assert 10 <= len(notebook.cells) <= 40
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    for cell in notebook.cells:
        assert cell.source.strip()
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            assert not cell.source.startswith(("%", "!"))
    assert any("assert " in cell.source for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.parametrize("template", TEMPLATES, ids=by_name)
def test_every_parameter_of_a_template_is_annotated_and_explained(template):
    assert "out" in template.declared
    for name, parameter in template.declared.items():
        assert parameter["inferred_type_name"] in {"str", "int", "float", "list", "bool"}, name
        assert parameter["help"], name


def test_what_reads_another_run_waits_for_it():
    tasks = plan_study(load_config("tiny"), TEMPLATES)
    after = {task.stem: [other.stem for other in task.after] for task in tasks}
    assert after["25_ledger"] == ["22_benchmark_table"]
    assert after["27_error_card"] == ["26_oracle_ladder"]


@pytest.mark.parametrize("name", ["paper-vitb16", "models", "large-vocabulary"])
def test_the_large_studies_fit_the_notebooks(name):
    config = load_config(name)
    tasks = plan_study(config, TEMPLATES)
    benchmarks = [task for task in tasks if task.stem == "22_benchmark_table"]
    assert len(benchmarks) == len(config.models) * len(config.datasets) * len(config.protocols)
    assert len({task.id for task in tasks}) == len(tasks)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The default study on very few images and methods."""
    config = load_config("tiny")
    short = {"sigmas": [1.0, 5.0], "fractions": [0.1], "betas": [0.2], "epsilons": [0.5], "thresholds": [0.5]}
    settings = {
        "21_attention_measurements": NotebookSpec(parameters={"limit": 4}),
        "23_ablations": NotebookSpec(parameters={"limit": 4, "temperatures": [3.0], **short}),
        "26_oracle_ladder": NotebookSpec(parameters={"limit": 4}),
        "27_error_card": NotebookSpec(parameters={"limit": 4, "changed": 2}),
        "28_causal_atlas": NotebookSpec(parameters={"limit": 4, "looked_at": 2}),
        "24_cost": NotebookSpec(parameters={"rounds": 1, "class_counts": [20, 847]}),
    }
    methods = ("clip", "maskclip", "sclip", "naclip", "scclip", "cliptrase")
    few = tuple(replace(spec, limit=6) for spec in config.datasets)
    out = tmp_path_factory.mktemp("study") / "report"
    result = run_study(replace(config, datasets=few, methods=methods, notebooks=settings), out, TEMPLATES, jobs=2)
    return result, out


@pytest.mark.slow
def test_the_default_study_runs_and_shows_every_notebook(small):
    result, out = small
    assert [failure.describe() for failure in result.failures] == []
    record = json.loads((out / "run.json").read_text())
    assert {task["state"] for task in record["tasks"]} == {"done"}
    page = (out / "index.html").read_text()
    chosen = {task["id"] for task in record["tasks"]}
    assert len(chosen) == 9
    for template in (one for one in TEMPLATES if one.path.stem in chosen):
        assert f"notebooks/{template.path.stem}.html" in page
        assert (out / "notebooks" / f"{template.path.stem}.html").is_file()
    assert (out / "explorer.html").is_file()


@pytest.mark.slow
def test_tables_hold_numbers_with_intervals_and_their_origin(small):
    results = pd.read_parquet(small[1] / "tables" / "results.parquet")
    assert list(results["method"]) == ["clip", "maskclip", "sclip", "naclip", "scclip", "cliptrase"]
    assert results["mIoU_low"].isna().all(), "six images are too few for an interval"
    for column in ("weights_hash", "protocol_hash", "vocabulary_hash", "dataset_fingerprint", "seed", "torch"):
        assert results[column].notna().all()
    for name in ("ablations", "ingredients", "interactions", "links", "ledger", "pairs", "measurements"):
        assert len(pd.read_parquet(small[1] / "tables" / f"{name}.parquet")), name


NOUNS = "block|method|image|pair|difference|round|window|row|combination|setting|head|correlation|cell|point"
FAULTS = {
    "one of many": rf"(?<![\d.+-])1 (?:(?:{NOUNS})s|classes|passes|patches)\b",
    "many of one": rf"(?<![\d.+-])(?:0|[2-9]|\d\d+) (?:{NOUNS}|class|pass|patch)\b(?! (?:of|on) the)",
    "no number": r"\bnan\b|\b(?-i:None)\b(?! of the)|\binf\b",
    "a number twice": r"\((\d\.\d+)\), \1 in",
    "typography": r"  | ,|\.\.|,\.|;\.|\( | \)",
    "word": r"\bpicture",
}


@pytest.mark.slow
def test_sentences_of_a_run_agree_with_their_numbers(small):
    record = json.loads((small[1] / "run.json").read_text())
    texts = [note["caption"] for notes in record["captions"].values() for note in notes.values()]
    texts += pd.read_parquet(small[1] / "tables" / "ablations.parquet")["setting"].tolist()
    assert len(texts) > 150
    found = {name: [text for text in texts if re.search(fault, text, re.I)] for name, fault in FAULTS.items()}
    assert found == {name: [] for name in FAULTS}
    opened = [text for text in texts if text.count("(") != text.count(")") or text.count("[") != text.count("]")]
    assert opened == []


@pytest.mark.slow
def test_every_figure_of_a_run_is_there_for_a_light_and_for_a_dark_page(small):
    names = json.loads((small[1] / "run.json").read_text())["captions"]["figures"]
    assert len(names) > 20
    files = {path.name for path in (small[1] / "figures").iterdir()}
    assert files == {f"{name}{ending}" for name in names for ending in (".png", ".dark.png", ".svg")}
    assert (small[1] / "index.html").read_text().count('class="on-dark"') >= len(names)


@pytest.mark.slow
def test_times_are_kept_out_of_the_tables(small):
    names = {path.stem for path in (small[1] / "timings").glob("*.csv")}
    assert names == {"method_cost", "stage_cost", "memory"}
    for path in (small[1] / "tables").glob("*.csv"):
        assert not {"seconds", "milliseconds"} & set(pd.read_csv(path, nrows=1).columns)


@pytest.mark.slow
def test_no_notebook_of_the_reference_run_holds_a_path_of_the_machine_that_ran_it():
    notebooks = sorted((REFERENCE / "notebooks").glob("*.ipynb"))
    assert len(notebooks) == len(json.loads((REFERENCE / "run.json").read_text())["tasks"])
    for path in (*notebooks, *(REFERENCE / "notebooks").glob("*.html")):
        found = re.search(
            r"/\S+/ovss/\S+\.py|/(home|root|work|Users|tmp/ipykernel\w*)/\S+", path.read_text(encoding="utf-8")
        )
        assert not found, f"{path.name}: {found[0]}"


@pytest.mark.slow
def test_the_benchmark_of_the_reference_run_has_not_moved(tmp_path):
    if not (REFERENCE / "run.json").is_file():
        pytest.skip("reports/tiny is not there; run 'make reference'")
    run_study(load_config("tiny"), tmp_path / "fresh", TEMPLATES, only=["22"])
    (tmp_path / "reference" / "tables").mkdir(parents=True)
    tables = json.loads((REFERENCE / "run.json").read_text())["captions"]["tables"]
    for name, note in tables.items():
        if note["tasks"] == ["22_benchmark_table"]:
            shutil.copy(REFERENCE / "tables" / f"{name}.csv", tmp_path / "reference" / "tables")
    assert compare_tables(tmp_path / "reference", tmp_path / "fresh") == []
