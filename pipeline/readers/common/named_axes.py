"""with_named_axes(): the coordinates of a grid that is known by its name, for files without any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.entries.source import Source
from pipeline.entries.source_grid import SourceGrid
from pipeline.readers.common.dims import USUAL

NEAR = 0.01
"""Fraction of a cell by which coordinates in a file may differ from those of the grid."""


def with_named_axes(ds: xr.Dataset, source: Source, grid: SourceGrid) -> xr.Dataset:
    """Return the files' variables with the coordinates of the entry's `grid`.

    Rows and columns are the dims that the entry or their usual names say, or else those of the
    grid's size, in that order. Raises `InputError` for arrays of another size, and for coordinates
    in the file that differ from the grid's by more than 1 % of a cell.
    """
    where = f'source "{source.name}", {source.files[0]}'
    dims = list(dict.fromkeys(str(dim) for da in ds.data_vars.values() for dim in da.dims))
    rows, cols = grid.shape
    y = _dim(source.dims.get("y"), USUAL["y"], [d for d in dims if ds.sizes[d] == rows])
    others = [d for d in reversed(dims) if ds.sizes[d] == cols and d != y]
    x = _dim(source.dims.get("x"), USUAL["x"], others)
    if y is None or x is None or (ds.sizes[y], ds.sizes[x]) != grid.shape:
        found = ", ".join(f"{dim} of {ds.sizes[dim]}" for dim in dims)
        named = source.dims.get("y", ""), source.dims.get("x", "")
        hint = "Correct `grid` of the entry, or name the dimensions: `dims: {y: …, x: …}`."
        if rows != cols and (ds.sizes.get(named[1]), ds.sizes.get(named[0])) == grid.shape:
            hint = f"Swap the dimensions: `dims: {{y: {named[1]}, x: {named[0]}}}`."
        raise bad_input(
            where, f"dimensions {found}", f"{rows} rows and {cols} columns of {grid.name}", hint
        )
    axes = {
        y: ("Y", grid.north - grid.dy * (0.5 + np.arange(rows)), grid.dy),
        x: ("X", grid.west + grid.dx * (0.5 + np.arange(cols)), grid.dx),
    }
    for dim, (_, values, step) in axes.items():
        if dim in ds.coords and np.abs(ds[dim].values - values).max() > NEAR * step:
            raise bad_input(
                f"{where}: {dim}", f"coordinates from {ds[dim].values[0]:g}",
                f"from {values[0]:g}, as {grid.name} has", "Remove `grid` of the entry.",
            )  # fmt: skip
    coords = {dim: (dim, values, {"axis": axis}) for dim, (axis, values, _) in axes.items()}
    return ds.assign_coords(coords)


def _dim(named: str | None, usual: Sequence[str], sized: Sequence[str]) -> str | None:
    """Return the dim that the entry names, else one with a usual name, else the first of the size.

    Usual names count among the dims of the right size alone.
    """
    if named is not None:
        return named if named in sized else None
    return next((name for name in usual if name in sized), sized[0] if sized else None)
