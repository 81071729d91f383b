"""What a method is: hyperparameters as fields, a paper record, a function from `Tokens` to patch embeddings."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.ingredients import RegionNaming, WindowScores
from ovss.methods.faults import check_class, check_rows
from ovss.methods.paper import Paper
from ovss.methods.parameters import check_parameter, default_of

__all__ = ["Method", "Paper", "cls_embedding", "scale_block", "unit"]


@dataclass(frozen=True)
class Method:
    """A training-free segmentation method as a function of one backbone pass.

    Subclasses are frozen dataclasses whose fields, made by `parameter`, are the hyperparameters. Most define `mix`, how
    the last block mixes its values; those that do more define `stream` or `patch_embeddings`. All statistics are per
    image, so that a batch gives what each of its images gives alone.
    """

    name: ClassVar[str]
    paper: ClassVar[Paper]
    own_pass: ClassVar[bool] = False
    """Whether the method changes states between blocks and so costs one more backbone pass."""
    shares_windows: ClassVar[bool] = False
    """Whether it also reads `JoinedTokens`: attention of the last block over all windows of an image."""
    uses_companion: ClassVar[bool] = False
    """Whether `patch_scores` takes the features of a second network as one more argument."""
    applies_mixes: ClassVar[bool] = False
    """Whether `stream` sends each of several mixes through `apply_mix`: two passes, or values of several blocks."""
    in_all: ClassVar[bool] = True
    """Whether "all" stands for it too: not where the defaults are another method or fit certain weights only."""

    def __post_init__(self) -> None:
        """Check every hyperparameter against its type and domain.

        Raises:
            InputError: A value has the wrong type or lies outside its domain, or the class lacks a name or a paper.
        """
        check_class(type(self))
        for item in fields(self):
            check_parameter(type(self), self.name, item, getattr(self, item.name))

    def _repr_html_(self) -> str:
        from ovss.files.tables import html_table

        rows = [(name, str(value)) for name, value in self.parameters.items()]
        return html_table(f"{self.name}: {self.paper.title}", [("parameter", "value"), *rows])

    @property
    def parameters(self) -> dict[str, Any]:
        """Hyperparameters by name, ready for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()
        }

    @property
    def label(self) -> str:
        """Name, with the hyperparameters that differ from their defaults: "naclip(sigma=2.0)"."""
        changed = [
            f"{item.name}={getattr(self, item.name)}"
            for item in fields(self)
            if getattr(self, item.name) != default_of(item)
        ]
        return f"{self.name}({', '.join(changed)})" if changed else self.name

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states this method reads, for `Backbone.encode_tokens(layers=...)`.

        Args:
            depth: Number of blocks L of the model.

        Raises:
            InputError: A chosen block does not exist at this depth.
        """
        return frozenset({depth - 1})

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H T d"]:
        """Values under the attention of the last block, head by head.

        The result is linear in the values, so the attention of the method is its mix applied to the identity; see
        `ovss.analysis.method_attention`.

        Args:
            tokens: One backbone pass.
            values: Values to be mixed, (B, heads, T, any width); T leaves prefix tokens out where the method is
                `patches_only`. None: those that the last block projects.

        Raises:
            InputError: The method does not come down to one attention map in its last block.
        """
        raise InputError(f"method '{self.name}' has no single attention map in its last block")

    @property
    def patches_only(self) -> bool:
        """Whether `mix` leaves CLS and other prefix tokens out; by default not."""
        return False

    def mix_block(self, tokens: Tokens, block: int, values: Tensor | None = None) -> Float[Tensor, "B H T d"]:
        """As `mix`, for methods that run several blocks on a path of their own.

        Args:
            tokens: One backbone pass.
            block: One of the blocks of the path.
            values: See `mix`.

        Raises:
            InputError: The method has no such path.
        """
        raise InputError(f"method '{self.name}' has no path of its own")

    @property
    def mixes_once(self) -> bool:
        """Whether patches come from the values through `mix` alone.

        By default where nothing between `mix` and the scores is a method's own; one that still takes all its patches
        from `mix` says so.
        """
        own = ("stream", "patch_embeddings", "patch_scores", "window_scores")
        kind = type(self)
        return kind.mix is not Method.mix and all(getattr(kind, name) is getattr(Method, name) for name in own)

    def apply_mix(self, mix: Callable[[Tensor], Tensor], values: Float[Tensor, "B H T d"]) -> Float[Tensor, "B H T d"]:
        """Values of the last block under one of several mixes, for methods with `applies_mixes`.

        Args:
            mix: Linear in the values.
            values: Of the patches, or of all tokens.
        """
        return mix(values)

    @property
    def residual_and_ffn(self) -> tuple[bool, bool]:
        """Whether the last block keeps its residual and its FFN: the fields `residual` and `ffn`, else no."""
        return getattr(self, "residual", False), getattr(self, "ffn", False)

    def stream(self, tokens: Tokens) -> Float[Tensor, "B T D"]:
        """Tokens after the changed last block, before they are read out: all of them, or the patches alone."""
        residual, ffn = self.residual_and_ffn
        return finish_block(tokens, self.mix(tokens), residual, ffn)

    def patch_embeddings(self, tokens: Tokens) -> Float[Tensor, "B N E"]:
        """Patch embeddings in the joint image-text space: float32 rows of unit length, row-major over the grid.

        Args:
            tokens: One backbone pass.

        Example:
            >>> import torch, ovss
            >>> backbone = ovss.load_backbone("tiny", device="cpu", dtype="float32")
            >>> tokens = backbone.encode_tokens(torch.zeros(1, 3, 32, 48))
            >>> embeddings = ovss.create_method("naclip").patch_embeddings(tokens)
            >>> tuple(embeddings.shape), round(float(embeddings[0, 0].norm()), 4)
            ((1, 24, 128), 1.0)
        """
        patches = tokens.grid[0] * tokens.grid[1]
        return unit(tokens.read_out(self.stream(tokens)[:, -patches:]))

    def patch_scores(self, tokens: Tokens, text: Float[Tensor, "Q E"]) -> Float[Tensor, "B Q h w"]:
        """Cosine of each patch with each query, in float32.

        Args:
            tokens: One backbone pass.
            text: Query embeddings, rows of unit length.

        Raises:
            InputError: A method from outside this package has other rows than one of unit length per patch.
        """
        return cosine_scores(tokens, check_rows(self, self.patch_embeddings(tokens), tokens), text)

    def window_scores(
        self, tokens: Tokens, text: Float[Tensor, "Q E"], windows: Float[Tensor, "B 3 H W"]
    ) -> Float[Tensor, "B Q h w"]:
        """Scores of each patch with each query, from the pixels of the windows too; by default `patch_scores`.

        Args:
            tokens: The backbone pass over the windows.
            text: Query embeddings, rows of unit length.
            windows: Normalised windows of whole patches.
        """
        return self.patch_scores(tokens, text)

    @property
    def compares_words(self) -> bool:
        """Whether the score of a word depends on which other words there are; by default not."""
        return False

    def class_scores(self, tokens: Tokens, text: Float[Tensor, "Q E"]) -> Float[Tensor, "B Q"]:
        """Cosine of the image as a whole (CLS, or the pool) with each query, in float32; by default the model's own."""
        return cls_embedding(tokens) @ text.to(tokens.backbone.device, torch.float32).T

    @property
    def regions(self) -> RegionNaming | None:
        """How regions are found and named at the pixels of a window; None, the default: not at all."""
        return None

    def refine_scores(
        self, scores: Float[Tensor, "B Q H W"], tokens: Tokens, query_class: Sequence[int] | None = None
    ) -> Float[Tensor, "B Q H W"]:
        """Last change to the scores at window resolution: regions are named where the method has them, else none.

        Args:
            scores: Scores of the queries.
            tokens: The backbone pass they come from.
            query_class: Class of each query; None: each query is a class of its own.
        """
        if self.regions is None:
            return scores
        size = (scores.shape[-2], scores.shape[-1])
        return torch.stack([window.full() for window in self.regions.windows(scores, tokens, size, query_class)])

    @property
    def refines(self) -> bool:
        """Whether scores change at window resolution: by named regions, or by a `refine_scores` of the method's own."""
        return self.regions is not None or self._refines_alone

    @property
    def _refines_alone(self) -> bool:
        return type(self).refine_scores is not Method.refine_scores

    def refine_windows(
        self,
        scores: Float[Tensor, "B Q h w"],
        tokens: Tokens,
        size: tuple[int, int],
        query_class: Sequence[int] | None = None,
        overlapping: bool = False,
    ) -> list[WindowScores]:
        """`refine_scores` from patch scores, with pixels that are made when they are asked for.

        Args:
            scores: Scores of the queries at patch resolution.
            tokens: The backbone pass they come from.
            size: Height and width of the windows in pixels.
            query_class: Class of each query; None: each query is a class of its own.
            overlapping: Whether the windows of the image overlap.

        Returns:
            Scores of each window.
        """
        if self.regions is not None and not self._refines_alone:
            return self.regions.windows(scores, tokens, size, query_class, overlapping)
        pixels = F.interpolate(scores, size=size, mode="bilinear", align_corners=False)
        return [WindowScores(window, size) for window in self.refine_scores(pixels, tokens, query_class)]


