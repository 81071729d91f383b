"""Configurations and plans of a study: what is accepted, what is refused, what becomes a task."""

import re

import numpy as np
import pandas as pd
import pytest
from study_notebooks import write_config, write_notebook, write_study

from ovss.errors import InputError
from ovss.figures import interval_figure, matrix_figure
from ovss.lab.outputs import Outputs, slug, write_table
from ovss.study.compare import compare_tables
from ovss.study.config import DatasetSpec, ModelSpec, list_configs, load_config
from ovss.study.missing import describe_plan
from ovss.study.plan import Task, find_templates, plan_study


def study(tmp_path, more=""):
    return load_config(write_config(tmp_path, more)), find_templates(write_study(tmp_path))


@pytest.mark.parametrize("name", list_configs())
def test_shipped_configurations_are_valid(name):
    config = load_config(name)
    assert config.name == name
    assert config.models
    assert config.datasets


def test_all_methods_are_written_out_without_the_composed_one():
    methods = load_config("tiny").methods
    assert "naclip" in methods
    assert "compose" not in methods


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("protocols", "protocol", r"unknown key 'protocol'.*Did you mean 'protocols'"),
        ('"naclip"]', '"naclipp"]', r"methods: method 'naclipp' is unknown.*naclip"),
        ('["study"]', '"study"', r"protocols = 'study' must be a list"),
        ('name = "scenes"', 'nam = "scenes"', r"unknown key 'datasets.nam'"),
        ('name = "scenes"', 'name = "scenes"\nlimit = -1', r"limit = -1 must be 0"),
        ('name = "demo"', 'name = "../demo"', r"must be letters, digits"),
        ('["study"]', '["study", "study"]', r"same entry twice"),
        ("[[models]]", "[[models", r"not valid TOML"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_key(tmp_path, old, new, message):
    path = write_config(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=message):
        load_config(path)


def test_an_unknown_configuration_name_gets_a_suggestion():
    with pytest.raises(InputError, match="Did you mean 'models'"):
        load_config("model")


def test_relative_paths_of_a_file_count_from_its_folder(tmp_path):
    config = load_config(write_config(tmp_path))
    assert config.datasets[1].root == str(tmp_path / "nowhere")


def test_a_template_runs_once_per_data_set_and_readers_come_after(tmp_path):
    config, templates = study(tmp_path)
    tasks = plan_study(config, templates)
    assert [task.id for task in tasks] == ["22_table--scenes", "22_table--voc21", "25_total"]
    assert tasks[2].parameters["results"] == ["../22_table--scenes/tables", "../22_table--voc21/tables"]


def test_only_takes_along_what_a_notebook_reads_from(tmp_path):
    config, templates = study(tmp_path)
    assert [task.stem for task in plan_study(config, templates, ["25"])] == ["22_table", "22_table", "25_total"]
    assert [task.stem for task in plan_study(config, templates, ["22"])] == ["22_table", "22_table"]


def test_an_unknown_notebook_is_refused(tmp_path):
    config, templates = study(tmp_path)
    with pytest.raises(InputError, match="no study notebook is called '29'"):
        plan_study(config, templates, ["29"])


def test_a_parameter_that_the_notebook_does_not_declare_is_refused(tmp_path):
    config, templates = study(tmp_path, "[notebooks.22_table]\nparameters = { paus = 1.0 }\n")
    with pytest.raises(InputError, match=r"22_table has no parameter 'paus'. Did you mean 'pause'"):
        plan_study(config, templates)


def test_settings_of_a_notebook_narrow_its_axes_and_set_parameters(tmp_path):
    more = '[notebooks.22_table]\ndatasets = ["scenes"]\nparameters = { pause = 0.5 }\n'
    tasks = plan_study(*study(tmp_path, more))
    assert [task.id for task in tasks] == ["22_table", "25_total"]
    assert tasks[0].parameters["pause"] == 0.5


def test_a_filter_that_names_nothing_of_the_study_is_refused(tmp_path):
    config, templates = study(tmp_path, '[notebooks.22_table]\ndatasets = ["scene"]\n')
    with pytest.raises(InputError, match=r"names 'scene'.*Did you mean 'scenes'"):
        plan_study(config, templates)


def test_a_notebook_without_parameters_is_refused(tmp_path):
    folder = write_study(tmp_path)
    write_notebook(folder / "23_none.ipynb", "None", "x = 1")
    text = (folder / "23_none.ipynb").read_text().replace('"parameters"', '"other"')
    (folder / "23_none.ipynb").write_text(text)
    with pytest.raises(InputError, match=r"23_none\.ipynb has no cell tagged 'parameters'"):
        find_templates(folder)


def test_a_dry_run_names_missing_data(tmp_path):
    text, complete = describe_plan(*(config := study(tmp_path))[:1], plan_study(*config))
    assert not complete
    assert "[MISSING] voc21" in text
    assert str(tmp_path / "nowhere") in text
    assert "[OK]      scenes val: 500 images" in text
    assert "[OK]      tiny" in text
    assert text.endswith("1 missing, 0 impossible")


@pytest.mark.parametrize(
    ("pretrained", "why"),
    [
        ("nowhere.pt", "file '.*nowhere.pt' does not exist"),
        ("openay", "open_clip has no such tag. Did you mean 'openai'"),
    ],
)
def test_a_dry_run_says_which_weights_are_missing_and_why(tmp_path, pretrained, why):
    path = write_config(tmp_path)
    path.write_text(path.read_text().replace('model = "tiny"', f'model = "ViT-B-16"\npretrained = "{pretrained}"'))
    config = load_config(path)
    text, complete = describe_plan(config, plan_study(config, find_templates(write_study(tmp_path))))
    assert re.search(rf"\[MISSING\] ViT-B-16 {pretrained.removesuffix('.pt')}: {why}", text), text
    assert not complete


def test_a_dry_run_says_when_a_protocol_makes_no_sense_for_a_model(tmp_path):
    folder = write_study(tmp_path)
    declared = (
        'out: str = ""  # x\nmodel: str = ""  # x\ndataset: str = ""  # x\nprotocol: str = ""  # x\nlimit: int = 0  # x'
    )
    write_notebook(folder / "23_more.ipynb", "More", declared)
    config = load_config(write_config(tmp_path, "").with_name("demo.toml"))
    text, _ = describe_plan(config, plan_study(config, find_templates(folder)))
    assert "cannot run" not in text
    path = write_config(tmp_path)
    path.write_text(path.read_text().replace('["study"]', '["window224"]'))
    text, complete = describe_plan(load_config(path), plan_study(load_config(path), find_templates(folder)))
    assert "cannot run: protocol 'window224' has windows of 224 pixels" in text
    assert not complete


def test_outputs_of_a_notebook_opened_by_hand_write_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"x": [1]})
    assert Outputs().table("t", frame, "c") is frame
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_the_same_bytes_each_time(tmp_path):
    frame = pd.DataFrame({"name": ["a,b", 'c"d'], "value": [1.5, float("nan")]})
    for name in ("one", "two"):
        write_table(tmp_path / name, frame)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert pd.read_parquet(tmp_path / "one.parquet").equals(frame)


