"""tidied(): an opened source without padding and repeated meridians, regular axes exactly regular.

Upstream: openers.py. Downstream: sources.py, whose windows and checks see these axes only, so that
a crop has the coordinates of the whole.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.entries.source import Source
from pipeline.grid.crs import is_geographic_crs, unit_factor
from pipeline.grid.spacing import sharpened
from pipeline.sources.axes import axes_of

_SAME = 1e-3  # of a column: how near the meridian a turn away is the same one

_DEGREES = 540.0  # no longitude is beyond


def tidied(ds: xr.Dataset, source: Source) -> xr.Dataset:
    """The source cut by `trim`, columns that repeat the first dropped, lazy as it was.

    Regular coordinates of single precision become exactly regular (`sharpened`), kilometres the
    units of the CRS.
    """
    places = axes_of(ds, source)
    if places is None:
        return ds
    ds = _trimmed(ds, source, (places.y, places.x))
    if places.is_curvilinear:
        return ds
    if is_geographic_crs(places.crs):
        kept = _first_turn(ds[places.x].values.astype(np.float64))
        if kept < ds.sizes[places.x]:
            ds = ds.isel({places.x: slice(0, kept)})
    for name in (places.y, places.x):
        found = ds[name].values
        if found.dtype.kind in "iuf":
            sharp = sharpened(found) * unit_factor(ds[name].attrs.get("units"), places.crs)
            if not np.array_equal(sharp, found, equal_nan=True):
                ds = ds.assign_coords({name: (name, sharp, ds[name].attrs)})
    return ds


def _trimmed(ds: xr.Dataset, source: Source, dims: tuple[str, str]) -> xr.Dataset:
    """The source without what the entry's `trim_start` and `trim` (rows, columns) cut off."""
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
    """How many columns there are before the first meridian comes again."""
    if lon.size < 3 or not (np.abs(lon) <= _DEGREES).all():
        return lon.size  # missing, or metres that the check refuses
    turned = np.unwrap(lon, period=360.0)
    steps = np.diff(turned)
    if not ((steps > 0).all() or (steps < 0).all()):
        return lon.size
    beyond = np.abs(turned - turned[0]) > 360.0 - _SAME * np.abs(steps).min()
    return int(beyond.argmax()) if beyond.any() else lon.size
