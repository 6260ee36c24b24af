"""cropped(): the part of an opened source that a window needs, with bitwise equal cells.

`pipeline.grid.axes` derives the edges of cells from their centres. A crop whose edges would differ
from those of the whole source is widened.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.entries.source import Source
from pipeline.grid.axes import Axis, lattice, x_axis, y_axis
from pipeline.grid.crs import is_geographic_crs, wrap_longitude
from pipeline.readers.common.dims import Layout
from pipeline.sources.axes import axes_of, is_unstructured

Window = tuple[float, float, float, float]
"""West, south, east and north in the source's CRS, or in degrees (curvilinear grids and sites)."""
MARGIN = 2.0
"""Cells kept around a window, for methods that use neighbours."""
_SLIVER = 1e-9  # fraction of a cell; a window that overlaps less of it does not need the cell
_CONTEXT = (1, 2)  # cells beyond those needed that define their edges; two if steps are uneven


def cropped(
    ds: xr.Dataset,
    source: Source,
    window: Window | Callable[[str], Window],
    margin: float | None,
) -> xr.Dataset:
    """Return the cells that overlap the window, `margin` cells (for sites degrees) and context.

    The window may be a function of the CRS of the source's coordinates. All longitudes are kept if
    it crosses the first meridian of the file, and two rows or columns if nothing overlaps. By
    default the margin is the one that the source's method needs.
    """
    axes = axes_of(ds, source)
    if callable(window):
        window = window("EPSG:4326" if axes is None else axes.crs)
    if axes is None and is_unstructured(ds):
        return ds  # its operator reads the cells that a grid needs, whatever their order
    if axes is None:
        reach = margin or 0.0
        inside = _inside(ds["lon"].values, ds["lat"].values, window, (reach, reach))
        return ds.isel(cell=np.flatnonzero(inside))
    if margin is None:
        margin = MARGIN if source.method in ("bilinear", "nearest") else 0.0
    if axes.is_curvilinear:
        return _curvilinear(ds, axes, window, margin)
    x, y = (ds[name].values.astype(np.float64) for name in (axes.x, axes.y))
    geographic = is_geographic_crs(axes.crs)
    west, south, east, north = window
    try:
        rows = _range(y, (-north, -south), geographic, False, int(np.ceil(margin)))
        cols = _range(x, (west, east), geographic, True, int(np.ceil(margin)))
    except InputError:
        return ds  # with invalid axes, for which `canonicalise` raises an error with their names
    return ds.isel({axes.y: rows, axes.x: cols})


def _range(
    values: np.ndarray, ends: tuple[float, float], geographic: bool, along_x: bool, margin: int
) -> slice:
    """Return the positions of the cells between two ends, with `margin` cells and context."""
    low, high = lattice(np.array(ends), geographic)
    order, axis = _sorted_axis(values, geographic, along_x)
    needed = np.empty(values.size, bool)
    needed[order] = _widened(axis, _between(axis, low, high), margin)
    if needed.any():
        candidates = [_run(needed, context) for context in _CONTEXT]
    else:
        # A window beyond the source or in a gap gets two cells that do not overlap it.
        candidates = [slice(0, 2), slice(values.size - 2, values.size)]
    whole = _outline(values, geographic, along_x)
    for kept in candidates:
        axis = _sorted_axis(values[kept], geographic, along_x)[1]
        inside = np.flatnonzero(needed[kept])
        same = _outline(values[kept], geographic, along_x)[:, inside] == whole[:, kept][:, inside]
        if same.all() and (inside.size or not _between(axis, low, high).any()):
            return kept
    return slice(0, values.size)


def _sorted_axis(
    values: np.ndarray, geographic: bool, along_x: bool
) -> tuple[np.ndarray, Axis]:  # fmt: skip
    """Return array positions in the order of the axis, and the axis that regridding uses."""
    if not along_x:
        axis = y_axis(values, geographic)
        return np.arange(values.size)[:: -1 if axis.reverse else 1], axis
    values = wrap_longitude(values) if geographic else values
    order = np.argsort(values, kind="stable")
    return order, x_axis(values[order], geographic)


def _outline(values: np.ndarray, geographic: bool, along_x: bool) -> np.ndarray:
    """Return lattice positions of the cells' ends in the order of the array; dims (2, cell)."""
    order, axis = _sorted_axis(values, geographic, along_x)
    ends = np.empty((2, values.size), np.int64)
    ends[:, order] = axis.lower, axis.upper
    return ends % axis.period if axis.period else ends


def _between(axis: Axis, low: np.int64, high: np.int64) -> np.ndarray:
    """Return which cells overlap an interval; dims (cell,)."""
    size = axis.upper - axis.lower
    sliver = (_SLIVER * size).astype(np.int64)
    if not axis.period:
        return (axis.upper - low > sliver) & (high - axis.lower > sliver)
    if high - low >= axis.period:
        return np.ones(size.shape, bool)
    holds_west = (low - axis.lower) % axis.period < size - sliver
    return holds_west | ((axis.lower - low) % axis.period < high - low - sliver)


def _widened(axis: Axis, inside: np.ndarray, margin: int) -> np.ndarray:
    """Return `inside` extended by `margin` neighbours, periodically if the axis spans the globe."""
    closed = axis.period and axis.upper[-1] - axis.lower[0] == axis.period
    for _ in range(margin):
        padded = np.pad(inside, 1, mode="wrap" if closed else "constant")
        inside = padded[:-2] | inside | padded[2:]
    return inside


def _curvilinear(ds: xr.Dataset, axes: Layout, window: Window, margin: float) -> xr.Dataset:
    """Return the smallest box of rows and columns with all cells that may overlap the window."""
    lat, lon = (
        ds[str(name)].transpose(axes.y, axes.x).values.astype(np.float64)
        for name in (axes.lat, axes.lon)
    )
    # Rows may run in any direction: the sum of the largest steps along both axes covers a cell's
    # corners and the margin. A cell at a pole spans all longitudes, and so does the reach.
    tall = sum(float(np.nanmax(np.abs(np.diff(lat, axis=a)), initial=0.0)) for a in (0, 1))
    turns = [np.abs((np.diff(lon, axis=a) + 180) % 360 - 180) for a in (0, 1)]
    wide = sum(float(np.nanmax(turn, initial=0.0)) for turn in turns)
    reach = margin + 0.5
    inside = _inside(lon, lat, window, (reach * wide, reach * tall))
    if not inside.any():
        return ds.isel({axes.y: slice(0, 2), axes.x: slice(0, 2)})
    rows, cols = (_run(np.asarray(inside.any(axis)), 1, holes=True) for axis in (1, 0))
    return ds.isel({axes.y: rows, axes.x: cols})


def _inside(
    lon: np.ndarray, lat: np.ndarray, window: Window, reach: tuple[float, float]
) -> np.ndarray:
    """Return which points lie within the window extended by `reach` (x, y) in degrees.

    Longitudes may be in any range.
    """
    west, south, east, north = window
    inside = (lat >= south - reach[1]) & (lat <= north + reach[1])
    return inside & ((lon - west + reach[0]) % 360.0 <= min(east - west + 2 * reach[0], 360.0))


def _run(inside: np.ndarray, context: int, holes: bool = False) -> slice:
    """Return the positions where `inside` is True as one slice, with the context on either side.

    Returns all positions if those are not contiguous, unless `holes` are allowed.
    """
    positions = np.flatnonzero(inside)
    first, last = int(positions[0]), int(positions[-1]) + 1
    if last - first != positions.size and not holes:
        return slice(0, inside.size)
    return slice(max(0, first - context), min(last + context, inside.size))
