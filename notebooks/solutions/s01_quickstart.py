"""Solutions of notebook 01. Each function states its exercise, returns the answer and asserts what must hold."""

import numpy as np
from PIL import Image

import ovss
from ovss.scenes.scenes import scene

WORDS = "house; watermelon; water; lava"


def default_picture() -> Image.Image:
    """The picture of the notebook."""
    return Image.fromarray(scene("test", 10).image)


def exercise_1() -> float:
    """Count the share of pixels that change when "water" is called "sea"."""
    backbone = ovss.load_backbone()
    before = ovss.Segmenter(backbone, "naclip", WORDS)(default_picture()).labels
    after = ovss.Segmenter(backbone, "naclip", WORDS.replace("; water;", "; sea;"))(default_picture()).labels
    changed = float((before != after).mean())
    assert 0 <= changed < 0.2, "a synonym that the model knows moves borders, not regions"
    return changed


def exercise_2() -> float:
    """Segment at half the size: the labels have another shape, but every patch sees the same share of the scene."""
    segmenter = ovss.Segmenter(ovss.load_backbone(), "naclip", WORDS)
    picture = default_picture()
    small = picture.resize((picture.width // 2, picture.height // 2))
    full, half = segmenter(picture).labels, segmenter(small).labels
    assert half.shape == (full.shape[0] // 2, full.shape[1] // 2)
    same = float((full[::2, ::2] == half).mean())
    assert same > 0.7, "the protocol brings both to the same number of patches, so regions stay"
    return same


def best_method(names: list[str]) -> str:
    """Of several methods, the one with the most right pixels on the default picture."""
    backbone, drawn = ovss.load_backbone(), scene("test", 10)
    truth = np.array(ovss.load_dataset("scenes").classes)[drawn.mask]

    def right(name: str) -> float:
        segmentation = ovss.Segmenter(backbone, name, WORDS)(Image.fromarray(drawn.image))
        return float((np.array(segmentation.classes)[segmentation.labels] == truth).mean())

    return max(names, key=right)


def exercise_3() -> str:
    """The best of three methods; plain CLIP is not it."""
    best = best_method(["clip", "maskclip", "naclip"])
    assert best != "clip"
    return best
