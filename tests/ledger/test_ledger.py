"""The ledger: published facts kept whole, measured cells compared only where they are the same experiment."""

import json

import pandas as pd
import pytest

from ovss.cli.main import build_parser
from ovss.errors import InputError
from ovss.ledger import VERDICTS, join, load_published, load_results, protocol_ranks, tidy, unexplained
from ovss.methods import create_method
from ovss.protocols import list_protocols, load_protocol


def cell(method="naclip", protocol="naclip", dataset="voc20", value=79.7, **more):
    """A measured cell; published for these defaults: 79.7."""
    fixed = {"arch": "ViT-B-16", "weights": "openai", "metric": "mIoU"}
    return fixed | {"method": method, "protocol": protocol, "dataset": dataset, "value": value} | more


def summary(mIoU=79.7, protocol="naclip", dataset="voc20", method="naclip", **more):
    """A row as an evaluation's summary has it; `protocol` is a name, or a changed protocol."""
    protocol = load_protocol(protocol) if isinstance(protocol, str) else protocol
    resolved = protocol.for_dataset(dataset, "ViT-B-16")
    row = {
        "method": method,
        "mIoU": mIoU,
        "mIoU_low": mIoU - 1,
        "mIoU_high": mIoU + 1,
        "mAcc": 90.0,
        "images": 1449,
        "skipped": 0,
        "method_name": method,
        "parameters": json.dumps(create_method(method).parameters, sort_keys=True),
        "model": "ViT-B-16",
        "pretrained": "openai",
        "dataset": dataset,
        "protocol": protocol.name,
        "protocol_hash": resolved.hash,
        "vocabulary_hash": resolved.vocabulary(dataset).hash,
    }
    return row | more


def of(ledger, **wanted):
    """The rows of a ledger with these values."""
    for name, value in wanted.items():
        ledger = ledger[ledger[name] == value]
    return ledger


def naclip_voc20(ledger):
    (row,) = of(ledger, method="naclip", protocol="naclip", dataset="voc20", arch="ViT-B-16").to_dict("records")
    return row


def measured_cells(ledger):
    return ledger[ledger["measured"].notna()]


def test_without_measurements_every_comparable_cell_says_not_run():
    published = load_published()
    ledger = join(pd.DataFrame())
    assert len(ledger) == len(published)
    assert set(ledger["verdict"]) == {"not run", "no value", "not comparable"}
    assert ledger["measured"].isna().all()
    assert (ledger["verdict"][published["value"].isna()] == "no value").all()
    assert unexplained(ledger).empty


def comparable():
    """Cells that a measured number can be right or wrong about."""
    return of(join(pd.DataFrame()), verdict="not run")


def test_a_right_number_is_never_called_off_without_a_reason():
    for _, cells in comparable().groupby("source"):
        table = cells.assign(value=cells["published"])
        ledger = join(table[["method", "arch", "weights", "protocol", "dataset", "metric", "value"]])
        assert (of(ledger, source=cells["source"].iloc[0])["verdict"].value_counts().get("within", 0)) == len(table)
        assert unexplained(ledger).empty


def test_a_number_measured_under_another_protocol_is_not_compared():
    cells = comparable()
    for protocol in list_protocols():
        others = cells[cells["protocol"] != protocol].assign(protocol=protocol, value=0.0)
        ledger = join(others[["method", "arch", "weights", "protocol", "dataset", "metric", "value"]])
        assert set(measured_cells(ledger)["protocol"]) <= {protocol}
        assert not of(ledger, verdict="off").empty or measured_cells(ledger).empty


def test_a_cell_of_unknown_protocol_is_never_off_and_says_why():
    table = pd.DataFrame(
        [cell("clip", protocol, "voc20", 0.0) for protocol in (*list_protocols(), "unknown")]
        + [cell("naclip", "unknown", "voc20", 0.0)]
    )
    ledger = join(table)
    unknown = of(ledger, protocol="unknown")
    assert set(unknown["verdict"]) <= {"not comparable", "no value"}
    assert (unknown["reason"] != "").all()
    assert unknown["measured"].isna().all()


def test_a_data_set_of_the_authors_own_making_is_not_compared():
    ledger = join(pd.DataFrame([cell("cliptrase", "cliptrase-224", "coco_object", 10.0)]))
    rows = of(ledger, method="cliptrase", protocol="cliptrase-224", dataset="coco_object")
    assert set(rows["verdict"]) == {"not comparable"}
    assert rows["reason"].str.contains("own making").all()


