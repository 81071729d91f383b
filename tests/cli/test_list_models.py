"""`ovss list models` says of every configuration of open_clip what open_clip itself says."""

import json
import shutil
import subprocess
import sys

import open_clip
import pytest
from models_page import PAGE, page

from ovss import tiny
from ovss.backbone import describe_model
from ovss.backbone.names import hub_names, register_tiny
from ovss.cli import main
from ovss.cli.models import known_models
from ovss.errors import InputError

HINT = "; the table is written by `python tools/list_weights.py` (or tools/check_towers.py)"


def test_every_configuration_is_listed_with_its_tags_repositories_and_activation():
    models = known_models()
    registered = {name for name in open_clip.list_models() if name in models or name == tiny.ARCHITECTURE}
    assert len(registered & models.keys()) == len(models) > 140, HINT
    repositories = {entry: set() for entry in hub_names().values()}
    for repository, entry in hub_names().items():
        repositories[entry].add(repository)
    for name, model in models.items():
        base = name.removesuffix("-quickgelu")
        tags = open_clip.list_pretrained_tags_by_model(base) or open_clip.list_pretrained_tags_by_model(name)
        assert [item.tag for item in model.weights] == tags, name + HINT
        for item in model.weights:
            settings = open_clip.get_pretrained_cfg(base, item.tag) or open_clip.get_pretrained_cfg(name, item.tag)
            assert item.activation == ("QuickGELU" if settings.get("quick_gelu") else "GELU"), (name, item.tag)
            assert item.resize_filter == f"pil-{settings['interpolation']}", (name, item.tag)
            assert set(item.repositories) == repositories.get((base, item.tag), set()), (name, item.tag)
            assert item.data


def test_sizes_in_the_list_are_those_of_the_room_that_reads_models():
    for name, model in known_models().items():
        facts = describe_model(name)
        assert facts.refused == model.refused
        assert facts.patch_size == int(model.facts["patch"])
        assert facts.resize_filter == model.resize_filter


def test_the_list_shows_each_model_or_why_it_is_not_taken(capsys):
    assert main(["list", "models"]) == 0
    shown = capsys.readouterr().out
    for name in open_clip.list_models():
        assert name in shown or name == tiny.ARCHITECTURE or name not in known_models()
    line = next(line for line in shown.splitlines() if line.startswith("ViT-B-16-SigLIP2 "))
    assert line.split()[1:7] == ["timm", "ViT", "16", "224", "12", "93"]
    assert "RN50 is not a plain vision transformer (ResNet)" in shown


def test_a_model_is_shown_by_its_name_or_a_repository(capsys):
    for name in ("ViT-B-16", "ViT-B/16", "openai/clip-vit-base-patch16", "hf-hub:openai/clip-vit-base-patch16"):
        assert main(["list", "models", name]) == 0
        shown = capsys.readouterr().out
        assert "patch 16, 224 pixels, 12 blocks, 86 M parameters" in shown
        assert "OpenAI's 400M pairs" in shown
    assert "--model ViT-B-16 --pretrained openai" in shown
    assert main(["list", "models", "RN50"]) == 0
    assert "RN50: is not a plain vision transformer" in capsys.readouterr().out
    assert main(["list", "models", "tiny"]) == 0
    assert main(["list", "models", "ViT-B-61"]) == 2
    assert "Did you mean 'ViT-B-16'" in capsys.readouterr().err


def test_the_page_of_models_is_the_one_that_the_tables_give():
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "run `python tools/models_page.py`"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-S-32-alt", "vit_medium_patch16_gap_256", "PE-Core-T-16-384"])
def test_the_doctor_finds_that_a_model_is_read_as_it_reads_itself(name, capsys):
    assert main(["doctor", "--model", name]) == 0
    shown = capsys.readouterr().out
    assert shown.count("[OK]") == 3
    assert "at most 1e-05" in shown


def test_the_doctor_reads_a_copy_of_a_repository_with_its_own_weights(tmp_path, capsys):
    config = open_clip.get_model_config(register_tiny())
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    shutil.copy(tiny.WEIGHTS, tmp_path / "open_clip_model.safetensors")
    assert main(["doctor", "--model", f"local-dir:{tmp_path}"]) == 0
    assert "its own weights, float32" in capsys.readouterr().out
    assert main(["doctor", "--model", "local-dir:/nowhere"]) == 2
    assert "it must hold open_clip_config.json" in capsys.readouterr().err


@pytest.mark.slow
def test_the_doctor_finds_a_model_that_is_read_wrong(monkeypatch, capsys):
    from ovss.backbone import Tokens

    right = Tokens.image_embedding
    monkeypatch.setattr(Tokens, "image_embedding", lambda tokens: right(tokens) * 1.001)
    assert main(["doctor", "--model", "ViT-S-32-alt"]) == 1
    assert "[FAIL] pooled" in capsys.readouterr().out.replace("   ", " ")


@pytest.mark.slow
def test_a_random_model_must_be_asked_for_on_the_command_line(tmp_path):
    command = [sys.executable, "-m", "ovss", "segment", str(tmp_path), "-c", "cat", "--model", "ViT-B-16"]
    from PIL import Image

    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    found = subprocess.run([*command, "-o", str(tmp_path / "out")], capture_output=True, text=True)
    assert found.returncode == 2
    assert "model 'ViT-B-16' needs weights" in found.stderr


def test_an_unknown_model_raises_before_anything_is_built():
    with pytest.raises(InputError, match="Did you mean"):
        describe_model("ViT-B-61")
