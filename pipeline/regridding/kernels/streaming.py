"""Scratch on whole cache lines, rows asked for before they are read, results past the caches.

Called from `separable_kernels`, whose loops are as fast as memory lets them be.
"""

from __future__ import annotations

import numpy as np

from pipeline.core.compiled import compiled
from pipeline.regridding.kernels.intrinsics import LINE, prefetch, stream

AT_ONCE = 1 << 9
"""Cells, besides those of a row, that may wait in a cache to go to memory together."""


@compiled
def fetch(flat, begin, count):  # type: ignore[no-untyped-def]
    """Asks for `flat[begin : begin + count]`, which is read a little later."""
    # Rows are shorter than the pages at which the processor's own fetching ahead begins anew.
    line = LINE // flat.itemsize
    for k in range((count + line - 1) // line):
        prefetch(flat, begin + k * line)


def on_a_line(count: int, dtype: np.dtype) -> np.ndarray:
    """Room for `count` numbers, from the beginning of a cache line on."""
    # NumPy aligns to 16 bytes only: take a line more and begin at the first that is whole.
    room = np.empty(count + LINE // dtype.itemsize, dtype)
    skipped = -room.ctypes.data % LINE // dtype.itemsize
    return room[skipped : skipped + count]


@compiled
def send(values, count, into, at, width, everything):  # type: ignore[no-untyped-def]
    """Moves `values[:count]` to `into[at:]` once no other `width` fits; the rest comes forward.

    Returns how many stay and where they belong. Whole cache lines go, unless `everything` must: a
    line that goes in two parts is read from memory in between.
    """
    if count + width <= values.size and not everything:
        return count, at
    # Part of a line stays behind and goes with the next cells, at the place after what was sent.
    sent = stream(values, count, into, at)
    for j in range(sent, count):
        if everything:
            into[at + j] = values[j]
        else:
            values[j - sent] = values[j]
    return (0, at + count) if everything else (count - sent, at + sent)
