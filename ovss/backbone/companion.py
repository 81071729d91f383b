"""A second vision transformer beside CLIP, frozen, for methods that look where it looks (ProxyCLIP)."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ovss.backbone.backbone import Backbone, hash_weights
from ovss.errors import InputError, suggest


class Companion:
    """A plain vision transformer of timm.

    Args:
        model: timm `VisionTransformer`; put into evaluation mode, its parameters no longer require gradients.
        name: Name of the architecture in timm.
        weights: Where the weights came from.
        mean: Channel means of its training images, of values in 0..1.
        std: Channel standard deviations, likewise.
    """

    def __init__(
        self, model: nn.Module, *, name: str, weights: str, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self.name = name
        self.weights = weights
        self.mean, self.std = tuple(mean), tuple(std)
        self.patch_size: int = self.model.patch_embed.patch_size[0]

    def __repr__(self) -> str:
        return f"Companion({self.name!r}, weights={self.weights!r}, patch {self.patch_size})"

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 over names, shapes and float32 values of all weights."""
        return hash_weights(self.model.state_dict())

    @torch.inference_mode()
    def features(self, windows: Float[Tensor, "B 3 H W"], backbone: Backbone) -> Float[Tensor, "B C h w"]:
        """Patch features after the last norm, of windows as the backbone sees them.

        Args:
            windows: Windows normalised by the backbone's statistics; the companion's own take their place.
            backbone: The backbone that they were made for.

        Raises:
            InputError: The windows are no whole number of the companion's patches.
        """
        height, width = windows.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise InputError(
                f"companion '{self.name}' has patches of {self.patch_size} pixels, and windows of {height}x{width} are "
                f"no whole number of them; use windows of a multiple of {self.patch_size}"
            )
        old_mean, old_std, mean, std = (
            torch.tensor(values).view(3, 1, 1) for values in (backbone.mean, backbone.std, self.mean, self.std)
        )
        weight = next(self.model.parameters())
        pixels = ((windows.float().cpu() * old_std + old_mean) - mean) / std
        tokens = self.model.forward_features(pixels.to(weight.device, weight.dtype))  # (B, prefix + N, C)
        patches = tokens[:, self.model.num_prefix_tokens :]
        return patches.mT.unflatten(-1, (height // self.patch_size, width // self.patch_size))


def load_companion(name: str, weights: str | Path, *, device: str | torch.device = "cpu") -> Companion:
    """Load a plain vision transformer of timm from a file.

    Args:
        name: Architecture in timm, such as "vit_base_patch8_224".
        weights: Its weights, .safetensors or a weights-only .pth; a classification head is left out.
        device: Where it runs.

    Raises:
        InputError: Unknown architecture, one that is no plain vision transformer, a missing or unreadable file, weights
            that do not fit.
    """
    import timm
    from timm.models.vision_transformer import VisionTransformer

    if not timm.is_model(name):
        raise InputError(f"companion '{name}' is unknown to timm.{suggest(name, timm.list_models('*vit*'))}")
    path = Path(weights)
    if not path.is_file():
        raise InputError(f"weights '{path}' of companion '{name}' do not exist; give a .safetensors or .pth file")
    try:
        model = timm.create_model(name, pretrained=False, num_classes=0, dynamic_img_size=True)
    except TypeError:
        model = None
    if not isinstance(model, VisionTransformer):
        raise InputError(f"companion '{name}' is no plain vision transformer of timm, such as vit_base_patch8_224")
    state = {key: value for key, value in _read(path, name).items() if not key.startswith("head.")}
    try:
        model.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        detail = " ".join(str(error).split())[:160]
        raise InputError(f"weights '{path}' do not fit companion '{name}': {detail}") from error
    statistics: Any = model.pretrained_cfg
    return Companion(model.to(device), name=name, weights=str(path), mean=statistics["mean"], std=statistics["std"])


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        detail = " ".join(str(error).split())[:160]
        raise InputError(f"weights '{path}' of companion '{name}' cannot be read: {detail}") from error
    except Exception as error:  # pickle's own errors have no common class but this
        raise InputError(f"weights '{path}' of companion '{name}' are no weights-only file") from error
    if not isinstance(state, dict):
        raise InputError(f"weights '{path}' of companion '{name}' hold no table of tensors")
    return state