def test_clearclips_threshold_for_plain_clip_is_a_protocol_of_its_own():
    for protocol, verdict in (("clearclip-vanilla", "within"), ("clearclip", "not run")):
        ledger = join(pd.DataFrame([summary(16.2, protocol, "voc21", "clip")]))
        (row,) = of(ledger, method="clip", protocol="clearclip-vanilla", dataset="voc21").to_dict("records")
        assert row["verdict"] == verdict
        assert "threshold of 0.2" in row["protocol_reason"]


def test_parameters_that_a_protocol_gives_a_method_are_the_published_ones():
    feedback = {"sfr_tau": 2.1, "sfr_lam": 0.6, "sfr_threshold": 0.1}
    published = {"lam": 0.6} | feedback
    for tuned, verdict in ((published, "within"), (published | {"lam": 0.4}, "not run"), ({"lam": 0.6}, "not run")):
        parameters = json.dumps(create_method("resclip", **tuned).parameters, sort_keys=True)
        ledger = join(pd.DataFrame([summary(86.0, "resclip", "voc20", "resclip", parameters=parameters)]))
        (row,) = of(ledger, method="resclip", dataset="voc20", arch="ViT-B-16").to_dict("records")
        assert row["verdict"] == verdict


def test_the_verdicts_are_the_documented_ones():
    ledger = join(pd.DataFrame([cell(), cell(dataset="voc21", value=1.0)]))
    assert set(ledger["verdict"]) == set(VERDICTS)


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
    (row,) = of(ledger, method="naclip", protocol="naclip", dataset=dataset, arch="ViT-B-16").to_dict("records")
    assert row["published"] == published
    assert row["measured"] == measured
    assert row["difference"] == pytest.approx(measured - published)
    assert row["tolerance"] == (0.6 if dataset == "coco_stuff171" else 0.3)
    assert row["verdict"] == verdict
    assert len(unexplained(ledger)) == (verdict == "off")


def test_a_cell_published_twice_is_compared_with_both():
    ledger = join(pd.DataFrame([cell(method="sclip", protocol="sclip", dataset="context59", value=34.46)]))
    rows = of(ledger, method="sclip", dataset="context59", arch="ViT-B-16").set_index("source")
    assert rows.loc["SCLIP, repository README", "verdict"] == "within"
    rerun = rows.loc["TF-OVOS benchmark, re-run of the official code"]
    assert rerun["verdict"] == "off"
    assert "README" in rerun["reason"]
    assert rows.loc["SCLIP, paper", "verdict"] == "not comparable"
    assert unexplained(ledger).empty


def test_a_recorded_reason_applies_to_the_cells_it_names_only():
    measured = [cell("clip_surgery", "clip_surgery", "context60", value=10.0), cell(value=10.0)]
    ledger = join(pd.DataFrame(measured))
    assert unexplained(ledger)["method"].tolist() == ["naclip"]
    assert "not public" in of(ledger, method="clip_surgery", verdict="off").iloc[0]["reason"]


def test_an_evaluations_summary_is_understood_as_it_is():
    ledger = join(pd.DataFrame([summary()]))
    row = naclip_voc20(ledger)
    assert (row["verdict"], row["measured"]) == ("within", 79.7)
    assert len(measured_cells(ledger)) == 1


def test_a_method_is_known_by_its_name_whatever_its_label():
    row = naclip_voc20(join(pd.DataFrame([summary() | {"method": "neighbours"}])))
    assert row["verdict"] == "within"


def test_long_tables_and_summaries_are_read_together():
    table = pd.concat([tidy(pd.DataFrame([summary()])), pd.DataFrame([cell(dataset="context60", value=32.2)])])
    assert len(of(join(table), verdict="within")) == 2


@pytest.mark.parametrize("names", [("ViT-B/16", "openai"), ("ViT-B-16-quickgelu", "openai=weights.pt")])
def test_spellings_of_model_and_weights_do_not_matter(names):
    row = naclip_voc20(join(pd.DataFrame([summary(model=names[0], pretrained=names[1])])))
    assert row["verdict"] == "within"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"images": 300}, "measured on 300 of 1449 images"),
        ({"protocol": load_protocol("naclip", logit_scale=99)}, "a changed protocol"),
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
    pd.testing.assert_frame_equal(ledger, join(pd.DataFrame()))


