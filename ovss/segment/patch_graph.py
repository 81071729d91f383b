"""LPOSS: scores propagated over a graph of the patches of all windows (Stojnić et al., CVPR 2025, arXiv 2503.19777).

Each patch is bound to those most like it in any window of the image, the firmer the more alike and the nearer they are.
Scores that agree with the patch's own and with those of its neighbours solve a linear system, which is sparse.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ovss.errors import InputError
from ovss.ingredients import row_chunks

_ALPHA = 0.95
"""Weight of the neighbours beside a patch's own scores."""
_SHARPNESS = 3.0
"""Exponent of the cosines."""
_REACH = 100.0
"""Pixels over which an edge loses a factor of e. These three are the authors' configuration."""
_TOLERANCE = 1e-6
_TINY = 1e-30


def lposs(
    scores: Float[Tensor, "B Q h w"],
    features: Float[Tensor, "B C h2 w2"],
    places: Int[Tensor, "N 2"],
    neighbours: int = 400,
    iterations: int = 50,
) -> Float[Tensor, "B Q h w"]:
    """Propagate patch scores over all windows of an image.

    Args:
        scores: Cosines of the queries in each window.
        features: What patches are compared by: keys of the backbone's last block, as protocols do, or the features of a
            second model (`Companion.features`); brought to the grid of the scores bilinearly.
        places: First pixel (y, x) of each patch in the image, window by window; see `Tokens.places`.
        neighbours: Number k of patches that each one is bound to, itself included; at most all.
        iterations: Most conjugate gradient steps.

    Returns:
        (1 - alpha) (I - alpha S)^-1 scores. The factor, which the authors leave out, changes no order of queries and
        leaves scores that agree everywhere as they are, so that scales and thresholds of cosines keep their meaning.

    Raises:
        InputError: Shapes that do not belong together, fewer than 1 neighbour, negative iterations.
    """
    windows, _, height, width = scores.shape
    if features.ndim != 4 or len(features) != windows or len(places) != windows * height * width:
        raise InputError(
            f"scores {tuple(scores.shape)}, features {tuple(features.shape)} and {len(places)} places are not those of "
            "the same windows"
        )
    return PatchGraph.of_maps(features, (height, width), places, neighbours).propagate(scores, iterations)


@dataclass(frozen=True)
class PatchGraph:
    """The patches of one image, for the scores of several methods.

    Attributes:
        edges: S = D^-1/2 (W + W^T) D^-1/2, a sparse matrix (N, N), where W holds the edges from each patch to its
            nearest ones, w_ij = max(cos_ij, 0)^3 exp(-distance_ij / 100) and w_ii = 0, and D its sums.
    """

    edges: Tensor

    @classmethod
    def of(cls, features: Float[Tensor, "N C"], places: Int[Tensor, "N 2"], neighbours: int) -> "PatchGraph":
        """The graph of the patches of all windows.

        Args:
            features: What patches are compared by.
            places: First pixel (y, x) of each.
            neighbours: Number of patches that each one is bound to, itself included.

        Raises:
            InputError: Fewer than 1 neighbour.
        """
        if neighbours < 1:
            raise InputError(f"neighbours = {neighbours} must be at least 1 patch")
        rows, places = F.normalize(features.float(), dim=-1), places.float()
        count, k = len(rows), min(neighbours, len(rows))
        found = [(rows[part] @ rows.T).topk(k) for part in row_chunks(count, count)]
        near = torch.cat([part.indices for part in found])  # (N, k)
        alike = torch.cat([part.values for part in found])
        own = torch.arange(count, device=rows.device)[:, None].expand_as(near)
        distance = (places[:, None] - places[near]).norm(dim=-1)
        weights = alike.clamp_min(0) ** _SHARPNESS * torch.exp(-distance / _REACH)
        weights = torch.where(near == own, 0, weights).flatten()
        ends = torch.stack([own.flatten(), near.flatten()])
        sums = torch.zeros(count, device=rows.device)
        for side in ends:
            sums = sums.index_add(0, side, weights)
        scale = torch.where(sums > 0, sums, 1).rsqrt()
        weights = weights * scale[ends[0]] * scale[ends[1]]
        both = torch.cat([ends, ends.flip(0)], dim=1)
        return cls(torch.sparse_coo_tensor(both, weights.repeat(2), (count, count), check_invariants=False).coalesce())

    @classmethod
    def of_maps(
        cls, features: Float[Tensor, "B C h2 w2"], grid: tuple[int, int], places: Int[Tensor, "N 2"], neighbours: int
    ) -> "PatchGraph":
        """The graph of patches that are compared by maps of features, window by window, brought to their grid."""
        if features.shape[-2:] != grid:
            features = F.interpolate(features.float(), size=grid, mode="bilinear", align_corners=False)
        return cls.of(features.permute(0, 2, 3, 1).flatten(0, 2), places, neighbours)

    def propagate(self, scores: Float[Tensor, "B Q h w"], iterations: int) -> Float[Tensor, "B Q h w"]:
        """Solve for each query by conjugate gradients from zero; see `lposs`.

        Raises:
            InputError: Negative iterations.
        """
        if iterations < 0:
            raise InputError(f"iterations = {iterations} must be at least 0")
        residual = direction = scores.float().transpose(0, 1).flatten(1).T.contiguous()  # (N, Q)
        solution, size = torch.zeros_like(residual), residual.square().sum(0)
        enough = _TOLERANCE**2 * size
        for _ in range(iterations):
            if bool((size <= enough).all()):
                break
            image = direction - _ALPHA * (self.edges @ direction)
            step = size / (direction * image).sum(0).clamp_min(_TINY)
            solution, residual = solution + step * direction, residual - step * image
            new = residual.square().sum(0)
            direction, size = residual + new / size.clamp_min(_TINY) * direction, new
        windows, _, height, width = scores.shape
        maps = ((1 - _ALPHA) * solution).T.unflatten(1, (windows, height, width))
        return maps.transpose(0, 1)
