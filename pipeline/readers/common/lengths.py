"""promised_bytes(): the length that a file declares itself, or at least that its end is there."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import IO, Any

ZIP_END = 22 + 65535
"""Largest length of the record that ends a ZIP archive."""
WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value of each type of TIFF that may hold offsets or counts."""
STARTS, COUNTS = (273, 324), (279, 325)
"""Tags of TIFF: offsets of strips and of tiles, and the bytes of each."""


def promised_bytes(file: IO[Any], size: int) -> int:
    """Return the least length by a file's own statement; 0 if it makes none that is understood.

    A file whose statement is cut off itself promises at least one byte more than it has.
    """
    head = file.read(8)
    for magic, length in _LENGTHS.items():
        if head and len(head) < len(magic) and magic.startswith(head):
            return size + 1
        if head.startswith(magic):
            try:
                return length(file, size)
            except (struct.error, RecursionError):
                return size + 1
    return 0


def _number(file: IO[Any], form: str, position: int | None = None) -> int:
    if position is not None:
        file.seek(position)
    return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])


def _hdf5(file: IO[Any], size: int) -> int:
    """Return the end-of-file address of the superblock (HDF5 File Format Specification, II.A)."""
    version = _number(file, "B", 8)
    width, base = (_number(file, "B", 13), 24 + 4 * version) if version < 2 else (
        _number(file, "B", 9), 12)  # fmt: skip
    if version > 3 or width not in (2, 4, 8):
        return 0
    form = {2: "<H", 4: "<I", 8: "<Q"}[width]
    end = _number(file, form, base + 2 * width)
    return 0 if end == (1 << 8 * width) - 1 else end


def _tiff(file: IO[Any], size: int) -> int:
    """Return the end of the last strip or tile of all images (TIFF 6.0, section 2; BigTIFF)."""
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    big = _number(file, order + "H", 2) == 43
    entry, offset, count = (20, "Q", "Q") if big else (12, "I", "H")
    at = _number(file, order + offset, 8 if big else 4)
    end, seen = 0, set[int]()
    while at and at not in seen:
        seen.add(at)
        number = _number(file, order + count, at)
        begin = at + struct.calcsize(count)
        file.seek(begin)
        table = _read(file, number * entry, size)
        values = {}
        for i in range(number):
            tag, kind = struct.unpack_from(order + "HH", table, i * entry)
            if tag in (*STARTS, *COUNTS) and kind in WIDTHS:
                field = table[i * entry + 4 : (i + 1) * entry]
                values[tag] = _values(file, size, field, order, offset, kind)
        for start, length in zip(STARTS, COUNTS, strict=True):
            pairs = zip(values.get(start, ()), values.get(length, ()), strict=False)
            end = max([end, *(a + b for a, b in pairs)])
        at = _number(file, order + offset, begin + number * entry)
    return end


def _read(file: IO[Any], length: int, size: int) -> bytes:
    """Return the next bytes; `struct.error`, before memory is claimed, if the file has fewer."""
    found = file.read(length) if length <= size else b""
    if len(found) < length:
        raise struct.error("fewer bytes than declared")
    return found


def _values(
    file: IO[Any], size: int, field: bytes, order: str, offset: str, kind: int
) -> tuple[int, ...]:
    """Return the numbers of an entry, which are in it if they fit."""
    count = struct.unpack_from(order + offset, field)[0]
    form = f"{order}{count}{ {1: 'B', 2: 'H', 4: 'I', 8: 'Q'}[WIDTHS[kind]] }"
    held = field[struct.calcsize(offset) :]
    if struct.calcsize(form) > len(held):
        file.seek(struct.unpack_from(order + offset, held)[0])
        held = _read(file, struct.calcsize(form), size)
    return struct.unpack_from(form, held)


def _grib(file: IO[Any], size: int) -> int:
    """Return the end of the last message that begins in the file (WMO FM 92)."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(16)
        if not head.startswith(b"GRIB"):
            return at  # other bytes may follow
        if len(head) < 16:
            raise struct.error("a header that is cut off")
        two = head[7] == 2
        length = struct.unpack(">Q" if two else ">I", head[8:] if two else b"\0" + head[4:7])[0]
        if length < len(head):
            raise struct.error("a message shorter than its header")
        at += length
    return at


def _zip(file: IO[Any], size: int) -> int:
    """Return the end of the record that ends an archive, or one byte more than `size`."""
    begin = max(0, size - ZIP_END)
    file.seek(begin)
    at = file.read().rfind(b"PK\x05\x06")
    return size + 1 if at < 0 else begin + at + 22 + _number(file, "<H", begin + at + 20)


def _sqlite(file: IO[Any], size: int) -> int:
    """Return the size of all pages (SQLite Database File Format, section 1.3)."""
    page, count = _number(file, ">H", 16), _number(file, ">I", 28)
    return (65536 if page == 1 else page) * count


def _boxes(file: IO[Any], size: int) -> int:
    """Return the end of the last box of JPEG 2000 (ISO 15444-1, annex I)."""
    at = 0
    while at < size:
        length = _number(file, ">I", at)
        if length == 0:
            return _ends_with(b"\xff\xd9")(file, size)
        at += max(_number(file, ">Q", at + 8) if length == 1 else length, 8)
    return at


def _ends_with(end: bytes) -> Callable[[IO[Any], int], int]:
    """Return the function of a format that ends with these bytes: one byte more without them.

    Texts may have their last mark within them too, so that nothing is known if it is there.
    """

    def length(file: IO[Any], size: int) -> int:
        file.seek(max(0, size - 64))
        if not file.read().rstrip(b" \t\r\n\x00").endswith(end):
            return size + 1
        return 0 if end in (b"}", b">") else size

    return length


def _parquet(file: IO[Any], size: int) -> int:
    """Return the size, or one byte more without the mark that ends a table."""
    file.seek(max(0, size - 4))
    return size if size >= 12 and file.read() == b"PAR1" else size + 1


_LENGTHS: dict[bytes, Callable[[IO[Any], int], int]] = {
    b"\x89HDF\r\n\x1a\n": _hdf5, b"II*\x00": _tiff, b"MM\x00*": _tiff, b"II+\x00": _tiff,
    b"MM\x00+": _tiff, b"GRIB": _grib, b"PK\x03\x04": _zip, b"PAR1": _parquet,
    b"SQLite f": _sqlite, b"\x00\x00\x00\x0cjP": _boxes, b"\x89PNG": _ends_with(b"\xaeB`\x82"),
    b"\xff\xd8\xff": _ends_with(b"\xff\xd9"), b"{": _ends_with(b"}"), b"<": _ends_with(b">"),
}  # fmt: skip
