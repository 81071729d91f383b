"""Images are read as people have them, or refused by name."""

import os
import struct

import numpy as np
import pytest
from PIL import Image

from ovss.datasets.masks import open_image, read_index_png
from ovss.errors import InputError
from ovss.images import image_size, load_image, to_rgb


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


def test_floating_point_images_are_refused():
    with pytest.raises(InputError, match="floating-point"):
        to_rgb(Image.new("F", (2, 2)))


@pytest.mark.parametrize(
    "suffix", ["avif", "dds", "webp", "png", "jpg", "gif", "bmp", "tif", "tga", "ppm", "pcx", "sgi"]
)
@pytest.mark.parametrize("read", [load_image, open_image])
def test_a_file_cut_anywhere_is_one_error_that_names_it(tmp_path, suffix, read):
    whole = tmp_path / f"whole.{suffix}"
    try:
        Image.effect_noise((64, 48), 50).convert("RGB").save(whole)
    except (KeyError, ValueError, OSError) as error:
        pytest.skip(f"this Pillow cannot write {suffix}: {error}")
    content, path, refused = whole.read_bytes(), tmp_path / f"cut.{suffix}", 0
    for share in (0.02, 0.1, 0.3, 0.6, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        try:
            assert read(path).size == (64, 48)
        except InputError as error:
            refused += str(path) in str(error) and "\n" not in str(error)
    assert refused >= 2


@pytest.mark.parametrize("suffix", ["avif", "dds", "webp", "png", "jpg", "gif", "tif", "tga", "pcx", "sgi", "ico"])
def test_damaged_files_raise_nothing_but_the_error_for_users(tmp_path, suffix):
    whole, path = tmp_path / f"whole.{suffix}", tmp_path / f"a.{suffix}"
    try:
        Image.effect_noise((64, 48), 50).convert("RGB").save(whole)
    except (KeyError, ValueError, OSError) as error:
        pytest.skip(f"this Pillow cannot write {suffix}: {error}")
    content, refused = whole.read_bytes(), []
    for seed in range(60):
        rng, changed = np.random.default_rng(seed), bytearray(content)
        place = int(rng.integers(0, min(len(changed), 300)))
        changed[place : place + 4] = rng.bytes(4)
        path.write_bytes(changed)
        for read in (load_image, read_index_png, image_size):
            try:
                read(path)
            except InputError as error:
                refused.append(str(error))
    assert all(path.name in message and "\n" not in message for message in refused)
    assert refused


@pytest.mark.parametrize(
    "error", [struct.error("short"), IndexError("x"), RuntimeError("a\nb"), MemoryError(), KeyError(3)]
)
def test_whatever_a_decoder_raises_names_the_file_in_one_line(tmp_path, monkeypatch, error):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")

    def fail(*_):
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    for read in (load_image, open_image):
        with pytest.raises(InputError, match=r"a\.png' cannot be read: \S") as caught:
            read(tmp_path / "a.png")
        assert "\n" not in str(caught.value)


def test_a_decompression_bomb_as_a_mask_is_refused(tmp_path, monkeypatch):
    Image.new("1", (200, 200)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for read in (read_index_png, image_size):
        with pytest.raises(InputError, match=r"bomb\.png' cannot be read: Image size"):
            read(tmp_path / "bomb.png")


def test_pipes_and_devices_are_refused_without_opening_them(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "device.png"):
        for read in (load_image, read_index_png, image_size):
            with pytest.raises(InputError, match=rf"{name}' is no regular file"):
                read(tmp_path / name)
