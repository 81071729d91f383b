"""The study over models runs offline, on random weights that its table marks as such."""

import io
import math

import pandas as pd
import pytest
from evaluation_helpers import write_folder
from paths import ROOT

from ovss.study.config import load_config
from ovss.study.plan import find_templates
from ovss.study.progress import Display
from ovss.study.run import run_study

pytestmark = pytest.mark.slow

CONFIG = """
name = "two-models"
title = "Two random models"
methods = ["clip", "naclip", "rfclip"]
protocols = ["study"]
templates = ["22", "29"]

[[models]]
model = "ViT-S-32-alt"
pretrained = "random"

[[models]]
model = "vit_medium_patch16_gap_256"
pretrained = "random"

[[datasets]]
name = "folder"
root = "data"

[notebooks.22_benchmark_table]
parameters = { skip_refused = true, limit = 2 }
"""


def test_a_study_over_models_gives_one_table_with_what_they_are_and_marks_random_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSS_CACHE", str(tmp_path / "cache"))
    write_folder(tmp_path / "data", images=2)
    (tmp_path / "two.toml").write_text(CONFIG)
    templates = [item for item in find_templates(ROOT / "notebooks") if item.path.stem[:2] in ("22", "29")]
    result = run_study(
        load_config(tmp_path / "two.toml"), tmp_path / "report", templates, jobs=1, display=Display(io.StringIO())
    )
    assert not result.failures, [failure.describe() for failure in result.failures]
    table = pd.read_csv(tmp_path / "report" / "tables" / "models.csv").set_index("model")
    assert list(table.index) == ["ViT-S-32-alt", "vit_medium_patch16_gap_256"]
    assert set(table["trained_on"]) == {"none: random weights"}
    assert list(table["pooling"]) == ["class token", "average"]
    assert all(math.isfinite(value) for value in [*table["clip"], *table["naclip"]])
    assert "rfclip" not in table.columns
    assert "no results" in (tmp_path / "report" / "run.json").read_text()
