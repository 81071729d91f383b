"""The embedded data set as a data set: images drawn when asked for."""

from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

from PIL import Image

from ovss.datasets.base import READER_VERSION, Dataset, Sample, class_names
from ovss.errors import InputError
from ovss.files import digest
from ovss.scenes.scenes import scene

LENGTH = 500
SOURCES = ("scenes.py", "objects.py", "textures.py", "seeding.py")
"""Code of the generator; whatever changes in it changes the fingerprint."""


@dataclass(frozen=True)
class GeneratedDataset(Dataset):
    """Images of one split and variant of the generator; see `ovss.datasets.Dataset` for the fields.

    Attributes:
        name: "scenes", "scenes-objects", "scenes-large" or "scenes-shifted".
        split: "val", "test" or "train", or one of these with a seed, as in "test-7".
        length: Number of images.
    """

    name: str
    split: str = "val"
    length: int = LENGTH
    void: int = 255

    def __post_init__(self) -> None:
        if self.length < 1:
            raise InputError(f"{self.name} needs a length of at least 1, not {self.length}")
        scene(self.split, 0, self.name)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        number = range(self.length)[index]
        drawn = scene(self.split, number, self.name)
        return Sample(Image.fromarray(drawn.image), drawn.mask.astype("int64"), self.ids[number])

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""
        return class_names(self.name)

    @cached_property
    def background(self) -> int | None:
        """Index of the background class; None without one."""
        return 0 if self.classes[0] == "background" else None

    @cached_property
    def vocabulary_name(self) -> str:
        """What the words come from."""
        return self.name

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Names of the images, in order."""
        return tuple(f"{self.split}_{number:06d}" for number in range(self.length))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the generator's code, variant, split and length."""
        code = [files("ovss.scenes").joinpath(name).read_text(encoding="utf-8") for name in SOURCES]
        return digest([READER_VERSION, self.name, self.split, self.length, code])
