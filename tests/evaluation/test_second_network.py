"""`proxyclip` with a second network: from Python and from the command line, named in every row that used it."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from companion_helpers import save_companion
from safetensors.torch import save_file

import ovss
from ovss.backbone import Companion, load_companion
from ovss.cli import main
from ovss.errors import InputError
from ovss.evaluation.cluster import ModelSource
from ovss.segment.scorer import Scorer

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
    made = Companion(companion.model, lambda x: x, name="mine", weights="", mean=(0, 0, 0), std=(1, 1, 1), patch_size=4)
    with pytest.raises(InputError, match="on a cluster it must come from load_companion"):
        ovss.evaluate(backbone, "proxyclip", "scenes", limit=1, companion=made, cluster="local:1")


def test_scores_are_propagated_over_a_graph_by_the_companions_features(backbone, weights):
    """Labels of the whole path equal those of the pieces, put together here."""
    companion = load_companion(NAME, weights)
    rules = dataclasses.replace(
        ovss.load_protocol("study", window=None, stride=None),
        lposs_iterations=30,
        lposs_neighbours=8,
        lposs_features="companion",
    )
    with pytest.raises(InputError, match='has lposs_features = "companion"; give a companion'):
        ovss.evaluate(backbone, "naclip", "scenes", limit=1, protocol=rules)
    image = ovss.load_dataset("scenes")[0].image.crop((0, 0, 64, 64))
    vocabulary = ovss.load_vocabulary("sky; grass; star; sand; water")
    scorer = Scorer(backbone, {"naclip": ovss.create_method("naclip")}, vocabulary, rules, companion=companion)
    prepared = scorer.prepare(image)
    assert len(prepared.offsets) == 1
    found = scorer.score([prepared])[0]["naclip"].cells
    crop = prepared.crop(0)[None]
    tokens = backbone.encode_tokens(crop, position=rules.position)
    plain = ovss.create_method("naclip").patch_scores(tokens, scorer.text)
    features = companion.features(crop, backbone)
    assert features.shape[-2:] == (24, 24)
    expected = ovss.segment.lposs(plain, features, tokens.places, 8, 30)[0]
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, plain[0], atol=1e-3)
    table = ovss.evaluate(backbone, "naclip", "scenes", limit=1, protocol=rules, companion=companion).table()
    assert table["second network"].tolist() == [NAME]


@pytest.mark.slow
def test_workers_of_a_cluster_load_the_second_network_themselves(backbone, tmp_path, monkeypatch):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        state = timm.create_model("test_vit", num_classes=0).state_dict()
    save_file(state, tmp_path / "second.safetensors")
    monkeypatch.chdir(tmp_path)
    companion = load_companion("test_vit", "second.safetensors")
    found = [
        ovss.evaluate(backbone, "proxyclip", "scenes", limit=2, companion=companion, cluster=cluster)
        for cluster in (None, "local:1")
    ]
    assert np.array_equal(found[0].counts("proxyclip"), found[1].counts("proxyclip"))
    assert found[0].facts["key"] == found[1].facts["key"]
    source = ModelSource.of(backbone, companion=companion)
    assert source.second == ("test_vit", str(tmp_path / "second.safetensors"))
    with pytest.raises(InputError, match=r"a worker finds other weights for Companion\('test_vit'"):
        dataclasses.replace(source, second_hash="0" * 64).load()


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
