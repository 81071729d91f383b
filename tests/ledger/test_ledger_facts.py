"""The ledger's facts: every value as its source has it, filed under the protocol that the source really used."""

from collections import Counter

import pandas as pd
import pytest
from paths import shared_path

from ovss.datasets import BENCHMARKS
from ovss.errors import InputError
from ovss.ledger import SUPPORT, join, load_averages, load_published, recompute, states
from ovss.ledger.averages import COLUMNS as AVERAGE_COLUMNS
from ovss.ledger.averages import SETS
from ovss.ledger.published import COLUMNS
from ovss.protocols import list_protocols

FACT = ["method", "arch", "weights", "dataset", "metric", "value", "source"]

# Values of ../shared/spec that the ledger has otherwise: fact -> reason.
MISMATCHES: dict[tuple, str] = {}

# (method, architecture, beginning of the source, protocol in the specification, protocol here) -> cells.
REFILED = {
    ("clip", "ViT-B-16", "Trident", "sclip", "unknown"): 8,
    ("maskclip", "ViT-B-16", "Trident", "sclip", "unknown"): 8,
    ("clip", "ViT-B-16", "ResCLIP", "clearclip", "clearclip-vanilla"): 3,
    ("maskclip", "ViT-B-16", "ResCLIP", "clearclip", "unknown"): 8,
    ("gem", "ViT-B-16", "ClearCLIP", "clearclip", "unknown"): 2,
    ("sclip", "ViT-B-16", "SCLIP, paper", "sclip", "unknown"): 8,
    ("naclip", "ViT-B-16", "NACLIP, paper", "sclip", "naclip"): 8,
    ("sclip", "ViT-L-14", "ResCLIP", "sclip", "clearclip"): 5,
    ("sclip", "ViT-L-14", "ResCLIP", "sclip", "unknown"): 3,
    ("clearclip", "ViT-L-14", "ResCLIP", "clearclip", "unknown"): 3,
    ("naclip", "ViT-L-14", "ResCLIP", "sclip", "naclip"): 6,
    ("naclip", "ViT-L-14", "ResCLIP", "sclip", "unknown"): 2,
    ("sclip", "ViT-B-16", "TF-OVOS", "sclip", "unknown"): 2,
    ("naclip", "ViT-B-16", "TF-OVOS", "naclip+pamr", "unknown"): 2,
    ("resclip", "ViT-B-16", "TF-OVOS", "resclip", "unknown"): 2,
    ("scclip", "ViT-B-16", "TF-OVOS", "scclip", "unknown"): 2,
}

# Results as the authors' READMEs print them (SCLIP at 5f69176, NACLIP at 0cac3a6, CLIPtrase at 8fb4d74).
EIGHT = SETS["eight"]
README = {
    ("sclip", "sclip"): {
        "mIoU": dict(zip(EIGHT, (59.63, 31.74, 33.52, 81.54, 34.46, 22.77, 32.34, 16.45), strict=True))
    },
    ("naclip", "naclip+pamr"): {
        "mIoU": dict(zip(EIGHT, (64.07, 34.99, 36.19, 83.03, 38.35, 25.69, 38.27, 19.05), strict=True))
    },
    ("cliptrase", "cliptrase-224"): {
        "pAcc": (38.9, 89.68, 58.94, 44.18, 38.57, 25.45, 50.08, 78.63, 52.14),
        "mAcc": (44.47, 91.4, 57.08, 21.53, 39.17, 18.78, 62.5, 84.11, 56.08),
        "fwIoU": (26.87, 82.49, 45.28, 35.22, 27.96, 18.99, 38.19, 67.67, 37.61),
        "mIoU": (22.84, 80.95, 33.83, 9.36, 16.35, 6.31, 43.56, 50.88, 29.87),
    },
    ("cliptrase", "cliptrase-336"): {
        "pAcc": (40.14, 89.51, 60.15, 45.61, 39.92, 26.73, 50.01, 79.93, 53.21),
        "mAcc": (45.09, 91.77, 57.47, 21.26, 37.75, 17.99, 62.55, 85.24, 56.43),
        "fwIoU": (27.96, 82.15, 46.64, 36.66, 29.17, 20.3, 38.24, 69.1, 38.76),
        "mIoU": (24.06, 81.2, 34.92, 9.95, 17.04, 5.89, 44.84, 53.04, 30.79),
    },
}


@pytest.fixture(scope="module")
def published():
    return load_published()


def specified(name):
    return pd.read_csv(shared_path("spec", name), dtype={"note": str}, keep_default_na=False)


@pytest.mark.parametrize(("name", "cells"), [("published.csv", 284), ("published2.csv", 246)])
def test_every_specified_value_is_in_the_ledger_or_listed_with_a_reason(published, name, cells):
    wanted = Counter(specified(name)[FACT].itertuples(index=False, name=None))
    assert sum(wanted.values()) == cells
    found = Counter(published[FACT].itertuples(index=False, name=None))
    assert set(wanted - found) == set(MISMATCHES)


