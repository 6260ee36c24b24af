"""joined_tiles(): canonical tiles whose cells continue one another as one lazy Dataset.

Methods that use neighbouring cells then do not see the seams between these tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from pipeline.grid.crs import crs_of

_SAME = 1e-2  # fraction of a cell within which cells are at the same position


def joined_tiles(tiles: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """The canonical Datasets with those on one lattice joined, in the order of the first of each.

    Where tiles overlap, the first with a value is used; cells of no tile are NaN. Values are read
    from the tiles when they are needed. Tiles with other times or without a lattice stay apart.
    """
    groups: list[list[_Placed]] = []
    for ds in tiles:
        placed = [(group, _placed(ds, group[0].ds)) for group in groups]
        fits = next(((group, one) for group, one in placed if one is not None), None)
        if fits is None:
            groups.append([_Placed(ds, 0, 0)])
        else:
            fits[0].append(fits[1])
    return [group[0].ds if len(group) == 1 else _joined(group) for group in groups]


@dataclass(frozen=True, eq=False)
class _Placed:
    """A tile whose first row and column are those of the lattice of the first tile."""

    ds: xr.Dataset
    row: int
    col: int


def _placed(ds: xr.Dataset, first: xr.Dataset) -> _Placed | None:
    """Return the tile at its position on the lattice of another, None if it is not on it."""
    if not all("x" in one.coords and one["x"].ndim == 1 for one in (ds, first)):
        return None
    kinds = [
        {(name, da.dims, str(da.dtype)) for name, da in one.data_vars.items()}
        for one in (ds, first)
    ]
    times = [one["time"].values if "time" in one.coords else np.zeros(0) for one in (ds, first)]
    if (
        kinds[0] != kinds[1]
        or not np.array_equal(times[0], times[1])
        or crs_of(ds) != crs_of(first)
    ):
        return None
    col, row = (_offset(ds[name].values, first[name].values) for name in ("x", "y"))
    return None if row is None or col is None else _Placed(ds, row, col)


def _offset(values: np.ndarray, first: np.ndarray) -> int | None:
    """Return the number of cells from the start of a regular axis to that of another."""
    if first.size < 2:
        return None
    step = (first[-1] - first[0]) / (first.size - 1)
    position = (values - first[0]) / step
    cell = np.rint(position)
    regular = np.abs(np.diff(first) / step - 1).max() < _SAME
    continues = np.array_equal(cell, cell[0] + np.arange(values.size))
    return int(cell[0]) if regular and continues and np.abs(position - cell).max() < _SAME else None


def _joined(group: Sequence[_Placed]) -> xr.Dataset:
    first = group[0].ds
    top, left = min(one.row for one in group), min(one.col for one in group)
    axes = {}
    for name, start, end in (
        ("y", top, max(one.row + one.ds.sizes["y"] for one in group)),
        ("x", left, max(one.col + one.ds.sizes["x"] for one in group)),
    ):
        values = first[name].values
        step = (values[-1] - values[0]) / (values.size - 1)
        axes[name] = (name, values[0] + step * np.arange(start, end), first[name].attrs)
    shape = tuple(axes[name][1].size for name in ("y", "x"))
    variables = {}
    for key, da in first.data_vars.items():
        pieces = [(one.row - top, one.col - left, one.ds[key].variable) for one in group]
        data = indexing.LazilyIndexedArray(_TileArray(pieces, (*da.shape[:-2], *shape), da.dtype))
        variables[str(key)] = xr.Variable(da.dims, data, da.attrs)
    kept = {key: c for key, c in first.coords.items() if not {"y", "x"} & {*c.dims}}
    return xr.Dataset(variables, {**kept, **axes}, first.attrs)


class _TileArray(BackendArray):
    """A variable (time?, y, x) of tiles at their rows and columns, NaN elsewhere."""

    def __init__(
        self, pieces: Sequence[tuple[int, int, xr.Variable]], shape: tuple[int, ...], dtype: Any
    ) -> None:
        self.pieces, self.shape, self.dtype = list(pieces), shape, np.dtype(dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        *lead, rows, cols = key
        box, within = zip(*map(_range, (rows, cols), self.shape[-2:]), strict=True)
        kept = [slice(k, k + 1) if isinstance(k, int | np.integer) else k for k in lead]
        sizes = [len(range(n)[k]) for k, n in zip(kept, self.shape, strict=False)]
        out = np.full((*sizes, *(len(r) for r in box)), np.nan, self.dtype)
        for row, col, variable in self.pieces:
            overlap = [
                range(max(r.start, start), min(r.stop, start + size))
                for r, start, size in zip(box, (row, col), variable.shape[-2:], strict=True)
            ]
            if not all(overlap):
                continue
            inside = (
                slice(o.start - start, o.stop - start)
                for o, start in zip(overlap, (row, col), strict=True)
            )
            values = variable[(*kept, *inside)].values
            area = (slice(o.start - r.start, o.stop - r.start)
                    for o, r in zip(overlap, box, strict=True))  # fmt: skip
            part = out[(*[slice(None)] * len(lead), *area)]
            np.copyto(part, values, where=np.isnan(part))
        scalars = tuple(0 if isinstance(k, int | np.integer) else slice(None) for k in lead)
        return out[(*scalars, *within)]


def _range(key: Any, size: int) -> tuple[range, Any]:
    """Return the range of positions that a key needs, and the key within that range."""
    if isinstance(key, int | np.integer):
        return range(int(key) % size, int(key) % size + 1), 0
    wanted = range(size)[key]
    if not len(wanted):
        return range(0, 0), slice(0, 0)
    low, high = min(wanted), max(wanted) + 1
    return range(low, high), slice(None, None, wanted.step)
