"""`Filters`: the bytes of a chunk of an HDF5 array as they were before its filters changed them.

Filters have the numbers under which The HDF Group registers them. Nothing here takes the global
lock of the HDF5 library, so that threads decode at the same time, and deflated bytes are inflated
by libdeflate, which takes half of the time of zlib.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import deflate
from numcodecs import Fletcher32

DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3
CHECKSUM_BYTES = 4


class UndecodableError(OSError):
    """Bytes that are no chunk as its filters write it."""


@dataclass(frozen=True)
class Filters:
    """The filters of an array in the order in which they are applied to its chunks."""

    codes: tuple[int, ...]
    width: int
    """Bytes of a value."""
    size: int
    """Bytes of a chunk before all filters."""

    @property
    def are_known(self) -> bool:
        """Whether `decoded` can undo them."""
        is_shuffled = SHUFFLE in self.codes
        return (
            {*self.codes} <= {DEFLATE, SHUFFLE, FLETCHER32}
            # HDF5 may store chunks at the edge unfiltered without a mark; only others would tell.
            and {*self.codes} != {SHUFFLE}
            and self.codes.count(DEFLATE) <= 1
            and not (is_shuffled and (self.width not in (1, 2, 4, 8) or sys.byteorder == "big"))
        )

    def decoded(self, stored: Any, skipped: int = 0) -> Any:
        """Return the bytes of a chunk (bytes, a memoryview or an array) before its filters.

        The bits of `skipped` are the filters that this chunk did not pass. Raises
        `UndecodableError` for bytes that are damaged, too few or too many.
        """
        applied = [code for at, code in enumerate(self.codes) if not skipped >> at & 1]
        data = stored
        while applied:
            code = applied.pop()
            if code == DEFLATE:
                data = _inflated(data, self.size + CHECKSUM_BYTES * applied.count(FLETCHER32))
            elif code == SHUFFLE and self.width > 1:
                data = _unshuffled(data, self.width)
            elif code == FLETCHER32:
                data = _without_checksum(data)
        if (found := memoryview(data).nbytes) != self.size:
            raise UndecodableError(f"{found:,} bytes instead of {self.size:,}")
        return data


def _inflated(data: Any, size: int) -> Any:
    try:
        return deflate.zlib_decompress(data, size)
    except deflate.DeflateError:
        raise UndecodableError("bytes that cannot be inflated") from None


def _unshuffled(data: Any, width: int) -> Any:
    # Imported at first use: compiled code takes longer to load than all else that reads metadata.
    from pipeline.readers.hdf.shuffle import unshuffled

    return unshuffled(data, width)


def _without_checksum(data: Any) -> Any:
    """Return the bytes before the checksum at their end, which must be theirs."""
    try:
        return Fletcher32().decode(data)
    except (IndexError, RuntimeError, ValueError):
        raise UndecodableError("bytes with another checksum") from None
