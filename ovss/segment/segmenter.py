"""Your image, your words: `Segmenter` and what it returns."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ovss.backbone import Backbone, Companion
from ovss.errors import InputError
from ovss.files import atomic_write
from ovss.images.colours import class_colours, overlay
from ovss.methods import Method, create_method
from ovss.methods.tuned import under_protocol
from ovss.protocols import Protocol, default_protocol, load_protocol
from ovss.segment.labels import ScoreMap
from ovss.segment.scorer import Scorer
from ovss.vocabulary import Vocabulary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Segmentation:
    """An image with a class for every pixel.

    Attributes:
        labels: Class of each pixel, (H, W) int64 indices into `classes`.
        classes: Class names.
        image: The image that was labelled, RGB, of the same size.
        method: Label of the method.

    Example:
        >>> import ovss
        >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
        >>> segmenter = ovss.Segmenter(backbone, "naclip", "ladybird; star; grass")
        >>> segmentation = segmenter(ovss.load_dataset("scenes")[0].image)
        >>> segmentation.scores.shape, next(iter(segmentation.shares))
        ((3, 192, 192), 'ladybird')
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    image: Image.Image
    method: str
    _score_map: ScoreMap

    @cached_property
    def scores(self) -> np.ndarray:
        """Class probabilities (C, H, W), float32: softmax over queries, maximum over the synonyms of a class.

        Computed when first asked for; needs C * H * W floats.
        """
        return self._score_map.probabilities().cpu().numpy()

    @property
    def shares(self) -> dict[str, float]:
        """Fraction of the image per class that occurs, largest first."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes)) / self.labels.size
        return {self.classes[i]: float(counts[i]) for i in np.argsort(-counts, kind="stable") if counts[i] > 0}

    def overlay(self, alpha: float = 0.6) -> Image.Image:
        """The image with class colours laid over it.

        Args:
            alpha: Opacity of the colours, 0 to 1.
        """
        return overlay(self.image, self.labels, len(self.classes), alpha)

    def plot(self) -> "Figure":
        """Image and overlay side by side, with a legend of the classes that occur."""
        from ovss.figures import segmentation_figure

        return segmentation_figure(self)

    def save(self, path: str | Path) -> list[Path]:
        """Write overlay with legend, index mask and class names.

        Args:
            path: Output name without suffix, "out/cat": writes out/cat_overlay.png, out/cat_mask.png (class indices, 8
                bit; 16 bit when there are more than 255 classes) and out/cat_classes.json.

        Returns:
            The three files, in this order.

        Raises:
            InputError: The folder cannot be created or written.
        """
        stem = Path(path)
        if stem.suffix.lower() == ".png":
            stem = stem.with_suffix("")
        files = [stem.with_name(stem.name + ending) for ending in ("_overlay.png", "_mask.png", "_classes.json")]
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(files[0]) as file:
                self.plot().savefig(file, format="png")
            with atomic_write(files[1]) as file:
                index_mask(self.labels, len(self.classes)).save(file, format="PNG")
            with atomic_write(files[2], "w") as file:
                json.dump(self._description(), file, indent=1, ensure_ascii=False)
        except OSError as error:
            raise InputError(f"cannot write '{error.filename or stem.parent}': {error.strerror or error}") from error
        return files

    def _description(self) -> dict[str, Any]:
        colours = class_colours(len(self.classes))
        return {
            "method": self.method,
            "classes": [
                {"index": i, "name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colours[i])}
                for i, name in enumerate(self.classes)
            ],
            "share": {name: round(share, 6) for name, share in self.shares.items()},
        }


def index_mask(labels: np.ndarray, classes: int) -> Image.Image:
    """Class indices as an image: 8 bit with the class colours as palette, 16 bit grey for more than 255 classes."""
    if classes > 255:
        return Image.fromarray(labels.astype(np.uint16))
    mask = Image.fromarray(labels.astype(np.uint8))
    mask.putpalette(class_colours(classes).ravel().tolist())
    return mask


class Segmenter:
    """Labels each pixel of an image with one of any words.

    Args:
        backbone: A model from `load_backbone`.
        method: Name of a method, or one from `create_method`.
        classes: A vocabulary, a data set's name, a list of words (or lists of synonyms), a file, or a string such as
            "cat; sofa, couch; background: wall, floor".
        protocol: Name, file or `Protocol`; None is "window224", or "study" for the embedded model.
        background: Words of an additional background class (class 0), or a probability below which a pixel is
            background.
        companion: Second network from `load_companion`, for `proxyclip`; None: CLIP is its own.

    Example:
        >>> import ovss
        >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
        >>> segmenter = ovss.Segmenter(backbone, "naclip", "ladybird; star; grass")
        >>> segmenter(ovss.load_dataset("scenes")[0].image).labels.shape
        (192, 192)

    Raises:
        InputError: Unknown names, words that cannot be used, a protocol that makes no sense for the model.
    """

    def __init__(
        self,
        backbone: Backbone,
        method: str | Method,
        classes: Vocabulary | str | Path | Sequence[Any],
        *,
        protocol: str | Protocol | None = None,
        background: str | Sequence[str] | float | None = None,
        companion: Companion | None = None,
    ) -> None:
        self.backbone = backbone
        self.protocol = resolve_protocol(protocol, backbone).for_words(classes, backbone.name)
        if isinstance(background, int | float):
            self.protocol, background = _with_threshold(self.protocol, background), ()
        elif background is not None and not background:
            raise InputError(f"background={background!r} holds no word")
        self.vocabulary = self.protocol.vocabulary(classes, background=background)
        made = create_method(method) if isinstance(method, str) else method
        self.method = under_protocol(made, self.protocol)
        methods = {self.method.label: self.method}
        self._scorer = Scorer(backbone, methods, self.vocabulary, self.protocol, companion=companion)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the label indices."""
        return self.vocabulary.classes

    def __call__(self, image: str | Path | Image.Image | np.ndarray) -> Segmentation:
        """Segment one image.

        Args:
            image: File name, PIL image, or array (H, W, 3) of uint8.

        Raises:
            InputError: The file is not an image that can be read.
        """
        from ovss.images import load_image

        pixels = load_image(image) if isinstance(image, str | Path) else image
        windowed = self._scorer.prepare(pixels)
        scores = self._scorer.score([windowed])[0][self.method.label]
        return Segmentation(scores.labels(), self.classes, windowed.image, self.method.label, scores)


def resolve_protocol(protocol: str | Protocol | None, backbone: Backbone) -> Protocol:
    """A protocol from a name; None is `default_protocol`."""
    if isinstance(protocol, Protocol):
        return protocol
    return load_protocol(protocol or default_protocol(backbone))


def _with_threshold(protocol: Protocol, threshold: float) -> Protocol:
    if not 0 < threshold < 1:
        raise InputError(f"background={threshold} is not a probability between 0 and 1")
    return replace(protocol, background="threshold", threshold=float(threshold))
