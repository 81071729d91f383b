"""Plain CLIP (Radford et al., ICML 2021), read patch by patch.

The last block as it was trained: queries meet keys, the residual and the FFN stay. Trained for CLS only, its
patches see the whole image, which is the failure that all other methods repair.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.ingredients import attend
from ovss.methods.base import Method, Paper
from ovss.methods.parameters import parameter
from ovss.methods.registry import register

__all__ = ["Clip"]


@register
@dataclass(frozen=True)
class Clip(Method):
    """Patch tokens of the unchanged model, taken into the joint space as CLS is."""

    name: ClassVar[str] = "clip"
    shares_windows: ClassVar[bool] = True
    paper: ClassVar[Paper] = Paper(
        title="Learning Transferable Visual Models From Natural Language Supervision",
        authors="Alec Radford, Jong Wook Kim, Chris Hallacy, Aditya Ramesh, Gabriel Goh, Sandhini Agarwal, "
        "Girish Sastry, Amanda Askell, Pamela Mishkin, Jack Clark, Gretchen Krueger, Ilya Sutskever",
        venue="ICML 2021",
        arxiv="2103.00020",
        support="TF-SF",
        deviations=("CLIP reads out CLS only; reading out its patches too is the baseline of all later papers",),
    )

    residual: bool = parameter(True, "add the block's input to the attention output", "the trained model")
    ffn: bool = parameter(True, "apply the last FFN with its residual", "the trained model")

    def mix(self, tokens: Tokens, values: Tensor | None = None) -> Float[Tensor, "B H T d"]:
        """Values under the attention that the model was trained with."""
        return attend(tokens.qkv(tokens.depth), "qk", values=values)
