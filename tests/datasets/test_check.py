"""Where data sets lie, and whether they are whole."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovss.cli.main import build_parser
from ovss.datasets import load_dataset
from ovss.datasets import roots as roots_module
from ovss.datasets.check import inspect
from ovss.datasets.roots import config_file, find_root, require_root
from ovss.errors import InputError


def make_ade(root: Path, count: int = 3) -> Path:
    base = root / "ADEChallengeData2016"
    for number in range(count):
        for kind, suffix in (("images", "jpg"), ("annotations", "png")):
            path = base / kind / "validation" / f"ADE_val_{number:08d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "images":
                Image.new("RGB", (4, 3)).save(path)
            else:
                Image.fromarray(np.full((3, 4), number, dtype=np.uint8)).save(path)
    return root


def command(*words: str) -> int:
    arguments = build_parser()[0].parse_args(["datasets", *words])
    return arguments.run(arguments)


@pytest.fixture(autouse=True)
def no_roots(tmp_path, monkeypatch):
    """A machine on which no data set is configured; returns the path of its configuration file."""
    for name in ("OVSS_DATA", "OVSS_DATA_ADE150", "OVSS_DATA_VOC21"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(roots_module, "config_file", lambda: tmp_path / "config" / "config.toml")
    (tmp_path / "config").mkdir()
    return tmp_path / "config" / "config.toml"


def test_argument_then_environment_then_configuration(tmp_path, monkeypatch, no_roots):
    folders = {name: tmp_path / name for name in ("argument", "own", "shared", "configured", "root")}
    for folder in folders.values():
        folder.mkdir()
    no_roots.write_text(f'[datasets]\nroot = "{folders["root"]}"')
    assert require_root("ade150") == folders["root"]
    no_roots.write_text(f'[datasets]\nade150 = "{folders["configured"]}"\nroot = "{folders["root"]}"')
    assert require_root("ade150") == folders["configured"]
    assert require_root("voc21") == folders["root"]
    monkeypatch.setenv("OVSS_DATA", str(folders["shared"]))
    assert require_root("ade150") == folders["shared"]
    monkeypatch.setenv("OVSS_DATA_ADE150", str(folders["own"]))
    assert find_root("ade150") == (folders["own"], "$OVSS_DATA_ADE150")
    assert require_root("voc21") == folders["shared"]
    assert require_root("ade150", folders["argument"]) == folders["argument"]


def test_a_shared_folder_may_have_a_folder_per_data_set(tmp_path, monkeypatch):
    (tmp_path / "ade150").mkdir()
    make_ade(tmp_path / "ade150")
    monkeypatch.setenv("OVSS_DATA", str(tmp_path))
    assert require_root("ade150") == tmp_path / "ade150"
    assert len(load_dataset("ade150")) == 3


def test_a_data_set_nobody_placed_says_how_to_place_it(no_roots):
    with pytest.raises(InputError, match=r"where is data set ade150\?.*\$OVSS_DATA_ADE150.*\[datasets\]"):
        load_dataset("ade150")


def test_a_folder_that_is_not_there_is_refused_with_who_named_it(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSS_DATA_ADE150", str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"gone' of data set ade150 \(from \$OVSS_DATA_ADE150\) does not exist"):
        load_dataset("ade150")


@pytest.mark.parametrize("text", ["[datasets", "[datasets]\nade150 = 3", "datasets = 3"])
def test_a_malformed_configuration_is_refused_by_name(no_roots, text):
    no_roots.write_text(text)
    with pytest.raises(InputError, match=r"config.toml'"):
        find_root("ade150")


def test_the_configuration_file_lies_where_the_platform_keeps_such_files():
    assert config_file().name == "config.toml"
    assert "ovss" in config_file().parts


def test_a_whole_data_set_has_no_problems(tmp_path):
    found = inspect(load_dataset("ade150", make_ade(tmp_path)))
    assert (found.images, found.read, found.problems) == (3, 3, [])
    assert found.sizes == {(4, 3): 3}
    assert found.void == 12
    assert found.pixels[:3].tolist() == [12, 12, 0]


def test_every_problem_is_found_and_the_others_still_counted(tmp_path):
    base = make_ade(tmp_path, count=7) / "ADEChallengeData2016"
    masks, images = base / "annotations/validation", base / "images/validation"
    (masks / "ADE_val_00000000.png").unlink()
    Image.fromarray(np.full((3, 4), 200, dtype=np.uint8)).save(masks / "ADE_val_00000001.png")
    Image.fromarray(np.full((4, 3), 2, dtype=np.uint8)).save(masks / "ADE_val_00000002.png")
    (masks / "ADE_val_00000003.png").write_text("text")
    (images / "ADE_val_00000004.jpg").write_text("text")
    dataset = load_dataset("ade150", tmp_path)
    (images / "ADE_val_00000005.jpg").unlink()
    problems = inspect(dataset).problems
    assert len(problems) == 6
    for part in (
        "00000000.png' is missing",
        "00000001.png' holds labels outside the list: 200",
        "00000002.png' is 3x4, its image 4x3",
        "00000003.png' is not an image",
        "00000004.jpg' cannot be read",
        "00000005.jpg' is missing",
    ):
        assert sum(part in problem for problem in problems) == 1, part
    assert inspect(dataset).pixels[5] == 12


def test_the_command_lists_what_is_where(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OVSS_DATA_ADE150", str(make_ade(tmp_path)))
    monkeypatch.setenv("OVSS_DATA_VOC21", str(tmp_path))
    assert command() == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "3 images" in lines["ade150"]
    assert "$OVSS_DATA_ADE150" in lines["ade150"]
    assert "not usable" in lines["voc21"]
    assert "no folder known" in lines["cityscapes"]
    assert "generated" in lines["scenes"]


def test_the_command_checks_a_data_set_and_its_exit_code_says_the_result(tmp_path, capsys):
    make_ade(tmp_path)
    assert command("check", "ade150", "--root", str(tmp_path)) == 0
    shown = capsys.readouterr().out
    assert "3 images, 3 read" in shown
    assert "published validation part has 2000 images" in shown
    assert "wall" in shown
    assert "problems: 0" in shown
    (tmp_path / "ADEChallengeData2016/annotations/validation/ADE_val_00000002.png").unlink()
    assert command("check", "ade150", "--root", str(tmp_path)) == 1
    assert "ADE_val_00000002.png' is missing" in capsys.readouterr().out
    assert command("check", "ade150", "--root", str(tmp_path), "--limit", "2") == 0


def test_the_command_refuses_what_it_cannot_check():
    with pytest.raises(InputError, match="which data set"):
        command("check")
    with pytest.raises(InputError, match="--limit 0 must be at least 1"):
        command("check", "ade150", "--limit", "0")
    assert command("check", "scenes") == 0
