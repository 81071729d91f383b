"""An image under several methods: the backbone runs once, and each method labels every pixel."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ovss.backbone import Backbone
from ovss.images import load_image
from ovss.methods import Method
from ovss.methods.tuned import under_protocol
from ovss.segment.checks import check_methods
from ovss.segment.scorer import Scorer
from ovss.segment.segmentation import Segmentation
from ovss.segment.segmenter import Segmenter

__all__ = ["SeveralSegmenters"]


class SeveralSegmenters:
    """What a `Segmenter` of each method says, from one backbone pass.

    Args:
        backbone: A model from `load_backbone`.
        methods: Methods by label, from `resolve_methods`.
        classes: As in `Segmenter`.
        batch_size: Windows per backbone pass.
        **options: Of `Segmenter`: protocol, background, windows, companion.

    Example:
        >>> import ovss
        >>> from ovss.methods import resolve_methods
        >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
        >>> both = SeveralSegmenters(backbone, resolve_methods(["clip", "naclip(sigma=2)"]), "ladybird; star; grass")
        >>> [found.method for found in both(ovss.load_dataset("scenes")[0].image)]
        ['clip', 'naclip(sigma=2)']

    Raises:
        InputError: As `Segmenter`.
    """

    def __init__(
        self,
        backbone: Backbone,
        methods: Mapping[str, Method],
        classes: str | Path | Sequence[Any],
        *,
        batch_size: int = 16,
        **options: Any,
    ) -> None:
        # The companion is for one method of several, which need not be the first.
        companion = options.pop("companion", None)
        first = Segmenter(backbone, next(iter(methods.values())), classes, batch_size=batch_size, **options)
        self.classes = first.classes
        made = [under_protocol(method, first.protocol) for method in methods.values()]
        self.methods = {method.label: method for method in made}
        check_methods(backbone, self.methods)
        self._scorer = Scorer(
            backbone, self.methods, first.vocabulary, first.protocol, batch_size=batch_size, companion=companion
        )

    def __call__(self, image: str | Path | Image.Image) -> list[Segmentation]:
        """A segmentation per method, in their order.

        Raises:
            InputError: The file is not an image that can be read, or is too small.
        """
        source = Path(image) if isinstance(image, str | Path) else None
        prepared = self._scorer.prepare(load_image(image) if isinstance(image, str | Path) else image)
        found = self._scorer.label([prepared])[0]
        return [
            Segmentation(labels, self.classes, prepared.image, label, scores, source)
            for label, (scores, labels) in found.items()
        ]
