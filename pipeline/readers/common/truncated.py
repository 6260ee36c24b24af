"""missing_bytes(): whether a file is shorter than it declares.

The NetCDF library reads zeros past the end of a classic file, so that a truncated file would look
like a field of zeros.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import IO, Any

from pipeline.core.addresses import AnyPath
from pipeline.core.files import version_of
from pipeline.readers.common.lengths import promised_bytes

VERSIONS = (1, 2, 5)
"""CDF-1, CDF-2 (64-bit offsets) and CDF-5 (64-bit data), which scipy's reader does not know."""
BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
"""Bytes of a value of each type, by the number of the type in the format."""


def missing_bytes(path: AnyPath, thorough: bool = False) -> tuple[int, int] | None:
    """Return (bytes found, bytes declared) of a truncated file, None for others.

    With `thorough`, files of many formats are searched for their length or end; otherwise only
    classic NetCDF files, whose reader does not notice.
    """
    stamp = version_of(path)
    promised = _promised(path, stamp, thorough)
    return (stamp[1], promised) if stamp[1] < promised else None


def declares_length(path: AnyPath) -> bool:
    """Whether a file is of a format whose length, or end, is known."""
    return _promised(path, version_of(path), thorough=True) > 0


@lru_cache(maxsize=4096)
def _promised(path: AnyPath, stamp: tuple[int, ...], thorough: bool) -> int:
    """Return the minimum length by the header; 0 for other formats, size + 1 for a cut header."""
    with path.open("rb") as file:
        if thorough and (length := promised_bytes(file, stamp[1])):
            return length
        file.seek(0)
        magic = file.read(4)
        if len(magic) < 4 or magic[:3] != b"CDF" or magic[3] not in VERSIONS:
            return 0
        try:
            return _Header(file, magic[3]).end()
        except struct.error:
            return stamp[1] + 1


class _Header:
    """Parser of the header, which reads value by value after the NetCDF format specification."""

    def __init__(self, file: IO[Any], version: int) -> None:
        self.file = file
        self.size = ">q" if version == 5 else ">i"
        self.offset = ">i" if version == 1 else ">q"

    def end(self) -> int:
        """Return the position after the last byte of data, without the padding after it."""
        records = self.number(self.size)
        lengths = [self._dimension() for _ in range(self._count())]
        self._skip_attributes()
        ends, steps = [0], []
        for _ in range(self._count()):
            begin, shape, width = self._variable(lengths)
            if 0 not in shape[:1]:
                ends.append(begin + math.prod(shape) * width)
            else:
                steps.append((begin, math.prod(shape[1:]) * width))
        # A single record variable is not padded to whole words. A count of −1 means a file written
        # as a stream, whose length is unknown.
        padded = [size if len(steps) == 1 else -(-size // 4) * 4 for _, size in steps]
        if records > 0:
            last = (records - 1) * sum(padded)
            ends += [begin + last + size for begin, size in steps]
        return max(ends)

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.file.read(struct.calcsize(form)))[0])

    def _count(self) -> int:
        """Return the number of entries of the list that begins at the current position."""
        self.number(">i")
        return self._positive(self.number(self.size))

    def _skip(self, size: int) -> None:
        self.file.seek(-(-self._positive(size) // 4) * 4, 1)

    @staticmethod
    def _positive(size: int) -> int:
        if size < 0:
            raise struct.error("a size below zero")
        return size

    def _dimension(self) -> int:
        """Return the length of a dimension; 0 for the record dimension."""
        self._skip(self.number(self.size))
        return self.number(self.size)

    def _skip_attributes(self) -> None:
        for _ in range(self._count()):
            self._skip(self.number(self.size))
            width = self._width()
            self._skip(self.number(self.size) * width)

    def _variable(self, lengths: list[int]) -> tuple[int, list[int], int]:
        """Return (begin, shape, bytes per value) of a variable.

        The stored size is not used, because it overflows for large variables.
        """
        self._skip(self.number(self.size))
        rank = self.number(self.size)
        try:
            shape = [lengths[self.number(self.size)] for _ in range(rank)]
        except IndexError:
            raise struct.error("a dimension that is not declared") from None
        self._skip_attributes()
        width = self._width()
        self.number(self.size)
        return self.number(self.offset), shape, width

    def _width(self) -> int:
        kind = self.number(">i")
        if kind not in BYTES:
            raise struct.error("a type that the format does not have")
        return BYTES[kind]
