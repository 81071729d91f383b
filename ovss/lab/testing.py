"""Property tests for a method of one's own: what every method of this package must pass, too.

`ovss.testing` is the public name of this module.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ovss.backbone import Backbone, Tokens, load_backbone
from ovss.backbone.checkpoints import hash_weights
from ovss.backbone.toy import random_backbone
from ovss.errors import InputError
from ovss.methods import Method, method_class
from ovss.methods.faults import check_class, check_rows
from ovss.scenes.scenes import scene

__all__ = ["check_method"]

_SAME = 1e-5
"""Largest difference between a batch and its images alone that counts as rounding."""
_Outputs = dict[str, Tensor]


def check_method(method: type[Method] | Method | str, **parameters: Any) -> tuple[str, ...]:
    """Run the property tests that every method of this package passes, on a small random model and on `tiny`.

    Args:
        method: A class, an instance or a name.
        **parameters: Hyperparameters, where `method` is a class or a name.

    Returns:
        The properties that were tested, all of which hold.

    Example:
        >>> import ovss
        >>> for line in ovss.testing.check_method("naclip"):
        ...     print(line)
        name, paper and every parameter are documented
        the hidden states it names exist and are all it reads
        one row of unit length per patch, on grids that are not square, too
        no NaN and no infinity, on an image of one colour, too
        scores and refined scores have the shape they must have
        the same output when it is called again
        a batch gives what each of its images gives alone
        hidden states and weights stay as they are

    Raises:
        InputError: It fails; one line for each fault, which says what was found.
    """
    kind = method_class(method) if isinstance(method, str) else method if isinstance(method, type) else type(method)
    if not issubclass(kind, Method):
        raise InputError(f"'{kind.__qualname__}' must inherit from ovss.Method to be a method")
    check_class(kind)
    made = method if isinstance(method, Method) else kind(**parameters)
    faults = _undocumented(kind)
    for backbone, images in _subjects():
        trial = _Trial(made, backbone, images)
        faults += [f"on {backbone.name}: {fault}" for fault in trial.faults()]
    if faults:
        start = f"method '{made.label}' does not hold what a method promises"
        raise InputError("\n  ".join([f"{start} ({len(faults)}):", *dict.fromkeys(faults)]))
    return _PROPERTIES


_PROPERTIES = (
    "name, paper and every parameter are documented",
    "the hidden states it names exist and are all it reads",
    "one row of unit length per patch, on grids that are not square, too",
    "no NaN and no infinity, on an image of one colour, too",
    "scores and refined scores have the shape they must have",
    "the same output when it is called again",
    "a batch gives what each of its images gives alone",
    "hidden states and weights stay as they are",
)


def _undocumented(kind: type[Method]) -> list[str]:
    faults = [f"paper: '{name}' is empty" for name in ("title", "venue", "layers") if not getattr(kind.paper, name)]
    faults += [
        f"parameter '{item.name}' is not documented; write {item.name} = ovss.parameter(default, help, source)"
        for item in fields(kind)
        if not (item.metadata.get("help") and item.metadata.get("source"))
    ]
    return faults


def _subjects() -> Iterator[tuple[Backbone, Tensor]]:
    """Models with three images each, of which the last one has a single colour; no grid is square."""
    small = random_backbone(depth=6, heads=2, width=32, embed=16, gain=1.5)
    noise = torch.randn(3, 3, 5 * small.patch_size, 7 * small.patch_size, generator=torch.Generator().manual_seed(0))
    noise[2] = 0
    yield small, noise
    tiny = load_backbone("tiny", device="cpu", dtype="float32")
    drawn = [Image.fromarray(scene("test", number).image).resize((64, 48)) for number in (10, 28)]
    drawn.append(Image.new("RGB", (64, 48), (90, 120, 60)))
    yield tiny, torch.stack([tiny.preprocess(image) for image in drawn])


@dataclass(frozen=True)
class _Trial:
    """One method on one model.

    Attributes:
        method: The method.
        backbone: The model.
        images: Three images (3, 3, H, W).
    """

    method: Method
    backbone: Backbone
    images: Tensor

    @torch.inference_mode()
    def faults(self) -> list[str]:
        """What does not hold, one line each; after a fault that makes the others meaningless it stands alone."""
        try:
            named = self._encode(self.images)
            before = {layer: named.hidden(layer).clone() for layer in named.kept}
            weights = hash_weights(self.backbone.model.state_dict())
            whole = self._outputs(named)
        except Exception as error:
            return [_said(error)]
        found = [self._beyond(named, before), *self._wrong(whole, len(self.images))]
        found += self._compare(whole, "when it is called again", lambda: self._outputs(named))
        found += self._compare(whole, "between a batch and its images alone", self._one_by_one)
        changed = [layer for layer, state in before.items() if not torch.equal(state, named.hidden(layer))]
        if changed:
            found.append(f"it changes hidden state {changed[0]}, which all methods share; work on a copy")
        if hash_weights(self.backbone.model.state_dict()) != weights:
            found.append("it changes the weights of the model")
        return [fault for fault in found if fault]

    def _encode(self, images: Tensor) -> Tokens:
        layers = self.method.layers(self.backbone.depth)
        if not layers or min(layers) < 0 or max(layers) > self.backbone.depth:
            raise InputError(
                f"layers({self.backbone.depth}) gives {sorted(layers)}, not a part of 0..{self.backbone.depth}"
            )
        return self.backbone.encode_tokens(images, layers=layers)

    def _outputs(self, tokens: Tokens) -> _Outputs:
        """All that a method gives, from patch embeddings to refined scores."""
        text = torch.randn(3, self.backbone.embed_dim, generator=torch.Generator().manual_seed(1))
        text = torch.nn.functional.normalize(text, dim=-1)
        scores = self.method.patch_scores(tokens, text)
        pixels = torch.nn.functional.interpolate(scores, scale_factor=self.backbone.patch_size, mode="bilinear")
        return {
            "patch_embeddings": check_rows(self.method, self.method.patch_embeddings(tokens), tokens),
            "patch_scores": scores,
            "class_scores": self.method.class_scores(tokens, text),
            "refine_scores": self.method.refine_scores(pixels, tokens),
        }

    def _one_by_one(self) -> _Outputs:
        parts = [self._outputs(self._encode(image[None])) for image in self.images]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _beyond(self, tokens: Tokens, before: dict[int, Tensor]) -> str:
        extra = [layer for layer in tokens.kept if layer > max(before)]
        if not extra:
            return ""
        return f"it reads hidden state {extra[0]}, which layers() does not name; a block runs again"

    def _wrong(self, outputs: _Outputs, batch: int) -> Iterator[str]:
        height, width = self.images.shape[-2:]
        patch = self.backbone.patch_size
        shapes = {
            "patch_scores": (batch, 3, height // patch, width // patch),
            "class_scores": (batch, 3),
            "refine_scores": (batch, 3, height, width),
        }
        for name, output in outputs.items():
            if name in shapes and tuple(output.shape) != shapes[name]:
                yield f"{name} is {tuple(output.shape)}, not {shapes[name]}"
            if not output.isfinite().all():
                yield f"{name} holds NaN or infinity"
        lengths = outputs["patch_embeddings"].norm(dim=-1)
        off = (lengths - 1).abs() > 1e-4
        if off.any():
            yield f"patch_embeddings has {int(off.sum())} rows of another length than 1: {float(lengths[off][0]):.3g}"

    def _compare(self, expected: _Outputs, when: str, run: Callable[[], _Outputs]) -> Iterator[str]:
        """Outputs that differ from the expected ones by more than rounding."""
        try:
            got = run()
        except Exception as error:
            yield f"it fails {when}: {_said(error)}"
            return
        for name, output in expected.items():
            if output.shape != got[name].shape:
                yield f"{name} has another shape {when}: {tuple(output.shape)} and {tuple(got[name].shape)}"
            elif not (by := float((output - got[name]).abs().max())) <= _SAME:
                yield f"{name} differs by {by:.1e} {when}"


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"