def test_an_output_name_that_is_not_a_file_name_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"output name '\.\./x'"):
        Outputs(tmp_path).table("../x", pd.DataFrame({"x": [1]}), "c")


def test_slugs_are_safe_file_names():
    assert slug("ViT-B-16 openai/scenes") == "vit-b-16-openai-scenes"


def write_report(folder, **columns):
    (folder / "tables").mkdir(parents=True)
    write_table(folder / "tables" / "results", pd.DataFrame(columns))
    return folder


def test_drift_is_found_beyond_a_given_tolerance_only(tmp_path):
    old = write_report(tmp_path / "old", method=["a", "b"], mIoU=[10.0, 20.0], code_hash="x", share=[0.5, 0.5])
    new = write_report(tmp_path / "new", method=["a", "b"], mIoU=[10.05, 20.2], code_hash="y", share=[0.5, 0.52])
    lines = compare_tables(old, new, 0.1)
    assert lines == ["results, row 1, mIoU: 20.0 -> 20.2", "results, row 1, share: 0.5 -> 0.52"]
    assert compare_tables(old, new, 1.0) == []


AREAS = {"class": ["cat"], "truth_pixels": [200_000], "accuracy": [60.0]}


def test_a_count_may_move_by_two_pixels_and_a_five_thousandth_of_its_class(tmp_path):
    # IoU 50 of 200,000 + 100,000 labelled pixels: a union of 200,000, so that 42 pixels may change hands.
    old = write_report(tmp_path / "old", **AREAS, IoU=[50.0], predicted_pixels=[100_000])
    for name, iou, area, moved in (
        ("few", 50.03, 100_042, []),
        ("iou", 50.04, 100_000, ["results, row 0, IoU: 50.0 -> 50.04"]),
        ("area", 50.0, 100_200, ["results, row 0, predicted_pixels: 100000 -> 100200"]),
    ):
        fresh = write_report(tmp_path / name, **AREAS, IoU=[iou], predicted_pixels=[area])
        assert compare_tables(old, fresh) == moved
    truth = AREAS | {"truth_pixels": [200_001], "IoU": [50.0], "predicted_pixels": [100_000]}
    exact = write_report(tmp_path / "truth", **truth)
    assert compare_tables(old, exact) == ["results, row 0, truth_pixels: 200000 -> 200001"]


