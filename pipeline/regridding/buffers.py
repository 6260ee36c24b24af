"""Large result arrays whose memory goes round: what one result leaves, the next one takes.

Called from `regrid`. New memory is zeroed by the system page by page, which takes as long as
filling it with regridded values; tiles of one grid need the same sizes again and again. What is
kept is never more than the results that lived before it, and goes back to the system when another
size is asked for.
"""

from __future__ import annotations

import math
from threading import RLock

import numpy as np
from numpy.typing import DTypeLike, NDArray

SMALLEST = 16 << 20
"""Bytes below which the C library reuses memory by itself."""
MOST_KEPT = 1 << 30
"""Bytes of all unused memory together."""

_kept: list[NDArray[np.uint8]] = []
# Arrays may die in the middle of `_take`, when Python collects cycles: the lock must let them in.
_lock = RLock()


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
    """As `numpy.empty`; large arrays take memory that earlier ones no longer use.

    The memory is free for others when neither the array nor any view of it is left.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    return np.asarray(_Lease(_take(size), shape, np.dtype(dtype)))


def kept_bytes() -> int:
    """Bytes of memory that no array uses and the next one may take."""
    with _lock:
        return sum(block.nbytes for block in _kept)


class _Lease:
    """The base of an array, alive as long as any view of it: gives the memory back at its end."""

    def __init__(
        self, block: NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[np.generic]
    ) -> None:
        self.block = block
        self.__array_interface__ = {
            "version": 3, "shape": shape, "typestr": dtype.str, "data": (block.ctypes.data, False)
        }  # fmt: skip

    def __del__(self) -> None:
        _give(self.block)


def _take(size: int) -> NDArray[np.uint8]:
    """The smallest kept block of `size` bytes or a little more, or a new one."""
    with _lock:
        fitting = [b for b in _kept if size <= b.nbytes <= size + size // 4]
        if fitting:
            block = min(fitting, key=lambda b: b.nbytes)
            _kept[:] = [b for b in _kept if b is not block]
            return block
        _kept.clear()
    return np.empty(size, np.uint8)


def _give(block: NDArray[np.uint8]) -> None:
    with _lock:
        if kept_bytes() + block.nbytes <= MOST_KEPT:
            _kept.append(block)
