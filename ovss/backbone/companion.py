"""A second vision transformer beside CLIP, frozen, for methods that look where it looks (ProxyCLIP)."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import open_clip
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ovss.backbone.backbone import Backbone
from ovss.backbone.checkpoints import hash_weights
from ovss.backbone.devices import constant
from ovss.backbone.loading import load_backbone
from ovss.errors import InputError, suggest

__all__ = ["parse_companion"]


class Companion:
    """A frozen vision transformer that says which patches belong together.

    Args:
        model: Its network; put into evaluation mode, its parameters no longer require gradients.
        states: From normalised pixels (B, 3, H, W) to patches after the last norm (B, h * w, C), row by row.
        name: Name of the architecture.
        weights: Where the weights came from.
        mean: Channel means of its training images, of values in 0..1.
        std: Channel standard deviations, likewise.
        patch_size: Side of its patches in pixels.

    Attributes:
        origin: Name and weights as `load_companion` took them, so that another process can load the same; None of a
            companion made otherwise.
    """

    def __init__(
        self,
        model: nn.Module,
        states: Callable[[Tensor], Tensor],
        *,
        name: str,
        weights: str,
        mean: Sequence[float],
        std: Sequence[float],
        patch_size: int,
    ) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self._states = states
        self.name = name
        self.weights = weights
        self.mean, self.std = tuple(mean), tuple(std)
        self.patch_size = patch_size
        self.origin: tuple[str, str] | None = None

    def __repr__(self) -> str:
        return f"Companion({self.name!r}, weights={self.weights!r}, patch {self.patch_size})"

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 over names, shapes and float32 values of all weights."""
        return hash_weights(self.model.state_dict())

    @property
    def facts(self) -> dict[str, str]:
        """What a result that it took part in says of it."""
        return {"companion": self.name, "companion_weights": self.weights, "companion_hash": self.weights_hash}

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
            constant(tuple(values), windows.device, torch.float32).view(3, 1, 1)
            for values in (backbone.mean, backbone.std, self.mean, self.std)
        )
        weight = next(self.model.parameters())
        pixels = ((windows.float() * old_std + old_mean) - mean) / std
        patches = self._states(pixels.to(weight.device, weight.dtype))  # (B, N, C)
        return patches.mT.unflatten(-1, (height // self.patch_size, width // self.patch_size))


def load_companion(name: str, weights: str | Path, *, device: str | torch.device = "cpu") -> Companion:
    """Load a second vision transformer: a plain one of timm, or the image tower of an open_clip model.

    Args:
        name: Architecture in timm, such as "vit_base_patch8_224", or in open_clip, such as "ViT-B-16".
        weights: Its weights: a .safetensors or weights-only .pth file; for open_clip as `load_backbone` takes them. A
            classification head is left out.
        device: Where it runs.

    Raises:
        InputError: Unknown architecture, one that is no plain vision transformer, a missing or unreadable file, weights
            that do not fit.

    Example:
        >>> import ovss
        >>> from ovss.backbone import load_companion
        >>> load_companion("tiny", "shipped")
        Companion('tiny', weights='shipped', patch 8)
    """
    import timm

    if name == "tiny" or name.replace("/", "-") in open_clip.list_models():
        companion = _of_open_clip(name, weights, device)
    elif timm.is_model(name):
        companion = _of_timm(name, Path(weights), device)
    else:
        known = [*timm.list_models("*vit*"), *open_clip.list_models()]
        raise InputError(f"companion '{name}' is unknown to timm and open_clip.{suggest(name, known)}")
    companion.origin = (name, str(weights))
    return companion


def parse_companion(text: str, device: str | torch.device = "cpu") -> Companion:
    """A companion from "NAME=WEIGHTS", as options have it.

    Raises:
        InputError: Another form, or see `load_companion`.
    """
    name, equals, weights = text.partition("=")
    if not (equals and name.strip() and weights.strip()):
        raise InputError(f"companion '{text}' must be NAME=WEIGHTS, such as vit_base_patch8_224=dino_vitb8.safetensors")
    return load_companion(name.strip(), weights.strip(), device=device)


def _of_open_clip(name: str, weights: str | Path, device: str | torch.device) -> Companion:
    pretrained = None if name == "tiny" and str(weights) == "shipped" else str(weights)
    try:
        tower = load_backbone(name, pretrained, device=str(device), dtype="float32")
    except InputError as error:
        raise InputError(f"companion '{name}': {error}") from error

    visual = tower.model.visual
    norm = visual.trunk.norm if hasattr(visual, "trunk") else visual.ln_post

    def states(pixels: Tensor) -> Tensor:
        return norm(tower.encode_tokens(pixels, layers=[tower.depth]).patches(tower.depth))

    return Companion(
        visual,
        states,
        name=name,
        weights=tower.pretrained,
        mean=tower.mean,
        std=tower.std,
        patch_size=tower.patch_size,
    )


def _of_timm(name: str, path: Path, device: str | torch.device) -> Companion:
    import timm
    from timm.models.vision_transformer import VisionTransformer

    if not path.is_file():
        raise InputError(f"weights '{path}' of companion '{name}' do not exist; give a .safetensors or .pth file")
    model: Any = None
    with suppress(TypeError):  # of architectures that know no images of another size
        model = timm.create_model(name, pretrained=False, num_classes=0, dynamic_img_size=True)
    if not isinstance(model, VisionTransformer):
        raise InputError(f"companion '{name}' is no plain vision transformer of timm, such as vit_base_patch8_224")
    state = {key: value for key, value in _read(path, name).items() if not key.startswith("head.")}
    try:
        model.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        detail = " ".join(str(error).split())[:160]
        raise InputError(f"weights '{path}' do not fit companion '{name}': {detail}") from error
    statistics = vars(model)["pretrained_cfg"]  # what timm knows of the training images
    return Companion(
        model.to(device),
        lambda pixels: model.forward_features(pixels)[:, model.num_prefix_tokens :],
        name=name,
        weights=path.name,
        mean=statistics["mean"],
        std=statistics["std"],
        patch_size=model.patch_embed.patch_size[0],
    )


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
