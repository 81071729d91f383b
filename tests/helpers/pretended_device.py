"""A device that is not there: tensors that say they are elsewhere, so that whoever waits for them is seen.

Values lie on the CPU and are right to the last bit. What a CUDA device would refuse is refused (tensors of two devices
in one operation), and whatever would make the processor wait for it is recorded with the line that asked for it, as
`torch.cuda.set_sync_debug_mode` reports it: reading a value, results whose size depends on values, copies either way
that were not told to go on, and index tensors or lists from the processor.
"""

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

import ovss
from ovss.backbone import Backbone

ELSEWHERE = torch.device("meta")
"""The one device that every build of torch knows and that no kernel of the package runs on."""
_HERE = torch.device("cpu")
_READS = {"item", "_local_scalar_dense", "is_nonzero", "equal", "allclose"}
_SIZED = {"nonzero", "nonzero_numpy", "argwhere", "masked_select", "bincount", "one_hot"}
_SIZED |= {"unique_dim", "_unique", "_unique2", "unique_consecutive", "unique_dim_consecutive"}
_COPIES = {"_to_copy", "to", "copy_", "cpu"}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
_PACKAGE = str(Path(ovss.__file__).parent)


class Elsewhere(Tensor):
    """A tensor of the device that is not there."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "Elsewhere":
        with torch.inference_mode(False):  # views of what is kept are taken in either mode
            made = Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
                cls, values.shape, values.stride(), values.storage_offset(), dtype=values.dtype, device=ELSEWHERE
            )
        made.values = values
        return made

    def __repr__(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"Elsewhere({self.values})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {}, None)


class Waits(TorchDispatchMode):
    """Records, while it is on, every call that would wait for the device, as "operation at file:line"."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

        self._lists = _Lists(self.found)

    def __enter__(self) -> "Waits":
        self._lists.__enter__()
        return super().__enter__()

    def __exit__(self, *reason: Any) -> None:
        super().__exit__(*reason)
        self._lists.__exit__(*reason)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {}, self.found)

    @property
    def total(self) -> int:
        """How often the processor would have waited."""
        return sum(self.found.values())


class _Lists(TorchFunctionMode):
    """Numbers of the processor that are made a tensor of the device: torch gives them to no dispatch mode."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in (torch.tensor, torch.as_tensor) or kwargs.get("device") != ELSEWHERE:
            return func(*args, **kwargs)
        self.waits[f"{func.__name__} copies numbers to the device at {_place()}"] += 1
        return send(func(*args, **{**kwargs, "device": None}))


def send(values: Tensor) -> Tensor:
    """A tensor as it would be on the device."""
    return values if isinstance(values, Elsewhere) else Elsewhere(values.detach())


@contextmanager
def moved(backbone: Backbone) -> Iterator[Backbone]:
    """A model whose weights are on the device that is not there; back again at the end."""
    changed: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for module in backbone.model.modules():
            for held in (module._parameters, module._buffers):
                for name, value in held.items():
                    if value is not None:
                        changed.append((held, name, value))
                        new = send(value)
                        held[name] = nn.Parameter(new, requires_grad=False) if held is module._parameters else new
        backbone._positions.clear()
        yield backbone
    finally:
        for held, name, value in changed:
            held[name] = value
        backbone._positions.clear()


def _run(func: Any, args: Any, kwargs: dict[str, Any], waits: Counter[str] | None) -> Any:
    name = func.overloadpacket.__name__
    flat, _ = tree_flatten((args, kwargs))
    tensors = [one for one in flat if isinstance(one, Tensor)]
    there = [one for one in tensors if isinstance(one, Elsewhere)]
    target = kwargs.get("device")
    if name == "to" and target is None:
        target = next((one for one in flat if isinstance(one, torch.device)), None)
    asked = target is not None and torch.device(target) == ELSEWHERE
    inside = (bool(there) and target is None) or asked
    if not there and not asked:
        return func(*args, **kwargs)
    _refuse_two_devices(name, tensors)
    if waits is not None and (reason := _waits(name, func, args, kwargs, flat, there, inside)):
        waits[f"{reason} at {_place()}"] += 1
    inner = {id(one.values): one for one in there}
    plain = tree_map(lambda one: one.values if isinstance(one, Elsewhere) else one, (args, kwargs))
    args, kwargs = tree_map(lambda one: _HERE if isinstance(one, torch.device) else one, plain)
    found = func(*args, **kwargs)
    if name == "copy_" and not isinstance(flat[0], Elsewhere):
        inside = False
    if not inside:
        # The values must not be shared with what goes on changing on the device.
        return tree_map(lambda one: one.clone() if isinstance(one, Tensor) and id(one) in inner else one, found)
    return tree_map(lambda one: inner.get(id(one), Elsewhere(one)) if isinstance(one, Tensor) else one, found)


def _waits(name: str, func: Any, args: Any, kwargs: Any, flat: list[Any], there: list[Any], inside: bool) -> str:
    if name in _READS:
        return f"{name} reads a value"
    if name in _SIZED:
        return f"{name} has a size that depends on values"
    if name == "repeat_interleave" and kwargs.get("output_size") is None:
        return f"{name} has a size that depends on values"
    if name in _INDEXING:
        chosen = [one for one in args[1] if one is not None]
        if any(one.dtype in (torch.bool, torch.uint8) for one in chosen):
            return f"{name} by a mask has a size that depends on values"
        if any(not isinstance(one, Elsewhere) for one in chosen):
            return f"{name} by indices of the processor"
    if name in _COPIES:
        tensors = [one for one in flat if isinstance(one, Tensor)]
        crosses = isinstance(tensors[0], Elsewhere) != inside or len({type(t) is Elsewhere for t in tensors}) > 1
        goes_on = kwargs.get("non_blocking", False) or (name == "copy_" and len(args) > 2 and args[2])
        if crosses and not goes_on:
            return f"{name} {'to' if inside and not isinstance(tensors[-1], Elsewhere) else 'from'} the device"
    return ""


def _refuse_two_devices(name: str, tensors: list[Tensor]) -> None:
    if name in _COPIES or name in _INDEXING:
        return
    here = [one for one in tensors if not isinstance(one, Elsewhere) and one.ndim]
    if here and len(here) < len(tensors):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, found two at {_place()}")


def _place() -> str:
    """The line of the package that asked for an operation."""
    frames = [one for one in traceback.extract_stack() if one.filename.startswith(_PACKAGE)]
    if not frames:
        return "no line of the package"
    return f"{Path(frames[-1].filename).relative_to(_PACKAGE)}:{frames[-1].lineno}"
