"""Your image, your words: `Segmenter` and what it returns."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ovss.backbone import Backbone, Companion, backbone_from
from ovss.errors import InputError, printable
from ovss.images import find_images, load_image
from ovss.methods import Method
from ovss.methods.registry import parse_method
from ovss.methods.tuned import under_protocol
from ovss.protocols import Protocol, default_protocol, load_protocol
from ovss.segment.checks import check_methods
from ovss.segment.scorer import Scorer
from ovss.segment.segmentation import Segmentation
from ovss.segment.windowed import WindowedImage
from ovss.vocabulary import Vocabulary

__all__ = ["Segmenter", "Source", "resolve_protocol"]

Source = str | Path | Image.Image | np.ndarray | Tensor
"""An image as people have it: a file, a PIL image, an array (H, W, 3) or a tensor (3, H, W), of uint8 or of 0 to 1."""
_AHEAD = 4


class Segmenter:
    """Labels each pixel of an image with one of any words.

    Args:
        backbone: A model from `load_backbone`, or its name: "tiny", "ViT-B-16=openai".
        method: Name of a method with any parameters, "naclip(sigma=2)", or one from `create_method`.
        classes: A vocabulary, a data set's name, a list of words (or lists of synonyms), a file, or a string such as
            "cat; sofa, couch; background: wall, floor".
        protocol: Name, file or `Protocol`; None is "window224", or "study" for the embedded model.
        background: Words of an additional background class (class 0), or a probability below which a pixel is
            background.
        windows: "shared" lets the attention of the last block cross the borders of windows, "apart" does not; None:
            what the protocol says.
        batch_size: Windows per backbone pass.
        companion: Second network from `load_companion`, for `proxyclip`; None: CLIP is its own.

    Example:
        >>> import ovss
        >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
        >>> segmenter = ovss.Segmenter(backbone, "naclip", "ladybird; star; grass")
        >>> segmenter(ovss.load_dataset("scenes")[0].image).labels.shape
        (192, 192)

    Raises:
        InputError: Unknown names, words that cannot be used, a protocol that makes no sense for the model, a method
            that cannot share windows.
    """

    def __init__(
        self,
        backbone: Backbone | str,
        method: str | Method,
        classes: Vocabulary | str | Path | Sequence[Any],
        *,
        protocol: str | Protocol | None = None,
        background: str | Sequence[str] | float | None = None,
        windows: str | None = None,
        batch_size: int = 16,
        companion: Companion | None = None,
    ) -> None:
        self.backbone = backbone = backbone_from(backbone)
        self.protocol = resolve_protocol(protocol, backbone, windows).for_words(classes, backbone.name)
        if isinstance(background, int | float):
            self.protocol, background = _with_threshold(self.protocol, background), ()
        elif background is not None and not background:
            raise InputError(f"background={background!r} holds no word")
        self.vocabulary = self.protocol.vocabulary(classes, background=background)
        made = parse_method(method) if isinstance(method, str) else method
        self.method = under_protocol(made, self.protocol)
        methods = {self.method.label: self.method}
        check_methods(backbone, methods)
        self._scorer = Scorer(
            backbone, methods, self.vocabulary, self.protocol, batch_size=batch_size, companion=companion
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the label indices."""
        return self.vocabulary.classes

    @overload
    def __call__(self, image: Source) -> Segmentation: ...

    @overload
    def __call__(self, image: Sequence[Source]) -> list[Segmentation]: ...

    def __call__(self, image: Source | Sequence[Source]) -> Segmentation | list[Segmentation]:
        """Segment one image, or each of several.

        Args:
            image: File name, PIL image, array (H, W, 3) of uint8, tensor (3, H, W) of uint8 or of floats from 0 to 1; a
                list of these, or a folder of images.

        Returns:
            A segmentation; a list of them for a list or a folder.

        Raises:
            InputError: The file is not an image that can be read; for several images none is returned then.
        """
        # Unlike Path.is_dir, this answers for names that no file can have, too.
        if isinstance(image, list | tuple) or (isinstance(image, str | Path) and os.path.isdir(image)):  # noqa: PTH112
            return list(self.stream(image))
        return next(self.stream([image]))  # pyright: ignore[reportArgumentType]

    def stream(self, images: Iterable[Source] | str | Path, *, progress: bool = False) -> Iterator[Segmentation]:
        """Segment images one after the other, several in one backbone pass.

        Args:
            images: Any iterable of what `__call__` takes, also one without end; or a folder of images.
            progress: Whether to show a progress bar.

        Yields:
            A segmentation per image, in their order.

        Raises:
            InputError: When its turn comes, an image that cannot be read.

        Example:
            >>> import ovss
            >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
            >>> segmenter = ovss.Segmenter(backbone, "naclip", "star; grass")
            >>> scenes = ovss.load_dataset("scenes")
            >>> [found.labels.shape for found in segmenter.stream(scenes[i].image for i in range(2))]
            [(192, 192), (192, 192)]
        """
        todo = find_images([images])[0] if isinstance(images, str | Path) else images
        ready: list[tuple[Path | None, WindowedImage]] = []
        for item in tqdm(todo, unit="image", disable=not progress):
            try:
                ready.append((Path(item) if isinstance(item, str | Path) else None, self._prepared(item)))
            except InputError:
                yield from self._segmented(ready)
                raise
            if len(ready) == _AHEAD:
                yield from self._segmented(ready)
                ready = []
        yield from self._segmented(ready)

    def _prepared(self, image: Source) -> WindowedImage:
        if isinstance(image, str | Path):
            return self._scorer.prepare(load_image(image))
        return self._scorer.prepare(_array(image) if isinstance(image, Tensor) else image)

    def _segmented(self, ready: Sequence[tuple[Path | None, WindowedImage]]) -> Iterator[Segmentation]:
        if ready:
            name = self.method.label
            for (source, image), found in zip(ready, self._scorer.label([image for _, image in ready]), strict=True):
                scores, labels = found[name]
                yield Segmentation(labels, self.classes, image.image, name, scores, source)

    def __repr__(self) -> str:
        words = ", ".join(map(printable, self.classes[:6])) + (", ..." if len(self.classes) > 6 else "")
        return f"Segmenter({self.backbone.name}, {self.method.label}, {len(self.classes)} classes: {words})"


def _array(image: Tensor) -> np.ndarray:
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4):
        raise InputError(f"an image tensor must be (3, H, W), not {tuple(image.shape)}")
    if image.is_floating_point():
        if not bool(((image >= 0) & (image <= 1)).all()):
            raise InputError("an image tensor of floats must hold values from 0 to 1 (is it normalised already?)")
        image = (image * 255).round().to(torch.uint8)
    return image.permute(1, 2, 0).cpu().numpy()


def resolve_protocol(protocol: str | Protocol | None, backbone: Backbone, windows: str | None = None) -> Protocol:
    """A protocol from a name, where None is `default_protocol`, and with another rule for windows where one is given.

    Raises:
        InputError: Unknown names.
    """
    found = protocol if isinstance(protocol, Protocol) else load_protocol(protocol or default_protocol(backbone))
    return found if windows is None else replace(found, windows=windows)


def _with_threshold(protocol: Protocol, threshold: float) -> Protocol:
    if not 0 < threshold < 1:
        raise InputError(f"background={threshold} is not a probability between 0 and 1")
    return replace(protocol, background="threshold", threshold=float(threshold))
