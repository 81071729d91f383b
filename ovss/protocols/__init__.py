"""Named evaluation protocols: every number that can move a result, as data.

A protocol file is TOML. Its top level sets fields of `Protocol`; `[datasets.NAME]` overrides them for one data set,
`[models."ARCH"]` and `[models."ARCH".datasets.NAME]` for one architecture. `[methods.NAME]`, alone or within one of
these, holds parameters that the authors of a method tuned. `extends = "window224"` starts from another protocol (a
shipped name or a file beside this one). `description` is one line for the list. "none" stands for an absent value:
`window = "none"` means the whole image.

Protocol: all settings under which a number is measured. Resolved: with the overrides of one data set and one
architecture applied. Native size: the side in pixels of the images that a model was trained on. Window: the square that
one backbone pass sees. Stride: the distance of neighbouring windows. Variant, template, background: see
`ovss.vocabulary`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovss.files import digest
from ovss.protocols.geometry import Geometry, Model, geometry_of
from ovss.protocols.reading import Tables, find_protocol, list_protocols, read_protocol
from ovss.protocols.schema import DEFAULTS, FIELDS, LATER, check_fields, check_together
from ovss.vocabulary.tables import list_vocabularies

if TYPE_CHECKING:
    from ovss.vocabulary import Vocabulary, Words

__all__ = ["Geometry", "Protocol", "default_protocol", "list_protocols", "load_protocol"]


@dataclass(frozen=True)
class Protocol:
    """How images are cut, words are embedded and scores become labels and numbers.

    Attributes:
        name: Name of the shipped protocol, or the stem of its file.
        short_side: Length of the shorter side after resizing, in pixels (or native sizes where `relative`).
        max_long_side: Limit of the longer side in pixels; None: no limit.
        crop: Side of a centre crop of image and ground truth, pixels; None: no crop.
        resize_filter: "opencv-bilinear" (8-bit fixed point, as mmsegmentation), "bilinear" (in float arithmetic),
            "pil-bicubic", "pil-bilinear" or "model": that of the transform of the model's weights, which is one of
            Pillow's two. Pillow's antialias, the first two do not.
        size_rule: How the resized image's size is made whole: "round" (mmsegmentation) or "cut" (torchvision).
        window: Side of the sliding window, in pixels or native sizes; None: the whole image at once.
        stride: Distance of windows, likewise.
        window_remainder: What happens to windows that are not a whole number of patches: "stretch": pixels beyond the
            last whole patch go unseen and the scores are stretched over the window; "pad": zeros (the mean colour) on
            both sides fill it up, and their scores are cut off.
        windows: "apart": each window is an image of its own; "shared": in the last block the queries of each window
            meet the keys and values of all windows of the image.
        relative: Whether `short_side`, `window` and `stride` are multiples of the model's native size.
        templates: Sentences with one {} each.
        variant: Vocabulary variant.
        logit_scale: Factor of the cosines in the softmax; None: the model's own.
        reading: How cosines become probabilities: "softmax" over the queries, or "sigmoid" of each query alone, by the
            scale and bias that a sigmoid loss has trained.
        position: Rule by which position embeddings are resized.
        background: "none"; "threshold": a best probability below `threshold` becomes background; "channel": a
            background class without words has the constant probability `threshold`; "queries": background has words of
            its own, nothing else.
        threshold: Probability in (0, 1].
        area_rule: Foreground classes that cover at most this part of the foreground are dropped; None: off.
        pamr_iterations: Refinement steps; 0: off.
        pamr_dilations: Distances of the neighbours in refinement, pixels.
        pamr_guide: Image that refinement and propagation follow: "input", the resized one brought back to the original
            size, or "original", the sharper one.
        pamr_cells: Cells per side of a patch at which the scores of each window are refined, guided by the window,
            before windows are stitched; None: stitched scores are refined at the size of the image.
        tlp_iterations: Steps of text-aware label propagation on the stitched scores, before PAMR; 0: off.
        tlp_grid: About how many cells each side of the image is cut into for it.
        lposs_iterations: Most steps of LPOSS, propagation of patch scores over all windows of an image, before they are
            stitched; 0: off.
        lposs_neighbours: Number of patches that each one is bound to for it.
        lposs_features: What patches are compared by for it: "keys" of CLIP's last block, or the "companion".
        class_prior: Whether patch scores are multiplied by the image's class scores.
        presence: Which words an image is asked for: "none": all of them; "crops": those of classes that the model's own
            answer for the image or one of its windows names above chance, or that cover their share of the image.
        methods: Parameters that the authors tuned for this protocol, by method; see `ovss.methods.tuned`.
        metric: "standard", or "cliptrase": void counts as background, classes absent from the ground truth are dropped.
        dataset: Data set it was resolved for; None: not yet.
        model: Architecture it was resolved for.

    Example:
        >>> from ovss import load_protocol
        >>> protocol = load_protocol("scclip")
        >>> protocol.window, protocol.stride, protocol.area_rule
        (224, 112, None)
        >>> protocol.for_dataset("voc21").area_rule
        0.1
    """

    name: str
    short_side: float
    max_long_side: int | None
    crop: int | None
    resize_filter: str
    size_rule: str
    window: float | None
    stride: float | None
    window_remainder: str
    windows: str
    relative: bool
    templates: tuple[str, ...] = field(repr=False)
    variant: str
    logit_scale: float | None
    position: str
    background: str
    threshold: float | None
    area_rule: float | None
    pamr_iterations: int
    pamr_dilations: tuple[int, ...]
    pamr_guide: str
    pamr_cells: int | None
    tlp_iterations: int
    tlp_grid: int | None
    lposs_iterations: int
    lposs_neighbours: int | None
    lposs_features: str
    class_prior: bool
    methods: dict[str, dict[str, Any]] = field(hash=False)
    metric: str
    reading: str = "softmax"
    presence: str = "none"
    dataset: str | None = None
    model: str | None = None
    _tables: Tables = field(default_factory=lambda: Tables({}, {}, {}, {}), repr=False, compare=False)

    def __post_init__(self) -> None:
        where = f"protocol '{self.name}'" + (f" on {self.dataset}" if self.dataset else "")
        for key, value in check_fields({key: getattr(self, key) for key in FIELDS}, where).items():
            object.__setattr__(self, key, value)
        check_together(self.fields, where)

    def __repr__(self) -> str:
        where = f" on {self.dataset}" if self.dataset else ""
        return (
            f"Protocol({self.name}{where}: short side {self.short_side}, window {self.window}, stride {self.stride}, "
            f"background {self.background})"
        )

    def _repr_html_(self) -> str:
        from ovss.files.tables import html_table

        shown = {name: len(value) if name == "templates" else value for name, value in self.fields.items()}
        rows = [(name, str(value)) for name, value in shown.items()]
        return html_table(f"protocol {self.name}, {self.dataset or 'any data set'}", [("setting", "value"), *rows])

    @property
    def fields(self) -> dict[str, Any]:
        """The values that decide results, by name."""
        return {key: getattr(self, key) for key in FIELDS}

    @property
    def refines_stitched(self) -> bool:
        """Whether PAMR acts on the stitched scores, not window by window."""
        return self.pamr_iterations > 0 and self.pamr_cells is None

    @property
    def description(self) -> str:
        """One line for the list."""
        return self._tables.description

    @property
    def overrides(self) -> dict[str, dict[str, Any]]:
        """What changes for which data set: table name ("voc21", "ViT-L-14", "ViT-L-14 on voc21") to fields."""
        result = dict(self._tables.datasets)
        for model, (general, per_dataset) in self._tables.models.items():
            result |= {model: general} if general else {}
            result |= {f"{model} on {dataset}": values for dataset, values in per_dataset.items()}
        return result

    @property
    def hash(self) -> str:
        """SHA-256 (64 hex digits) over all values that decide results, data-set tables included until resolved.

        The name is left out: two files that say the same are one protocol.
        """
        tables = {} if self.dataset else self.overrides
        fields = {key: value for key, value in self.fields.items() if key not in LATER or value != DEFAULTS[key]}
        return digest({"fields": fields, "overrides": tables})

    def for_dataset(self, name: str, model: str | None = None) -> "Protocol":
        """This protocol with the overrides of a data set and of an architecture applied; what a caller set stays.

        Args:
            name: Data set; one without a table changes nothing.
            model: Architecture as `load_backbone` takes it.
        """
        origin = self._tables.fields(self.dataset, self.model)
        changed = {key: value for key, value in self.fields.items() if origin.get(key, self) != value}
        values = self._tables.fields(name, model) | changed
        return Protocol(name=self.name, **values, dataset=name, model=model, _tables=self._tables)

    def for_words(self, dataset_or_words: "Words | Vocabulary", model: str | None = None) -> "Protocol":
        """This protocol resolved for the data set that some words belong to.

        Args:
            dataset_or_words: See `vocabulary`. Where a user's own words are given, a resolved protocol stays so.
            model: Architecture as `load_backbone` takes it; None: the one it was resolved for.
        """
        from ovss.vocabulary import Vocabulary

        named = dataset_or_words.name if isinstance(dataset_or_words, Vocabulary) else dataset_or_words
        name = named.strip() if isinstance(named, str) else ""
        known = name in list_vocabularies()
        return self.for_dataset(name if known else self.dataset or "words", model or self.model)

    def vocabulary(
        self, dataset_or_words: "Words | Vocabulary", *, background: str | Sequence[str] | None = None
    ) -> "Vocabulary":
        """The words of a data set, or a user's own, as this protocol has them: the one way from protocol to words.

        The protocol decides the variant of a data set's list, the templates, and whether the background has words. If
        it is not resolved yet, it is resolved for the data set first (`for_words`); a resolved one is taken as it is.

        Args:
            dataset_or_words: A data set's name, words in any form that `ovss.load_vocabulary` takes, or a vocabulary.
            background: Words of a background class to add in front, as "wall, floor" or a list; empty: a class without
                words. None: none is added.

        Returns:
            The vocabulary to embed and to label pixels with.

        Raises:
            InputError: Unknown data set or variant, words that cannot be used, a second background.

        Example:
            >>> from ovss import load_protocol
            >>> words = load_protocol("scclip").vocabulary("voc21")
            >>> len(words.classes), len(words.queries), len(words.templates)
            (21, 56, 80)
        """
        from ovss.vocabulary import load_vocabulary

        rules = self if self.dataset is not None else self.for_words(dataset_or_words)
        words = load_vocabulary(dataset_or_words, rules.variant)
        if background is not None:
            words = words.with_background(background)
        if rules.background == "channel":
            words = words.without_background_words()
        return words.with_templates(rules.templates)

    def geometry(self, backbone: Model) -> Geometry:
        """Sizes in pixels for a model, and its filter; windows of relative protocols are rounded to whole patches.

        Raises:
            InputError: The protocol's pixels are far from what the model was made for, or it asks for the model's
                filter, which is none that we have.
        """
        return geometry_of(self, backbone)


def default_protocol(backbone: Any) -> str:
    """The protocol for a user who names none: "window224", but "study" for the embedded model, too small for it."""
    return "study" if backbone.is_tiny else "window224"


def load_protocol(name: str | Path, **overrides: Any) -> Protocol:
    """Read a protocol and check it for every data set and architecture it mentions.

    Args:
        name: A shipped protocol ("window224", "study", ...) or a TOML file.
        **overrides: Fields of `Protocol` to set; they win over the file's data-set tables too.

    Raises:
        InputError: Unknown protocol or field, a missing or malformed file, a value of wrong type or range.

    Example:
        >>> from ovss import load_protocol
        >>> load_protocol("window224", stride=56).stride
        56
    """
    path = find_protocol(name, Path())
    tables = read_protocol(path, ())
    tables = replace(tables, pinned=check_fields(overrides, f"load_protocol({str(name)!r})"))
    protocol = Protocol(name=path.stem, **tables.fields(None, None), _tables=tables)
    of_models = (dataset for _, per_dataset in tables.models.values() for dataset in per_dataset)
    for dataset in sorted({*tables.datasets, *of_models}):
        for model in (None, *tables.models):
            protocol.for_dataset(dataset, model)
    return protocol
