"""Scratch memory on whole cache lines, prefetch of rows, results stored past the caches.

Called from `separable`, whose loops are limited by memory bandwidth.
"""

from __future__ import annotations

import numpy as np

from pipeline.core.compiled import compiled
from pipeline.regridding.kernels.intrinsics import LINE, prefetch, stream

AT_ONCE = 1 << 9
"""Number of cells, besides those of a row, that are collected before they go to memory."""


@compiled
def fetch(flat, begin, count):  # type: ignore[no-untyped-def]
    """Prefetches `flat[begin : begin + count]`, which is read later."""
    # The processor's own prefetcher restarts at every page, and rows are shorter than pages.
    line = LINE // flat.itemsize
    for k in range((count + line - 1) // line):
        prefetch(flat, begin + k * line)


def on_a_line(count: int, dtype: np.dtype) -> np.ndarray:
    """Uninitialised array of `count` numbers that begins at a cache line."""
    # NumPy aligns to 16 bytes only: allocate one line more and begin at the first whole one.
    room = np.empty(count + LINE // dtype.itemsize, dtype)
    skipped = -room.ctypes.data % LINE // dtype.itemsize
    return room[skipped : skipped + count]


@compiled
def send(values, count, target, at, width, everything):  # type: ignore[no-untyped-def]
    """Moves `values[:count]` to `target[at:]` once `width` more would not fit.

    Only whole cache lines are stored, unless `everything` is set, because a line that is stored in
    two parts is read from memory in between; the other values move to the front of `values`.
    Returns their number and their position in `target`.
    """
    if count + width <= values.size and not everything:
        return count, at
    # The rest of a line waits for the next cells; it belongs right after what was stored.
    sent = stream(values, count, target, at)
    for j in range(sent, count):
        if everything:
            target[at + j] = values[j]
        else:
            values[j - sent] = values[j]
    return (0, at + count) if everything else (count - sent, at + sent)
