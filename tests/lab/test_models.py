"""Tables over models: what each is, what it was trained on, what the methods make of it."""

import open_clip
import pandas as pd
import pytest

from ovss.backbone import describe_model, load_backbone
from ovss.backbone.catalogue import training_data
from ovss.lab.models import coherence_table, model_table, split_by_refusal
from ovss.study.config import load_config


def test_the_model_table_has_a_row_per_model_and_a_column_per_method():
    rows = [
        ("ViT-B-16", "openai", "clip", 20.0),
        ("ViT-B-16", "openai", "scclip", 40.0),
        ("ViT-B-16-SigLIP2", "webli", "clip", 10.0),
        ("PE-Core-B-16", "random", "clip", 1.0),
    ]
    results = pd.DataFrame(rows, columns=["model", "pretrained", "method", "mIoU"])
    table = model_table(results.assign(dataset="voc20", protocol="study", images=5)).set_index("model")
    assert list(table.index) == ["ViT-B-16", "ViT-B-16-SigLIP2", "PE-Core-B-16"]
    assert list(table["trained_on"]) == ["OpenAI's 400M pairs (WIT)", "WebLI", "none: random weights"]
    assert list(table["clip"]) == [20.0, 10.0, 1.0]
    assert table.loc["ViT-B-16", "scclip"] == 40.0
    assert table["scclip"].isna().sum() == 2
    assert table.loc["ViT-B-16", "parameters_m"] == pytest.approx(86.2)  # table 20 of the CLIP paper: ViT-B/16, 86.2M
    assert list(table["pooling"]) == ["class token", "attention", "attention"]


def test_the_coherence_table_finds_the_best_state_and_what_it_gains():
    frame = pd.DataFrame({"layer": [0, 1, 2, 3], "mean": [0.5, 0.8, 0.9, 0.7], "measure": "coherence_auc"})
    other = pd.DataFrame({"layer": [0, 1], "mean": [0.1, 0.2], "measure": "entropy"})
    frame = pd.concat([frame, other]).assign(model="ViT-B-16-SigLIP2", pretrained="webli", dataset="ade150")
    row = coherence_table(frame).iloc[0]
    assert (row["best_state"], row["depth"], row["class_token"]) == (2, 3, "no")
    assert row["gain"] == pytest.approx(20.0)


def test_methods_that_a_model_refuses_are_told_from_those_it_takes():
    taken, refused = split_by_refusal(load_backbone("tiny"), ["clip", "naclip", "rfclip"])
    assert taken == ["clip", "naclip"]
    assert "massive channels of 'tiny' are unknown" in refused["rfclip"]


def test_every_model_of_the_study_exists_is_taken_and_its_training_data_are_known():
    models = load_config("models").models
    assert len({describe_model(spec.model).family for spec in models}) == 3
    assert {describe_model(spec.model).pooling for spec in models} == {"class token", "attention", "average"}
    for spec in models:
        assert open_clip.get_pretrained_cfg(spec.model, spec.pretrained), spec
        assert describe_model(spec.model).taken, spec
        assert training_data(spec.model, spec.pretrained), spec
