"""What a run is to compute, as one value that also goes to other processes."""

from dataclasses import dataclass, replace

from ovss.datasets import Dataset
from ovss.methods import Method
from ovss.protocols import Protocol
from ovss.vocabulary import Vocabulary

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """All that decides the counts of a run, apart from the weights; goes to other processes as it is.

    Attributes:
        methods: Methods by label.
        vocabulary: Classes and words that pixels are labelled with.
        protocol: Resolved for the data set and the model.
        dataset: Images and ground truth.
        batch_size: Windows per backbone pass.
        shard_size: Images per record.
        extra_queries: Further words whose scores are saved beside the vocabulary's, for relabelling.
        save_format: Number format of saved scores, "float32" or "float16"; None saves none.
        extras: What is recorded beside the counts; some of `ovss.evaluation.extras.EXTRAS`, in that order.
    """

    methods: dict[str, Method]
    vocabulary: Vocabulary
    protocol: Protocol
    dataset: Dataset
    batch_size: int
    shard_size: int
    extra_queries: tuple[str, ...] = ()
    save_format: str | None = None
    extras: tuple[str, ...] = ()

    @property
    def kept(self) -> tuple[str, ...]:
        """Labels of the methods whose scores can be saved: at patches, and of each word on its own."""
        return tuple(label for label, method in self.methods.items() if not (method.refines or method.compares_words))

    @property
    def scored(self) -> Vocabulary:
        """The vocabulary with the extra words appended; the class they belong to does not matter for scores."""
        extra = self.extra_queries
        return replace(
            self.vocabulary,
            queries=(*self.vocabulary.queries, *extra),
            query_class=(*self.vocabulary.query_class, *[0] * len(extra)),
        )
