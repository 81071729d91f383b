"""Sizes of a protocol in pixels, for one model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Protocol as Interface

from ovss.errors import InputError

if TYPE_CHECKING:
    from ovss.protocols import Protocol

_MAX_SIZE_RATIO = 2.5
"""Windows more than this many times larger or smaller than a model's native size make no sense for it."""


class Model(Interface):
    """What a protocol needs to know of a backbone."""

    @property
    def name(self) -> str:
        """Architecture."""
        ...

    @property
    def image_size(self) -> int:
        """Shorter side of the native grid in pixels."""
        ...

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        ...

    @property
    def resize_filter(self) -> str:
        """Filter of its own transform."""
        ...


@dataclass(frozen=True)
class Geometry:
    """Sizes in pixels for one model, and how images are brought to them.

    Attributes:
        short_side: The shorter side is resized to this.
        max_long_side: Unless the longer side would pass this; None: no limit.
        crop: Side of the centre square that is cut out then; None: no crop.
        window: Side of the sliding window; None: the whole image at once.
        stride: Distance of neighbouring windows.
        resize_filter: The filter; that of the model where the protocol leaves it to the model.
        size_rule: How the size after resizing is made whole; see `Protocol`.
    """

    short_side: int
    max_long_side: int | None
    crop: int | None
    window: int | None
    stride: int | None
    resize_filter: str
    size_rule: str = "round"


def geometry_of(protocol: "Protocol", model: Model) -> Geometry:
    """Sizes in pixels for a model, and its filter; see `Protocol.geometry`.

    Raises:
        InputError: The protocol's pixels are far from what the model was made for, or it asks for the model's filter,
            which is none that we have.
    """
    short, window, stride = _sizes(protocol, model)
    resize_filter = model.resize_filter if protocol.resize_filter == "model" else protocol.resize_filter
    return Geometry(short, protocol.max_long_side, protocol.crop, window, stride, resize_filter, protocol.size_rule)


def _sizes(protocol: "Protocol", model: Model) -> tuple[int, int | None, int | None]:
    """Short side, window and stride in pixels."""
    if protocol.relative:
        return _relative_sizes(protocol, model.image_size, model.patch_size)
    seen = protocol.window or protocol.crop or protocol.short_side
    ratio = seen / model.image_size
    if not 1 / _MAX_SIZE_RATIO <= ratio <= _MAX_SIZE_RATIO:
        part = "windows" if protocol.window else "images"
        raise InputError(
            f"protocol '{protocol.name}' has {part} of {seen} pixels, which makes no sense for {model.name}, "
            f"made for {model.image_size}; use protocol 'study', whose sizes follow the model"
        )
    return int(protocol.short_side), _whole(protocol.window), _whole(protocol.stride)


def _relative_sizes(protocol: "Protocol", native: int, patch: int) -> tuple[int, int | None, int | None]:
    short = int(protocol.short_side * native + 0.5)
    if protocol.window is None or protocol.stride is None:
        return short, None, None
    window = max(1, int(protocol.window * native / patch + 0.5)) * patch
    return short, window, min(max(1, int(protocol.stride * native + 0.5)), window)


def _whole(length: float | None) -> int | None:
    return None if length is None else int(length)
