"""Reuse of memory for large result arrays.

Called from `regrid`. The system zeroes new memory page by page, which takes as long as filling it
with regridded values, and tiles of one grid need the same sizes again and again. The memory that is
kept never exceeds that of the previous results; it is freed when another size is requested.
"""

from __future__ import annotations

import math
from threading import RLock

import numpy as np
from numpy.typing import DTypeLike, NDArray

SMALLEST = 16 << 20
"""Size in bytes below which the C library reuses memory by itself."""
MAX_KEPT = 1 << 30
"""Upper limit of the unused memory that is kept, in bytes."""

_kept: list[NDArray[np.uint8]] = []
# Python may collect an array in the middle of `_take`, which calls `_give_back` in this thread: the
# lock must be reentrant.
_lock = RLock()


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
    """Uninitialised array like `numpy.empty`; large ones reuse memory of earlier arrays.

    The memory can be reused once neither the array nor any view of it is left.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    return np.asarray(_Lease(_take(size), shape, np.dtype(dtype)))


def kept_bytes() -> int:
    """Bytes of unused memory that the next array may reuse."""
    with _lock:
        return sum(block.nbytes for block in _kept)


class _Lease:
    """Base object of an array; its memory returns to the kept blocks when the last view is gone."""

    def __init__(
        self, block: NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[np.generic]
    ) -> None:
        self.block = block
        self.__array_interface__ = {
            "version": 3, "shape": shape, "typestr": dtype.str, "data": (block.ctypes.data, False)
        }  # fmt: skip

    def __del__(self) -> None:
        _give_back(self.block)


def _take(size: int) -> NDArray[np.uint8]:
    """The smallest kept block of `size` to 1.25 `size` bytes, or a new one."""
    with _lock:
        fitting = [b for b in _kept if size <= b.nbytes <= size + size // 4]
        if fitting:
            block = min(fitting, key=lambda b: b.nbytes)
            _kept[:] = [b for b in _kept if b is not block]
            return block
        _kept.clear()
    return np.empty(size, np.uint8)


def _give_back(block: NDArray[np.uint8]) -> None:
    with _lock:
        if kept_bytes() + block.nbytes <= MAX_KEPT:
            _kept.append(block)
