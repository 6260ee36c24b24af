"""tidied(): an opened source without padding and duplicate meridians, with exactly regular axes.

Windows and checks use these axes, so that a crop has the coordinates of the whole source.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.entries.source import Source
from pipeline.grid.crs import is_geographic_crs, satellite_height, unit_factor
from pipeline.grid.spacing import sharpened
from pipeline.readers.common.dims import Layout
from pipeline.readers.common.shared_cells import known_degrees
from pipeline.sources.axes import axes_of

_SAME = 1e-3  # fraction of a column within which meridians 360 degrees apart are the same

_DEGREES = 540.0  # largest possible longitude


def tidied(ds: xr.Dataset, source: Source) -> xr.Dataset:
    """Return the source cut by `trim`, without columns that repeat the first; values stay lazy.

    Regular coordinates in single precision become exactly regular (`sharpened`), and kilometres
    are converted to the units of the CRS.
    """
    axes = axes_of(ds, source)
    if axes is None:
        return ds
    ds = _trimmed(ds, source, (axes.y, axes.x))
    if axes.is_curvilinear:
        return ds.assign_coords(_known_cells(ds, axes))
    if is_geographic_crs(axes.crs):
        kept = _first_turn(ds[axes.x].values.astype(np.float64))
        if kept < ds.sizes[axes.x]:
            ds = ds.isel({axes.x: slice(0, kept)})
    for name in (axes.y, axes.x):
        found = ds[name].values
        if found.dtype.kind in "iuf":
            sharp = sharpened(found) * _to_crs_units(ds[name], axes.crs)
            if not np.array_equal(sharp, found, equal_nan=True):
                ds = ds.assign_coords({name: (name, sharp, ds[name].attrs)})
    return ds


def _known_cells(ds: xr.Dataset, axes: Layout) -> dict[str, xr.DataArray]:
    """Return the latitudes and longitudes that have fill values, with NaN in their place."""
    found = {}
    for name, largest in ((str(axes.lat), 90.0), (str(axes.lon), _DEGREES)):
        known = known_degrees(ds[name].values, largest)
        if not np.array_equal(known, ds[name].values, equal_nan=True):
            found[name] = ds[name].copy(data=known)
    return found


def _to_crs_units(da: xr.DataArray, crs: str) -> float:
    """Return the factor from the coordinates of an axis to the units of its CRS."""
    units, height = da.attrs.get("units"), satellite_height(crs)
    # No satellite sees metres alone: such small numbers are angles in radians.
    if height is not None and np.abs(da.values).max() < 1.0:
        return height
    return unit_factor(units, crs)


def _trimmed(ds: xr.Dataset, source: Source, dims: tuple[str, str]) -> xr.Dataset:
    """Return the source without the rows and columns of the entry's `trim_start` and `trim`."""
    if not any((*source.trim_start, *source.trim)):
        return ds
    kept = {}
    for dim, first, last in zip(dims, source.trim_start, source.trim, strict=True):
        size = ds.sizes[dim]
        if min(first, last) < 0 or first + last >= size:
            raise bad_input(
                f'source "{source.name}", {source.files[0]}: {dim}', f"{size} cells",
                f"more than the {first} and {last} that are cut off",
                "Correct `trim_start` and `trim` of the entry: each is [rows, columns].",
            )  # fmt: skip
        kept[dim] = slice(first, size - last)
    return ds.isel(kept)


def _first_turn(lon: np.ndarray) -> int:
    """Return the number of columns before the first meridian occurs again."""
    if lon.size < 3 or not (np.abs(lon) <= _DEGREES).all():
        return lon.size  # missing values, or metres, which the check refuses
    turned = np.unwrap(lon, period=360.0)
    steps = np.diff(turned)
    if not ((steps > 0).all() or (steps < 0).all()):
        return lon.size
    beyond = np.abs(turned - turned[0]) > 360.0 - _SAME * np.abs(steps).min()
    return int(beyond.argmax()) if beyond.any() else lon.size
