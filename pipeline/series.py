"""Many files as one lazy series in time; each is opened when its steps are read.

Upstream: openers.py, which opens the files. Downstream: canonical.py reads what a tile needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from pipeline.catalog import Source
from pipeline.packing import UNPACKED
from pipeline.series_checks import check_alike


class Joined(BackendArray):
    """Variables one after another along the first axis; those without it are one step each."""

    def __init__(self, pieces: Sequence[xr.Variable], steps: Sequence[int], dtype: Any) -> None:
        self.pieces = list(pieces)
        self.begin = np.concatenate([[0], np.cumsum(steps)]).astype(int)
        ndim = max(piece.ndim for piece in pieces)
        has_time = pieces[0].dims[0] == "time"
        self.shape = (int(self.begin[-1]), *pieces[0].shape[int(has_time) :])
        self.stacked = not has_time
        assert len(self.shape) == ndim + int(self.stacked)
        self.dtype = np.dtype(dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        time, rest = key[0], key[1:]
        wanted = range(self.shape[0])[time] if isinstance(time, slice) else range(time, time + 1)
        if not len(wanted):
            return np.empty((0, *self.pieces[0].shape[1:]), self.dtype)[(slice(None), *rest)]
        low, high = min(wanted), max(wanted) + 1
        parts = []
        for place in range(
            int(np.searchsorted(self.begin, low, "right")) - 1,
            int(np.searchsorted(self.begin, high, "left")),
        ):
            begin, end = self.begin[place], self.begin[place + 1]
            own = slice(int(max(low, begin) - begin), int(min(high, end) - begin))
            piece = self.pieces[place]
            values = piece[rest].values[None] if self.stacked else piece[(own, *rest)].values
            parts.append(np.asarray(values, self.dtype))
        box = np.concatenate(parts)
        if not isinstance(time, slice):
            return box[0]
        return box[:: time.step] if (time.step or 1) > 0 else box[::-1][:: -time.step]


def joined(datasets: Sequence[xr.Dataset], time: str, source: Source) -> xr.Dataset:
    """The datasets of a source's files as one along `time`, in the order given; lazy.

    Datasets without that dimension are one step each, and the result has no coordinate of times.
    `InputError` for files whose grid, CRS, dimensions, units or cell methods differ.
    """
    check_alike(datasets, time, source)
    first = datasets[0]
    arrays = {}
    for name, da in first.data_vars.items():
        dims = (time, *(dim for dim in da.dims if dim != time))
        own = [ds[name].variable for ds in datasets]
        pieces = [v.transpose(*[d for d in dims if d in v.dims]) for v in own]
        if time != "time":
            pieces = [_renamed(piece, time) for piece in pieces]
        steps = [ds.sizes.get(time, 1) for ds in datasets]
        dtype = np.result_type(*(piece.dtype for piece in pieces))
        data = indexing.LazilyIndexedArray(Joined(pieces, steps, dtype))
        encoding = {UNPACKED: True} if UNPACKED in da.encoding else {}
        arrays[name] = xr.Variable(dims, data, da.attrs, encoding)
    coords = {name: c for name, c in first.coords.items() if time not in c.dims}
    if time in first.coords:
        values = np.concatenate([np.atleast_1d(ds[time].values) for ds in datasets])
        coords[time] = xr.Variable(time, values, first[time].attrs)
    return xr.Dataset(arrays, coords=coords, attrs=first.attrs)


def _renamed(piece: xr.Variable, time: str) -> xr.Variable:
    """The variable with its time axis called `time`; lazy."""
    dims = ["time" if dim == time else dim for dim in piece.dims]
    return xr.Variable(dims, piece._data, piece.attrs, piece.encoding, fastpath=True)
