"""What a reader needs before the numbers: each method in a line, each measure and each protocol defined."""

from collections.abc import Sequence

from ovss.errors import InputError
from ovss.methods import resolve_methods
from ovss.protocols import load_protocol

__all__ = ["MEASURES", "method_lines", "protocol_lines"]

MEASURES = {
    "mIoU": "mean over classes of intersection over union, from the pixels of all images together",
    "mAcc": "mean over classes of the share of a class's pixels that are labelled as it",
    "pAcc": "share of all pixels that are labelled right",
    "fwIoU": "intersection over union weighed by the area of each class",
}
_WALKTHROUGHS = {
    **{"clip": "02", "maskclip": "03", "sclip": "03", "clearclip": "03", "naclip": "04", "cliptrase": "05"},
    **{"scclip": "06", "clipseg_aaai25": "07"},
}
"""Walkthrough that derives a method."""


def method_lines(labels: Sequence[str]) -> list[tuple[str, str, str]]:
    """Label, what it computes and where it comes from, for each method of a record that this version knows."""
    lines = []
    for label in labels:
        try:
            (method,) = resolve_methods([label]).values()
        except InputError:
            continue
        idea = (type(method).__doc__ or "").split("\n")[0]
        origin = method.paper.venue + (f", arXiv {method.paper.arxiv}" if method.paper.arxiv else "")
        walk = _WALKTHROUGHS.get(method.name)
        lines.append((label, idea, origin + (f"; walkthrough {walk}" if walk else "")))
    return lines


def protocol_lines(names: Sequence[str]) -> list[tuple[str, str]]:
    """Name and rules of each protocol of a record that this version knows."""
    lines = []
    for name in names:
        try:
            rules = load_protocol(name)
        except InputError:
            continue
        unit = " times the model's native side" if rules.relative else " pixels"
        parts = [f"short side {rules.short_side:g}{unit}" if rules.short_side else "image size as it is"]
        if rules.crop:
            parts.append(f"centre crop {rules.crop:g}{unit}")
        window = f"windows of {rules.window:g}{unit}, stride {rules.stride:g}{unit}" if rules.window else "no windows"
        parts += [window, f"{_counted_templates(len(rules.templates))}", f"logit scale {rules.logit_scale:g}"]
        parts.append("no background rule" if rules.background == "none" else f"background by {rules.background}")
        lines.append((name, ", ".join(parts)))
    return lines


def _counted_templates(count: int) -> str:
    """ "1 prompt template", "80 prompt templates"."""
    return f"{count} prompt template{'' if count == 1 else 's'}"
