"""Our protocols against the authors' own configuration files, number by number.

`authors_settings.csv` restates what the released configurations of SCLIP (b56bd30), NACLIP (0cac3a6), SC-CLIP
(0417ba9), ClearCLIP (ad68a40) and ResCLIP (0e085f7) say for ViT-B/16 on eight data sets; an empty cell is "not set".
"""

import csv
import json
from pathlib import Path

import pytest
from paths import shared_path

from ovss.methods import create_method
from ovss.methods.tuned import under_protocol
from ovss.protocols import Protocol, load_protocol

AUTHORS = {
    "sclip": "SCLIP",
    "naclip+pamr": "NACLIP",
    "naclip": "NACLIP",
    "scclip": "SC-CLIP",
    "clearclip": "ClearCLIP",
    "resclip": "ResCLIP",
}
SETTINGS = (
    "short_side",
    "max_long_side",
    "slide_crop",
    "slide_stride",
    "logit_scale",
    "prob_thd",
    "area_thd",
    "pamr_steps",
)
DATASETS = ("voc21", "voc20", "context60", "context59", "coco_object", "coco_stuff171", "ade150", "cityscapes")

WHOLE = "the image is seen at once, so the authors' stride is never read"
DEVIATIONS = {
    **{("naclip", dataset, "pamr_steps"): "the protocol without PAMR, by definition" for dataset in DATASETS},
    **{(name, "voc21", "slide_stride"): WHOLE for name in ("naclip", "naclip+pamr", "resclip")},
    **{(name, "voc20", "slide_stride"): WHOLE for name in ("naclip", "naclip+pamr", "resclip")},
}
"""Where a protocol says something else than the authors' file, with the reason; nothing else may."""


def authors() -> dict[tuple[str, str], dict[str, float | None]]:
    """Settings by authors and data set."""
    with (Path(__file__).parent / "authors_settings.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        (row.pop("authors"), row.pop("dataset")): {key: float(value) if value else None for key, value in row.items()}
        for row in rows
    }


def ours(protocol: Protocol) -> dict[str, float | None]:
    """A resolved protocol in the words of the authors' files."""
    return {
        "short_side": protocol.short_side,
        "max_long_side": protocol.max_long_side,
        "slide_crop": protocol.window or 0,
        "slide_stride": protocol.stride,
        "logit_scale": protocol.logit_scale,
        "prob_thd": protocol.threshold if protocol.background == "threshold" else 0,
        "area_thd": protocol.area_rule,
        "pamr_steps": protocol.pamr_iterations,
    }


def test_the_settings_here_are_those_of_the_reference_file():
    reference = json.loads(shared_path("spec", "authors_settings.json").read_text())["settings"]
    here = authors()
    assert {(name, dataset) for name, sets in reference.items() for dataset in sets} == set(here)
    compared = 0
    for (name, dataset), settings in here.items():
        stated = reference[name][dataset]
        for key in SETTINGS:
            assert stated[key] == settings[key], (name, dataset, key)
            compared += 1
        assert stated.get("extra", {}).get("temp_thd") == settings["temp_thd"]
        for part in ("rcs", "sfr"):
            pair = stated.get("extra_lists", {}).get(f"attn_{part}_weights", [None, None])
            assert pair == [settings[f"{part}_factor"], settings[f"{part}_share"]]
    assert compared == 320


@pytest.mark.parametrize("name", AUTHORS)
def test_a_protocol_says_what_its_authors_configured_but_for_listed_deviations(name):
    settings, protocol = authors(), load_protocol(name)
    found = {}
    for dataset in DATASETS:
        said, mine = settings[AUTHORS[name], dataset], ours(protocol.for_dataset(dataset, "ViT-B-16"))
        found |= {(name, dataset, key): (said[key], mine[key]) for key in SETTINGS if said[key] != mine[key]}
    listed = {key for key in DEVIATIONS if key[0] == name}
    assert set(found) == listed, {key: found.get(key, "listed, but equal") for key in set(found) ^ listed}


def test_naclips_first_version_is_the_released_one_with_windows_everywhere_and_no_pamr():
    settings, protocol = authors(), load_protocol("naclip-v1")
    for dataset in DATASETS:
        mine = ours(protocol.for_dataset(dataset))
        expected = {key: settings["NACLIP", dataset][key] for key in SETTINGS}
        assert mine == expected | {"slide_crop": 224, "slide_stride": 112, "pamr_steps": 0}, dataset


def test_the_common_ground_is_every_value_on_which_sclip_naclip_and_scclip_agree():
    settings, protocol = authors(), load_protocol("window224")
    for dataset in DATASETS:
        mine = ours(protocol.for_dataset(dataset))
        for key in set(SETTINGS) - {"pamr_steps"}:
            said = {settings[name, dataset][key] for name in ("SCLIP", "NACLIP", "SC-CLIP")}
            assert len(said) > 1 or mine[key] in said, (dataset, key)


def test_resclip_runs_with_the_five_values_that_its_authors_tuned():
    settings, protocol = authors(), load_protocol("resclip")
    names = {
        "tau": "rcs_factor",
        "lam": "rcs_share",
        "sfr_tau": "sfr_factor",
        "sfr_lam": "sfr_share",
        "sfr_threshold": "temp_thd",
    }
    for dataset in DATASETS:
        resolved = protocol.for_dataset(dataset)
        method = under_protocol(create_method("resclip"), resolved)
        said = settings["ResCLIP", dataset]
        assert {name: method.parameters[name] for name in names} == {n: said[key] for n, key in names.items()}, dataset
        assert method.parameters["sfr_scale"] == said["logit_scale"]


def test_what_the_authors_said_elsewhere_holds_too():
    """ClearCLIP's issue 2: threshold 0.2 for plain CLIP; SC-CLIP's configuration for ViT-L/14."""
    vanilla, plain = load_protocol("clearclip-vanilla"), load_protocol("clearclip")
    for dataset in DATASETS:
        expected = plain.for_dataset(dataset).fields
        if expected["background"] == "threshold":
            expected["threshold"] = 0.2
        assert vanilla.for_dataset(dataset).fields == expected
    large = {name: load_protocol("scclip").for_dataset(name, "ViT-L-14") for name in ("voc21", "coco_object")}
    assert (large["voc21"].logit_scale, large["voc21"].threshold) == (40, 0.2)
    assert (large["coco_object"].logit_scale, large["coco_object"].threshold) == (40, 0.25)
