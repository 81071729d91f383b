"""The command line: results where asked for, errors in one line with the right exit code."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import ovss
from ovss.cli import COMMANDS, main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three good pictures, a truncated one, a text file with an image's name, and a note."""
    path = tmp_path_factory.mktemp("pictures")
    data = ovss.load_dataset("scenes")
    for i in range(3):
        data[i].image.save(path / f"scene{i}.png")
    data[3].image.save(path / "cut.jpg")
    (path / "cut.jpg").write_bytes((path / "cut.jpg").read_bytes()[:800])
    (path / "text.png").write_text("no picture")
    (path / "notes.txt").write_text("left out")
    return path


def test_one_image(folder, tmp_path, capsys):
    assert main(["segment", str(folder / "scene0.png"), "-c", "grass; sky", "-o", str(tmp_path)]) == 0
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        str(tmp_path / f"scene0_{part}") for part in ("overlay.png", "mask.png", "classes.json")
    ]
    assert "trained on drawn scenes only" in output.err
    with Image.open(tmp_path / "scene0_mask.png") as mask:
        assert mask.size == (192, 192)
        assert set(np.unique(np.asarray(mask))) <= {0, 1}


def test_a_folder_with_bad_files_is_finished_and_the_bad_ones_are_listed(folder, tmp_path, capsys):
    assert main(["segment", str(folder), "-c", "grass; sky", "-o", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert "3 of 5 images" in output.out
    assert "1 files that are no images" in output.err
    errors = [line for line in output.err.splitlines() if line.startswith("ovss: error")]
    assert len(errors) == 2
    assert "cut.jpg" in errors[0]
    assert "text.png" in errors[1]
    assert len(list(tmp_path.glob("*_mask.png"))) == 3


def test_equal_stems_do_not_overwrite_each_other(folder, tmp_path):
    (tmp_path / "in").mkdir()
    for suffix in ("png", "bmp"):
        with Image.open(folder / "scene0.png") as picture:
            picture.save(tmp_path / "in" / f"a.{suffix}")
    assert main(["segment", str(tmp_path / "in"), "-c", "grass; sky", "-o", str(tmp_path / "out")]) == 0
    assert {file.name for file in (tmp_path / "out").glob("*_mask.png")} == {"a_bmp_mask.png", "a_png_mask.png"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-c", ""], "no words"),
        (["-c", "cat; cat"], "cat"),
        (["-c", "cat; dog", "--method", "naclp"], "Did you mean 'naclip'"),
        (["-c", "cat; dog", "--model", "ViT-B-61"], "Did you mean 'ViT-B-16'"),
        (["-c", "cat; dog", "--protocol", "sclp"], "Did you mean 'sclip'"),
        (["-c", "cat; dog", "--protocol", "window224"], "study"),
        (["-c", "cat; dog", "--pretrained", "no/such.safetensors"], "no/such.safetensors"),
        (["-c", "cat; dog", "-o", "/dev/null/out"], "/dev/null/out"),
        (["-c", "cat; dog", "--background", "7"], "background"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, capsys, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["segment", str(folder / "scene0.png"), *options]) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("ovss: error")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in error


@pytest.mark.parametrize("name", ["cut.jpg", "text.png", "missing.png"])
def test_a_single_bad_image_is_exit_code_2(folder, capsys, name, tmp_path):
    assert main(["segment", str(folder / name), "-c", "cat; dog", "-o", str(tmp_path)]) == 2
    assert name in capsys.readouterr().err


def test_debug_shows_the_traceback(folder, tmp_path):
    with pytest.raises(ovss.InputError, match="missing"):
        main(["segment", str(folder / "missing.png"), "-c", "cat", "-o", str(tmp_path), "--debug"])


def test_unknown_commands_and_options(capsys):
    assert main(["segmnt"]) == 2
    assert "Did you mean 'segment'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["segment", "--colour"])
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "--debug" in capsys.readouterr().out


def test_help_lists_every_command():
    shown = subprocess.run([sys.executable, "-m", "ovss.cli", "--help"], capture_output=True, text=True, check=True)
    assert all(f"  {command} " in shown.stdout for command in COMMANDS)


def test_the_doctor_finds_this_installation_in_order(capsys):
    assert main(["doctor"]) == 0
    assert "[FAIL]" not in capsys.readouterr().out
