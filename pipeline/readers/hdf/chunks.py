"""`Chunks`: where the chunks of an HDF5 array lie in its file, and values read from there.

The index of the chunks comes from the HDF5 library; their bytes are read and decoded without it, in
threads. Arrays that are stored in another way, or with other filters, are left to the library.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from threading import Lock
from typing import Any

import h5py
import numpy as np

from pipeline.core.errors import LIBRARY_ERRORS, bad_input
from pipeline.core.system.threads import default_threads
from pipeline.readers.hdf.filters import SHUFFLE, Filters, UndecodableError

MOST_CHUNKS = 1 << 20
"""Number of stored chunks above which an array is left to the library."""
SMALLEST = 1 << 12
"""Bytes of a chunk below which an array is left to the library, which handles one in less time."""
AT_ONCE = 1 << 29
"""Bytes of the chunks that all threads of a read decode at a time."""
KEPT = 1 << 27
"""Bytes of decoded chunks that a process keeps, because the next read may need their other part;
and of the indexes of chunks that it keeps."""
HIDDEN = "_nc4_non_coord_"
"""What the NetCDF library puts before the name of a variable that is named as a dimension."""

Box = tuple[tuple[int, int], ...]
"""First index and the one after the last, of each dimension."""


@dataclass(frozen=True, eq=False)
class Chunks:
    """The stored chunks of one array, in the order of their numbers in the grid of all chunks."""

    path: str
    stamp: tuple[int, ...]
    """Version (`version_of`) of the file in which the chunks lie there."""
    name: str
    """Name of the array, with the groups in which it is."""
    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    """Values of a chunk along each dimension."""
    dtype: np.dtype[Any]
    filters: Filters
    fill: Any
    """Value of chunks that are not stored; None if it is undefined."""
    numbers: np.ndarray
    begins: np.ndarray
    lengths: np.ndarray
    skipped: np.ndarray

    @property
    def bytes(self) -> int:
        """Size of the index in memory."""
        return 4 * self.numbers.nbytes

    @property
    def counts(self) -> tuple[int, ...]:
        """Chunks along each dimension."""
        return tuple(-(-size // chunk) for size, chunk in zip(self.shape, self.sizes, strict=True))

    def read(self, box: Box) -> np.ndarray | None:
        """Return the values in a box, with as many dimensions; None if some are undefined.

        Raises `UndecodableError` for a chunk that is damaged, and `InputError` where the file is
        another since it was opened.
        """
        out_shape = [stop - first for first, stop in box]
        if not all(out_shape):
            return np.empty(out_shape, self.dtype)
        spans = [range(first // size, (stop - 1) // size + 1)
                 for (first, stop), size in zip(box, self.sizes, strict=True)]  # fmt: skip
        wanted = np.ravel_multi_index(np.ix_(*spans), self.counts).ravel()
        places = np.minimum(np.searchsorted(self.numbers, wanted), self.numbers.size - 1)
        is_stored = self.numbers[places] == wanted if self.numbers.size else wanted < 0
        if is_stored.all():
            out = np.empty(out_shape, self.dtype)
        elif self.fill is None:
            return None
        else:
            out = np.full(out_shape, self.fill, self.dtype)

        def put(job: tuple[tuple[int, ...], int]) -> None:
            within, outside, is_whole = self._overlap(box, job[0])
            out[outside] = self._values(file, job[1], not is_whole)[within]

        jobs = [(at, int(place)) for at, place, has in
                zip(product(*spans), places, is_stored, strict=True) if has]  # fmt: skip
        threads = min(default_threads(), len(jobs), max(1, AT_ONCE // self.filters.size))
        file = os.open(self.path, os.O_RDONLY)
        try:
            require_version(os.fstat(file), self.path, self.stamp)
            if threads <= 1:
                for job in jobs:
                    put(job)
            else:
                with ThreadPoolExecutor(threads) as pool:
                    list(pool.map(put, jobs))
        finally:
            os.close(file)
        return out

    def _overlap(
        self, box: Box, at: Sequence[int]
    ) -> tuple[tuple[slice, ...], tuple[slice, ...], bool]:
        """Return the part of a chunk that lies in a box, where in the box, and if it is all."""
        within, outside, is_whole = [], [], True
        for (first, stop), size, index, all_ in zip(box, self.sizes, at, self.shape, strict=True):
            begin = index * size
            low, high = max(first, begin), min(stop, begin + size)
            within.append(slice(low - begin, high - begin))
            outside.append(slice(low - first, high - first))
            is_whole &= high - low == min(size, all_ - begin)
        return tuple(within), tuple(outside), is_whole

    def _values(self, file: int, place: int, keep: bool) -> np.ndarray:
        """Return the values of a stored chunk, which are kept for later reads if that is wanted."""
        # By name, not by this index, which would stay in memory as long as one of its chunks.
        key = (self.path, self.stamp, self.name, place)
        values = _KEPT.get(key)
        if values is None:
            begin, length = int(self.begins[place]), int(self.lengths[place])
            try:
                # Of a length that the index alone promises, nothing is allocated.
                if begin + length > os.fstat(file).st_size:
                    raise UndecodableError("bytes after the end of the file")
                stored = os.pread(file, length, begin)
                data = self.filters.decoded(stored, int(self.skipped[place]))
            except UndecodableError as error:
                at = np.unravel_index(self.numbers[place], self.counts)
                first = ", ".join(str(i * size) for i, size in zip(at, self.sizes, strict=True))
                last = self.name.rpartition("/")[2]
                text = f'the chunk of "{last}" at ({first}) has {error}'
                raise UndecodableError(text) from None
            values = np.frombuffer(data, self.dtype).reshape(self.sizes)
            if keep:
                _KEPT.put(key, values, values.nbytes)
        return values


class _Kept:
    """The values that were used last, up to a number of bytes."""

    def __init__(self, most: int) -> None:
        self.most, self.bytes = most, 0
        self.values: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self.lock = Lock()

    def get(self, key: Any) -> Any:
        with self.lock:
            if key not in self.values:
                return None
            self.values.move_to_end(key)
            return self.values[key][0]

    def put(self, key: Any, values: Any, size: int) -> None:
        if size > self.most:
            return
        with self.lock:
            if key not in self.values:
                self.bytes += size
                self.values[key] = values, size
            while self.bytes > self.most:
                self.bytes -= self.values.popitem(last=False)[1][1]


_KEPT = _Kept(KEPT)
_INDEXES = _Kept(KEPT)
_BY_LIBRARY = "by library"
LEAST_INDEX = 1 << 10
"""Bytes of an index besides those of its arrays."""


def require_version(status: os.stat_result, path: str, stamp: tuple[int, ...]) -> None:
    """Raise `InputError` for a file that is not that of a stamp (`version_of`).

    Another name or mode does not make it another.
    """
    modified, size, _, inode = stamp
    if (status.st_mtime_ns, status.st_size, status.st_ino) != (modified, size, inode):
        raise bad_input(
            path, "another file than when it was opened", "files that do not change while they "
            "are read", "Run again, when nothing writes to it.",
        )  # fmt: skip


def find_chunks(path: str, stamp: tuple[int, ...], name: str) -> Chunks | None:
    """Return the chunks of an array of a file, of which `stamp` is the version; cached.

    `name` begins with the groups in which it is. None for an array that the library must read.
    """
    key = path, stamp, name
    found = _INDEXES.get(key)
    if found is None:
        try:
            with h5py.File(path, "r") as file:
                found = _found(file, path, stamp, name)
        except LIBRARY_ERRORS:  # also of names that HDF5 writes otherwise
            pass
        size = found.bytes if found else 0
        _INDEXES.put(key, found or _BY_LIBRARY, LEAST_INDEX + size)
    return found if isinstance(found, Chunks) else None


def _found(file: h5py.File, path: str, stamp: tuple[int, ...], name: str) -> Chunks | None:
    group, _, last = name.rpartition("/")
    if f"{group}/{HIDDEN}{last}" in file:
        return None
    array = file[name]
    layout, kind = array.id.get_create_plist(), array.id.get_type()
    if (
        not isinstance(array, h5py.Dataset)
        or layout.get_layout() != h5py.h5d.CHUNKED
        # Addresses are those of this very file, whose first byte is that of HDF5.
        or h5py.h5o.get_info(array.id).fileno != h5py.h5o.get_info(file.id).fileno
        or file.id.get_create_plist().get_userblock()
        or array.dtype.kind not in "iuf"
        or not h5py.h5t.py_create(array.dtype).equal(kind)
        or not all(array.shape)
        or array.id.get_num_chunks() > MOST_CHUNKS
    ):
        return None
    sizes, width = layout.get_chunk(), array.dtype.itemsize
    used = [layout.get_filter(at) for at in range(layout.get_nfilters())]
    filters = Filters(tuple(code for code, *_ in used), width, math.prod(sizes) * width)
    counts = tuple(-(-size // chunk) for size, chunk in zip(array.shape, sizes, strict=True))
    widths = {values[0] for code, _, values, _ in used if code == SHUFFLE and values}
    if not widths <= {width}:
        return None
    if not filters.are_known or filters.size < SMALLEST or math.prod(counts) >= 1 << 62:
        return None
    found: list[Any] = []
    array.id.chunk_iter(found.append)
    starts = np.array([one.chunk_offset for one in found], np.int64).reshape(-1, len(counts))
    numbers = np.ravel_multi_index(tuple((starts // sizes).T), counts)
    order = np.argsort(numbers)
    rest = np.array([(one.byte_offset, one.size, one.filter_mask) for one in found], np.int64)
    begins, lengths, skipped = rest.reshape(-1, 3)[order].T
    return Chunks(
        path, stamp, name, array.shape, sizes, array.dtype, filters, _fill(layout, array.dtype),
        numbers[order], begins, lengths, skipped,
    )  # fmt: skip


def _fill(layout: Any, dtype: np.dtype[Any]) -> Any:
    """Return the value of chunks that are not stored; None if it is undefined."""
    undefined = layout.fill_value_defined() == h5py.h5d.FILL_VALUE_UNDEFINED
    if undefined or layout.get_fill_time() == h5py.h5d.FILL_TIME_NEVER:
        return None
    value = np.zeros((), dtype)
    layout.get_fill_value(value)
    return value[()]
