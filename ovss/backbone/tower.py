"""What the walk through an image tower needs of it, the same for every family."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from ovss.backbone.block import Block


class Tower(ABC):
    """An image tower: patches, blocks and read-out of one family.

    Attributes:
        visual: The tower as the model holds it.
        modules: Its transformer blocks.
        width: Width D of a state.
        native_size: Height and width of the images it was trained on, in pixels.
        native_grid: Patch rows and columns of those.
        patch_size: Side of a patch in pixels.
        prefix: Number of tokens in front of the patches: class token and registers.
        class_token: Whether the first of them is a class token.
        pooling: What the image embedding is read from: "class token", "attention" over tokens or their "average".
        rotary: Whether queries and keys are rotated by the place of their patch.
        table: Learned position embedding, one row per token or, where `prefix_in_table` is false, per patch; None
            where there is none.
    """

    family: ClassVar[str]
    visual: Any
    modules: list[nn.Module]
    width: int
    native_size: tuple[int, int]
    native_grid: tuple[int, int]
    patch_size: int
    prefix: int
    class_token: bool
    pooling: str
    prefix_in_table: bool
    rotary: bool = False

    @abstractmethod
    def __init__(self, visual: Any) -> None: ...

    @staticmethod
    @abstractmethod
    def refusal(visual: Any) -> str:
        """Why a tower of this family cannot be read; empty where it can."""

    @property
    @abstractmethod
    def table(self) -> Float[Tensor, "R D"] | None:
        """Learned position embedding."""

    @abstractmethod
    def embed(self, images: Float[Tensor, "B 3 H W"], table: Float[Tensor, "R D"] | None) -> Float[Tensor, "B T D"]:
        """State 0, the input of block 1.

        Args:
            images: Normalised images; a rest that is less than a patch is left out, as the model does.
            table: `table`, resized to the grid of the images.
        """

    @property
    def ffn_width(self) -> int:
        """Number of neurons in the feed-forward network of a block; 0 where they cannot be reached one by one."""
        return 0

    def normalise_input(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """The normalisation in front of block 1, where there is one."""
        return x

    @abstractmethod
    def block(self, layer: int, grid: tuple[int, int]) -> Block:
        """Block `layer`, 1-based, for tokens of a grid."""

    @abstractmethod
    def dense(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T E"]:
        """What the model would say about an image that consists of each token alone; not normalised."""

    @abstractmethod
    def dense_steps(self) -> list[nn.Module | Tensor] | None:
        """The modules and matrices that `dense` is made of, in order; None where it is more than a row of them."""

    @abstractmethod
    def pooled(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B E"]:
        """What the model says about the image, from its last state."""