def test_summaries_are_read_from_files_and_folders(tmp_path):
    for number, run_folder in enumerate(("a", "b/c")):
        (tmp_path / run_folder).mkdir(parents=True)
        pd.DataFrame([summary() | {"method": f"m{number}"}]).to_csv(tmp_path / run_folder / "summary.csv", index=False)
    assert set(load_results([tmp_path])["method"]) == {"m0", "m1"}
    found = load_results([tmp_path / "a" / "summary.csv"])
    assert dict(zip(found["metric"], found["value"], strict=True)) == {"mIoU": 79.7, "mAcc": 90.0}
    assert load_results([]).empty


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "not an evaluation summary: column 'method' is missing"),
        ("", "cannot be read"),
        ("method,arch,weights,protocol,dataset,metric,value\na,b,c,d,e,f,high\n", "'high', which is not a number"),
    ],
)
def test_files_that_are_not_a_summary_are_refused_by_name(tmp_path, content, message):
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


@pytest.fixture
def command():
    def run(*words: object) -> int:
        arguments = build_parser()[0].parse_args(["ledger", *map(str, words)])
        return arguments.run(arguments)

    return run


def test_the_command_checks_and_its_exit_code_says_the_result(tmp_path, capsys, command):
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    pd.DataFrame([summary()]).to_csv(good, index=False)
    pd.DataFrame([summary(mIoU=60.0)]).to_csv(bad, index=False)
    cells, open_cells = len(load_published()), len(comparable())
    assert command() == 0
    assert f"0 within; 0 off; {open_cells} not run; " in capsys.readouterr().out
    assert command("--check") == 0
    assert command("--check", "--results", good) == 0
    assert f"1 within; 0 off; {open_cells - 1} not run; " in capsys.readouterr().out
    assert command("--check", "--results", bad, "--out", tmp_path / "ledger.csv") == 1
    shown = capsys.readouterr().out
    assert "-19.70" in shown
    assert "off without a recorded reason: 1" in shown
    assert len(pd.read_csv(tmp_path / "ledger.csv")) == cells
    assert command("--results", bad) == 0


def test_the_command_lists_averages_that_conflict_with_their_cells(tmp_path, capsys, command):
    assert command("--averages", "--out", tmp_path / "averages.csv") == 0
    shown = capsys.readouterr().out
    assert "conflict: cliptrase" in shown
    assert "printed 32.7, its cells give 37.46" in shown
    assert "conflict" in set(pd.read_csv(tmp_path / "averages.csv")["outcome"])


def test_ranks_are_compared_between_protocols_of_one_data_set_only():
    rows = [cell("clip", "a", value=40), cell("naclip", "a", value=80), cell("scclip", "a", value=84)]
    rows += [cell("clip", "b", value=41), cell("naclip", "b", value=79), cell("scclip", "b", value=70)]
    rows += [cell("sclip", "b", value=99), cell("clip", "a", "voc21", 16), cell("naclip", "a", "voc21", 58)]
    ranks = protocol_ranks(pd.DataFrame(rows)).set_index("method")
    assert ranks[["a", "b", "lowest", "highest"]].T.to_dict("list") == {
        "clip": [3, 3, 3, 3],
        "naclip": [2, 1, 1, 2],
        "scclip": [1, 2, 1, 2],
    }
    assert set(ranks["dataset"]) == {"voc20"}
    assert protocol_ranks(pd.DataFrame(rows[-2:])).empty
    assert protocol_ranks(pd.DataFrame()).empty


def test_two_protocols_of_one_name_are_ranked_apart():
    rows = [cell("clip", "a", value=40) | {"protocol_hash": "1" * 64}]
    rows += [cell("naclip", "a", value=80) | {"protocol_hash": "1" * 64}]
    rows += [cell("clip", "a", value=41) | {"protocol_hash": "2" * 64}]
    rows += [cell("naclip", "a", value=30) | {"protocol_hash": "2" * 64}]
    ranks = protocol_ranks(pd.DataFrame(rows)).set_index("method")
    assert ranks.loc["clip", ["a 11111111", "a 22222222"]].tolist() == [2, 1]
    assert protocol_ranks(pd.DataFrame(rows[:2])).empty
