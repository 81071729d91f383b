"""What a patch's embedding depends on: pixels far away (effective receptive field), and where the patch stands."""

from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Backbone
from ovss.errors import InputError
from ovss.methods import Method


def receptive_field(
    backbone: Backbone, method: Method, images: Float[Tensor, "B 3 H W"], patch: tuple[int, int]
) -> Float[Tensor, "B h w"]:
    """Effective receptive field of a patch: share of its gradient that falls on the pixels of each patch.

    Luo et al., "Understanding the Effective Receptive Field in Deep CNNs" (NeurIPS 2016): the gradient with respect to
    the pixels, here of the embedding against signs that are drawn once, as squared gradients summed over the pixels of
    a patch.

    Args:
        backbone: The model.
        method: Gives the embedding.
        images: Normalised images of whole patches.
        patch: Row and column of the patch whose embedding it is.

    Returns:
        Shares, which sum to 1 over the grid.

    Raises:
        InputError: The patch is outside the grid.
    """
    with torch.inference_mode(False), torch.enable_grad():
        pixels = images.to(backbone.device, backbone.dtype).clone().requires_grad_()
        tokens = backbone.encode_tokens(pixels)
        h, w = tokens.grid
        if not (0 <= patch[0] < h and 0 <= patch[1] < w):
            raise InputError(f"patch {patch} is outside the grid of {h} rows and {w} columns")
        embedded = method.patch_embeddings(tokens)[:, patch[0] * w + patch[1]]  # (B, E), unit rows
        # A unit vector has no gradient along itself, and a sum over its channels favours one direction.
        probe = torch.randn(embedded.shape[-1], generator=torch.Generator().manual_seed(0)).sign().to(embedded)
        (gradient,) = torch.autograd.grad((embedded * probe).sum(), pixels)
    energy = gradient.float().square().sum(1)  # (B, H, W)
    side = backbone.patch_size
    cells = energy.unflatten(2, (w, side)).unflatten(1, (h, side)).sum((2, 4))
    return cells / cells.sum((1, 2), keepdim=True)


@torch.inference_mode()
def shift_energy(
    backbone: Backbone, method: Method, image: Float[Tensor, "3 H W"], reach: int = 2
) -> Float[Tensor, "h w"]:
    """How much a patch's embedding changes while its pixels stay the same and the window moves around it.

    Windows are cut out of the image at all offsets of up to 2 `reach` whole patches, so that the same pixels fall into
    another patch of the grid each time. What varies is an artefact of place and surroundings.

    Args:
        backbone: The model.
        method: Gives the embeddings.
        image: Normalised image, 2 `reach` patches larger than the window along both sides.
        reach: In patches; the windows are (2 `reach` + 1)^2.

    Returns:
        Of the patches that all windows show: variance over windows of the unit embedding, summed over channels, 0
        (always the same) to 1 (no two alike in direction).

    Raises:
        InputError: The image is not that much larger than two `reach` patches.
    """
    side = backbone.patch_size
    height, width = image.shape[-2] // side - 2 * reach, image.shape[-1] // side - 2 * reach
    if reach < 1 or min(height, width) <= 2 * reach:
        raise InputError(
            f"an image of {image.shape[-2]}x{image.shape[-1]} pixels shows no patch in all windows at reach={reach}"
        )
    seen = []
    for dy, dx in product(range(2 * reach + 1), repeat=2):
        window = image[:, dy * side : (dy + height) * side, dx * side : (dx + width) * side]
        tokens = backbone.encode_tokens(window[None], layers=method.layers(backbone.depth))
        found = method.patch_embeddings(tokens)[0].unflatten(0, tokens.grid)  # (h, w, E)
        seen.append(found[2 * reach - dy : height - dy, 2 * reach - dx : width - dx])
    return 1 - torch.stack(seen).mean(0).square().sum(-1)
