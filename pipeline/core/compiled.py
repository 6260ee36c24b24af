"""compiled(): a loop compiled by Numba without the GIL, with NumPy's division, cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, which is compiled at its first call for each combination of types.

    Sums keep their order (no fast-math), so results do not depend on the vector unit of the CPU.
    Where no cache folder is writable, every process compiles the function again.
    """
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:
        return njit(nogil=True, error_model="numpy")(function)