def test_towers_and_support_are_as_specified(published):
    columns = [*FACT, "towers", "support"]
    wanted = set(specified("published2.csv")[columns].itertuples(index=False, name=None))
    assert wanted <= set(published[columns].itertuples(index=False, name=None))
    assert set(published["support"]) == {"TR-SF", "TF-SF", "TF-TA", "OFF-SA"} == set(SUPPORT)


def test_cells_moved_to_the_protocol_of_their_source_and_no_others_did(published):
    before, after = specified("published.csv"), published.head(284)
    assert before[FACT].values.tolist() == after[FACT].values.tolist()
    moved = Counter(
        (row.method, row.arch, row.source, row.protocol, protocol)
        for row, protocol in zip(before.itertuples(), after["protocol"], strict=True)
        if row.protocol != protocol
    )
    counted = Counter()
    for (method, arch, source, old, new), count in moved.items():
        (entry,) = (e for e in REFILED if (method, arch, old, new) == (*e[:2], *e[3:]) and source.startswith(e[2]))
        counted[entry] += count
    assert counted == REFILED


@pytest.mark.parametrize(("method", "protocol"), README)
def test_numbers_of_the_authors_readmes_are_cells_under_the_authors_protocol(published, method, protocol):
    cells = published[(published["method"] == method) & published["source"].str.contains("README")]
    for metric, values in README[method, protocol].items():
        wanted = values if isinstance(values, dict) else dict(zip(SETS["cliptrase-nine"], values, strict=True))
        rows = cells[(cells["protocol"] == protocol) & (cells["metric"] == metric)]
        assert dict(zip(rows["dataset"], rows["value"], strict=True)) == wanted


def test_every_cell_names_a_shipped_protocol_or_says_why_it_has_none(published):
    assert set(published["protocol"]) <= {*list_protocols(), "unknown"}
    assert (published.loc[published["protocol"] == "unknown", "protocol_reason"] != "").all()
    assert set(published.loc[published["protocol"] == "sclip", "method"]) == {"sclip"}


def test_clearclips_rows_of_plain_clip_have_the_threshold_that_its_authors_used(published):
    rows = published[published["protocol"] == "clearclip-vanilla"]
    assert set(rows["method"]) == {"clip"}
    assert set(rows["dataset"]) == {"voc21", "context60", "coco_object"}
    assert rows["protocol_reason"].str.contains("threshold of 0.2").all()


def test_published_numbers_that_are_not_known_here_are_empty_cells_with_their_source(published):
    empty = published[published["value"].isna()]
    counts = empty.groupby(["method", "arch", "source"]).size().to_dict()
    assert counts == {
        ("glaclip", "ViT-B-16", "GLA-CLIP, paper, ProxyCLIP form"): 3,
        ("resclip+clearclip", "ViT-B-16", "ResCLIP on ClearCLIP, paper"): 8,
        ("resclip+clearclip", "ViT-L-14", "ResCLIP on ClearCLIP, paper"): 8,
        ("resclip+sclip", "ViT-B-16", "ResCLIP on SCLIP, paper"): 8,
        ("resclip+sclip", "ViT-L-14", "ResCLIP on SCLIP, paper"): 8,
        ("scclip", "ViT-L-14", "SC-CLIP, paper"): 3,
        ("sclip", "ViT-B-16", "ClearCLIP, results table"): 8,
    }
    assert empty["note"].str.contains("no value known").all()


def test_cells_by_state_before_anything_is_measured():
    expected = {"within": 0, "off": 0, "not run": 226, "no value": 46, "not comparable": 344}
    assert states(join(pd.DataFrame())) == expected


ROW = dict.fromkeys(COLUMNS, "") | {
    "method": "naclip",
    "arch": "ViT-B-16",
    "weights": "openai",
    "towers": "CLIP",
    "support": "TF-SF",
    "protocol": "naclip",
    "dataset": "voc20",
    "metric": "mIoU",
    "value": "79.7",
    "source": "a paper",
}


def written(path, columns, *rows):
    pd.DataFrame([tuple(row.values()) for row in rows], columns=list(columns)).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "nacilp"}, r"protocol 'nacilp' is unknown\. Did you mean 'naclip'"),
        ({"dataset": "voc22"}, r"dataset 'voc22' is unknown"),
        ({"metric": "IoU"}, r"metric 'IoU' is unknown"),
        ({"support": "free"}, r"support 'free' is unknown"),
        ({"value": "79,7"}, r"value '79,7' is not a number from 0 to 100"),
        ({"value": "high"}, r"value 'high' is not a number from 0 to 100"),
        ({"value": "797"}, r"value '797' is not a number from 0 to 100"),
        ({"value": "nan"}, r"value 'nan' is not a number from 0 to 100"),
        ({"source": ""}, r"source is empty"),
        ({"protocol": "unknown"}, r"protocol_reason must say why"),
    ],
)
def test_a_malformed_cell_is_refused_with_file_and_line(tmp_path, change, message):
    path = written(tmp_path / "cells.csv", COLUMNS, ROW | {"dataset": "voc21"}, ROW | change)
    with pytest.raises(InputError, match=message) as caught:
        load_published(path)
    assert f"{path}, line 3: " in str(caught.value)