def unit(x: Float[Tensor, "*B E"]) -> Float[Tensor, "*B E"]:
    """Rows of unit length, in float32."""
    return F.normalize(x.float(), dim=-1)


def cosine_scores(
    tokens: Tokens, embeddings: Float[Tensor, "B N E"], text: Float[Tensor, "Q E"]
) -> Float[Tensor, "B Q h w"]:
    """Cosine of patch embeddings with query embeddings, all of unit length, in float32."""
    return torch.matmul(text.to(tokens.backbone.device, torch.float32), embeddings.mT).unflatten(-1, tokens.grid)


def cls_embedding(tokens: Tokens) -> Float[Tensor, "B E"]:
    """The model's own image embedding, unit length, float32; of a class token, it alone goes through the last block."""
    if tokens.backbone.pooling != "class token":
        return unit(tokens.image_embedding())
    block, x = tokens.block(tokens.depth), tokens.hidden(tokens.depth - 1)
    q, k, v = tokens.qkv(tokens.depth)
    cls = x[:, :1] + block.merge(F.scaled_dot_product_attention(q[:, :, :1], k, v))  # (B, 1, D)
    return unit(tokens.read_out(cls + block.ffn(cls)))[:, 0]


def finish_block(
    tokens: Tokens, mixed: Float[Tensor, "B H T d"], residual: bool, ffn: bool, rows: slice = slice(None)
) -> Float[Tensor, "B T D"]:
    """The last block from its mixed values on: output projection, then residual and FFN where wanted.

    Args:
        tokens: One backbone pass.
        mixed: Attention-weighted values of the last block, prefix tokens first.
        residual: Add the block's input.
        ffn: Apply the FFN with its own residual.
        rows: Which tokens `mixed` holds.
    """
    block = tokens.block(tokens.depth)
    y = block.merge(mixed)  # (B, T, D)
    if residual:
        y = y + tokens.hidden(tokens.depth - 1)[:, rows]
    return y + block.ffn(y) if ffn else y


def scale_block(block: int, depth: int) -> int:
    """A block number given for depth 12, at another depth: round(block * depth / 12), at least 1."""
    return max(1, round(block * depth / 12))


def middle_blocks(depth: int) -> tuple[int, ...]:
    """Blocks 6 to 9 of 12, at another depth scaled, whose attention several methods read."""
    return tuple(range(scale_block(6, depth), scale_block(9, depth) + 1))


def check_block(method: str, name: str, block: int, depth: int) -> int:
    """Return `block` when the model has it.

    Raises:
        InputError: `block` is outside 1..depth.
    """
    if not 1 <= block <= depth:
        raise InputError(f"{method}: {name}={block} is outside 1..{depth}, the blocks of this model")
    return block
