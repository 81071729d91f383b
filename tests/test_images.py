"""Pictures are read as people have them, or refused by name."""

import numpy as np
import pytest
from PIL import Image

from ovss.errors import InputError
from ovss.images import load_image, to_rgb


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"])
def test_every_mode_becomes_rgb(mode):
    assert (
        to_rgb(Image.new("RGB", (5, 3), (200, 100, 50)).convert("RGB").convert(mode if mode != "LAB" else "RGB")).mode
        == "RGB"
    )


def test_transparency_lies_on_white():
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (10, 20, 30, 255))
    assert np.asarray(to_rgb(picture)).tolist() == [[[255, 255, 255], [10, 20, 30]]]


def test_sixteen_bit_keeps_its_high_byte(tmp_path):
    Image.fromarray(np.array([[0, 65535, 0x1234]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(load_image(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 255, 0x12]
    assert np.asarray(to_rgb(np.array([[0x1234]], np.uint16)))[0, 0].tolist() == [0x12] * 3


def test_exif_orientation_is_applied(tmp_path):
    picture = Image.new("RGB", (40, 20), "red")
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert load_image(tmp_path / "turned.jpg").size == (20, 40)


def test_bad_files_are_named(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:700])
    (tmp_path / "empty.png").touch()
    for name in ("text.png", "cut.jpg", "empty.png", "missing.png"):
        with pytest.raises(InputError, match=name):
            load_image(tmp_path / name)
    with pytest.raises(InputError, match="is a folder"):
        load_image(tmp_path)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    Image.new("1", (200, 200)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match=r"bomb\.png"):
        load_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("array", [np.zeros((3, 3, 2), np.uint8), np.zeros((3, 3, 3)), np.zeros((0, 3), np.uint8)])
def test_arrays_of_another_kind_are_refused(array):
    with pytest.raises(InputError, match="image array"):
        to_rgb(array)


def test_floating_point_pictures_are_refused():
    with pytest.raises(InputError, match="floating-point"):
        to_rgb(Image.new("F", (2, 2)))
