"""The command line: results where asked for, errors in one line with the right exit code."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ovss
from ovss.cli import COMMANDS, main
from ovss.errors import printable


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three good images, a truncated one, a text file with an image's name, and a note."""
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


def test_windows_share_where_the_option_says_so_and_methods_that_cannot_are_one_line(folder, tmp_path, capsys):
    image, masks = str(folder / "scene0.png"), []
    for options in ([], ["--windows", "apart"], ["--windows", "shared"]):
        out = tmp_path / "-".join(["out", *options[1:]])
        assert main(["segment", image, "-c", "scenes", "-o", str(out), *options]) == 0
        masks.append((out / "scene0_mask.png").read_bytes())
    assert masks[0] == masks[1] != masks[2]
    capsys.readouterr()
    shared = ["--data", "scenes", "--limit", "1", "--windows", "shared"]
    assert main(["evaluate", "--methods", "clearclip", *shared]) == 0
    capsys.readouterr()
    for command in (
        ["evaluate", "--methods", "gem", *shared],
        ["segment", image, "-c", "star", "--method", "gem", "--windows", "shared"],
    ):
        assert main(command) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert "method 'gem' cannot run with windows='shared'; these can: clip, sclip, clearclip" in error


def test_a_folder_with_bad_files_is_finished_and_the_bad_ones_are_listed(folder, tmp_path, capsys):
    assert main(["segment", str(folder), "-c", "grass; sky", "-o", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert "3 of 5 images" in output.out
    assert "1 files without an image" in output.err
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
    shown = subprocess.run([sys.executable, "-m", "ovss", "--help"], capture_output=True, text=True, check=True)
    assert all(f"  {command} " in shown.stdout for command in COMMANDS)


def test_the_doctor_finds_this_installation_in_order(capsys):
    assert main(["doctor"]) == 0
    assert "[FAIL]" not in capsys.readouterr().out


HOSTILE_FILES = {
    "latin.txt": "café\n".encode("latin-1"),
    "latin.toml": 'classes = ["café"]'.encode("latin-1"),
    "utf16.txt": "cat\n".encode("utf-16"),
    "utf16-without-mark.txt": "cat\n".encode("utf-16-le"),
    "digits.toml": f"classes = [{'9' * 5000}]".encode(),
    "hex.toml": f"classes = [0x{'f' * 5000}]".encode(),
    "digits.json": f'{{"classes": [{"9" * 5000}]}}'.encode(),
    "deep.json": b"[" * 100_000,
    "deep-closed.json": b'{"classes": ' + b"[" * 900 + b"]" * 900 + b"}",
    "deep.toml": b"classes = " + b"[" * 5000 + b"]" * 5000,
    "dotted.toml": b".".join([b"a"] * 3000) + b" = 1",
    "nul.json": b'{"classes": ["a\\u0000b", "c"]}',
    "nul.toml": b'classes = ["a\\u0000b"]',
    "surrogate.json": b'{"classes": ["a\\ud800b", "c"]}',
    "date.toml": b"classes = [1979-05-27T07:32:00Z]",
    "truth.json": b'{"classes": [true]}',
}


def one_error(capsys) -> str:
    """The only line of the error stream that is an error."""
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert "error of ovss itself" not in captured.err
    assert "\x1b" not in captured.out + captured.err
    (line,) = [line for line in captured.err.splitlines() if "error:" in line]
    assert len(line) < 2200
    return line


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_a_hostile_class_file_is_one_line_that_names_it(name, tmp_path, capsys):
    (tmp_path / name).write_bytes(HOSTILE_FILES[name])
    assert main(["vocabularies", str(tmp_path / name)]) == 2
    assert str(tmp_path / name) in one_error(capsys)


@pytest.mark.parametrize("command", [["protocols"], ["reproduce", "--dry-run"]])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seeds = [" + b"9" * 5000 + b"]", "too many digits"),
        (b"seeds = [0x" + b"f" * 5000 + b"]", "beyond 2**63"),
        (b"x = " + b"[" * 3000, "nests tables or lists more than 20 deep"),
        (b"x = '\xff'", "is not UTF-8 text (byte 0xff at 5)"),
        (b'extends = "a\\u0000.toml"', "holds a NUL character in 'a\\x00.toml'"),
    ],
)
def test_a_hostile_protocol_or_study_is_one_line_that_names_it(
    command, content, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_bytes(content)
    assert main([*command, "mine.toml"]) == 2
    line = one_error(capsys)
    assert "mine.toml" in line
    assert message in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "-1"], "seed must be a number from 0 to 2**63 - 1, not -1"),
        (["--seed", "9" * 25], "seed must be a number from 0"),
        (["--out", "a\0b"], "argument 'a\\x00b' holds a NUL character"),
        (["--methods", "\x1b[2Jnaclip"], "'\\x1b[2Jnaclip'"),
        (["--methods", f"naclip(sigma=0x{'f' * 5000})"], "must be numbers of ordinary size"),
        (["--methods", "naclip(sigma=" + "-" * 5000 + "1)"], "must look like (sigma=2.0"),
        (["--protocol", "\x1b[31m"], "\\x1b[31m"),
        (["--split", "\x1b]0;title\x07"], "\\x1b]0;title\\x07"),
        (["--pretrained", "a\u202eb"], "a\\u202eb"),
    ],
)
def test_a_hostile_option_is_refused_before_anything_is_evaluated(options, message, capsys, monkeypatch, tmp_path):
    def opened(*_):
        raise AssertionError("an image was read")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ovss.datasets.generated.GeneratedDataset.__getitem__", opened)
    assert main(["evaluate", "--data", "scenes", "--limit", "1", "--methods", "clip", *options]) == 2
    assert message in one_error(capsys)


