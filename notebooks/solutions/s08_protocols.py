"""Solutions of notebook 08. Each function states its exercise, returns the answer and asserts what must hold."""

import numpy as np
from PIL import Image

import ovss
from ovss.scenes.scenes import scene
from ovss.segment.windows import axis_windows

IMAGES = 6


def windows(stride: float, backbone: ovss.Backbone) -> int:
    """Windows that the `study` protocol with this stride cuts from a square picture."""
    geometry = ovss.load_protocol("study", stride=stride).geometry(backbone)
    return len(axis_windows(geometry.short_side, geometry.window, geometry.stride).starts) ** 2


def exercise_1() -> dict[float, float]:
    """Stride -> mIoU. Of a short side of 1.5 windows, strides of 0.5 and 1 both make two per axis, 0.25 three."""
    backbone = ovss.load_backbone()
    assert windows(0.5, backbone) == windows(1.0, backbone) == 4
    assert windows(0.25, backbone) == 9
    dataset = ovss.load_dataset("scenes", split="test")
    scores = {}
    for stride in (0.25, 0.5):
        protocol = ovss.load_protocol("study", stride=stride)
        summary = ovss.evaluate(backbone, ["naclip"], dataset, protocol=protocol, limit=IMAGES).summary()
        scores[stride] = float(summary["mIoU"].iloc[0])
    return scores


def exercise_2() -> list[list[str]]:
    """Methods from best to worst under two protocols; plain CLIP is last under both."""
    backbone, dataset = ovss.load_backbone(), ovss.load_dataset("scenes", split="test")
    ranks = []
    for protocol in (
        ovss.load_protocol("study"),
        ovss.load_protocol("study", short_side=1.0, window=None, stride=None),
    ):
        methods = ["clip", "maskclip", "naclip"]
        summary = ovss.evaluate(backbone, methods, dataset, protocol=protocol, limit=IMAGES).summary()
        ranks.append(list(summary.sort_values("mIoU", ascending=False)["method"]))
    assert ranks[0][-1] == ranks[1][-1] == "clip"
    return ranks


def exercise_3() -> int:
    """Pixels whose label changes when the logit scale is doubled: none, for a softmax keeps the order."""
    backbone, picture = ovss.load_backbone(), Image.fromarray(scene("test", 10).image)
    labels = [
        ovss.Segmenter(backbone, "naclip", "scenes", protocol=ovss.load_protocol("study", logit_scale=scale))(
            picture
        ).labels
        for scale in (40, 80)
    ]
    assert np.array_equal(*labels)
    return int((labels[0] != labels[1]).sum())
