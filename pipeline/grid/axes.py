"""Axes on an integer lattice: edges and centres of the cells of a source or target axis.

Positions are int64 in units of 1e-11 degree (1e-6 m for projections), so that adding 360 degrees to
a longitude, cutting a window or flipping rows changes no bit of any regridding weight.
Latitudes and northings are negated: every axis here ascends, and rows run from north to south.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyproj

from pipeline.core.errors import bad_input
from pipeline.grid.crs import is_rotated, parsed, wrap_longitude
from pipeline.grid.same_crs import same_crs
from pipeline.grid.target_grid import TargetGrid

PER_DEGREE = 10**11
PER_UNIT = 10**6
_Function = Callable[[np.ndarray], np.ndarray]
_GAP = 1.5  # distance in cells beyond which neighbours do not touch


@dataclass(frozen=True, eq=False, kw_only=True)
class Axis:
    """Cells along one axis, ascending: `lower`, `upper`, `centre` int64 lattice; dims (cell,).

    `period` is 360 degrees for longitudes and 0 otherwise. `latitude` marks latitudes, along which
    areas are proportional to the sine, and `reverse` arrays in descending order.
    """

    lower: np.ndarray
    upper: np.ndarray
    centre: np.ndarray
    period: int = 0
    latitude: bool = False
    reverse: bool = False

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.centre.size


def source_axes(x: np.ndarray, y: np.ndarray, geographic: bool) -> tuple[Axis, Axis]:
    """Return the axes (y, x) of a rectilinear source from its centres.

    Rows may be in either order and longitudes in any range. Edges are halfway between centres; the
    outer ones mirror the inner, limited to the poles. A last row nearer to the pole than to its
    neighbour (Gaussian grids) extends to the pole.
    """
    return y_axis(np.asarray(y, float), geographic), x_axis(np.asarray(x, float), geographic)


def common_axes(
    x: np.ndarray, y: np.ndarray, source_crs: str, grid: TargetGrid
) -> tuple[tuple[Axis, Axis], tuple[Axis, Axis]] | None:
    """Return axes (y, x) of source and target in one CRS; None if they are not both rectilinear.

    A normal cylindrical projection (EASE-Grid 2.0, Mercator) is rectilinear in degrees.
    """
    geographic = parsed(source_crs).is_geographic
    source = source_axes(x, y, geographic)
    if same_crs(grid.crs, source_crs):
        return source, _target_axes(grid.x_edges, grid.y_edges, grid.x, grid.y, geographic)
    if geographic == grid.is_geographic or is_rotated(source_crs):
        return None
    projected = source_crs if not geographic else grid.crs
    bounds = grid.bounds if geographic else (x.min(), y.min(), x.max(), y.max())
    unrolled = _cylindrical(projected, bounds)
    if unrolled is None:
        return None
    east, north = unrolled
    if not geographic:
        in_degrees = _unrolled_source(*source, east, north)
        return in_degrees, _target_axes(grid.x_edges, grid.y_edges, grid.x, grid.y, True)
    edges = east(grid.x_edges), north(grid.y_edges)
    return source, _target_axes(*edges, east(grid.x), north(grid.y), True)


def edges_in_degrees(grid: TargetGrid) -> tuple[np.ndarray, np.ndarray] | None:
    """Return edges (west to east, north to south) of a grid's cells in degrees; None if curved."""
    if grid.is_geographic:
        return grid.x_edges, grid.y_edges
    unrolled = _cylindrical(grid.crs, grid.bounds)
    return None if unrolled is None else (unrolled[0](grid.x_edges), unrolled[1](grid.y_edges))


def _target_axes(
    x_edges: np.ndarray, y_edges: np.ndarray, x: np.ndarray, y: np.ndarray, geographic: bool
) -> tuple[Axis, Axis]:
    columns, rows = lattice(x_edges, geographic), lattice(-y_edges, geographic)
    period = 360 * PER_DEGREE if geographic else 0
    return (
        Axis(lower=rows[:-1], upper=rows[1:], centre=lattice(-y, geographic), latitude=geographic),
        Axis(lower=columns[:-1], upper=columns[1:], centre=lattice(x, geographic), period=period),
    )


def _unrolled_source(y: Axis, x: Axis, east: _Function, north: _Function) -> tuple[Axis, Axis]:
    """Return the axes of a cylindrical projection in degrees."""
    top, bottom, row = (lattice(-north(-v / PER_UNIT), True) for v in (y.lower, y.upper, y.centre))
    period = 360 * PER_DEGREE
    lower, upper, centre = (lattice(east(v / PER_UNIT), True) for v in (x.lower, x.upper, x.centre))
    turns = (centre - lower) // period * period  # each array was unrolled from its first value
    lower, upper = lower + turns, upper - (upper - centre) // period * period
    if abs(upper[-1] - lower[0] - period) < PER_DEGREE // 10**6:
        upper[-1] = lower[0] + period
    return (
        Axis(lower=top, upper=bottom, centre=row, latitude=True, reverse=y.reverse),
        Axis(lower=lower, upper=upper, centre=centre, period=period, reverse=x.reverse),
    )


