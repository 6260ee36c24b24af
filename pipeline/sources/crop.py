"""cropped(): the part of an opened source that a window needs, with the bits of the whole.

Upstream: sources.py. What is kept depends on the cells' true edges, which `axes` finds from the
centres; a crop from which it would find others is widened.
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
from pipeline.sources.axes import axes_of

Window = tuple[float, float, float, float]
"""west, south, east, north in the source's CRS (of a curvilinear source or a table: degrees)."""
MARGIN = 2.0
"""Cells kept around a window, for methods that look at neighbours."""
_SLIVER = 1e-9  # of a cell: a window that reaches no farther into it does not need it
_CONTEXT = (1, 2)  # cells beyond those needed that tell these their edges; two across uneven steps


def cropped(
    ds: xr.Dataset,
    source: Source,
    window: Window | Callable[[str], Window],
    margin: float | None,
) -> xr.Dataset:
    """The cells that overlap the window, `margin` cells more (of a table degrees) and context.

    The window may be a function of the CRS in which the source has its places. All longitudes
    where it crosses the file's seam, two rows or columns where nothing overlaps.
    """
    places = axes_of(ds, source)
    if callable(window):
        window = window("EPSG:4326" if places is None else places.crs)
    if places is None:
        reach = margin or 0.0
        inside = _inside(ds["lon"].values, ds["lat"].values, window, (reach, reach))
        return ds.isel(cell=np.flatnonzero(inside))
    if margin is None:
        margin = MARGIN if source.method in ("bilinear", "nearest") else 0.0
    if places.is_curvilinear:
        return _curvilinear(ds, places, window, margin)
    x, y = (ds[name].values.astype(np.float64) for name in (places.x, places.y))
    geographic = is_geographic_crs(places.crs)
    west, south, east, north = window
    try:
        rows = _range(y, (-north, -south), geographic, False, int(np.ceil(margin)))
        cols = _range(x, (west, east), geographic, True, int(np.ceil(margin)))
    except InputError:
        return ds  # with axes that cannot be placed, which canonical refuses by name
    return ds.isel({places.y: rows, places.x: cols})


def _range(
    values: np.ndarray, ends: tuple[float, float], geographic: bool, along_x: bool, margin: int
) -> slice:
    """Positions of the cells between two ends, `margin` more either way, and their context."""
    low, high = lattice(np.array(ends), geographic)
    order, axis = _sorted_axis(values, geographic, along_x)
    needed = np.empty(values.size, bool)
    needed[order] = _widened(axis, _between(axis, low, high), margin)
    if needed.any():
        candidates = [_run(needed, context) for context in _CONTEXT]
    else:
        # A window beyond the source, or in a gap: two cells that do not meet it.
        candidates = [slice(0, 2), slice(values.size - 2, values.size)]
    whole = _outline(values, geographic, along_x)
    for kept in candidates:
        own = _sorted_axis(values[kept], geographic, along_x)[1]
        inside = np.flatnonzero(needed[kept])
        same = _outline(values[kept], geographic, along_x)[:, inside] == whole[:, kept][:, inside]
        if same.all() and (inside.size or not _between(own, low, high).any()):
            return kept
    return slice(0, values.size)


def _sorted_axis(
    values: np.ndarray, geographic: bool, along_x: bool
) -> tuple[np.ndarray, Axis]:  # fmt: skip
    """Array positions in the order of the axis, and the axis that regridding would see."""
    if not along_x:
        axis = y_axis(values, geographic)
        return np.arange(values.size)[:: -1 if axis.reverse else 1], axis
    values = wrap_longitude(values) if geographic else values
    order = np.argsort(values, kind="stable")
    return order, x_axis(values[order], geographic)


def _outline(values: np.ndarray, geographic: bool, along_x: bool) -> np.ndarray:
    """Lattice positions of the cells' ends in the order of the array; dims (2, cell)."""
    order, axis = _sorted_axis(values, geographic, along_x)
    ends = np.empty((2, values.size), np.int64)
    ends[:, order] = axis.lower, axis.upper
    return ends % axis.period if axis.period else ends


def _between(axis: Axis, low: np.int64, high: np.int64) -> np.ndarray:
    """Which cells overlap an interval; dims (cell,)."""
    size = axis.upper - axis.lower
    sliver = (_SLIVER * size).astype(np.int64)
    if not axis.period:
        return (axis.upper - low > sliver) & (high - axis.lower > sliver)
    if high - low >= axis.period:
        return np.ones(size.shape, bool)
    holds_west = (low - axis.lower) % axis.period < size - sliver
    return holds_west | ((axis.lower - low) % axis.period < high - low - sliver)


def _widened(axis: Axis, inside: np.ndarray, margin: int) -> np.ndarray:
    """`inside` with `margin` neighbours more, round the globe where the axis closes."""
    closed = axis.period and axis.upper[-1] - axis.lower[0] == axis.period
    for _ in range(margin):
        padded = np.pad(inside, 1, mode="wrap" if closed else "constant")
        inside = padded[:-2] | inside | padded[2:]
    return inside


def _curvilinear(ds: xr.Dataset, places: Layout, window: Window, margin: float) -> xr.Dataset:
    """The smallest box of rows and columns with every cell that may overlap the window."""
    lat, lon = (
        ds[str(name)].transpose(places.y, places.x).values.astype(np.float64)
        for name in (places.lat, places.lon)
    )
    # Rows may run any way: the largest steps along both, added up, reach a cell's corners and over
    # the margin. Round a pole a cell spans all longitudes, and so does the reach.
    tall = sum(float(np.nanmax(np.abs(np.diff(lat, axis=a)), initial=0.0)) for a in (0, 1))
    turns = [np.abs((np.diff(lon, axis=a) + 180) % 360 - 180) for a in (0, 1)]
    wide = sum(float(np.nanmax(turn, initial=0.0)) for turn in turns)
    reach = margin + 0.5
    inside = _inside(lon, lat, window, (reach * wide, reach * tall))
    if not inside.any():
        return ds.isel({places.y: slice(0, 2), places.x: slice(0, 2)})
    rows, cols = (_run(np.asarray(inside.any(axis)), 1, holes=True) for axis in (1, 0))
    return ds.isel({places.y: rows, places.x: cols})


def _inside(
    lon: np.ndarray, lat: np.ndarray, window: Window, reach: tuple[float, float]
) -> np.ndarray:
    """Where places lie in the window and its reach (x, y) in degrees, any longitude frame."""
    west, south, east, north = window
    inside = (lat >= south - reach[1]) & (lat <= north + reach[1])
    return inside & ((lon - west + reach[0]) % 360.0 <= min(east - west + 2 * reach[0], 360.0))


def _run(inside: np.ndarray, context: int, holes: bool = False) -> slice:
    """The positions where `inside` is True as one slice, wider by the context on either side.

    All positions where they are not one run, unless it may have holes.
    """
    places = np.flatnonzero(inside)
    first, last = int(places[0]), int(places[-1]) + 1
    if last - first != places.size and not holes:
        return slice(0, inside.size)
    return slice(max(0, first - context), min(last + context, inside.size))
