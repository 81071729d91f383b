"""The ledger: published facts kept whole, measured cells compared only where they are the same experiment."""

import argparse
import json

import pandas as pd
import pytest
from conftest import shared_path

from ovss.errors import InputError
from ovss.ledger import join, load_published, load_results, tidy, unexplained
from ovss.ledger.show import add_arguments, run
from ovss.methods import create_method
from ovss.protocols import load_protocol
from ovss.vocabulary import load_vocabulary


def cell(method="naclip", protocol="sclip", dataset="voc20", value=79.7, **more):
    """A measured cell; published for these defaults: 79.7."""
    fixed = {"arch": "ViT-B-16", "weights": "openai", "metric": "mIoU"}
    return fixed | {"method": method, "protocol": protocol, "dataset": dataset, "value": value} | more


def summary(mIoU=79.7, **more):
    """A row as an evaluation's summary has it."""
    protocol = load_protocol("sclip").for_dataset("voc20", "ViT-B-16")
    vocabulary = load_vocabulary("voc20", "sclip").with_templates(protocol.templates)
    row = {
        "method": "naclip",
        "mIoU": mIoU,
        "mIoU_low": mIoU - 1,
        "mIoU_high": mIoU + 1,
        "mAcc": 90.0,
        "images": 1449,
        "skipped": 0,
        "method_name": "naclip",
        "parameters": json.dumps(create_method("naclip").parameters, sort_keys=True),
        "model": "ViT-B-16",
        "pretrained": "openai",
        "dataset": "voc20",
        "protocol": "sclip",
        "protocol_hash": protocol.hash,
        "vocabulary_hash": vocabulary.hash,
    }
    return row | more


def of(ledger, **wanted):
    """The rows of a ledger with these values."""
    for name, value in wanted.items():
        ledger = ledger[ledger[name] == value]
    return ledger


def naclip_voc20(ledger):
    (row,) = of(ledger, method="naclip", protocol="sclip", dataset="voc20", arch="ViT-B-16").to_dict("records")
    return row


def test_all_published_facts_are_kept():
    published = load_published()
    specified = pd.read_csv(shared_path("spec", "published.csv"), dtype={"note": str}, keep_default_na=False)
    pd.testing.assert_frame_equal(published, specified)
    assert len(published) == 284
    assert published["value"].between(0, 100).all()


def test_without_measurements_every_cell_says_not_run():
    ledger = join(pd.DataFrame())
    assert len(ledger) == 284
    assert set(ledger["verdict"]) == {"not run"}
    assert ledger["measured"].isna().all()
    assert unexplained(ledger).empty


@pytest.mark.parametrize(
    ("dataset", "published", "measured", "verdict"),
    [
        ("voc20", 79.7, 79.7, "within"),
        ("voc20", 79.7, 80.0, "within"),
        ("voc20", 79.7, 79.4, "within"),
        ("voc20", 79.7, 80.01, "off"),
        ("voc20", 79.7, 79.39, "off"),
        ("coco_stuff171", 23.3, 23.9, "within"),
        ("coco_stuff171", 23.3, 22.69, "off"),
    ],
)
def test_the_verdict_follows_difference_and_tolerance(dataset, published, measured, verdict):
    ledger = join(pd.DataFrame([cell(dataset=dataset, value=measured)]))
    (row,) = of(ledger, method="naclip", protocol="sclip", dataset=dataset, arch="ViT-B-16").to_dict("records")
    assert row["published"] == published
    assert row["measured"] == measured
    assert row["difference"] == pytest.approx(measured - published)
    assert row["tolerance"] == (0.6 if dataset == "coco_stuff171" else 0.3)
    assert row["verdict"] == verdict
    assert len(unexplained(ledger)) == (verdict == "off")


def test_a_cell_published_twice_is_compared_with_both():
    ledger = join(pd.DataFrame([cell(method="sclip", dataset="coco_object", value=33.5)]))
    rows = of(ledger, method="sclip", dataset="coco_object", arch="ViT-B-16").set_index("source")
    assert rows.loc["SCLIP, repository README", "verdict"] == "within"
    assert rows.loc["SCLIP, paper", "verdict"] == "off"
    assert "README" in rows.loc["SCLIP, paper", "reason"]
    assert unexplained(ledger).empty


def test_a_recorded_reason_applies_to_the_cells_it_names_only():
    measured = [cell("gem", "clearclip", dataset, 10.0) for dataset in ("voc21", "voc20")]
    ledger = join(pd.DataFrame(measured))
    assert unexplained(ledger)["dataset"].tolist() == ["voc20"]
    assert "GEM paper" in of(ledger, method="gem", dataset="voc21").iloc[0]["reason"]


