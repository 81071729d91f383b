"""`ovss segment` with several methods, words, patterns and kinds of files; what it does not read it says."""

import sys

import numpy as np
import pytest
from PIL import Image

import ovss
from ovss.cli import main
from ovss.cli.common import method_names


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    for number in range(2):
        ovss.load_dataset("scenes")[number].image.save(path / f"scene{number}.png")
    return path


def segment(*words):
    return main(["segment", *map(str, words), "--device", "cpu"])


def test_several_methods_give_what_each_gives_alone_with_one_sheet(images, tmp_path, capsys):
    methods = ["clip", "naclip(sigma=2)", "cliptrase"]
    assert segment(images / "scene0.png", "-c", "scenes", "-o", tmp_path, "--methods", *methods) == 0
    written = capsys.readouterr().out.splitlines()
    assert len(written) == 3 * len(methods) + 1
    assert written[-1] == str(tmp_path / "scene0_methods.png")
    with Image.open(written[-1]) as sheet:
        assert sheet.width > 3 * 192
    for method, name in zip(methods, ("clip", "naclip-sigma-2", "cliptrase"), strict=True):
        with Image.open(tmp_path / f"scene0_{name}_mask.png") as mask:
            alone = ovss.Segmenter("tiny", method, "scenes")(images / "scene0.png")
            assert np.array_equal(np.asarray(mask), alone.labels)


def test_methods_are_separated_by_spaces_or_commas():
    assert method_names(["clip,naclip(sigma=2, omega=False)", "sclip", "gem,"]) == [
        "clip",
        "naclip(sigma=2, omega=False)",
        "sclip",
        "gem",
    ]


@pytest.mark.filterwarnings("ignore:tiny has never seen")
def test_words_of_several_options_add_up(images, tmp_path):
    masks = []
    for number, words in enumerate((["-c", "grass; star, sun; sky"], ["-c", "grass", "-c", "star, sun;", "-c", "sky"])):
        assert segment(images / "scene0.png", *words, "-o", tmp_path / str(number)) == 0
        masks.append((tmp_path / str(number) / "scene0_mask.png").read_bytes())
    assert masks[0] == masks[1]


def test_earlier_results_are_not_replaced_without_a_word(images, tmp_path, capsys):
    for expected in (0, 1):
        assert segment(images, "-c", "grass; sky", "-o", tmp_path) == 0
        said = capsys.readouterr().err
        assert said.count(f"note: earlier results of 2 images in '{tmp_path}' were replaced") == expected
        assert "image/s]" not in said, "a bar where the output is no terminal"


def test_quiet_leaves_out_notes_and_verbose_shows_bars(images, tmp_path, capsys):
    assert segment(images, "-c", "grass; sky", "-o", tmp_path, "--quiet") == 0
    assert capsys.readouterr().err == ""
    assert segment(images, "-c", "grass; sky", "-o", tmp_path, "--verbose") == 0
    assert "image/s]" in capsys.readouterr().err
    (images / "bad").mkdir(exist_ok=True)
    (images / "bad" / "text.png").write_text("no image")
    assert main(["--quiet", "segment", str(images / "bad"), str(images), "-c", "grass; sky", "-o", str(tmp_path)]) == 1
    assert "text.png" in capsys.readouterr().err


def test_a_quoted_pattern_stands_for_the_files_that_fit_it(images, tmp_path, monkeypatch):
    monkeypatch.chdir(images)
    assert segment("scene?.png", "-c", "grass; sky", "-o", tmp_path) == 0
    assert len(list(tmp_path.glob("*_mask.png"))) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["https://example.org/cat.jpg", "-c", "cat"], "is an address, and nothing is downloaded"),
        (["-c", "cat", "--", "-"], "image '-' would be standard input, which is not read; give a file"),
        (["*.nothing", "-c", "cat"], "no file fits the pattern '*.nothing'"),
        (["-c", "cat", "--methods", "naclip"], "no image was given; images stand before the options"),
        (["scene0.png", "-c", "cat", "-c", "voc21"], "-c 'voc21' is a class list of its own; give it alone"),
        (["scene0.png", "-c", "cat", "--methods", "naclip", "naclip"], "method 'naclip' is given twice"),
    ],
)
def test_what_is_not_read_is_one_line(images, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(images)
    assert main(["segment", "-o", str(tmp_path), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_heic_is_read_where_pillow_heif_is_installed(images, tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    heif.register_heif_opener()
    with Image.open(images / "scene0.png") as image:
        image.save(tmp_path / "phone.heic", quality=-1)
    assert ovss.images.load_image(tmp_path / "phone.heic").size == (192, 192)
    assert segment(tmp_path / "phone.heic", "-c", "grass; sky", "-o", tmp_path) == 0


def test_heic_without_pillow_heif_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(ovss.InputError, match=r"phone.HEIC' needs pillow-heif: pip install 'ovss\[heic\]'"):
        ovss.images.load_image(tmp_path / "phone.HEIC")