def test_without_areas_a_mean_may_move_by_what_its_smallest_class_allows(tmp_path):
    old = write_report(tmp_path / "old", method=["a"], mIoU=[50.0], difference=[3.0], p=[0.04])
    near = write_report(tmp_path / "near", method=["a"], mIoU=[50.04], difference=[3.07], p=[0.045])
    far = write_report(tmp_path / "far", method=["a"], mIoU=[50.05], difference=[3.08], p=[0.047])
    assert compare_tables(old, near) == []
    assert [line.split(":")[0] for line in compare_tables(old, far)] == [
        f"results, row 0, {column}" for column in ("mIoU", "difference", "p")
    ]


def test_a_verdict_may_change_only_where_its_interval_touches_zero(tmp_path):
    def report(name, low, sure):
        return write_report(tmp_path / name, method=["a"], difference_low=[low], difference_high=[2.0], sure=[sure])

    assert compare_tables(report("touching", 0.01, True), report("touched", -0.01, False)) == []
    lines = compare_tables(report("clear", 0.5, True), report("wrong", 0.5, False))
    assert lines == ["results, row 0, sure: True -> False"]


def test_rows_belong_together_by_what_they_are_about(tmp_path):
    old = write_report(tmp_path / "old", method=["a", "b"], layer=[1, 2], rho=[0.5, 0.4])
    new = write_report(tmp_path / "new", method=["b", "a"], layer=[2, 1], rho=[0.4, 0.5])
    assert compare_tables(old, new) == []


def test_numbers_are_written_to_the_digits_that_they_mean(tmp_path):
    frame = pd.DataFrame(
        {
            "method": ["a"],
            "mIoU": [50.12345],
            "difference_low": [-0.0012],
            "p": [0.12345],
            "rho": [0.98765],
            "tiny": [0.000123456],
            "truth_pixels": [123456],
            "predicted_pixels": [123456],
        }
    )
    Outputs(tmp_path).table("t", frame, "c")
    assert (tmp_path / "tables" / "t.csv").read_text().splitlines()[1] == (
        "a,50.12,0.0,0.123,0.988,0.0001235,123456,123500"
    )


def test_the_last_bits_of_a_number_do_not_reach_a_figure(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"method": list("abcde"), "mIoU": np.round(rng.uniform(20, 80, 5), 2)})
    frame = frame.assign(mIoU_low=frame["mIoU"] - 1, mIoU_high=frame["mIoU"] + 1)
    values = np.round(rng.uniform(-1, 1, (3, 5)), 4)
    for name, noise in (("one", 0.0), ("two", 1e-9)):
        outputs = Outputs(tmp_path / name)
        noisy = frame.assign(**{column: frame[column] * (1 + noise) for column in frame if column != "method"})
        outputs.figure("points", interval_figure(noisy, "method", "mIoU", "percent"), "c", "a")
        outputs.figure(
            "matrix", matrix_figure(values * (1 + noise), label="u", rows=list("xyz"), columns=list("abcde")), "c", "a"
        )
    for path in sorted((tmp_path / "one" / "figures").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / "figures" / path.name).read_bytes(), path.name
        assert b"<text" not in path.read_bytes(), "letters are drawn, so that no font of the machine is asked for"


def test_drift_reports_missing_tables_and_rows(tmp_path):
    old = write_report(tmp_path / "old", method=["a", "b"], mIoU=[10.0, 20.0])
    new = write_report(tmp_path / "new", method=["a"], mIoU=[10.0])
    assert compare_tables(old, new, 0.1) == ["results: 2 rows in the reference, 1 now"]
    (new / "tables" / "results.csv").rename(new / "tables" / "other.csv")
    assert compare_tables(old, new, 0.1) == [f"results: missing in {new}"]


def test_a_task_is_made_again_when_data_weights_or_what_it_reads_from_change(tmp_path):
    notebook = write_study(tmp_path) / "22_table.ipynb"
    weights = tmp_path / "weights.safetensors"

    def digest_of(content=b"one", split="val", before="a"):
        weights.write_bytes(content)
        model, dataset = ModelSpec("tiny", pretrained=str(weights)), DatasetSpec("scenes", split=split)
        first = Task("first", notebook, {"dataset": before})
        return Task("task", notebook, {}, model, dataset, (first,)).digest

    digests = [digest_of(), digest_of(content=b"two"), digest_of(split="test"), digest_of(before="b")]
    assert len(set(digests)) == 4
    assert digest_of() == digests[0]
