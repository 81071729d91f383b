"""Saved scores labelled again: other thresholds, scales, background rules and words, without another backbone pass."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ovss.backbone import Backbone
from ovss.backbone.preparation import own_resize_filter
from ovss.datasets import Dataset
from ovss.errors import InputError
from ovss.evaluation.job import Job
from ovss.evaluation.pipeline import crop_truth
from ovss.evaluation.records import Record, Store, write_bytes
from ovss.evaluation.results import Evaluation
from ovss.evaluation.scores import read_scores, scores_path
from ovss.files import digest, read_sealed_json, sealed_json
from ovss.images import to_rgb
from ovss.methods.tuned import set_per_dataset
from ovss.metrics import count_labels
from ovss.protocols import Protocol, load_protocol
from ovss.protocols.schema import DEFAULTS, LATER
from ovss.segment.labels import LabelRule
from ovss.segment.pamr import input_guide
from ovss.segment.stitching import PatchScores
from ovss.segment.windowed import seen_image
from ovss.vocabulary import Vocabulary

__all__ = ["SavedRun", "relabel"]

_NOTE_FILE = "kept.json"
_LABEL_FIELDS = (
    "variant",
    "logit_scale",
    "reading",
    "background",
    "threshold",
    "area_rule",
    "pamr_iterations",
    "pamr_dilations",
    "pamr_guide",
    "tlp_iterations",
    "tlp_grid",
    "metric",
)
"""Fields of a protocol that act on scores; all others act before, and cannot be changed afterwards."""


@dataclass
class _SavedModel:
    """What labelling needs to know of the model; see `Backbone`."""

    name: str
    image_size: int
    patch_size: int
    logit_scale: float
    mean: Sequence[float]
    std: Sequence[float]
    logit_bias: float | None = None
    interpolation: str | None = None

    @property
    def resize_filter(self) -> str:
        """Filter of the model's own transform."""
        return own_resize_filter(self.interpolation, self.name)


@dataclass(frozen=True)
class SavedRun:
    """What labelling the scores of a run again needs to know of it.

    Attributes:
        folder: Where the scores are.
        protocol: The protocol they were made under.
        vocabulary: The vocabulary that the run labelled them with.
        queries: All words that have scores, in order.
        model: Name, sizes, pixel statistics and logit scale of the model.
        methods: Labels of the methods whose scores were saved.
    """

    folder: Path
    protocol: Protocol
    vocabulary: Vocabulary
    queries: tuple[str, ...]
    model: _SavedModel
    methods: tuple[str, ...]

    @classmethod
    def open(cls, folder: Path) -> "SavedRun":
        """Read the note that `describe` wrote.

        Raises:
            InputError: There is none.
        """
        path = folder / _NOTE_FILE
        try:
            note = read_sealed_json(path)
        except FileNotFoundError as error:
            raise InputError(f"no saved scores in '{folder}' ({error}); evaluate with --keep-scores float32") from error
        except (OSError, ValueError) as error:
            raise InputError(f"'{path}' is damaged: {error}; evaluate again with --keep-scores") from error
        try:
            words: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in note["vocabulary"].items()
            }
            return cls(
                folder=folder,
                protocol=Protocol(**{key: DEFAULTS[key] for key in LATER} | note["protocol"]),
                vocabulary=Vocabulary(**words),
                queries=tuple(note["queries"]),
                model=_SavedModel(**note["model"]),
                methods=tuple(note["methods"]),
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"'{path}' was written by another version of ovss ({error}); evaluate again with --keep-scores"
            ) from error


def describe(folder: Path, job: Job, backbone: Backbone) -> None:
    """Write beside saved scores what `SavedRun.open` reads.

    Raises:
        InputError: The file cannot be written.
    """
    protocol = job.protocol
    note = {
        "protocol": protocol.fields | {"name": protocol.name, "dataset": protocol.dataset, "model": protocol.model},
        "vocabulary": asdict(job.vocabulary),
        "queries": job.scored.queries,
        "model": {item.name: getattr(backbone, item.name) for item in fields(_SavedModel)},
        "methods": job.kept,
    }
    write_bytes(folder / _NOTE_FILE, sealed_json(note))