def test_an_evaluations_summary_is_understood_as_it_is():
    ledger = join(pd.DataFrame([summary()]))
    row = naclip_voc20(ledger)
    assert (row["verdict"], row["measured"]) == ("within", 79.7)
    assert (ledger["verdict"] != "not run").sum() == 1


@pytest.mark.parametrize("names", [("ViT-B/16", "openai"), ("ViT-B-16-quickgelu", "openai=weights.pt")])
def test_spellings_of_model_and_weights_do_not_matter(names):
    row = naclip_voc20(join(pd.DataFrame([summary(model=names[0], pretrained=names[1])])))
    assert row["verdict"] == "within"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"images": 300}, "measured on 300 of 1449 images"),
        ({"protocol_hash": load_protocol("sclip", logit_scale=99).for_dataset("voc20").hash}, "a changed protocol"),
        ({"vocabulary_hash": "0" * 64}, "other class names"),
        ({"parameters": '{"sigma": 9.0}'}, "other parameters"),
    ],
)
def test_another_experiment_is_not_compared_and_the_reason_says_so(changes, reason):
    ledger = join(pd.DataFrame([summary(mIoU=50.0, **changes)]))
    row = naclip_voc20(ledger)
    assert row["verdict"] == "not run"
    assert reason in row["reason"]
    assert pd.isna(row["measured"])
    assert unexplained(ledger).empty


def test_a_full_run_counts_whatever_partial_runs_lie_beside_it():
    partial, full = summary(mIoU=50.0, images=300), summary()
    for rows in ([partial, full], [full, partial]):
        row = naclip_voc20(join(pd.DataFrame(rows)))
        assert (row["verdict"], row["measured"], row["reason"]) == ("within", 79.7, "")


def test_cells_nobody_published_change_nothing():
    ledger = join(pd.DataFrame([cell(dataset="scenes"), cell(method="mine"), cell(weights="random")]))
    assert set(ledger["verdict"]) == {"not run"}


def test_summaries_are_read_from_files_and_folders(tmp_path):
    for number, run_folder in enumerate(("a", "b/c")):
        (tmp_path / run_folder).mkdir(parents=True)
        pd.DataFrame([summary(method=f"m{number}")]).to_csv(tmp_path / run_folder / "summary.csv", index=False)
    assert set(load_results([tmp_path])["method"]) == {"m0", "m1"}
    found = load_results([tmp_path / "a" / "summary.csv"])
    assert dict(zip(found["metric"], found["value"], strict=True)) == {"mIoU": 79.7, "mAcc": 90.0}
    assert load_results([]).empty


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "no evaluation summary: column 'method' is missing"),
        ("", "cannot be read"),
        ("method,arch,weights,protocol,dataset,metric,value\na,b,c,d,e,f,high\n", "'high', which is no number"),
    ],
)
def test_files_that_are_no_summary_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / "summary.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        load_results([path])
    assert str(path) in str(caught.value)


def test_paths_without_results_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no summary.csv"):
        load_results([tmp_path])
    with pytest.raises(InputError, match=r"gone.csv' does not exist"):
        load_results([tmp_path / "gone.csv"])


def test_tidy_leaves_long_tables_as_they_are():
    table = pd.DataFrame([cell(), cell(metric="mAcc", value=88.0)])
    assert tidy(table)["value"].tolist() == [79.7, 88.0]


def test_the_command_checks_and_its_exit_code_says_the_result(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    pd.DataFrame([summary()]).to_csv(good, index=False)
    pd.DataFrame([summary(mIoU=60.0)]).to_csv(bad, index=False)
    assert run(parser.parse_args([])) == 0
    assert "0 within; 0 off; 284 not run" in capsys.readouterr().out
    assert run(parser.parse_args(["--check"])) == 0
    assert run(parser.parse_args(["--check", "--results", str(good)])) == 0
    assert "1 within; 0 off; 283 not run" in capsys.readouterr().out
    assert run(parser.parse_args(["--check", "--results", str(bad), "--out", str(tmp_path / "ledger.csv")])) == 1
    shown = capsys.readouterr().out
    assert "-19.70" in shown
    assert "off without a recorded reason: 1" in shown
    assert len(pd.read_csv(tmp_path / "ledger.csv")) == 284
    assert run(parser.parse_args(["--results", str(bad)])) == 0
