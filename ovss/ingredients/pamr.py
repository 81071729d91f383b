"""PAMR: scores drawn to the edges of the image (Araslanov and Roth, CVPR 2020, arXiv 2005.08104).

Each pixel's scores are replaced, a few times over, by a weighted mean of its neighbours'; a neighbour counts the more,
the more it looks like the pixel. One iteration is a product of a sparse matrix (pixels x pixels, 8 entries per dilation
and row) with the scores (pixels x classes), classes contiguous: `embedding_bag` is that product, threaded and
vectorised, without the (classes x neighbours x height x width) tensor of the dilated-convolution form.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ovss.errors import InputError

__all__ = ["Pamr", "pamr"]

_DEFAULT_MEMORY = 1 << 29


def pamr(
    image: Float[Tensor, "3 H W"],
    scores: Float[Tensor, "C h w"],
    iterations: int = 10,
    dilations: Sequence[int] = (8, 16),
    memory: int = _DEFAULT_MEMORY,
) -> Float[Tensor, "C H W"]:
    """Refine score maps with the image as guide.

    Args:
        image: The image as the model sees it, channels normalised.
        scores: One map per class or query, at the image's size or smaller (then enlarged bilinearly, corners
            aligned, as the authors do).
        iterations: How often each score is replaced; 0 leaves the scores as they are.
        dilations: Distances, in pixels, at which the 8 neighbours are taken.
        memory: Bytes for working storage; classes are taken in chunks that fit. Does not change the result.

    Returns:
        float32 maps on the device of `scores`.

    Raises:
        InputError: Shapes that do not belong together, negative iterations, dilations below 1.
    """
    if scores.ndim != 3:
        raise InputError(f"scores must be (classes, height, width), not {tuple(scores.shape)}")
    return Pamr(image.to(scores.device), dilations).refine(scores, iterations, memory)


class Pamr:
    """The neighbours of one image and their weights, for several sets of scores.

    Holds 64 bytes per pixel and dilation.

    Args:
        image: (3, H, W), channels normalised; the weights are computed in float32 on its device.
        dilations: Distances, in pixels, at which the 8 neighbours are taken.

    Raises:
        InputError: No image of three dimensions, no dilations, or one below 1.
    """

    def __init__(self, image: Float[Tensor, "3 H W"], dilations: Sequence[int] = (8, 16)) -> None:
        if image.ndim != 3 or not image.numel():
            raise InputError(f"image must be (channels, height, width), not {tuple(image.shape)}")
        if not dilations or min(dilations) < 1:
            raise InputError(f"dilations {tuple(dilations)} must be distances of at least 1 pixel")
        self.size: tuple[int, int] = (image.shape[1], image.shape[2])
        offsets = [
            (dilation * dy, dilation * dx)
            for dilation in dilations
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if dy or dx
        ]
        self._neighbours = _neighbours(self.size, offsets, image.device)  # (H * W, K)
        self._weights = _weights(image.float(), offsets, len(dilations))  # (H * W, K)

    def refine(
        self, scores: Float[Tensor, "C h w"], iterations: int = 10, memory: int = _DEFAULT_MEMORY
    ) -> Float[Tensor, "C H W"]:
        """Apply the weights `iterations` times; see `pamr`."""
        if iterations < 0:
            raise InputError(f"iterations must be 0 or more, not {iterations}")
        height, width = self.size
        pixels = height * width
        result = torch.empty(len(scores), height, width, device=scores.device)
        held = 2 * self._weights.numel() * self._weights.element_size()
        # Three copies of a chunk are alive at once: its maps, and the two ends of an iteration.
        chunk = max(1, (memory - held) // (3 * 4 * pixels))
        for start in range(0, len(scores), chunk):
            part = scores[start : start + chunk].float()
            if part.shape[1:] != self.size:
                part = F.interpolate(part[None], size=self.size, mode="bilinear", align_corners=True)[0]
            # A fresh tensor, since `contiguous` keeps the odd strides of a single class, which sums in another order.
            x = torch.empty(pixels, len(part), device=part.device).copy_(part.flatten(1).T)
            for _ in range(iterations):
                x = F.embedding_bag(self._neighbours, x, mode="sum", per_sample_weights=self._weights)
            result[start : start + chunk] = x.T.unflatten(1, self.size)
        return result


def _neighbours(size: tuple[int, int], offsets: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Flat index (H * W, K) of each pixel's neighbours; the border repeats beyond the image."""
    height, width = size
    rows = torch.arange(height, device=device, dtype=torch.int32)
    columns = torch.arange(width, device=device, dtype=torch.int32)
    flat = [
        (rows + dy).clamp(0, height - 1)[:, None] * width + (columns + dx).clamp(0, width - 1) for dy, dx in offsets
    ]
    return torch.stack(flat, dim=-1).flatten(0, 1)


def _weights(image: Tensor, offsets: Sequence[tuple[int, int]], dilations: int) -> Tensor:
    """Softmax (H * W, K) over minus the channel mean of |I - I_n| / (1e-8 + 0.1 std)."""
    height, width = image.shape[1:]
    rows = torch.arange(height, device=image.device)
    columns = torch.arange(width, device=image.device)

    def shifted(dy: int, dx: int) -> Tensor:
        row, column = (rows + dy).clamp(0, height - 1), (columns + dx).clamp(0, width - 1)
        return image[:, row][:, :, column]

    # The deviation is over the 3 x 3 samples of every dilation together, so the pixel itself counts once per dilation.
    samples = len(offsets) + dilations
    total = image * dilations
    for offset in offsets:
        total = total + shifted(*offset)
    mean = total / samples
    square = (image - mean).square() * dilations
    for offset in offsets:
        square = square + (shifted(*offset) - mean).square()
    scale = 1e-8 + 0.1 * (square / (samples - 1)).sqrt()  # (3, H, W)
    distance = torch.stack([((image - shifted(*offset)).abs() / scale).mean(0) for offset in offsets], dim=-1)
    return torch.softmax(-distance, dim=-1).flatten(0, 1)
