"""`Opened`: a NetCDF file that was looked at whole, and other files that are like it.

What is known of the one holds for the others, so that only their metadata are compared: this takes
a tenth of the time of decoding them.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.readers.guards.hdf5 import hdf5_reference
from pipeline.readers.hdf.store import ChunkStore

Variables = dict[str, xr.Variable]
MOST_COMPARED = 1 << 28
"""Largest number of values of a coordinate that is compared, far above those of any grid."""
MOST_CELLS = 1 << 22
"""Number of coordinates above which they would take long to compare for every file."""


@dataclass(frozen=True, eq=False)
class Opened:
    """The variables of a file as its reader returns them, and the store that they are read from."""

    ds: xr.Dataset
    store: ChunkStore
    time: str
    trust: bool
    """Whether files may have parts in other files."""

    @cached_property
    def is_simple(self) -> bool:
        """Whether all values are read from the store, and metadata are few enough to compare.

        Then the variables of another file with the same metadata differ only in their store.
        """
        axes = (c for c in self.ds.coords.values() if self.time not in c.dims)
        return (
            all(text is not None for text in self._without_store.values())
            and sum(c.size for c in axes) <= MOST_CELLS
            and self.metadata is not None
        )

    @cached_property
    def _without_store(self) -> dict[str, bytes | None]:
        """The variables as bytes in which another store can be put; None of one without a store."""
        return {str(n): _without(self.store, da.variable) for n, da in self.ds.data_vars.items()}

    @cached_property
    def metadata(self) -> Any:
        """What `metadata_in` returns of the file itself."""
        return self.metadata_in(self.store)

    def metadata_in(self, store: ChunkStore) -> Any:
        """Return all that decides how the variables are read, with the values of other axes than
        time, and without the units and the calendar of times; None if a variable is missing.
        """
        file, found = store.ds, []
        with store.lock:
            for name in map(str, self.ds.variables):
                if name not in file.variables:
                    return None
                variable = file.variables[name]
                attrs = {key: variable.getncattr(key) for key in variable.ncattrs()}
                values = None
                if name == self.time:
                    attrs = {key: attrs[key] for key in attrs.keys() - {"units", "calendar"}}
                elif (
                    name in self.ds.coords and self.time not in variable.dimensions
                    # A file may promise more than memory holds.
                    and math.prod(variable.shape) <= MOST_COMPARED
                ):  # fmt: skip
                    variable.set_auto_maskandscale(False)
                    values = np.asarray(variable[...])
                found.append((name, variable.dimensions, variable.shape, str(variable.dtype),
                              variable.endian(), variable.chunking(), attrs, values))  # fmt: skip
        return found

    def moved_to(self, path: Path, store: ChunkStore | None = None) -> Variables:
        """Return the variables of another file that is like this one, lazy."""
        store = ChunkStore.open(path) if store is None else store
        found = {}
        for name, without in self._without_store.items():
            variable = found[name] = _with(store, without or b"")
            variable.encoding["source"] = str(path)
        return found


def like_any(kinds: Sequence[Opened], path: Path) -> tuple[int, Variables] | None:
    """Return which of some files a file is like, and its variables, lazy.

    None if its metadata are others, or if a part of it lies outside of its folder.
    """
    if not kinds[0].trust and hdf5_reference(path):
        return None
    store = ChunkStore.open(path)
    found = kinds[0].metadata_in(store)
    for number, kind in enumerate(kinds):
        if _same(kind.metadata, found):
            return number, kind.moved_to(path, store)
    return None


class _Without(pickle.Pickler):
    """A pickler of variables that leaves out the store from which they are read."""

    def __init__(self, file: io.BytesIO, store: ChunkStore) -> None:
        super().__init__(file)
        self.store = store
        self.has_met = False

    def persistent_id(self, value: Any) -> str | None:
        """Return a name in place of the store."""
        self.has_met |= value is self.store
        return "store" if value is self.store else None


class _With(pickle.Unpickler):
    """The reverse of `_Without`, of bytes that never leave the process."""

    def __init__(self, file: io.BytesIO, store: ChunkStore) -> None:
        super().__init__(file)
        self.store = store

    def persistent_load(self, name: str) -> ChunkStore:
        """Return the other store."""
        return self.store


def _without(store: ChunkStore, variable: xr.Variable) -> bytes | None:
    file = io.BytesIO()
    pickler = _Without(file, store)
    pickler.dump(variable)
    return file.getvalue() if pickler.has_met else None


def _with(store: ChunkStore, text: bytes) -> xr.Variable:
    variable: xr.Variable = _With(io.BytesIO(text), store).load()
    return variable


def _same(one: Any, other: Any) -> bool:
    """Whether two trees of plain values and arrays are equal, also in their types."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, np.ndarray | np.generic):
        return one.dtype == other.dtype and np.array_equal(one, other, one.dtype.kind == "f")
    return bool(one == other)
