"""From an image to score maps: windows go through the backbone once, every method reads the same tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import lcm
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ovss.backbone import Backbone, Companion, Tokens
from ovss.backbone.finite import check_blocks, check_pass
from ovss.errors import InputError
from ovss.images import to_rgb
from ovss.ingredients import WindowScores
from ovss.methods import Method
from ovss.protocols import Geometry, Protocol
from ovss.segment.labels import LabelRule, ScoreMap
from ovss.segment.pamr import input_guide
from ovss.segment.propagation import Propagation
from ovss.segment.stitching import PatchScores, PixelScores
from ovss.segment.windows import Windows1D, axis_windows, centre_crop, resize_image, resized_size
from ovss.vocabulary import Vocabulary, embed_vocabulary

__all__ = ["Scorer", "WindowedImage", "check_companion", "seen_image"]


@dataclass(frozen=True)
class WindowedImage:
    """An image ready for the backbone.

    Attributes:
        image: The image that labels are given for (the centre crop where the protocol crops), RGB.
        pixels: Normalised image (3, H', W') that windows are cut from.
        rows: Windows along the height.
        columns: Windows along the width.
    """

    image: Image.Image
    pixels: Float[Tensor, "3 H W"]
    rows: Windows1D
    columns: Windows1D

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the label map in pixels."""
        return self.image.height, self.image.width

    def crop(self, window: int) -> Float[Tensor, "3 h w"]:
        """Pixels of one window, counted row by row, with its padding."""
        row, column = divmod(window, len(self.columns.starts))
        top, left = self.rows.starts[row], self.columns.starts[column]
        inside = self.pixels[:, top : top + self.rows.window, left : left + self.columns.window]
        return F.pad(inside, (*self.columns.padding, *self.rows.padding))

    @property
    def overlapping(self) -> bool:
        """Whether windows overlap along either axis."""
        return self.rows.overlapping or self.columns.overlapping