def relabel(
    run: str | Path,
    dataset: Dataset,
    *,
    protocol: str | Protocol | None = None,
    vocabulary: Vocabulary | None = None,
    methods: Sequence[str] | None = None,
    progress: bool = False,
    **changes: Any,
) -> Evaluation:
    """Label the saved scores of a run by other rules.

    Args:
        run: Folder of a finished run that was made with `keep_scores`.
        dataset: The data set of the run, for the ground truth.
        protocol: Another protocol that makes the same scores (same sizes, windows, templates); None: the run's own.
        vocabulary: Other words; all of them must have scores (see `keep_variants` of `ovss.evaluate`).
        methods: Labels of the run's methods; None: all whose scores were saved.
        progress: Whether to show a progress bar.
        **changes: Fields of the protocol to change: variant, logit_scale, reading, background, threshold, area_rule,
            pamr_iterations, pamr_dilations, pamr_guide, metric; tlp_iterations to 0 only.

    Returns:
        An evaluation whose rows carry the new protocol's and vocabulary's hashes and the key of the run they come from.

    Raises:
        InputError: No saved scores, another data set than the run's, a rule that acts before the scores, words without
            scores.
    """
    origin = Evaluation.load(run)
    if dataset.fingerprint != origin.facts["dataset_fingerprint"]:
        raise InputError(f"the data set is not the one of run '{run}' ({origin.facts['dataset']}); fingerprints differ")
    key = origin.facts["key"]
    saved = SavedRun.open(Path(run) / "scores" / key[:16])
    rules = _rules(saved, dataset, protocol, changes)
    words = _words(saved, dataset, rules, vocabulary)
    chosen = {label: _described(origin.method(label), rules, protocol, changes) for label in methods or saved.methods}
    for label in chosen:
        if label not in saved.methods:
            raise InputError(
                f"run '{run}' has no saved scores of '{label}'; it has those of {', '.join(saved.methods)}"
            )
    relabeller = _Relabeller(saved, dataset, rules, words, tuple(chosen))
    new_key = digest([key, rules.hash, words.hash, list(chosen)])
    store = Store(new_key)
    indices = {name: index for index, name in enumerate(dataset.ids)}
    with tqdm(total=len(origin.ids), desc="relabel", unit="image", disable=not progress) as bar:
        for shard, record in origin.records():
            images = []
            for name in record.ids:
                images.append((name, relabeller.counts(indices[name])))
                bar.update()
            store.put(shard, Record.collect(images, chosen, len(words.classes), record.skipped))
    facts = {
        "vocabulary": words.name,
        "variant": words.variant,
        "vocabulary_hash": words.hash,
        "protocol": rules.name,
        "protocol_hash": rules.hash,
        "key": new_key,
        "rescored_from": key,
    }
    return Evaluation(
        store,
        [shard for shard, _ in origin.records()],
        classes=words.classes,
        methods=chosen,
        rule=rules.metric,
        facts=origin.facts | facts,
    )


def _described(
    method: Mapping[str, Any], rules: Protocol, protocol: str | Protocol | None, changes: Mapping[str, Any]
) -> Mapping[str, Any]:
    """What a row says of a method, with the settings that the new rules have for the data set alone."""
    if "set_per_dataset" not in method:
        return method
    said = [name for name in method["set_per_dataset"].split(", ") if name and name not in changes]
    if protocol is not None:  # the rules of a saved run do not know those for other data sets
        said = [*set_per_dataset(rules), *(name for name in said if name not in rules.fields)]
    return {**method, "set_per_dataset": ", ".join(said)}


