"""shared_cells(): the cells of a curvilinear series, from the coordinates in all of its files.

Files of swaths on a fixed grid (SMAP L3) have no coordinates where nothing was observed, so that no
single file has those of all cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.readers.common.dims import Layout, layout

WHOLE_CELLS = 1 << 18
"""Number of cells up to which all are compared; of larger grids evenly spaced rows."""
ROWS = 64
_KM = 111.195  # length of a degree of the sphere
_SAME = 0.01  # fraction of a cell within which two files have it at the same location


def known_degrees(values: np.ndarray, largest: float) -> np.ndarray:
    """Return coordinates in float64, NaN where they are fill values beyond `largest` degrees."""
    values = np.asarray(values, np.float64)
    return np.where(np.abs(values) <= largest, values, np.nan)


def shared_cells(
    datasets: Sequence[xr.Dataset], source: Source, faults: Faults
) -> dict[str, xr.Variable]:
    """Return the 2-D latitudes and longitudes that any file has; empty for rectilinear grids.

    Each file's `encoding` has its path under `source`. Adds a fault for files whose cells lie
    elsewhere than those of the files before.
    """
    first, paths = datasets[0], [str(ds.encoding["source"]) for ds in datasets]
    try:
        axes = layout(first, source)
    except InputError:
        return {}  # reported when the axes are needed
    if not axes.is_curvilinear:
        return {}
    lat, lon = _fields(first, axes)
    moved: list[tuple[str, float]] = []
    for ds, path in zip(datasets[1:], paths[1:], strict=True):
        rows = _rows(lat)
        if not {axes.lat, axes.lon} <= {*map(str, ds.variables)}:
            faults.add(f'source "{source.name}", {path}', f"no {axes.lat} and {axes.lon}",
                       f"those of {paths[0]}")  # fmt: skip
            continue
        if any({*ds[str(name)].dims} != {axes.y, axes.x} for name in (axes.lat, axes.lon)):
            found = "; ".join(
                f"{name} along {', '.join(map(str, ds[str(name)].dims))}"
                for name in (axes.lat, axes.lon)
            )
            faults.add(f'source "{source.name}", {path}', found,
                       f"{axes.lat} and {axes.lon} along {axes.y}, {axes.x}, as in {paths[0]}",
                       "Move the files with other axes to an entry of their own, and join both "
                       "with `merge`.")  # fmt: skip
            continue
        other_lat, other_lon = _fields(ds, axes, rows)
        away = _degrees_apart((lat[rows], lon[rows]), (other_lat, other_lon))
        if away > _SAME * _cell(lat, lon):
            moved.append((path, away * _KM))
        elif rows.step is None:
            lat, lon = (
                np.where(np.isnan(a), b, a) for a, b in ((lat, other_lat), (lon, other_lon))
            )
    if moved:
        more = f", and {len(moved) - 1} more files" if len(moved) > 1 else ""
        faults.add(
            f'source "{source.name}", {moved[0][0]}: {axes.lat}, {axes.lon}',
            f"cells up to {moved[0][1]:,.3g} km from those of {paths[0]}{more}",
            "files on one grid",
            "Move the files on another grid to an entry of their own, and join both with `merge`.",
        )  # fmt: skip
    dims = (axes.y, axes.x)
    return {
        name: xr.Variable(dims, values, first[name].attrs)
        for name, values in ((str(axes.lat), lat), (str(axes.lon), lon))
    }


def _fields(
    ds: xr.Dataset, axes: Layout, rows: slice = slice(None)
) -> tuple[np.ndarray, np.ndarray]:
    """Return the latitudes and longitudes of some rows, NaN where they are missing."""
    lat, lon = (
        ds[str(name)].transpose(axes.y, axes.x)[rows].values for name in (axes.lat, axes.lon)
    )
    return known_degrees(lat, 90.0), known_degrees(lon, 540.0)


def _rows(lat: np.ndarray) -> slice:
    """Return the rows to compare: all, unless the grid is large and all its cells are known."""
    if lat.size <= WHOLE_CELLS or np.isnan(lat).any():
        return slice(None)
    return slice(0, None, max(1, lat.shape[0] // ROWS))


def _degrees_apart(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> float:
    """Return the largest distance of cells known to both, about, in degrees of a great circle."""
    north = np.abs(one[0] - other[0])
    east = np.abs((one[1] - other[1] + 180.0) % 360.0 - 180.0) * np.cos(np.deg2rad(one[0]))
    return float(np.nanmax(np.hypot(north, east), initial=0.0))


def _cell(lat: np.ndarray, lon: np.ndarray) -> float:
    """Return the typical distance of neighbouring cells in degrees; 0.01 if none are known."""
    apart = [
        np.hypot(np.diff(lat, axis=axis),
                 ((np.diff(lon, axis=axis) + 180.0) % 360.0 - 180.0)
                 * np.cos(np.deg2rad(np.take(lat, range(lat.shape[axis] - 1), axis))))
        for axis in (0, 1)
    ]  # fmt: skip
    known = np.concatenate([steps[np.isfinite(steps)] for steps in apart])
    return float(np.median(known)) if known.size else 0.01
