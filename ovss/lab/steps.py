"""What steps on scores cost, beside plain `encode_image` on the windows that the scores are of."""

import torch
from torch import Tensor

from ovss.backbone import Backbone, JoinedTokens
from ovss.lab.timing import QUERIES, Subject
from ovss.segment import lposs, tlp

__all__ = ["score_steps"]


def score_steps(backbone: Backbone, windows: Tensor) -> list[Subject]:
    """Propagation by TLP and by LPOSS under their authors' settings, alone: what each adds to any method.

    The windows lie side by side as one image without overlap; scores and words are random.

    Args:
        backbone: The model.
        windows: Normalised windows (B, 3, H, W).
    """
    generator = torch.Generator().manual_seed(0)
    count, _, height, width = windows.shape
    text = torch.nn.functional.normalize(torch.randn(QUERIES, backbone.embed_dim, generator=generator), dim=-1)
    image = windows.float().transpose(0, 1).transpose(1, 2).flatten(2)  # (3, H, B * W)
    with torch.inference_mode():
        tokens = backbone.encode_tokens(windows, layers=[backbone.depth - 1])
        offsets = torch.stack([torch.zeros(count, dtype=torch.long), width * torch.arange(count)], dim=1)
        places = JoinedTokens([tokens], offsets).places
        keys = (
            tokens.qkv(backbone.depth)[1][:, :, tokens.prefix :]
            .transpose(2, 3)
            .flatten(1, 2)
            .unflatten(-1, tokens.grid)
        )
    patches = torch.randn(count, QUERIES, *tokens.grid, generator=generator).to(backbone.device) / 10
    pixels = torch.randn(QUERIES, height, count * width, generator=generator).to(backbone.device) / 10
    return [
        Subject("tlp alone", lambda: tlp(image, pixels, text), 0),
        Subject("lposs alone", lambda: lposs(patches, keys, places), 0),
    ]
