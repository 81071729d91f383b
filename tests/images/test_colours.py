"""Colours of named classes: expected hues, apart from each other under colour blindness, simulated."""

import numpy as np

import ovss
from ovss.images.colours import named_colours

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]


def lab(colours, seen_through=None):
    """CIELAB of sRGB bytes, under a simulated colour vision."""
    share = np.asarray(colours) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    if seen_through is not None:
        linear = np.clip(linear @ np.transpose(seen_through), 0, 1)
    xyz = linear @ np.transpose(XYZ) / (0.95047, 1.0, 1.08883)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def nearest(points):
    """Smallest distance of two different points; 2.3 is just noticeable, 10 is clear at a glance."""
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return apart[~np.eye(len(points), dtype=bool)].min()


def test_every_class_of_scenes_has_a_colour_apart_from_all_others_and_from_void():
    colours = named_colours(ovss.load_dataset("scenes").classes)
    assert colours is not None
    with_void = np.concatenate([colours, [[255, 255, 255]]])
    assert nearest(lab(with_void)) > 20
    assert nearest(lab(with_void, DEUTERANOPIA)) > 20
    assert nearest(lab(with_void, PROTANOPIA)) > 8


def test_colours_are_those_that_readers_expect():
    sky, grass, lava = named_colours(["sky", "grass", "lava"]).astype(int)
    assert sky.argmax() == 2
    assert grass.argmax() == 1
    assert lava.argmax() == 0
    assert lava[0] > 2 * max(lava[1:])


def test_a_name_keeps_its_colour_whatever_the_list_and_unknown_names_have_none():
    assert (named_colours(["lava", "sky"])[::-1] == named_colours(["sky", "lava"])).all()
    assert named_colours(["sky", "sofa"]) is None
