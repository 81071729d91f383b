"""What methods, protocol and a second network must have in common."""

from collections.abc import Mapping

import torch

from ovss.backbone import Backbone, Companion
from ovss.backbone.finite import check_blocks
from ovss.errors import InputError
from ovss.methods import Method
from ovss.protocols import Protocol

__all__ = ["check_companion", "check_methods"]


def check_companion(companion: Companion | None, methods: Mapping[str, Method], protocol: Protocol) -> None:
    """Refuse a second network that nobody would look at, and the lack of one.

    Raises:
        InputError: Neither a method nor the protocol uses it, or the protocol needs one.
    """
    if protocol.lposs_features == "companion":
        if companion is None:
            raise InputError(f"protocol '{protocol.name}' has lposs_features = \"companion\"; give a companion")
    elif companion is not None and not any(method.uses_companion for method in methods.values()):
        raise InputError(f"companion '{companion.name}' is used by none of {', '.join(methods)}; proxyclip uses one")


@torch.inference_mode()
def check_methods(backbone: Backbone, methods: Mapping[str, Method]) -> None:
    """Let each method see one window of noise where the model has no class token, which some methods need.

    Words are embedded before the first image is seen, which can take minutes; what is refused is refused before that.

    Raises:
        InputError: A method refuses the model, or a value of the pass is not finite.
    """
    if backbone.class_token:
        return
    noise = torch.randn(1, 3, *backbone.native_size, generator=torch.Generator().manual_seed(0))
    tokens = backbone.encode_tokens(noise)
    for method in methods.values():
        try:
            if not method.uses_companion:
                method.patch_embeddings(tokens)
            if method.regions is not None:
                method.regions.correlation(tokens)
        except InputError:
            raise
        except Exception:
            check_blocks(backbone, noise, "scale")  # who looks for regions may fail on NaN in its own way
            raise
