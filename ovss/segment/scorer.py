"""From an image to score maps: windows go through the backbone once, every method reads the same tokens."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import lcm
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from ovss.backbone import Backbone, Companion, JoinedTokens, Tokens
from ovss.backbone.devices import pinned, to_device, to_host
from ovss.backbone.finite import Finite, check_blocks
from ovss.errors import InputError
from ovss.images import to_rgb
from ovss.ingredients import WindowScores
from ovss.methods import Method
from ovss.protocols import Protocol
from ovss.segment.checks import check_companion
from ovss.segment.labels import LabelRule, ScoreMap
from ovss.segment.pamr import Pamr, input_guide
from ovss.segment.patch_graph import PatchGraph
from ovss.segment.presence import evident_classes, image_answer, window_answers, with_prior
from ovss.segment.propagation import Propagation
from ovss.segment.stitching import PatchScores, PixelScores
from ovss.segment.windowed import WindowedImage, cut_windows, seen_image, whole_patches
from ovss.segment.windows import axis_windows
from ovss.vocabulary import Vocabulary, embed_vocabulary

__all__ = ["BackbonePass", "Scorer"]


class BackbonePass(NamedTuple):
    """One backbone pass: its tokens, the pixels that it saw, height and width of its windows in pixels; beside it what
    a second network saw there, how to have the pixels once more, and the true classes of the patches where they are
    known (`ovss.segment.place`)."""

    tokens: Tokens
    seen: Float[Tensor, "B 3 H W"]
    size: tuple[int, int]
    second: Float[Tensor, "B C h w"] | None
    again: Callable[[], Float[Tensor, "B 3 H W"]]
    classes: Int[Tensor, "B N"] | None = None


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
        check_companion(companion, methods, protocol)
        grids = {backbone.patch_size, companion.patch_size} if companion and protocol.lposs_iterations else ()
        if companion and len(grids) > 1 and any(method.uses_companion for method in methods.values()):
            raise InputError(
                f"protocol '{protocol.name}' propagates scores over patches of {backbone.patch_size} pixels, and "
                f"companion '{companion.name}' has patches of {companion.patch_size}; use lposs_iterations = 0"
            )
        self.companion = companion
        self.backbone = backbone
        self.methods = dict(methods)
        self.vocabulary = vocabulary
        self.protocol = protocol
        self.batch_size = batch_size
        self.geometry = protocol.geometry(backbone)
        self.layers = frozenset().union(*(method.layers(backbone.depth) for method in methods.values()))
        if protocol.lposs_iterations or protocol.presence != "none":
            self.layers |= {backbone.depth - 1}

    @cached_property
    def text(self) -> Float[Tensor, "Q E"]:
        """Unit text embeddings of all queries, on the backbone's device."""
        return embed_vocabulary(self.backbone, self.vocabulary).to(self.backbone.device, torch.float32)

    @cached_property
    def rule(self) -> LabelRule:
        """How query scores become labels."""
        return LabelRule.of(self.vocabulary, self.protocol, self.backbone)

    def prepare(self, image: Image.Image | np.ndarray) -> WindowedImage:
        """Resize, crop and normalise an image and lay out its windows.

        Raises:
            InputError: The resized image is smaller than one patch.
        """
        upright = to_rgb(image)
        seen = seen_image(upright, self.geometry)
        if min(seen.size) < self.backbone.patch_size:
            raise InputError(
                f"an image of {upright.width}x{upright.height} pixels becomes {seen.width}x{seen.height} under "
                f"protocol '{self.protocol.name}', less than one patch of {self.backbone.patch_size} pixels"
            )
        pixels = torch.from_numpy(np.array(seen)).permute(2, 0, 1)
        window, stride = self.geometry.window, self.geometry.stride
        both = lcm(self.backbone.patch_size, self.companion.patch_size if self.companion else 1)
        patch = both if self.protocol.window_remainder == "pad" else None
        found = WindowedImage(
            image=upright if self.geometry.crop is None else seen,
            seen=pinned(pixels, self.backbone.device),
            normalise=self.backbone.normalise,
            rows=axis_windows(pixels.shape[1], window, stride, patch),
            columns=axis_windows(pixels.shape[2], window, stride, patch),
        )
        if self.backbone.device.type == "cpu":
            _ = found.pixels  # here, where images are read ahead of the backbone; a GPU does it by the way
        return found

    def score(self, images: Sequence[WindowedImage]) -> list[dict[str, ScoreMap]]:
        """Score images; windows of equal size share backbone passes, whichever image they come from.

        Where windows share their attention, or scores are propagated over them, those of an image are scored together.

        Returns:
            For each image a `ScoreMap` per method label.

        Raises:
            InputError: A value of a pass is not finite, or the windows do not fit the memory of the device.
        """
        found, finite = self.start(images)
        finite.check()
        return found

    def start(self, images: Sequence[WindowedImage]) -> tuple[list[dict[str, ScoreMap]], Finite]:
        """As `score`, but whether all values are finite is left to the caller to check, with what is fetched anyway.

        Images cross to the device here. Nothing waits for it but methods that name regions, and the rule of presence.
        """
        images = [image.on(self.backbone.device) for image in images]
        finite = Finite()
        if self.protocol.windows == "shared" or self.protocol.lposs_iterations:
            return [self._score_together(image, finite) for image in images], finite
        groups: dict[tuple[int, int, bool], list[tuple[int, int]]] = {}
        for number, image in enumerate(images):
            kind = (image.rows.window, image.columns.window, image.overlapping)
            groups.setdefault(kind, []).extend((number, window) for window in range(len(image.offsets)))
        found: list[dict[str, list[Tensor | WindowScores]]] = [{label: [] for label in self.methods} for _ in images]
        answers: list[list[Tensor]] = [[] for _ in images]
        for (_, _, overlapping), members in groups.items():
            for start in range(0, len(members), self.batch_size):
                chosen = members[start : start + self.batch_size]
                one_pass = self._encode(images, chosen)
                for (number, _), answer in zip(chosen, self._answers([one_pass]), strict=False):
                    answers[number].append(answer)
                for label, scores in self._score_windows([one_pass], overlapping, finite).items():
                    for (number, _), one in zip(chosen, scores, strict=True):
                        found[number][label].append(one)
        parts = zip(images, found, answers, strict=True)
        return [self._score_maps(*one, finite) for one in parts], finite

    def label(self, images: Sequence[WindowedImage]) -> list[dict[str, tuple[ScoreMap, np.ndarray]]]:
        """Score maps and label maps of images by method label; label maps of all of them come back at once.

        Raises:
            InputError: As `score`.
        """
        found, finite = self.start(images)
        labels = [scores.label_map() for maps in found for scores in maps.values()]
        arrays = to_host([*labels, *finite.answers])
        finite.check(arrays[len(labels) :])
        given = iter(arrays)
        return [{label: (scores, next(given)) for label, scores in maps.items()} for maps in found]

    def _answers(self, passes: Sequence[BackbonePass]) -> list[Float[Tensor, " Q"]]:
        """What the model says of each window, where the protocol asks for it."""
        if self.protocol.presence == "none":
            return []
        return [answer for one in passes for answer in window_answers(one.tokens, self.text)]

    def _score_together(self, image: WindowedImage, finite: Finite) -> dict[str, ScoreMap]:
        windows = [(0, window) for window in range(len(image.offsets))]
        starts = range(0, len(windows), self.batch_size)
        passes = [self._encode([image], windows[start : start + self.batch_size]) for start in starts]
        joined = JoinedTokens([one.tokens for one in passes], image.offsets)
        scores = self._score_windows(passes, image.overlapping, finite, joined)
        return self._score_maps(image, scores, self._answers(passes), finite)

    def _encode(self, images: Sequence[WindowedImage], chosen: Sequence[tuple[int, int]]) -> BackbonePass:
        windows, patch = cut_windows(images, chosen), self.backbone.patch_size
        height, width = windows.shape[-2:]
        seen = whole_patches(windows, patch)
        try:
            tokens = self.backbone.encode_tokens(seen, layers=self.layers, position=self.protocol.position)
            second = None if self.companion is None else self.companion.features(seen, self.backbone)
        except torch.OutOfMemoryError as error:
            raise InputError(self._too_large(len(windows), height, width)) from error
        return BackbonePass(
            tokens, seen, (height, width), second, lambda: whole_patches(cut_windows(images, chosen), patch)
        )

    def _score_windows(
        self,
        passes: Sequence[BackbonePass],
        overlapping: bool,
        finite: Finite,
        joined: JoinedTokens | None = None,
    ) -> dict[str, list[Tensor | WindowScores]]:
        """Query scores of each window per method: of patches, or of pixels where the method refines them.

        Args:
            passes: The backbone passes of the windows.
            overlapping: Whether windows overlap.
            finite: Is asked about every pass.
            joined: All windows of one image, where they are scored together.
        """
        position = self.protocol.position
        try:
            scores = {label: self._patch_scores(method, passes, joined) for label, method in self.methods.items()}
        except InputError:
            raise
        except torch.OutOfMemoryError as error:
            raise InputError(self._too_large(sum(one.tokens.batch for one in passes), *passes[0].size)) from error
        except Exception:
            # On values that are not finite a method may fail in its own way.
            for one in passes:
                check_blocks(self.backbone, one.seen, position)
            raise
        if joined is not None and self.protocol.lposs_iterations:
            graph, steps = self._graph(joined, passes), self.protocol.lposs_iterations
            scores = {label: graph.propagate(found, steps) for label, found in scores.items()}
        result: dict[str, list[Tensor | WindowScores]] = {label: [] for label in self.methods}
        first = 0
        for tokens, seen, size, _, again, _ in passes:
            part = {label: found[first : first + tokens.batch] for label, found in scores.items()}
            first += tokens.batch
            finite.ask(tokens, part, again, position)
            for label, method in self.methods.items():
                found: Sequence[Tensor | WindowScores] = list(part[label])
                if method.refines:
                    finite.check()  # who looks for regions may fail on other values in its own way
                    owner = self.vocabulary.query_class
                    found = method.refine_windows(part[label], tokens, size, owner, overlapping)
                result[label] += found
            if self.protocol.pamr_iterations and self.protocol.pamr_cells is not None:
                self._refine(result, seen, self.protocol.pamr_cells * tokens.grid[0])
        return result

    def _refine(
        self, scores: Mapping[str, list[Tensor | WindowScores]], windows: Float[Tensor, "B 3 H W"], rows: int
    ) -> None:
        """Draw the query scores of the last windows to the edges of their own window, on `rows` rows of cells."""
        size = (rows, rows * windows.shape[-1] // windows.shape[-2])
        pixels = windows.to(self.backbone.device, torch.float32)
        for number, guide in enumerate(F.interpolate(pixels, size, mode="bilinear", align_corners=True)):
            pamr = Pamr(guide, self.protocol.pamr_dilations)
            for found in scores.values():
                one = found[number - len(windows)]
                full = one.full() if isinstance(one, WindowScores) else one
                found[number - len(windows)] = pamr.refine(full, self.protocol.pamr_iterations)

    def _patch_scores(
        self, method: Method, passes: Sequence[BackbonePass], joined: JoinedTokens | None
    ) -> Float[Tensor, "B Q h w"]:
        if joined is None or self.protocol.windows == "apart":
            scores = torch.cat([self._scores_of(method, one) for one in passes])
        else:
            stacked = method.patch_scores(joined, self.text)[0]  # (Q, B * h, w)
            scores = stacked.unflatten(1, (joined.windows, -1)).transpose(0, 1)
        if self.protocol.class_prior:
            prior = torch.cat([method.class_scores(one.tokens, self.text) for one in passes])
            scores = scores * prior[:, :, None, None]
        return scores

    def _scores_of(self, method: Method, one: BackbonePass) -> Float[Tensor, "B Q h w"]:
        if not method.uses_companion:
            return method.window_scores(one.tokens, self.text, one.seen)
        beside: Callable[..., Tensor] = method.patch_scores
        return beside(one.tokens, self.text, one.second)

    def _graph(self, joined: JoinedTokens, passes: Sequence[BackbonePass]) -> PatchGraph:
        """Patches of an image, bound by the keys of the last block or by the features of the companion."""
        neighbours = self.protocol.lposs_neighbours
        assert neighbours is not None, "protocols are checked for it"
        if self.protocol.lposs_features == "companion":
            seen = torch.cat([one.second for one in passes if one.second is not None])
            return PatchGraph.of_maps(seen.to(joined.places.device), passes[0].tokens.grid, joined.places, neighbours)
        keys = joined.qkv(joined.depth)[1][0, :, joined.prefix :]  # (heads, N, d)
        return PatchGraph.of(keys.transpose(0, 1).flatten(1), joined.places, neighbours)

    def _too_large(self, windows: int, height: int, width: int) -> str:
        """What to do when windows do not fit the memory of a GPU."""
        model = f"{self.backbone.name} ({str(self.backbone.dtype).removeprefix('torch.')})"
        what = f"{windows} window{'s' if windows > 1 else ''} of {height}x{width} pixels"
        smaller = f"a batch size of {windows // 2}" if windows > 1 else "smaller windows, float16 or the CPU"
        return f"{what} do not fit the memory of {self.backbone.device} with {model}; try {smaller}"

    def _guide(self, image: WindowedImage) -> Float[Tensor, "3 H W"]:
        if self.protocol.pamr_guide == "original":
            pixels = torch.from_numpy(np.array(image.image)).permute(2, 0, 1)
            return self.backbone.normalise(to_device(pixels, self.backbone.device))
        return input_guide(image.pixels, image.size)

    def _score_maps(
        self,
        image: WindowedImage,
        windows: Mapping[str, Sequence[Tensor | WindowScores]],
        answers: Sequence[Float[Tensor, " Q"]],
        finite: Finite,
    ) -> dict[str, ScoreMap]:
        maps = {label: self._score_map(image, windows[label]) for label in self.methods}
        if self.protocol.presence == "none":
            return maps
        finite.check()  # of other values no word would be evident
        whole = image_answer(self.backbone, image, self.text, self.protocol.position)
        evident = evident_classes(torch.cat([torch.stack(list(answers)), whole]), self.rule)
        return {label: with_prior(scores, evident) for label, scores in maps.items()}

    def _score_map(self, image: WindowedImage, windows: Sequence[Tensor | WindowScores]) -> ScoreMap:
        steps, grid = self.protocol.tlp_iterations, self.protocol.tlp_grid
        stitched = self.protocol.refines_stitched
        guide = self._guide(image) if stitched or steps else None
        propagation = None
        if steps and guide is not None and grid is not None:
            propagation = Propagation.of(guide.to(self.text.device), self.text, grid, steps)
        shared: dict[str, Any] = {
            "rows": image.rows,
            "columns": image.columns,
            "size": image.size,
            "rule": self.rule,
            "protocol": self.protocol,
            "guide": guide if stitched else None,
            "propagation": propagation,
        }
        refined = tuple(window for window in windows if isinstance(window, WindowScores))
        if refined:
            return PixelScores(windows=refined, **shared)
        stacked = torch.stack([window for window in windows if isinstance(window, Tensor)])  # (rows * columns, Q, h, w)
        grid = stacked.unflatten(0, (len(image.rows.starts), len(image.columns.starts)))
        return PatchScores(cells=grid.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2), **shared)
