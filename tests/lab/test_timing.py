"""`ovss bench`: paired rounds, ratios and refusals."""

import json

import pytest
import torch
from bench_bounds import BOUNDS, late
from method_helpers import random_backbone

from ovss.cli import main
from ovss.lab.timing import BASELINE, Timing, every_method, measure, smooth_windows, subjects_for, summarise
from ovss.methods import create_method, list_methods


def test_every_round_runs_every_subject_once_in_changing_order():
    backbone = random_backbone(depth=4, width=32)
    methods = [create_method("naclip"), create_method("cliptrase")]
    subjects = subjects_for(backbone, methods, smooth_windows(1, 64, 0), shared=methods)
    names = [subject.name for subject in subjects]
    assert names == [BASELINE, "naclip", "cliptrase", "2 methods, one pass"]
    assert [subject.passes for subject in subjects] == [1, 1, 1, 1]
    timings = measure(subjects, rounds=6, device=torch.device("cpu"))
    orders = [tuple(t.subject for t in timings if t.round == number) for number in range(6)]
    assert all(sorted(order) == sorted(names) for order in orders)
    assert len(set(orders)) > 1
    assert all(t.wall > 0 for t in timings)


def test_a_method_with_a_pass_of_its_own_adds_one_to_those_of_all():
    backbone = random_backbone(depth=4, width=32)
    methods = [create_method("naclip"), create_method("rfclip", channels=(0,))]
    subjects = subjects_for(backbone, methods, smooth_windows(1, 64, 0), shared=methods)
    assert [subject.passes for subject in subjects] == [1, 1, 2, 2]


def test_bench_runs_every_method_but_those_that_need_more_than_weights():
    backbone = random_backbone(depth=12, width=64)
    methods = every_method(backbone)
    assert {method.name for method in methods} == set(list_methods()) - {"compose", "registers"}
    names = {method.label.partition("(")[0] for method in methods} | {f"{len(methods)} methods, one pass"}
    assert set(BOUNDS) <= names, "a bound of something that is not measured"


def test_ratios_are_paired_within_a_round():
    timings = []
    for number, pace in enumerate((1.0, 10.0, 3.0)):
        timings += [Timing(BASELINE, number, pace, 2 * pace), Timing("naclip", number, 0.9 * pace, pace)]
    table = summarise(timings).set_index("subject")
    assert table.loc["naclip", "ratio"] == pytest.approx(0.9)
    assert table.loc["naclip", "ratio_low"] == pytest.approx(table.loc["naclip", "ratio_high"])
    assert table.loc["naclip", "cpu_ratio"] == pytest.approx(0.5)
    assert table.loc[BASELINE, "wall_ms"] == pytest.approx(3000)


def test_command_prints_a_table_and_writes_all_timings(tmp_path, capsys):
    file = tmp_path / "bench.json"
    options = ["--model", "ViT-S-32-alt", "--windows", "1", "--rounds", "2", "--size", "64", "--methods", "naclip"]
    assert main(["bench", "--ratios", *options, "--device", "cpu", "--json", str(file)]) == 0
    output = capsys.readouterr().out
    assert "encode_image" in output
    assert "naclip" in output
    document = json.loads(file.read_text())
    assert document["setting"]["size"] == 64
    assert len(document["timings"]) == 4
    assert {row["subject"] for row in document["summary"]} == {BASELINE, "naclip"}


def test_a_data_set_is_timed_stage_by_stage_and_the_hours_follow(tmp_path, capsys):
    file = tmp_path / "bench.json"
    options = ["--model", "tiny", "--methods", "clip,naclip(sigma=2)", "--images", "3", "--image-size", "96x64"]
    options += ["--classes", "5", "--for", "36000", "--device", "cpu", "--json", str(file)]
    assert main(["bench", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    document = json.loads(file.read_text())
    assert [row["method"] for row in document["throughput"]] == ["clip", "naclip(sigma=2)", "2 methods, one pass"]
    assert (document["setting"]["classes"], document["setting"]["image_size"]) == (5, "96x64")
    assert document["text"]["sentences"] % 5 == 0
    assert document["memory_bytes"] > 2**26
    for row, line in zip(document["throughput"], lines[3:], strict=False):
        assert row["images_per_second"] == pytest.approx(3 / sum(row["seconds"].values()))
        assert line.split("  ")[0] == row["method"]
        hours = float(line.removeprefix(row["method"]).split()[1])
        assert hours == pytest.approx(10 / row["images_per_second"], abs=0.006)
    assert "memory: at most" in lines[-1]


def test_only_the_maintainers_script_judges():
    rows = [{"subject": "naclip", "ratio": 1.2}, {"subject": "clip", "ratio": 1.01}, {"subject": "mine", "ratio": 9.0}]
    setting = {"model": "ViT-B-16", "size": 224}
    assert late({"setting": setting, "summary": rows}) == ["naclip: 1.200 is over 1.0"]
    assert late({"setting": setting | {"model": "ViT-L-14"}, "summary": rows}) == []


def test_steps_on_scores_are_timed_alone_and_the_table_says_how_many_passes_each_takes(tmp_path, monkeypatch):
    monkeypatch.setattr("ovss.lab.timing.every_method", lambda backbone: [create_method("naclip")])
    file = tmp_path / "bench.json"
    options = ["--model", "ViT-S-32-alt", "--windows", "2", "--rounds", "1", "--size", "64", "--no-shared"]
    assert main(["bench", "--ratios", *options, "--device", "cpu", "--json", str(file)]) == 0
    summary = {row["subject"]: row for row in json.loads(file.read_text())["summary"]}
    passes = {BASELINE: 1, "naclip": 1, "tlp alone": 0, "lposs alone": 0}
    assert {name: row["passes"] for name, row in summary.items()} == passes
    assert all(row["wall_ms"] > 0 for row in summary.values())


def test_a_method_with_a_pass_of_its_own_takes_two():
    backbone = random_backbone(depth=4, width=32)
    methods = [create_method("rfclip", channels=(1, 2)), create_method("naclip")]
    subjects = subjects_for(backbone, methods, smooth_windows(1, 64, 0))
    assert [subject.passes for subject in subjects] == [1, 2, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--image-size", "500"], "--image-size '500' must be width x height in pixels, as in 500x375"),
        (["--for", "0"], "--for 0 must be at least 1"),
        (["--rounds", "0"], "--rounds 0 must be at least 1"),
        (["--methods", "naklip"], "Did you mean 'naclip'?"),
    ],
)
def test_bad_options_are_one_line(options, message, capsys):
    assert main(["bench", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
