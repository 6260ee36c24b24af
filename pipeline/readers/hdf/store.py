"""`ChunkStore`: xarray's store of a NetCDF file, whose chunks are read and decoded by `Chunks`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import NetCDF4DataStore
from xarray.backends.netCDF4_ import NetCDF4ArrayWrapper
from xarray.core import indexing

from pipeline.core.errors import LIBRARY_ERRORS
from pipeline.core.files import version_of
from pipeline.readers.hdf.chunks import Box, Chunks, find_chunks, require_version
from pipeline.readers.hdf.filters import UndecodableError


class ChunkStore(NetCDF4DataStore):
    """A NetCDF file of which variables in chunks of NetCDF-4 are `ChunkArray`s."""

    __slots__ = ("stamp",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Attributes are those of this version: values of another would be scaled wrongly.
        self.stamp = version_of(Path(self._filename))

    def _acquire(self, needs_lock: bool = True) -> Any:
        """Return the open file; raises `InputError` where it is another than at first."""
        found = super()._acquire(needs_lock)
        # After opening, because many open files are closed in between and opened again by name.
        if hasattr(self, "stamp"):
            require_version(os.stat(self._filename), self._filename, self.stamp)
        return found

    def open_store_variable(self, name: str, var: Any) -> xr.Variable:
        """Return a variable as stored, lazy."""
        found = super().open_store_variable(name, var)
        if found.encoding.get("chunksizes") is None or found.dtype.kind not in "iuf":
            return found
        array = indexing.LazilyIndexedArray(ChunkArray(name, self))
        return xr.Variable(found.dims, array, found.attrs, found.encoding, fastpath=True)


class ChunkArray(NetCDF4ArrayWrapper):
    """Values of a variable; those that `Chunks` cannot read are read by the NetCDF library."""

    __slots__ = ()

    def _getitem(self, key: tuple[Any, ...]) -> Any:
        box, chunks = _box(key, self.shape), self._chunks()
        if box is None or chunks is None:
            return super()._getitem(key)
        try:
            values = chunks.read(box)
        except UndecodableError:
            # It also reads what few files have: checksums of HDF5 before 1.6.3, and chunks at the
            # edge that did not pass the filters.
            with suppress(*LIBRARY_ERRORS):
                return super()._getitem(key)
            raise
        if values is None:
            return super()._getitem(key)
        return values[tuple(slice(None) if isinstance(item, slice) else 0 for item in key)]

    def _chunks(self) -> Chunks | None:
        """Return where the chunks are; None for those that the library reads."""
        file, group = self.datastore._filename, self.datastore._group or ""
        found = find_chunks(file, self.datastore.stamp, f"{group}/{self.variable_name}")
        # Of an axis without limit the library pads what was not written.
        is_same = found is not None and (found.shape, found.dtype) == (self.shape, self.dtype)
        return found if is_same else None


def _box(key: tuple[Any, ...], shape: tuple[int, ...]) -> Box | None:
    """Return the box that integers and slices of step 1 select; None of other keys."""
    box = []
    for item, size in zip(key, shape, strict=True):
        if isinstance(item, slice) and item.step in (None, 1):
            first, stop, _ = item.indices(size)
            box.append((first, max(first, stop)))
        elif isinstance(item, int | np.integer):
            first = range(size)[item]
            box.append((first, first + 1))
        else:
            return None
    return tuple(box)