def test_wrong_options_of_the_parser_show_control_characters(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "--data", "scenes", "--limit", "\x1b[2J"])
    assert stop.value.code == 2
    assert "\\x1b[2J" in one_error(capsys)


def test_file_names_and_class_names_reach_the_terminal_with_control_characters_shown(folder, tmp_path, capsys):
    strange = tmp_path / "red\x1b[31m.png"
    strange.write_bytes((folder / "scene0.png").read_bytes())
    assert main(["segment", str(strange), "-c", "grass; sky", "-o", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "red\\x1b[31m_mask.png" in captured.out
    assert "\x1b" not in captured.out + captured.err
    (tmp_path / "words.txt").write_text("cat\x1b[2J\ndog\n")
    assert main(["vocabularies", str(tmp_path / "words.txt")]) == 0
    captured = capsys.readouterr()
    assert "cat\\x1b[2J" in captured.out
    assert "\x1b" not in captured.out


def test_what_files_of_the_user_say_reaches_the_terminal_with_control_characters_shown(tmp_path, capsys):
    protocol = tmp_path / "mine.toml"
    protocol.write_text('extends = "study"\ndescription = "quick\\u001b[2J"\ntemplates = ["a\\u001b[31m {}."]\n')
    assert main(["list", "protocols", str(protocol)]) == 0
    shown = capsys.readouterr().out
    assert "quick\\x1b[2J" in shown
    assert "\x1b" not in shown
    assert main(["report", str(tmp_path), "--readme", str(tmp_path / "\x1b[2J.md"), "--check"]) != 0
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err


def test_commands_print_by_the_two_functions_that_show_control_characters():
    """`show` and `note_to_stderr`; a `print` of a command's own would let a name reach the terminal raw."""
    folder = Path(ovss.cli.__file__).parent
    by_themselves = [
        f"{path.name}:{node.lineno}"
        for path in sorted(folder.glob("*.py"))
        if path.name not in ("common.py", "main.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert not by_themselves


def test_text_is_shown_as_it_is_but_for_what_a_terminal_obeys():
    assert printable("naïve 猫, 50 %\nnext") == "naïve 猫, 50 %\nnext"
    assert printable("\x1b[2J\r\x07\x9b") == r"\x1b[2J\r\x07\x9b"
    assert printable("a\u202eb\u2028\udcff") == r"a\u202eb\u2028\udcff"
    printable("\udcff").encode()


def test_an_image_whose_name_is_not_utf_8_is_refused_with_its_name(folder, tmp_path, capsys):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "a\udcff.png").write_bytes((folder / "scene0.png").read_bytes())
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert main(["evaluate", "--data", "folder", "--root", str(tmp_path), "--methods", "clip"]) == 2
    assert "image 'a\\udcff' of data set 'folder' has a name that is not UTF-8" in one_error(capsys)
