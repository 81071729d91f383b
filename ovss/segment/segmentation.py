"""What a `Segmenter` returns: labels, masks, exports, files, and its look in a notebook."""

import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ovss.backbone.devices import to_host
from ovss.errors import InputError, printable
from ovss.files import atomic_write
from ovss.images.colours import class_colours, overlay
from ovss.images.geotiff import geography, write_geotiff
from ovss.segment.labels import ScoreMap

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
        source: The file that the image was read from, if it was.

    Example:
        >>> import ovss
        >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
        >>> segmenter = ovss.Segmenter(backbone, "naclip", "ladybird; star; grass")
        >>> segmentation = segmenter(ovss.load_dataset("scenes")[0].image)
        >>> segmentation.scores.shape, next(iter(segmentation.shares))
        ((3, 192, 192), 'ladybird')
        >>> segmentation
        Segmentation(192 x 192 pixels by naclip: ladybird 100%)
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    image: Image.Image
    method: str
    _score_map: ScoreMap
    source: Path | None = None

    def __repr__(self) -> str:
        height, width = self.labels.shape
        found = ", ".join(f"{printable(name)} {share:.0%}" for name, share in list(self.shares.items())[:6])
        return f"Segmentation({width} x {height} pixels by {self.method}: {found})"

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.plot().savefig(file, format="png")
        return file.getvalue()

    @cached_property
    def scores(self) -> np.ndarray:
        """Class probabilities (C, H, W), float32: softmax over queries, maximum over the synonyms of a class.

        Computed when first asked for; needs C * H * W floats.
        """
        return to_host([self._score_map.probabilities()])[0]

    @property
    def shares(self) -> dict[str, float]:
        """Fraction of the image per class that occurs, largest first."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes)) / self.labels.size
        return {self.classes[i]: float(counts[i]) for i in np.argsort(-counts, kind="stable") if counts[i] > 0}

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """Boolean mask (H, W) per class that occurs, in the order of the classes."""
        return {self.classes[i]: self.labels == i for i in np.unique(self.labels)}

    @property
    def boxes(self) -> dict[str, np.ndarray]:
        """Smallest box (left, top, right, bottom) around all pixels of a class that occurs; right and bottom excluded.

        In pixels, (4,) int64. A class has one box, however many objects it shows: labels are semantic.
        """
        return {name: _box(mask) for name, mask in self.masks.items()}

    def to_pil(self) -> Image.Image:
        """Class indices as an image with the class colours as palette (16 bit grey for more than 255 classes)."""
        return index_mask(self.labels, len(self.classes))

    def to_coco(self, image_id: int = 0) -> list[dict[str, Any]]:
        """COCO annotations with run-length masks, one per class that occurs; ids are class indices.

        Args:
            image_id: Goes into each annotation.

        Raises:
            InputError: pycocotools is not installed.
        """
        try:
            from pycocotools.mask import encode
        except ModuleNotFoundError as missing:
            raise InputError("COCO's masks need pycocotools: pip install 'ovss[coco]'") from missing
        found = []
        for name, mask in self.masks.items():
            runs: Any = encode(np.asfortranarray(mask.astype(np.uint8)))
            counts = runs["counts"].decode("ascii")
            left, top, right, bottom = _box(mask).tolist()
            found.append(
                {
                    "image_id": image_id,
                    "category_id": self.classes.index(name),
                    "category_name": name,
                    "segmentation": {"size": list(mask.shape), "counts": counts},
                    "area": int(mask.sum()),
                    "bbox": [left, top, right - left, bottom - top],
                    "iscrowd": 0,
                }
            )
        return found

    def to_detections(self) -> dict[str, Any]:
        """What `supervision.Detections(**...)` takes: a detection per class that occurs.

        Returns:
            xyxy (n, 4) float32, mask (n, H, W) bool, confidence (n,) float32 (mean probability inside the mask),
            class_id (n,) int64 and data with the class names.
        """
        masks = self.masks
        ids = [self.classes.index(name) for name in masks]
        return {
            "xyxy": np.stack(list(self.boxes.values())).astype(np.float32),
            "mask": np.stack(list(masks.values())),
            "confidence": np.array([self.scores[i][self.labels == i].mean() for i in ids], dtype=np.float32),
            "class_id": np.array(ids),
            "data": {"class_name": np.array(list(masks))},
        }

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
                bit; 16 bit when there are more than 255 classes) and out/cat_classes.json. For an image with a place on
                the map (GeoTIFF), and with rasterio installed, out/cat_mask.tif holds the indices at that place.

        Returns:
            The files, in this order.

        Raises:
            InputError: The folder cannot be created or written, or the place of a GeoTIFF cannot be read.
        """
        place = None if self.source is None else geography(self.source)
        stem = Path(path)
        if stem.suffix.lower() == ".png":
            stem = stem.with_suffix("")
        files = [stem.with_name(stem.name + ending) for ending in ("_overlay.png", "_mask.png", "_classes.json")]
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(files[0]) as file:
                self.plot().savefig(file, format="png")
            with atomic_write(files[1]) as file:
                self.to_pil().save(file, format="PNG")
            with atomic_write(files[2], "w") as file:
                json.dump(self._description(), file, indent=1, ensure_ascii=False)
            if place is not None:
                files.append(stem.with_name(stem.name + "_mask.tif"))
                write_geotiff(files[-1], self.labels, place)
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


def _box(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
