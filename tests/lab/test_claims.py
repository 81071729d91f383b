"""The table of claims: every claim of a notebook has a number, and the verdict follows its interval."""

import csv
import re

import pytest
from paths import ROOT

from ovss.errors import InputError
from ovss.lab.claims import claims_table, load_claims
from ovss.lab.sentences import Measured


def test_the_verdict_follows_the_interval():
    ids = [claim.id for claim in load_claims("02")]
    numbers = [Measured(1, 0.5, 2), Measured(-1, -2, -0.5), Measured(1, -1, 3)]
    table = claims_table("02", dict(zip(ids, numbers, strict=True)))
    assert table.verdicts == ("yes", "reversed", "cannot be told")
    assert "+1.0 [0.5, 2.0]" in repr(table)
    assert table._repr_markdown_().count("\n") == 5


def test_a_claim_without_a_number_and_a_number_without_a_claim_are_named():
    ids = [claim.id for claim in load_claims("04")]
    numbers = dict.fromkeys(ids, Measured(1))
    with pytest.raises(InputError, match=r"no claim 'naclip-omeg'.*naclip-omega"):
        claims_table("04", numbers | {"naclip-omeg": Measured(1)})
    with pytest.raises(InputError, match="measures nothing for claim 'naclip-maskclip'"):
        claims_table("04", {name: Measured(1) for name in ids[1:]})


def test_every_walkthrough_has_claims_and_every_claim_a_source():
    claims = load_claims()
    assert {claim.notebook for claim in claims} == {f"0{n}" for n in range(1, 9)}
    assert all(claim.source and claim.claim and claim.measured for claim in claims)


def test_published_values_of_benchmarks_are_those_of_the_ledger():
    with open(ROOT / "ovss" / "ledger" / "published.csv", encoding="utf-8") as file:
        known = {f"{float(row['value']):.1f}" for row in csv.DictReader(file) if row["value"]}
    for claim in load_claims():
        if re.match(r"(VOC|Context|ADE20K: 1)", claim.published):
            for value in re.findall(r"\d+\.\d", claim.published):
                assert value in known, f"{claim.id}: {value}"
