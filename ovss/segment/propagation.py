"""TLP: scores propagated over a coarse grid of cells (text-aware label propagation, PEARL, CVPR 2026).

Neighbouring cells are bound together, the more the less the image changes between them and the more their words agree;
each cell is bound to its own scores as firmly as it is sure of them. The scores that balance both solve a linear
system, approached by a few conjugate gradient steps. Only the coarse maps of all queries are held at once: stitched
scores come in, and leave, by strips of rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ovss.errors import InputError
from ovss.ingredients.interpolation import bilinear_matrix

_GREY = (0.299, 0.587, 0.114)
_LEAST = 0.05
"""Least confidence of a cell; from 20 queries on, where a softmax over plain cosines is about 1 / Q, that of all."""
_CONTRAST = 5.0
_WORD_TEMPERATURE = 0.5


def tlp(
    image: Float[Tensor, "3 H W"],
    scores: Float[Tensor, "Q H W"],
    text: Float[Tensor, "Q E"] | None = None,
    grid: int = 80,
    iterations: int = 25,
) -> Float[Tensor, "Q H W"]:
    """Propagate score maps with the image and the words as guides (PEARL's released code).

    The steps solve for all queries together and stop long before they converge, so a map depends on which other
    queries there are.

    Args:
        image: The image as the model sees it, channels normalised, at the size of the scores.
        scores: Cosines of the queries at the image's size, before scale and softmax.
        text: Embeddings of the queries, rows of unit length; None: the words do not guide.
        grid: About how many cells each side of the image is cut into.
        iterations: Conjugate gradient steps.

    Returns:
        float32 maps on the device of `scores`.

    Raises:
        InputError: Shapes that do not belong together, a grid below 1, negative iterations.
    """
    if scores.ndim != 3 or image.ndim != 3 or image.shape[0] != 3 or image.shape[1:] != scores.shape[1:]:
        raise InputError(
            f"image (3, H, W) and scores (Q, H, W) must have one size, not {tuple(image.shape)} and "
            f"{tuple(scores.shape)}"
        )
    if text is not None and len(text) != len(scores):
        raise InputError(f"text has {len(text)} rows, the scores have {len(scores)} queries")
    image, text = image.to(scores.device), None if text is None else text.to(scores.device)
    graph = Propagation.of(image, text, grid, iterations)
    maps = graph.propagate([scores.float().transpose(0, 1)])
    return graph.enlarge(maps, slice(0, scores.shape[1])).transpose(0, 1)


@dataclass(frozen=True)
class Propagation:
    """The coarse grid of one image, for the scores of several methods.

    Attributes:
        size: Height and width of the image in pixels.
        pool: Height and width of a cell in pixels; rows and columns that fill no cell are dropped, and the maps of the
            cells are stretched over the image all the same.
        grey: Grey value of each cell.
        gate: How much each query counts in the agreement of two cells; None: words do not guide.
        iterations: Conjugate gradient steps.
    """

    size: tuple[int, int]
    pool: tuple[int, int]
    grey: Float[Tensor, "h w"]
    gate: Float[Tensor, " Q"] | None
    iterations: int

    @classmethod
    def of(
        cls, image: Float[Tensor, "3 H W"], text: Float[Tensor, "Q E"] | None, grid: int, iterations: int
    ) -> "Propagation":
        """The grid of an image; see `tlp`.

        Raises:
            InputError: A grid below 1, negative iterations.
        """
        if grid < 1 or iterations < 0:
            raise InputError(f"grid = {grid} must be at least 1 cell and iterations = {iterations} at least 0")
        height, width = image.shape[1:]
        pool = max(1, round(height / grid)), max(1, round(width / grid))  # half a pixel to the even number
        weights = torch.tensor(_GREY, device=image.device)[:, None, None]
        grey = (F.avg_pool2d(image.float()[None], pool)[0] * weights).sum(0)
        return cls((height, width), pool, grey, None if text is None else text_gate(text.float()), iterations)

    def propagate(self, strips: Iterable[Float[Tensor, "strip Q W"]]) -> Float[Tensor, "Q h w"]:
        """Propagated scores of the cells.

        Args:
            strips: Scores of the image's rows from the top down, some rows at a time.
        """
        averages = self._averages()
        top, total = 0, None
        for strip in strips:
            narrow = F.avg_pool1d(strip, self.pool[1]).flatten(1)  # (strip, Q * w)
            part = averages[:, top : top + len(strip)] @ narrow  # (h, Q * w)
            total = part if total is None else total + part
            top += len(strip)
        assert total is not None, "an image has at least one strip"
        return solve(total.unflatten(1, (-1, self.grey.shape[1])).transpose(0, 1), self)

    def _averages(self) -> Float[Tensor, "h H"]:
        """Mean over the pixel rows of each row of cells, as a matrix."""
        pixels = torch.arange(self.size[0], device=self.grey.device) // self.pool[0]
        cells = torch.arange(self.grey.shape[0], device=self.grey.device)
        return (cells[:, None] == pixels).float() / self.pool[0]

    def enlarge(self, maps: Float[Tensor, "Q h w"], rows: slice) -> Float[Tensor, "strip Q W"]:
        """Some rows of the image from the maps of the cells, bilinearly."""
        down, across = (
            bilinear_matrix(target, source).to(maps.device, torch.float32)
            for target, source in zip(self.size, self.grey.shape, strict=True)
        )
        used = down[rows].any(dim=0).nonzero().squeeze(1)
        widened = maps[:, used] @ across.T  # (Q, used, W)
        return (down[rows][:, used] @ widened.transpose(0, 1).flatten(1)).unflatten(1, (-1, self.size[1]))


def text_gate(text: Float[Tensor, "Q E"]) -> Float[Tensor, " Q"]:
    """How much each query counts: its share of the softmax over its likeness to all, drawn close to one.

    PEARL's formula lets pairs of words meet; its released code takes the diagonal alone, as is done here.
    """
    own = torch.softmax(text @ text.T / _WORD_TEMPERATURE, dim=-1).diagonal()
    return (own + 10) / (11 + 1e-6)


def edge_weights(scores: Float[Tensor, "Q h w"], graph: Propagation) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """How firmly cells are bound to their own scores, and to each other.

    Args:
        scores: Cosines of the cells.
        graph: Grey values of the cells and the gate of the queries.

    Returns:
        Confidence (h, w), and the weights of the edges down (h - 1, w) and to the right (h, w - 1).
    """
    chances = scores.softmax(0)
    gate = scores.new_zeros(len(scores)) if graph.gate is None else graph.gate
    gated = gate[:, None, None] * chances
    agree = (gated * chances).sum(0).clamp(0, 1)
    confidence = chances.amax(0).clamp_min(_LEAST).square() * (1 + agree)

    def between(one: tuple[slice, ...], other: tuple[slice, ...]) -> Tensor:
        change = (graph.grey[one] - graph.grey[other]).abs()
        agree = (gated[:, *one] * chances[:, *other]).sum(0).clamp(0, 1)
        return (torch.exp(-_CONTRAST * change / (change.mean() + 1e-6)) * (1 + agree)).clamp_max(1)

    every, first, last = slice(None), slice(-1), slice(1, None)
    return confidence, (between((first, every), (last, every)), between((every, first), (every, last)))


def solve(scores: Float[Tensor, "Q h w"], graph: Propagation) -> Float[Tensor, "Q h w"]:
    """Conjugate gradient steps from the scores towards (diag(c) + Laplacian) f = diag(c) scores."""
    confidence, (down, right) = edge_weights(scores, graph)

    def system(f: Tensor) -> Tensor:
        rows, columns = down * f.diff(dim=1), right * f.diff(dim=2)
        result = confidence * f
        result[:, 1:] += rows
        result[:, :-1] -= rows
        result[:, :, 1:] += columns
        result[:, :, :-1] -= columns
        return result

    f = scores
    residual = confidence * scores - system(scores)
    direction, size = residual, residual.square().sum()
    for _ in range(graph.iterations):
        image = system(direction)
        step = size / ((direction * image).sum() + 1e-12)
        f, residual = f + step * direction, residual - step * image
        new = residual.square().sum()
        direction, size = residual + new / (size + 1e-12) * direction, new
    return f
