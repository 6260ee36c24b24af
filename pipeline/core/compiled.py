"""The one way this package compiles a loop: no GIL, NumPy's division, kept on disk if it can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled at its first call for each combination of types.

    Sums keep their order (no fast-math), so that results do not depend on the machine's vectors.
    Where no folder for the cache can be written, every process compiles for itself.
    """
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:
        return njit(nogil=True, error_model="numpy")(function)
