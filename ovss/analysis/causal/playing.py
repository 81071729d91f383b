"""The passes behind the atlas: each image's untouched one, then one per part that goes on from it; counts of all."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ovss.analysis.causal.edits import EditedBackbone, Record, Replace
from ovss.analysis.causal.means import Means
from ovss.analysis.causal.parts import Part
from ovss.backbone import Backbone, Tokens
from ovss.errors import InputError
from ovss.evaluation.counting import count
from ovss.evaluation.job import Job
from ovss.evaluation.pipeline import crop_truth
from ovss.evaluation.records import Record as Counts
from ovss.evaluation.records import Shard, Store
from ovss.files import digest
from ovss.provenance import code_hash
from ovss.segment.scorer import Scorer
from ovss.segment.windowed import WindowedImage

UNTOUCHED = "untouched"
"""Label of the counts without a change."""
_Make = Callable[[Tensor, set[int], str, Any], Tokens]
"""Makes the tokens of a pass from windows, wanted layers, position rule and the untouched pass over them, if any."""


class _Player(Backbone):
    """The model for a `Scorer`: its first passes are kept, later ones are edited and go on from them."""

    def __init__(self, backbone: Backbone) -> None:
        self.__dict__.update(backbone.__dict__)
        self._source = backbone
        self.make: _Make | None = None
        self.kept: list[Tokens] = []
        self._turn = 0

    def play(self, make: _Make, kept: list[Tokens]) -> None:
        """What the next passes are: `make(images, layers, position, tokens)`, tokens being the untouched ones."""
        self.make, self.kept, self._turn = make, kept, 0

    def encode_tokens(
        self, images: Tensor, layers: Iterable[int] | None = None, position: str = "scale", intervene: Any = None
    ) -> Tokens:
        """See `Backbone.encode_tokens`."""
        wanted = set(range(self.depth)) | set(layers or ())
        assert self.make is not None, "`play` says what a pass is"
        before = self.kept[self._turn] if self._turn < len(self.kept) else None
        self._turn += 1
        return self.make(images, wanted, position, before)


@dataclass
class _Loaded:
    """An image and its ground truth."""

    id: str
    image: WindowedImage
    truth: np.ndarray

    @property
    def windows(self) -> int:
        """Number of its windows."""
        return len(self.image.offsets)

    @property
    def kind(self) -> tuple[int, int, bool]:
        """What images have in common whose windows go through the model at once."""
        return self.image.rows.window, self.image.columns.window, self.image.overlapping


class Run:
    """Counts of all parts, in memory or in a folder."""

    def __init__(
        self,
        job: Job,
        backbone: Backbone,
        images: range,
        key: str,
        named: Mapping[str, tuple[Part, ...]],
        folder: Path | None,
    ) -> None:
        self.job, self.backbone, self.images, self.key, self.named = job, backbone, images, key, named
        self.player = _Player(backbone)
        self.scorer = Scorer(self.player, job.methods, job.vocabulary, job.protocol, batch_size=job.batch_size)
        number = -(-len(images) // job.shard_size)
        ends = [images.start + round(len(images) * i / number) for i in range(number + 1)]
        self.shards = [Shard(*pair) for pair in itertools.pairwise(ends)]
        self.stores = {label: self._store(several, folder) for label, several in [(UNTOUCHED, ()), *named.items()]}
        self.means: Means | None = None

    def _store(self, several: tuple[Part, ...], folder: Path | None) -> Store:
        # A mean is over all images of the run.
        over = [self.images.start, self.images.stop] if any(part.how == "mean" for part in several) else []
        value = [self.key, code_hash(__name__), [str(part) for part in several], over]
        return Store(digest(value), folder, self.job.dataset.ids)

    def finish(self, progress: bool) -> None:
        """Make the counts that are not there yet."""
        missing = {
            shard: [label for label, store in self.stores.items() if store.usable(shard) is None]
            for shard in self.shards
        }
        left = sum(map(len, missing.values()))
        with tqdm(
            total=len(self.stores) * len(self.shards),
            initial=len(self.stores) * len(self.shards) - left,
            desc="parts",
            disable=not progress,
        ) as bar:
            wanted = {label for labels in missing.values() for label in labels if label != UNTOUCHED}
            if any(part.how == "mean" for label in wanted for part in self.named[label]):
                self.means = self._take_means()
            for shard, labels in missing.items():
                if labels:
                    self._shard(shard, labels, bar)

    def _take_means(self) -> Means:
        means = Means()
        opened = {part.block for several in self.named.values() for part in several if part.neurons}

        def record(images: Tensor, layers: set[int], position: str, before: Tokens | None) -> Tokens:
            return EditedBackbone(self.backbone, Record(means, opened)).recorded(images, layers, position)

        for shard in self.shards:
            for group in self._groups(self._load(shard)):
                self.player.play(record, [])
                self.scorer.score([item.image for item in group])
        return means

    def _shard(self, shard: Shard, labels: Sequence[str], bar: "tqdm[Any]") -> None:
        groups = [(group, []) for group in self._groups(self._load(shard))]
        counts = []
        for group, kept in groups:

            def keep(images: Tensor, layers: set[int], position: str, before: Any, kept: list[Tokens] = kept) -> Tokens:
                kept.append(self.backbone.encode_tokens(images, layers, position))
                return kept[-1]

            self.player.play(keep, [])
            counts += self._count(group)
        if UNTOUCHED in labels:
            self._put(UNTOUCHED, shard, counts, bar)
        for label in labels:
            if label == UNTOUCHED:
                continue
            counts = []
            for group, kept in groups:
                self.player.play(self._replacing(label, group), kept)
                counts += self._count(group)
            self._put(label, shard, counts, bar)

    def _replacing(self, label: str, group: Sequence[_Loaded]) -> _Make:
        several = self.named[label]
        partner = self._partner(group) if any(part.how == "swap" for part in several) else None

        def replace(images: Tensor, layers: set[int], position: str, before: Tokens | None) -> Tokens:
            if before is None:  # a repeated pass, by which the scorer looks for what is wrong
                return self.backbone.encode_tokens(images, layers, position)
            edit = Replace(several, self.backbone.prefix, self.means, partner)
            return EditedBackbone(self.backbone, edit).continued(before)

        return replace

    def _partner(self, group: Sequence[_Loaded]) -> Tensor:
        """For each window of a group, the window of the next image that it takes a part of."""
        if len(group) < 2:
            raise InputError(
                f"how='swap': image '{group[0].id}' has no other with windows of {group[0].kind[0]}x{group[0].kind[1]} "
                "pixels in its shard and batch; use a larger shard_size and batch_size"
            )
        first = np.cumsum([0, *(item.windows for item in group)])
        found = []
        for number, item in enumerate(group):
            other = (number + 1) % len(group)
            found += [int(first[other]) + window % group[other].windows for window in range(item.windows)]
        return torch.tensor(found, device=self.backbone.device)

    def _load(self, shard: Shard) -> list[_Loaded]:
        found = []
        for index in range(*shard):
            sample = self.job.dataset[index]
            truth = crop_truth(sample.labels, self.scorer.geometry)
            found.append(_Loaded(sample.id, self.scorer.prepare(sample.image), truth))
        return found

    def _groups(self, items: Sequence[_Loaded]) -> Iterator[list[_Loaded]]:
        """Images whose windows go through the model at once: of equal size, whole images."""
        kinds: dict[tuple[int, int, bool], list[_Loaded]] = {}
        for item in items:
            kinds.setdefault(item.kind, []).append(item)
        for alike in kinds.values():
            most = max(1, self.job.batch_size // max(item.windows for item in alike))
            number = -(-len(alike) // most)
            ends = [round(len(alike) * i / number) for i in range(number + 1)]
            yield from (alike[a:b] for a, b in itertools.pairwise(ends))

    def _count(self, group: Sequence[_Loaded]) -> list[tuple[str, dict[str, np.ndarray]]]:
        """Counts of a group under the pass that the player plays."""
        found = []
        for item, maps in zip(group, self.scorer.score([item.image for item in group]), strict=True):
            counts = {label: count(scores.labels(), item.truth, self.job, item.id) for label, scores in maps.items()}
            found.append((item.id, counts))
        return found

    def _put(self, label: str, shard: Shard, counts: list[Any], bar: "tqdm[Any]") -> None:
        order = {name: number for number, name in enumerate(self.job.dataset.ids[shard.start : shard.stop])}
        counts = sorted(counts, key=lambda pair: order[pair[0]])
        self.stores[label].put(shard, Counts.collect(counts, self.job.methods, len(self.job.vocabulary.classes), {}))
        bar.update()

    def counts(self, label: str) -> np.ndarray:
        """Counts (images, 3, C) of a part, or of the untouched pass."""
        records = [self.stores[label].get(shard) for shard in self.shards]
        return np.concatenate([record.counts(next(iter(self.job.methods))) for record in records if record is not None])