class Scorer:
    """All methods of a study on one backbone pass.

    Args:
        backbone: The model.
        methods: Methods by the label they are to have in results.
        vocabulary: Classes and their words; its templates are used as they are.
        protocol: Resizing, windows, scale and background rule; resolved for the data set already.
        batch_size: Windows per backbone pass.
        companion: Second network of the methods that use one; None: CLIP is its own.
    """

    def __init__(
        self,
        backbone: Backbone,
        methods: Mapping[str, Method],
        vocabulary: Vocabulary,
        protocol: Protocol,
        *,
        batch_size: int = 16,
        companion: Companion | None = None,
    ) -> None:
        if not methods:
            raise InputError("no method was given")
        check_companion(companion, methods)
        self.companion = companion
        self.backbone = backbone
        self.methods = dict(methods)
        self.vocabulary = vocabulary
        self.protocol = protocol
        self.batch_size = batch_size
        self.geometry = protocol.geometry(backbone)
        self.layers = frozenset().union(*(method.layers(backbone.depth) for method in methods.values()))

    @cached_property
    def text(self) -> Float[Tensor, "Q E"]:
        """Unit text embeddings of all queries, on the backbone's device."""
        return embed_vocabulary(self.backbone, self.vocabulary).to(self.backbone.device, torch.float32)

    @cached_property
    def rule(self) -> LabelRule:
        """How query scores become labels."""
        return LabelRule.of(self.vocabulary, self.protocol, self.backbone.logit_scale)

    def prepare(self, image: Image.Image | np.ndarray) -> WindowedImage:
        """Resize, crop and normalise an image and lay out its windows.

        Raises:
            InputError: The resized image is smaller than one patch.
        """
        upright = to_rgb(image)
        seen = seen_image(upright, self.geometry, self.protocol.resize_filter)
        if min(seen.size) < self.backbone.patch_size:
            raise InputError(
                f"an image of {upright.width}x{upright.height} pixels becomes {seen.width}x{seen.height} under "
                f"protocol '{self.protocol.name}', less than one patch of {self.backbone.patch_size} pixels"
            )
        pixels = self.backbone.preprocess(seen)
        window, stride = self.geometry.window, self.geometry.stride
        both = lcm(self.backbone.patch_size, self.companion.patch_size if self.companion else 1)
        patch = both if self.protocol.window_remainder == "pad" else None
        return WindowedImage(
            image=upright if self.geometry.crop is None else seen,
            pixels=pixels,
            rows=axis_windows(pixels.shape[1], window, stride, patch),
            columns=axis_windows(pixels.shape[2], window, stride, patch),
        )

    def score(self, images: Sequence[WindowedImage]) -> list[dict[str, ScoreMap]]:
        """Score images; windows of equal size share backbone passes, whichever image they come from.

        Returns:
            For each image a `ScoreMap` per method label.
        """
        groups: dict[tuple[int, int, bool], list[tuple[int, int]]] = {}
        for number, image in enumerate(images):
            kind = (image.rows.window, image.columns.window, image.overlapping)
            windows = len(image.rows.starts) * len(image.columns.starts)
            groups.setdefault(kind, []).extend((number, window) for window in range(windows))
        found: list[dict[str, dict[int, Tensor | WindowScores]]]
        found = [{label: {} for label in self.methods} for _ in images]
        for (_, _, overlapping), members in groups.items():
            for start in range(0, len(members), self.batch_size):
                chosen = members[start : start + self.batch_size]
                crops = [images[number].crop(window) for number, window in chosen]
                for label, scores in self._score_windows(torch.stack(crops), overlapping).items():
                    for (number, window), one in zip(chosen, scores, strict=True):
                        found[number][label][window] = one
        return [
            {label: self._score_map(image, windows[label]) for label in self.methods}
            for image, windows in zip(images, found, strict=True)
        ]

    def _score_windows(
        self, windows: Float[Tensor, "B 3 H W"], overlapping: bool
    ) -> dict[str, Float[Tensor, "B Q h w"] | list[WindowScores]]:
        """Query scores of equal windows per method: of patches, or of pixels where the method refines them."""
        patch = self.backbone.patch_size
        height, width = windows.shape[-2:]
        seen = windows[..., : height // patch * patch, : width // patch * patch]
        tokens = self.backbone.encode_tokens(seen, layers=self.layers, position=self.protocol.position)
        second = None if self.companion is None else self.companion.features(seen, self.backbone)
        try:
            scores = {label: self._patch_scores(method, tokens, second) for label, method in self.methods.items()}
        except InputError:
            raise
        except Exception:
            # On values that are not finite a method may fail in its own way.
            check_blocks(self.backbone, seen, self.protocol.position)
            raise
        check_pass(tokens, scores, seen, self.protocol.position)
        result: dict[str, Tensor | list[WindowScores]] = dict(scores)
        for label, method in self.methods.items():
            if method.refines:
                owner = self.vocabulary.query_class
                result[label] = method.refine_windows(scores[label], tokens, (height, width), owner, overlapping)
        return result

    def _patch_scores(self, method: Method, tokens: Tokens, second: Tensor | None) -> Float[Tensor, "B Q h w"]:
        more = (second,) if method.uses_companion else ()
        scores = method.patch_scores(tokens, self.text, *more)
        if self.protocol.class_prior:
            scores = scores * method.class_scores(tokens, self.text)[:, :, None, None]
        return scores

    def _guide(self, image: WindowedImage) -> Float[Tensor, "3 H W"]:
        if self.protocol.pamr_guide == "original":
            return self.backbone.preprocess(image.image)
        return input_guide(image.pixels, image.size)

    def _score_map(self, image: WindowedImage, windows: dict[int, Tensor | WindowScores]) -> ScoreMap:
        steps, grid = self.protocol.tlp_iterations, self.protocol.tlp_grid
        guide = self._guide(image) if self.protocol.pamr_iterations or steps else None
        propagation = None
        if steps and guide is not None and grid is not None:
            propagation = Propagation.of(guide.to(self.text.device), self.text, grid, steps)
        shared: dict[str, Any] = {
            "rows": image.rows,
            "columns": image.columns,
            "size": image.size,
            "rule": self.rule,
            "protocol": self.protocol,
            "guide": guide if self.protocol.pamr_iterations else None,
            "propagation": propagation,
        }
        rows, columns = len(image.rows.starts), len(image.columns.starts)
        ordered = [windows[number] for number in range(rows * columns)]
        refined = tuple(window for window in ordered if isinstance(window, WindowScores))
        if refined:
            return PixelScores(windows=refined, **shared)
        stacked = torch.stack([window for window in ordered if isinstance(window, Tensor)])  # (rows * columns, Q, h, w)
        cells = stacked.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)
        return PatchScores(cells=cells, **shared)


def seen_image(image: Image.Image, geometry: Geometry, resize_filter: str) -> Image.Image:
    """An RGB image as the model sees it before windows are cut: resized and, where the protocol crops, cropped.

    Args:
        image: RGB image.
        geometry: The protocol's sizes for the model.
        resize_filter: See `resize_image`.
    """
    size = resized_size(*image.size, geometry.short_side, geometry.max_long_side, geometry.size_rule)
    resized = resize_image(image, size, resize_filter)
    return resized if geometry.crop is None else centre_crop(resized, geometry.crop)


def check_companion(companion: Companion | None, methods: Mapping[str, Method]) -> None:
    """Refuse a second network that nobody would look at.

    Raises:
        InputError: No method uses it.
    """
    if companion is not None and not any(method.uses_companion for method in methods.values()):
        raise InputError(f"companion '{companion.name}' is used by none of {', '.join(methods)}; proxyclip uses one")
