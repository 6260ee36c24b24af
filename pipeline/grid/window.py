"""source_window(): the bounds of the part of a source that a target grid needs."""

from __future__ import annotations

import numpy as np
import pyproj

from pipeline.grid.same_crs import same_crs
from pipeline.grid.target_grid import TargetGrid

_PER_SIDE = 33


def source_window(
    target_grid: TargetGrid,
    source_crs: str = "EPSG:4326",
    resolution: float | tuple[float, float] = 0.0,
    halo: float = 3.0,
) -> tuple[float, float, float, float]:
    """Return bounds (west, south, east, north) in the source's CRS of the data that a target needs.

    `halo` source cells of `resolution` (or (dx, dy)) are added on all sides, so that results from
    the cropped source are bitwise equal to those from the whole. In degrees, west is in -180..180
    and east exceeds 180 across the antimeridian; a window that contains a pole or most of the globe
    has all longitudes, (-180, 180).
    """
    dx, dy = resolution if isinstance(resolution, tuple) else (resolution, resolution)
    geographic = pyproj.CRS.from_user_input(source_crs).is_geographic
    if same_crs(target_grid.crs, source_crs):
        west, south, east, north = target_grid.bounds
    else:
        west, south, east, north = _transformed(target_grid, source_crs, geographic)
    west, south, east, north = (
        west - halo * dx,
        south - halo * dy,
        east + halo * dx,
        north + halo * dy,
    )
    if not geographic:
        return west, south, east, north
    south, north = max(south, -90.0), min(north, 90.0)
    if east - west >= 360:
        return -180.0, south, 180.0, north
    turned = (west + 180) % 360 - 180
    return turned, south, turned + (east - west), north


def _transformed(grid: TargetGrid, crs: str, geographic: bool) -> tuple[float, float, float, float]:
    """Return the bounds of a grid in another CRS from sampled points, with a margin of a step."""
    (west, south, east, north), n = grid.bounds, _PER_SIDE
    x, y = np.meshgrid(np.linspace(west, east, n), np.linspace(south, north, n))
    x, y = pyproj.Transformer.from_crs(grid.crs, crs, always_xy=True).transform(x, y)
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.any():
        return 0.0, 0.0, 0.0, 0.0
    y_step = _largest_step(y)
    low, high = float(y[finite].min()) - y_step, float(y[finite].max()) + y_step
    if not geographic:
        x_step = _largest_step(x)
        return float(x[finite].min()) - x_step, low, float(x[finite].max()) + x_step, high
    if high >= 90 or low <= -90:
        return -180.0, low, 180.0, high
    lon = np.sort(np.mod(x[finite], 360))
    gaps = np.diff(lon, append=lon[0] + 360)
    widest = int(gaps.argmax())
    slack = _largest_step(x, 360)
    if gaps[widest] <= 2 * slack:
        return -180.0, low, 180.0, high
    first = lon[(widest + 1) % lon.size]
    return float(first - slack), low, float(first + 360 - gaps[widest] + slack), high


def _largest_step(values: np.ndarray, period: float = 0.0) -> float:
    """Return the largest difference between neighbouring points that are finite."""
    steps = [np.diff(values, axis=axis).ravel() for axis in (0, 1)]
    step = np.abs(np.concatenate(steps))
    step = step[np.isfinite(step)]
    if period:
        step = np.minimum(step % period, -step % period)
    return float(step.max(initial=0.0))
