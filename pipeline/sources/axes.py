"""axes_of(): the axes of an opened source that is a grid."""

from __future__ import annotations

import xarray as xr

from pipeline.entries.source import Source
from pipeline.grid.unstructured import CELL
from pipeline.readers.common.dims import Layout, layout
from pipeline.readers.registry import driver_of


def axes_of(ds: xr.Dataset, source: Source) -> Layout | None:
    """Return the dimensions that are y, x and time; None where there is `cell` instead.

    Sites, polygons and unstructured grids have that dimension.
    """
    has_axes = driver_of(source).returns == "grid" and not is_unstructured(ds)
    return layout(ds, source) if has_axes else None


def is_unstructured(ds: xr.Dataset) -> bool:
    """Whether an opened source has one dimension of cells, with the position of each."""
    return "lat" in ds.coords and ds["lat"].dims == (CELL,) and "site" not in ds.coords
