"""Random generators derived from names and numbers, so that nothing depends on call order or global state."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["generator"]


def _seed_of(*parts: object) -> int:
    """A 128-bit seed for the given parts; equal parts give equal seeds on every platform."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()[:16], "little")


def generator(*parts: object) -> np.random.Generator:
    """A generator of its own for the given parts (counter-based Philox, whose stream is platform independent)."""
    return np.random.Generator(np.random.Philox(key=_seed_of(*parts)))
