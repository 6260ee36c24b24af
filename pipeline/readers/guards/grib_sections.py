"""check_sections(): GRIB messages whose sections fit into them, before ecCodes parses them.

ecCodes trusts the lengths of sections, and ends the process at many of those that are wrong.
Editions 1 and 2 of https://codes.wmo.int/grib2 and WMO Manual on Codes, FM 92.
"""

from __future__ import annotations

import os
from pathlib import Path

BLOCK = 1 << 16
LEAST = {1: 21, 2: 5, 3: 14, 4: 9, 5: 11, 6: 6, 7: 5}
"""Bytes that each section of edition 2 has at least."""
NEXT = {0: (1,), 1: (2, 3), 2: (3,), 3: (4,), 4: (5,), 5: (6,), 6: (7,), 7: (2, 3, 4, 8)}
"""Sections that may follow each; 8 is the end."""
LARGE = 0x800000
"""Bit in the length of a message of edition 1 of which the length is a multiple of 120 bytes."""


def check_sections(path: Path) -> None:
    """Raise `ValueError` for a message whose sections do not fill it, to its end "7777"."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        end, number = 0, 0
        while (begin := _find(descriptor, end)) is not None:
            edition = _bytes(descriptor, begin + 7, 1)
            if edition not in (b"\x01", b"\x02"):
                end = begin + 4
                continue
            number += 1
            length = _length_of_1 if edition == b"\x01" else _length_of_2
            try:
                end = begin + length(descriptor, begin)
            except ValueError as error:
                text = f"message {number}, from byte {begin} on, is damaged: {error}"
                raise ValueError(text) from None
    finally:
        os.close(descriptor)


def _find(descriptor: int, start: int) -> int | None:
    """Return the position of the next message from a position on."""
    while block := os.pread(descriptor, BLOCK, start):
        if (at := block.find(b"GRIB")) >= 0:
            return start + at
        if len(block) < 4:
            return None
        start += len(block) - 3
    return None


def _bytes(descriptor: int, at: int, count: int) -> bytes:
    found = os.pread(descriptor, count, at)
    if len(found) < count:
        raise ValueError("it ends early")
    return found


def _number(descriptor: int, at: int, count: int) -> int:
    return int.from_bytes(_bytes(descriptor, at, count), "big")


def _check_end(descriptor: int, at: int) -> None:
    if _bytes(descriptor, at, 4) != b"7777":
        raise ValueError("its sections do not end where it ends")


def _length_of_2(descriptor: int, begin: int) -> int:
    total = _number(descriptor, begin + 8, 8)
    at, end, section = begin + 16, begin + total - 4, 0
    while at < end:
        head = _bytes(descriptor, at, 5)
        length, following = int.from_bytes(head[:4], "big"), head[4]
        if following not in NEXT[section] or length < LEAST[following] or at + length > end:
            raise ValueError(f"section {following} of {length:,} bytes after section {section}")
        at, section = at + length, following
    if at != end or 8 not in NEXT[section]:
        raise ValueError("its sections do not end where it ends")
    _check_end(descriptor, end)
    return total


def _length_of_1(descriptor: int, begin: int) -> int:
    total = _number(descriptor, begin + 4, 3)
    at, flags = begin + 8, _number(descriptor, begin + 15, 1)
    for is_there in (True, flags & 0x80, flags & 0x40):
        at += _number(descriptor, at, 3) if is_there else 0
    data = _number(descriptor, at, 3)
    if total & LARGE and data < 120:
        total = (total & ~LARGE) * 120 - data + 4
    elif at + data != begin + total - 4:
        raise ValueError(f"{at + data + 4 - begin:,} bytes of sections in {total:,} bytes")
    _check_end(descriptor, begin + total - 4)
    return total