def test_a_cell_given_twice_is_refused_and_other_columns_are_too(tmp_path):
    with pytest.raises(InputError, match=r"line 3: the same cell as in line 2"):
        load_published(written(tmp_path / "twice.csv", COLUMNS, ROW, ROW | {"value": "80.0"}))
    with pytest.raises(InputError, match=r"line 1: the columns must be"):
        load_published(written(tmp_path / "columns.csv", COLUMNS[:-1]))
    with pytest.raises(InputError, match=r"gone.csv' cannot be read"):
        load_published(tmp_path / "gone.csv")


def test_a_row_with_a_missing_or_surplus_cell_is_refused(tmp_path):
    path = written(tmp_path / "cells.csv", COLUMNS, ROW)
    path.write_text(path.read_text().replace("79.7", "79,7"))
    with pytest.raises(InputError, match=r"line 2: 13 cells instead of 12"):
        load_published(path)


def test_an_empty_value_is_a_cell_without_value(tmp_path):
    table = load_published(written(tmp_path / "cells.csv", COLUMNS, ROW | {"value": ""}))
    assert table["value"].isna().tolist() == [True]


def test_printed_averages_agree_with_their_cells_or_the_conflict_is_explained():
    averages = recompute()
    conflicts = averages[averages["outcome"] == "conflict"]
    assert list(zip(conflicts["method"], conflicts["printed"], conflicts["recomputed"].round(2), strict=True)) == [
        ("cliptrase", 32.7, 37.46),
        ("sfp", 39.6, 43.96),
    ]
    assert (conflicts["note"] != "").all()
    assert averages["outcome"].value_counts().to_dict() == {
        "agrees": 11,
        "no cells": 11,
        "no value": 10,
        "cells missing": 3,
        "conflict": 2,
    }


def test_the_printed_average_of_cliptrase_is_the_mean_of_its_own_nine_data_sets(published):
    cells = published[(published["method"] == "cliptrase") & published["source"].str.contains("README")]
    means = cells[cells["metric"] == "mIoU"].groupby("protocol")["value"].mean()
    assert round(means["cliptrase-224"], 1) == 32.7
    assert round(means["cliptrase-336"] - means["cliptrase-224"], 1) == 0.9


def test_averages_are_recomputed_from_the_cells_that_are_given():
    averages = load_averages().query("method == 'naclip' and printed == '42.46'")
    cells = load_published()
    assert recompute(averages, cells)["outcome"].tolist() == ["agrees"]
    mask = cells["source"].str.startswith("NACLIP, repository")
    cells.loc[mask & (cells["dataset"] == "voc21"), "value"] += 1
    assert recompute(averages, cells)["outcome"].tolist() == ["conflict"]
    assert recompute(averages, cells[~(mask & (cells["dataset"] == "voc20"))])["outcome"].tolist() == ["cells missing"]
    assert recompute(averages, cells[~mask])["outcome"].tolist() == ["no cells"]


AVERAGE = dict.fromkeys(AVERAGE_COLUMNS, "") | {
    "method": "naclip",
    "datasets": "eight",
    "quantity": "mean",
    "printed": "40.0",
    "source": "a paper",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"printed": "forty"}, "printed 'forty' is not a number"),
        ({"datasets": "ten"}, "datasets 'ten' is unknown"),
        ({"quantity": "sum"}, "quantity 'sum' is unknown"),
        ({"parameters": "0.2"}, "parameters '0.2' is not a JSON object"),
        ({"parameters": '{"sigm":1}'}, "has no parameter 'sigm'"),
        ({"protocol": "nacilp"}, "protocol 'nacilp' is unknown"),
    ],
)
def test_a_malformed_average_is_refused_with_file_and_line(tmp_path, change, message):
    path = tmp_path / "averages.csv"
    pd.DataFrame([AVERAGE | change]).to_csv(path, index=False)
    with pytest.raises(InputError, match=message) as caught:
        load_averages(path)
    assert f"{path}, line 2: " in str(caught.value)


def test_the_sets_of_averages_hold_benchmarks():
    assert set().union(*SETS.values()) <= set(BENCHMARKS)
    assert [len(SETS[name]) for name in ("eight", "cliptrase-nine")] == [8, 9]
