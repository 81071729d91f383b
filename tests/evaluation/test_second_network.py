"""`proxyclip` with a second network: from Python and from the command line, named in every row that used it."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from companion_helpers import save_companion

import ovss
from ovss.backbone import load_companion
from ovss.cli import main
from ovss.errors import InputError

NAME = "ovss_test_plain"


@pytest.fixture(scope="module")
def backbone():
    return ovss.load_backbone("tiny", device="cpu", dtype="float32")


@pytest.fixture
def weights(tmp_path):
    return save_companion(NAME, tmp_path)[0]


def test_rows_name_the_second_network_that_they_used(backbone, weights, tmp_path):
    companion = load_companion(NAME, weights)
    methods = ["naclip", "proxyclip"]
    with_it = ovss.evaluate(backbone, methods, "scenes", limit=2, companion=companion, out=tmp_path / "with")
    alone = ovss.evaluate(backbone, methods, "scenes", limit=2)
    assert with_it.table()["second network"].tolist() == ["", NAME]
    assert "second network" not in alone.table()
    rows = with_it.summary().set_index("method")
    assert rows.loc["proxyclip", "companion_hash"] == companion.weights_hash
    assert rows.loc["proxyclip", "companion_weights"] == "weights.safetensors"
    assert pd.isna(rows.loc["naclip", "companion"])
    assert with_it.facts["key"] != alone.facts["key"]
    assert np.array_equal(with_it.counts("naclip"), alone.counts("naclip"))
    assert not np.array_equal(with_it.counts("proxyclip"), alone.counts("proxyclip"))
    again = ovss.evaluate(backbone, methods, "scenes", limit=2, companion=companion, out=tmp_path / "with")
    assert again.table().equals(with_it.table())


def test_clip_may_stand_beside_clip_as_a_second_network(backbone):
    twin = load_companion("tiny", "shipped")
    found = ovss.evaluate(backbone, "proxyclip", "scenes", limit=1, companion=twin)
    assert found.table()["second network"].tolist() == ["tiny"]


def test_what_cannot_use_a_companion_is_refused(backbone, weights):
    companion = load_companion(NAME, weights)
    with pytest.raises(InputError, match=f"companion '{NAME}' is used by none of naclip; proxyclip uses one"):
        ovss.evaluate(backbone, "naclip", "scenes", limit=1, companion=companion)
    with pytest.raises(InputError, match=f"companion '{NAME}' works in this process only"):
        ovss.evaluate(backbone, "proxyclip", "scenes", limit=1, companion=companion, cluster="local:1")


def test_scores_on_the_grid_of_another_patch_size_are_not_propagated_over_patches(backbone, weights):
    rules = dataclasses.replace(ovss.load_protocol("study"), lposs_iterations=5, lposs_neighbours=8)
    with pytest.raises(
        InputError, match=r"over patches of 8 pixels, and companion '\w+' has patches of 4; use lposs_it"
    ):
        ovss.evaluate(backbone, "proxyclip", "scenes", limit=1, companion=load_companion(NAME, weights), protocol=rules)
    twin = load_companion("tiny", "shipped")
    found = [
        ovss.evaluate(backbone, "proxyclip", "scenes", limit=1, companion=twin, protocol=each).counts("proxyclip")
        for each in (rules, dataclasses.replace(rules, lposs_iterations=0, lposs_neighbours=None))
    ]
    assert not np.array_equal(*found)


def test_windows_that_its_patches_do_not_fill_are_refused(backbone, tmp_path):
    companion = load_companion(NAME, save_companion(NAME, tmp_path)[0])
    companion.patch_size = 7
    with pytest.raises(InputError, match=r"patches of 7 pixels, and windows of 64x64 are no whole number"):
        ovss.evaluate(backbone, "proxyclip", "scenes", limit=1, companion=companion)


def test_the_command_line_takes_a_companion_and_clip_is_its_own_without_one(weights, tmp_path, capsys):
    options = ["--methods", "proxyclip", "naclip", "--data", "scenes", "--limit", "1", "--device", "cpu"]
    assert main(["evaluate", *options, "--companion", f"{NAME}={weights}", "--out", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert "second network" in shown
    assert NAME in shown
    assert json.loads((tmp_path / "run" / "run.json").read_text())["methods"]["proxyclip"]["companion"] == NAME
    assert main(["evaluate", *options]) == 0
    assert "second network" not in capsys.readouterr().out


def test_one_image_is_segmented_with_a_companion(weights, tmp_path):
    image = tmp_path / "scene.png"
    ovss.load_dataset("scenes")[0].image.save(image)
    masks = []
    for number, options in enumerate(([], ["--companion", f"{NAME}={weights}"])):
        out = tmp_path / str(number)
        words = "sky; grass; star; sand; water"
        assert main(["segment", str(image), "-c", words, "--method", "proxyclip", "-o", str(out), *options]) == 0
        masks.append((out / "scene_mask.png").read_bytes())
    assert masks[0] != masks[1]


def test_an_option_that_names_no_companion_is_one_line(capsys):
    options = ["--methods", "proxyclip", "--data", "scenes", "--limit", "1", "--device", "cpu"]
    assert main(["evaluate", *options, "--companion", "vit_bass=none.pth"]) == 2
    error = capsys.readouterr().err
    assert "companion 'vit_bass' is unknown to timm and open_clip" in error
    assert error.count("\n") == 1