def lattice(values: np.ndarray, geographic: bool) -> np.ndarray:
    """Return degrees or CRS units as int64 lattice positions."""
    return np.rint(np.asarray(values, float) * (PER_DEGREE if geographic else PER_UNIT)).astype(
        np.int64
    )


def x_axis(x: np.ndarray, geographic: bool) -> Axis:
    """Return the axis of columns from their centres, as in `source_axes`."""
    reverse = x.size > 1 and np.median(np.diff(x)) < 0
    x = x[::-1] if reverse else x
    if not geographic:
        _check_ascending(x, "x")
        lower, upper = _outline(lattice(x, False))
        return Axis(lower=lower, upper=upper, centre=lattice(x, False), reverse=bool(reverse))
    period = 360 * PER_DEGREE
    centre = lattice(wrap_longitude(x), True)
    centre = centre + period * np.concatenate([[0], np.cumsum(np.diff(centre) < 0)])
    if (np.diff(centre) <= 0).any() or centre[-1] - centre[0] >= period:
        raise bad_input(
            "x", f"{x.size} longitudes {x[0]:g}..{x[-1]:g} with duplicates or out of order",
            "ascending longitudes within 360 degrees", "Drop padded or duplicate columns.",
        )  # fmt: skip
    lower, upper = _outline(centre)
    seam = centre[0] + period - centre[-1]
    if seam <= _GAP * max(centre[1] - centre[0], centre[-1] - centre[-2]):
        upper[-1] = (centre[-1] + centre[0] + period) // 2
        lower[0] = upper[-1] - period
    return Axis(lower=lower, upper=upper, centre=centre, period=period, reverse=bool(reverse))


def y_axis(y: np.ndarray, geographic: bool) -> Axis:
    """Return the axis of rows from their centres, as in `source_axes`."""
    reverse = y.size > 1 and y[0] < y[-1]
    y = y[::-1] if reverse else y
    _check_ascending(-y, "y (downwards)")
    centre = lattice(-y, geographic)
    lower, upper = _outline(centre)
    if geographic:
        pole = 90 * PER_DEGREE
        if np.abs(centre).max() > pole:
            raise bad_input("y", f"latitudes {y[-1]:g}..{y[0]:g}", "latitudes within -90..90")
        if lower[0] < -pole or -pole + (centre[1] - centre[0]) > centre[0]:
            lower[0] = -pole
        if upper[-1] > pole or pole - (centre[-1] - centre[-2]) < centre[-1]:
            upper[-1] = pole
    return Axis(lower=lower, upper=upper, centre=centre, latitude=geographic, reverse=bool(reverse))


def _check_ascending(values: np.ndarray, name: str) -> None:
    if not np.isfinite(values).all() or (np.diff(values) <= 0).any():
        raise bad_input(
            name, "values that are missing, duplicates or out of order", "a sorted axis"
        )


def _outline(centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper edges of cells, halfway between centres except at gaps."""
    if centre.size < 2:
        raise bad_input("source grid", "a single row or column", "at least two along each axis")
    step = np.diff(centre)
    middle = (centre[:-1] + centre[1:]) // 2
    lower = np.concatenate([[centre[0] - (middle[0] - centre[0])], middle])
    upper = np.concatenate([middle, [centre[-1] + (centre[-1] - middle[-1])]])
    nearby = np.minimum(np.append(step[1:], step[-1]), np.append(step[0], step[:-1]))
    for gap in np.flatnonzero(step > 2 * _GAP * nearby):
        upper[gap] = centre[gap] + nearby[gap] // 2
        lower[gap + 1] = centre[gap + 1] - nearby[gap] // 2
    return lower, upper


def _cylindrical(
    crs: str, bounds: tuple[float, float, float, float]
) -> tuple[_Function, _Function] | None:
    """Return functions x → degrees east and y → degrees north of a cylindrical CRS, else None."""
    to_degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    (west, south, east, north), n = bounds, 5
    probe_x, probe_y = np.meshgrid(np.linspace(west, east, n), np.linspace(south, north, n))
    lon, lat = (np.asarray(v) for v in to_degrees.transform(probe_x, probe_y))
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    turned = np.abs(np.mod(lon - lon[:1] + 180, 360) - 180).max() > 1e-9
    if turned or np.abs(lat - lat[:, :1]).max() > 1e-9:
        return None
    middle_x, middle_y = probe_x[0, n // 2], probe_y[n // 2, 0]

    def degrees_east(x: np.ndarray) -> np.ndarray:
        lon = np.asarray(to_degrees.transform(x, np.full_like(x, middle_y))[0])
        return lon + 360.0 * np.concatenate([[0], np.cumsum(np.diff(lon) < 0)])

    def degrees_north(y: np.ndarray) -> np.ndarray:
        return np.asarray(to_degrees.transform(np.full_like(y, middle_x), y)[1])

    return degrees_east, degrees_north
