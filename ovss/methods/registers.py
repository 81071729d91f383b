"""Test-time registers (Jiang et al., NeurIPS 2025): outlier tokens are moved out of the image.

A few neurons of early blocks write what makes a patch an outlier, which then collects what the whole image says. On a
pass of its own, these neurons fire on one additional token in the place of the patches; the last block is read out as
in plain CLIP.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Backbone, Tokens
from ovss.errors import InputError
from ovss.ingredients import PAIRS, Register, attend, find_register_neurons
from ovss.methods.base import Method, Paper, check_block, cls_embedding, finish_block
from ovss.methods.parameters import parameter
from ovss.methods.registry import register

__all__ = ["Registers"]


@register
@dataclass(frozen=True)
class Registers(Method):
    """Register neurons fire on a token outside the image; last block of that pass with a choice of attention."""

    name: ClassVar[str] = "registers"
    own_pass: ClassVar[bool] = True
    in_all: ClassVar[bool] = False
    paper: ClassVar[Paper] = Paper(
        title="Vision Transformers Don't Need Trained Registers",
        authors="Nick Jiang, Amil Dravid, Alexei Efros, Yossi Gandelsman",
        venue="NeurIPS 2025",
        arxiv="2506.08010",
        support="TF-SF",
        layers="all blocks, of a pass of its own from the input of block 1 on",
        deviations=(
            "patches are read out against words, as those of plain CLIP; the paper looks at attention maps and other "
            "tasks",
            "register neurons depend on the weights and must be given or found on images (`find`), as in the paper",
            "one register; the authors' code takes any number, which share what the neurons wrote",
            "the register starts as zeros, as in the authors' code; their notes speak of the mean of the patches",
        ),
    )

    neurons: tuple[tuple[int, int], ...] = parameter(
        (), "block (from 1) and number in its FFN (from 0) of each register neuron; see `find`", "authors' code"
    )
    kernel: str = parameter("qk", "attention of the last block", "our choice", PAIRS)
    residual: bool = parameter(True, "add the block's input to the attention output", "the trained model")
    ffn: bool = parameter(True, "apply the last FFN with its residual", "the trained model")

    def layers(self, depth: int) -> frozenset[int]:
        """Hidden states read: the input of block 1, where the method's own pass starts.

        Raises:
            InputError: No neurons are given, or one in a block that the model does not have.
        """
        if not self.neurons:
            raise InputError("registers: neurons=() is empty; give ((block, neuron), ...), or find them on images")
        for block, _ in self.neurons:
            check_block(self.name, "neurons", block, depth)
        return frozenset({0})

    def own(self, tokens: Tokens) -> Tokens:
        """The method's own pass.

        Raises:
            InputError: See `layers`; or a neuron that the model does not have.
        """
        self.layers(tokens.depth)
        width = tokens.backbone.ffn_width
        if not width:
            raise InputError(
                f"registers: neurons can be changed in open_clip's own ViT only, not in {tokens.backbone.name}"
            )
        for _, neuron in self.neurons:
            if not 0 <= neuron < width:
                raise InputError(f"registers: neuron {neuron} is outside 0..{width - 1}, those of an FFN of this model")
        return tokens.intervened(Register(self.neurons))

    def stream(self, tokens: Tokens) -> Float[Tensor, "B T D"]:
        """Tokens of the own pass after the last block, which has one token more, behind CLS."""
        own = self.own(tokens)
        return finish_block(own, attend(own.qkv(own.depth), self.kernel), self.residual, self.ffn)

    def class_scores(self, tokens: Tokens, text: Float[Tensor, "Q E"]) -> Float[Tensor, "B Q"]:
        """Cosine of CLS of the own pass with each query."""
        cls = cls_embedding(self.own(tokens))
        return cls @ text.to(cls).T

    def find(
        self,
        backbone: Backbone,
        windows: Iterable[Float[Tensor, "B 3 H W"]],
        norm: float = 30.0,
        highest: int = 6,
        count: int = 10,
    ) -> "Registers":
        """This method with the register neurons of a model; the defaults are the authors' for OpenAI's ViT-B/16.

        See `ovss.ingredients.find_register_neurons` for arguments and errors.
        """
        return replace(self, neurons=find_register_neurons(backbone, windows, norm=norm, highest=highest, count=count))