@dataclass(frozen=True)
class _Relabeller:
    saved: SavedRun
    dataset: Dataset
    protocol: Protocol
    vocabulary: Vocabulary
    methods: tuple[str, ...]

    @torch.inference_mode()
    def counts(self, index: int) -> dict[str, np.ndarray]:
        """Counts (3, C) of one image per method."""
        scores = read_scores(scores_path(self.saved.folder, index))
        sample = self.dataset[index]
        if sample.id != scores.id:
            raise InputError(f"scores {index} are of '{scores.id}', but the data set has '{sample.id}' there")
        truth = crop_truth(sample.labels, self.protocol.geometry(self.saved.model))
        rule = LabelRule.of(self.vocabulary, self.protocol, self.saved.model)
        rows = [self.saved.queries.index(query) for query in self.vocabulary.queries]
        guide = self._guide(sample.image) if self.protocol.refines_stitched else None
        void_class = self.vocabulary.background if self.protocol.metric == "cliptrase" else None
        found = {}
        for label in self.methods:
            score_map = PatchScores(
                cells=scores.cells[label][rows],
                rows=scores.rows,
                columns=scores.columns,
                size=scores.size,
                rule=rule,
                protocol=self.protocol,
                guide=guide,
            )
            classes = len(self.vocabulary.classes)
            found[label] = count_labels(
                score_map.labels(), truth, classes, void=self.dataset.void, void_class=void_class
            )
        return found

    def _guide(self, image: Image.Image) -> Float[Tensor, "3 H W"]:
        """The image that PAMR follows, normalised."""
        upright = shown = to_rgb(image)
        if self.protocol.pamr_guide == "input":
            shown = seen_image(upright, self.protocol.geometry(self.saved.model))
        pixels = torch.from_numpy(np.array(shown, dtype=np.float32)).permute(2, 0, 1) / 255  # (3, H, W)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.saved.model.mean, self.saved.model.std))
        normalised = (pixels - mean) / std
        return normalised if shown is upright else input_guide(normalised, (upright.height, upright.width))


def _rules(saved: SavedRun, dataset: Dataset, protocol: str | Protocol | None, changes: dict[str, Any]) -> Protocol:
    for name in changes:
        if name not in _LABEL_FIELDS:
            raise InputError(
                f"'{name}' acts before the scores or is unknown; can be changed: {', '.join(_LABEL_FIELDS)}"
            )
    if protocol is None:
        rules = saved.protocol
    else:
        loaded = load_protocol(protocol) if isinstance(protocol, str) else protocol
        rules = loaded.for_dataset(dataset.benchmark, saved.model.name)
    # Set together, because some fields are only valid together.
    rules = replace(rules, **changes)
    in_windows = {name for name in _LABEL_FIELDS if name.startswith("pamr") and saved.protocol.pamr_cells is not None}
    for name, value in saved.protocol.fields.items():
        if name not in set(_LABEL_FIELDS) - in_windows and rules.fields[name] != value:
            raise InputError(
                f"protocol '{rules.name}' has {name} = {rules.fields[name]!r}, but the scores were made with "
                f"{value!r}; evaluate again for that"
            )
    if rules.crop is not None and rules.refines_stitched:
        raise InputError(f"protocol '{rules.name}' crops; saved scores of crops cannot be refined by PAMR")
    if rules.tlp_iterations:
        raise InputError(
            f"protocol '{rules.name}' propagates scores by the embeddings of the words, which are not saved; set "
            "tlp_iterations = 0 or evaluate again"
        )
    return rules


def _words(saved: SavedRun, dataset: Dataset, rules: Protocol, vocabulary: Vocabulary | None) -> Vocabulary:
    own = saved.vocabulary if rules.variant == saved.protocol.variant else dataset.vocabulary_name
    words = rules.vocabulary(vocabulary or own)
    if len(words.classes) != len(dataset.classes):
        raise InputError(f"vocabulary '{words.name}' has {len(words.classes)} classes, the data {len(dataset.classes)}")
    missing = [query for query in words.queries if query not in saved.queries]
    if missing:
        raise InputError(
            f"{len(missing)} words have no saved scores ('{missing[0]}', ...); evaluate with --keep-variants for them"
        )
    return words
