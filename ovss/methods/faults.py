"""Faults of a method of one's own, each named in one line."""

import dataclasses
import inspect
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from ovss.backbone import Tokens
from ovss.errors import InputError
from ovss.methods.paper import Paper
from ovss.provenance.sources import is_ours

if TYPE_CHECKING:
    from ovss.methods.base import Method

__all__ = ["check_class", "check_rows"]

_UNIT = 1e-2
"""Difference from 1 up to which a length counts as one, in half precision too."""


def check_class(cls: "type[Method]") -> None:
    """Find out whether a class says what a method must say of itself.

    Raises:
        InputError: Names what is missing and how it is written.
    """
    where = f"method class '{cls.__qualname__}'"
    name, own = getattr(cls, "name", None), inspect.get_annotations(cls)
    parameters = [key for key, kind in own.items() if "ClassVar" not in str(kind)]
    wrong = next((key for key in ("name", "paper") if key in parameters), None)
    if wrong:
        raise InputError(
            f"{where}: '{wrong}' is a parameter as it stands; leave out its type, or write it ClassVar[...]"
        )
    if not isinstance(name, str) or not re.fullmatch(r"[\w.+-]+", name):
        raise InputError(f'{where} needs a name of letters, digits and any of _.+-: write name = "mine" in it')
    if not isinstance(getattr(cls, "paper", None), Paper):
        raise InputError(
            f"{where} needs a paper: write paper = ovss.Paper(title=..., authors=..., venue=..., arxiv=...)"
        )
    if parameters and "__dataclass_fields__" not in vars(cls):
        raise InputError(
            f"{where}: '{parameters[0]}' is no parameter yet; write @dataclass(frozen=True) right above the class, "
            "below @ovss.register"
        )
    for item in fields(cls):
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: parameter '{item.name}' needs a default")


def check_rows(method: "Method", rows: Any, tokens: Tokens) -> Float[Tensor, "B N E"]:
    """The patch embeddings of a method in float32, if one row of unit length stands for each patch.

    Only for methods from outside this package lengths are looked at, which waits for the device; those of this package
    are held to them by tests.

    Raises:
        InputError: It does not; says what is there instead.
    """
    start = f"method '{method.label}': patch_embeddings"
    if not isinstance(rows, Tensor):
        raise InputError(f"{start} must return a tensor, not {type(rows).__name__}")
    wanted = (tokens.batch, tokens.grid[0] * tokens.grid[1], tokens.backbone.embed_dim)
    if tuple(rows.shape) != wanted:
        raise InputError(
            f"{start} must be {wanted}: images, patches of the {tokens.grid[0]} x {tokens.grid[1]} grid without CLS, "
            f"width of the joint space; they are {tuple(rows.shape)}"
        )
    rows = rows.float()
    if not is_ours(type(method).__module__):
        lengths = rows.norm(dim=-1)
        if not bool(lengths.isfinite().all()) and bool(tokens.hidden(max(tokens.kept)).isfinite().all()):
            raise InputError(f"{start} hold NaN or infinity in {int((~lengths.isfinite()).sum())} rows")
        worst = lengths.flatten()[int((lengths - 1).abs().argmax())]
        if abs(float(worst) - 1) > _UNIT:
            raise InputError(
                f"{start} must have rows of unit length, one has length {float(worst):.3g}; end with "
                "torch.nn.functional.normalize(rows, dim=-1)"
            )
    return rows
