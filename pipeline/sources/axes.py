"""axes_of(): the axes of an opened source that is a grid."""

from __future__ import annotations

import xarray as xr

from pipeline.entries.source import Source
from pipeline.readers.common.dims import Layout, layout
from pipeline.readers.registry import driver_of


def axes_of(ds: xr.Dataset, source: Source) -> Layout | None:
    """Return the dimensions that are y, x and time; None for sites, which have `cell` instead."""
    return None if driver_of(source).returns == "sites" else layout(ds, source)
