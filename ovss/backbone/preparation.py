"""What a model's own transform does to an image before the model sees it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import open_clip

from ovss.errors import InputError

__all__ = ["Preparation", "own_resize_filter"]

_USUAL = "bicubic"
"""What open_clip's transform does where a configuration names no interpolation, or "random", which is for training."""
_FILTERS = {"bicubic": "pil-bicubic", "bilinear": "pil-bilinear"}
"""open_clip's transform resizes PIL images, which widens either filter where it shrinks, so both antialias."""


class Preparation(NamedTuple):
    """Part of open_clip's settings of some weights.

    Attributes:
        mean: Channel means of the training images, of values in 0..1.
        std: Channel standard deviations, likewise.
        interpolation: Of the transform's resizing; None where nothing is said.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str | None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Preparation":
        """From the settings of a tag or a repository; OpenAI's statistics where they name none."""
        mean = _of_channels(settings.get("mean") or open_clip.OPENAI_DATASET_MEAN)
        std = _of_channels(settings.get("std") or open_clip.OPENAI_DATASET_STD)
        return cls(mean, std, settings.get("interpolation"))


def _of_channels(value: float | Sequence[float]) -> tuple[float, ...]:
    """One number stands for all channels, as in open_clip's transform."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * 3


def usual_settings(architecture: str) -> dict[str, Any]:
    """Settings of the first published weights of an architecture: of its family, where weights say nothing."""
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    return open_clip.get_pretrained_cfg(architecture, tags[0]) if tags else {}


def own_resize_filter(interpolation: str | None, name: str) -> str:
    """The filter of `ovss.protocols` that resizes as a model's own transform does.

    Args:
        interpolation: What its configuration names.
        name: The model, for the error.

    Raises:
        InputError: An interpolation that open_clip's transform does not have.

    Example:
        >>> own_resize_filter("bilinear", "PE-Core-B-16"), own_resize_filter(None, "ViT-S-16")
        ('pil-bilinear', 'pil-bicubic')
    """
    found = _FILTERS.get(_USUAL if interpolation in (None, "random") else interpolation)
    if found is None:
        raise InputError(
            f"the configuration of {name} names the interpolation '{interpolation}', which open_clip's transform does "
            f"not have; set resize_filter to {' or '.join(_FILTERS.values())}"
        )
    return found
