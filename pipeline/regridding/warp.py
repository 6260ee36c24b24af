"""Sparse weights between grids in different CRSs, and from curvilinear sources.

PROJ maps each target cell to the source's CRS, as a point (bilinear, nearest) or as a polygon whose
exact overlap with each source cell is the weight (all other methods). Adjacent cells share their
edges, so nothing is counted twice or lost. `kernels.polygons` is imported at first use, because the
import compiles it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyproj
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.grid.axes import PER_DEGREE, PER_UNIT, Axis, source_axes
from pipeline.grid.crs import EARTH_RADIUS, crs_of, unit_vectors
from pipeline.grid.curvilinear import Locator
from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding.operators import Sparse, Window
from pipeline.regridding.weights import point_weights

_STRIP = 1 << 18  # target cells mapped at once
_ENTRIES = 2_000_000  # approximate number of entries of one strip's matrix
_TORN = 20.0  # an edge longer than on the globe by this factor crosses a discontinuity
_HELD = 4  # number of matrices kept for the next variable


@dataclass(frozen=True, eq=False, kw_only=True)
class Warp:
    """Operator from a source onto a grid that is not rectilinear on it, by strips of target rows.

    `to_source` maps points of the target's CRS to the source's (x, y); `area` holds the relative
    areas of the source cells, dims (y, x), where they do not follow from the axes.
    """

    grid: TargetGrid
    to_source: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    y: Axis
    x: Axis
    kind: str
    area: np.ndarray | None = None
    _held: dict[tuple[int, int], tuple[Sparse, Window]] = field(default_factory=dict, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Target rows and columns."""
        return self.grid.shape

    def strips(self) -> list[slice]:
        """Slices of target rows whose matrices are of a bounded size."""
        rows, cols = self.grid.shape
        # The number of source cells that a row meets is not known beforehand. That of the middle
        # row stands for all: an estimate suffices for the length of strips.
        middle = self.grid.window(slice(rows // 2, rows // 2 + 1), slice(None))
        per_row = max(cols, self.sparse(middle).index.size)
        step = max(1, min(_STRIP // cols, _ENTRIES // per_row))
        return [slice(r, min(r + step, rows)) for r in range(0, rows, step)]

    def overlaps(self) -> bool:
        """Whether any target cell meets any source cell."""
        return any(self.matrix(rows)[0].index.size for rows in self.strips())

    def matrix(self, rows: slice) -> tuple[Sparse, Window]:
        """The matrix of some target rows, on the window of the source that it needs."""
        key = (rows.start, rows.stop)
        held = self._held.get(key)
        if held is None:
            held = self.sparse(self.grid.window(rows, slice(None))).within()
            # Only the first are kept: with many strips, replacing the oldest would never hit.
            if len(self._held) < _HELD:
                self._held[key] = held
        return held

    def sparse(self, strip: TargetGrid) -> Sparse:
        """The matrix of a window of the target grid on the whole source array."""
        if self.kind == "area":
            return self._areas(strip)
        return self._points(strip)

    def _points(self, strip: TargetGrid) -> Sparse:
        """Weights of up to four source cells around each target centre."""
        x, y = np.meshgrid(strip.x, strip.y)
        x, y = self.to_source(x.ravel(), y.ravel())
        # Points outside the domain of the source's CRS get an arbitrary position and no weight.
        finite = np.isfinite(x) & np.isfinite(y)
        period = self.x.period
        scale = PER_DEGREE if period else PER_UNIT
        rows, columns = (np.where(finite, v, 0.0) for v in (-y, x))
        along_y = point_weights(self.y, np.rint(rows * scale).astype(np.int64), self.kind)
        along_x = point_weights(self.x, np.rint(columns * scale).astype(np.int64), self.kind)
        weight = along_y.weight[:, None] * along_x.weight[None] * finite
        index = along_y.index[:, None] * self.x.size + along_x.index[None]
        return _gathered(index.reshape(-1, x.size), weight.reshape(-1, x.size), self.x.size)

    def _areas(self, strip: TargetGrid) -> Sparse:
        """Weights from the exact overlap of target polygons and source cells."""
        from pipeline.regridding.kernels import polygons

        outline = _rings(strip)
        x, y = self.to_source(*outline)
        # Longitudes are unwrapped by the kernel, and indices of a curvilinear source have no seam;
        # any other CRS may tear a cell in two, whose area would then be half the globe.
        if not self.x.period and self.area is None:
            x = _without_torn(strip.crs, *outline, x, y)
        scale = float(PER_DEGREE if self.x.period else PER_UNIT)
        x_edges, x_cell = _intervals(self.x, scale)
        z_edges, z_cell = _intervals(self.y, scale)
        z = -y
        # In longitude and the sine of latitude areas are those of the sphere (Lambert's cylindrical
        # projection). Sides are taken as straight there; `_rings` has made them short.
        if self.x.period:
            z, z_edges = np.sin(np.deg2rad(z)), np.sin(np.deg2rad(z_edges))
        turn = self.x.period / scale
        begin, index, weight = polygons.overlaps(
            x, z, turn, x_edges, x_cell, z_edges, z_cell, self.x.size
        )
        matrix = Sparse(begin, index, weight, self.x.size)
        return matrix if self.area is None else _by_area(matrix, self.area.ravel())


def warp_operator(ds: xr.Dataset, grid: TargetGrid, kind: str) -> Warp:
    """The operator ("area", "bilinear" or "nearest") from the grid of `ds` onto another CRS.

    `InputError` for a source with neither 1-D `y` and `x` nor 2-D `lat` and `lon`.
    """
    if "x" in ds.coords and "y" in ds.coords and ds["x"].ndim == ds["y"].ndim == 1:
        crs = crs_of(ds)
        geographic = pyproj.CRS.from_user_input(crs).is_geographic
        y, x = source_axes(ds["x"].values, ds["y"].values, geographic)
        return Warp(grid=grid, to_source=partial(_transform, grid.crs, crs), y=y, x=x, kind=kind)
    if all(name in ds.coords and set(ds[name].dims) == {"y", "x"} for name in ("lat", "lon")):
        lon, lat = (ds[name].transpose("y", "x").values.astype(float) for name in ("lon", "lat"))
        locator = Locator(lon, lat)
        rows, columns = np.arange(lon.shape[0]), np.arange(lon.shape[1])
        y, x = source_axes(columns, -rows, geographic=False)
        return Warp(
            grid=grid,
            to_source=partial(_indices, grid.crs, locator),
            y=y,
            x=x,
            kind=kind,
            area=locator.cell_area(),
        )
    raise bad_input(
        "source grid", "no coordinates that locate its cells",
        "1-D coordinates y and x, or 2-D lat and lon", "Canonicalise the source first",
    )  # fmt: skip


def _transform(
    crs: str, to_crs: str, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points in another CRS; not finite outside its domain."""
    x, y = pyproj.Transformer.from_crs(crs, to_crs, always_xy=True).transform(x, y)
    return np.asarray(x), np.asarray(y)


def _indices(
    crs: str, locator: Locator, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points as (column, -row) of a curvilinear source."""
    lon, lat = _transform(crs, "EPSG:4326", x.ravel(), y.ravel())
    col, row = locator.locate(lon, lat)
    return col.reshape(x.shape), -row.reshape(x.shape)


def _by_area(matrix: Sparse, area: np.ndarray) -> Sparse:
    """The matrix with the weights of each target cell multiplied by the areas of source cells."""
    cell = np.repeat(np.arange(matrix.begin.size - 1), np.diff(matrix.begin))
    weight = matrix.weight * area[matrix.index]
    before, after = (np.bincount(cell, w, matrix.begin.size - 1) for w in (matrix.weight, weight))
    # Scaled so that the covered fraction of the target cell does not change.
    with np.errstate(invalid="ignore", divide="ignore"):
        return replace(matrix, weight=weight * (before / after)[cell])


def _rings(strip: TargetGrid) -> tuple[np.ndarray, np.ndarray]:
    """Outlines of the cells in the strip's CRS, with extra vertices on each side of large cells.

    Dims (cell, vertex); neighbours share the exact points of their common side.
    """
    # Sides become curves in the source's CRS: more vertices make the error of the polygon small.
    metres = strip.dx * (111_000 if strip.is_geographic else 1)
    parts = 4 if metres > 20_000 else 2 if metres > 5_000 else 1
    steps = np.arange(parts) / parts
    x_edges, y_edges = strip.x_edges, strip.y_edges
    along_x = x_edges[:-1, None] + steps * np.diff(x_edges)[:, None]
    along_y = y_edges[:-1, None] + steps * np.diff(y_edges)[:, None]
    # The other two sides run the other way through exactly the same points: recomputed from the far
    # end they would differ in the last bit, and neighbours would overlap.
    from_east = np.concatenate([x_edges[1:, None], along_x[:, :0:-1]], axis=1)
    from_south = np.concatenate([y_edges[1:, None], along_y[:, :0:-1]], axis=1)
    n_rows, n_cols = strip.shape
    shape = (n_rows, n_cols, parts)
    west, east = x_edges[:-1, None], x_edges[1:, None]
    north, south = y_edges[:-1, None, None], y_edges[1:, None, None]
    sides = [
        (along_x[None], north), (east[None], along_y[:, None]),
        (from_east[None], south), (west[None], from_south[:, None]),
    ]  # fmt: skip
    x, y = (
        np.concatenate([np.broadcast_to(side[axis], shape) for side in sides], axis=2)
        for axis in (0, 1)
    )
    return x.reshape(n_rows * n_cols, -1), y.reshape(n_rows * n_cols, -1)


def _without_torn(
    crs: str, ring_x: np.ndarray, ring_y: np.ndarray, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """`x` with NaN for rings (cell, vertex) torn by a discontinuity of the source CRS."""
    # Lengths of the edges: on the globe as chords, and in the source's CRS.
    vectors = unit_vectors(*_transform(crs, "EPSG:4326", ring_x, ring_y))
    metres = np.linalg.norm(vectors - np.roll(vectors, 1, axis=1), axis=-1) * EARTH_RADIUS
    edges = np.hypot(x - np.roll(x, 1, axis=1), y - np.roll(y, 1, axis=1))
    torn = (edges > _TORN * metres + 1.0).any(axis=1)
    return np.where(torn[:, None], np.nan, x)


def _intervals(axis: Axis, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the source's cells and of the gaps between them; from -180 to 540 if periodic.

    The second array holds the array index of each interval's cell, -1 for gaps. The position of an
    edge does not depend on the longitude with which the source begins.
    """
    lower, upper = axis.lower, axis.upper
    cell = np.arange(axis.size)[:: -1 if axis.reverse else 1]
    if axis.period:
        # Five turns hold the required range, with whatever longitude the source begins.
        turns = axis.period * np.arange(-2, 3)
        lower, upper = ((v + turns[:, None]).ravel() for v in (lower, upper))
        near = (upper > -axis.period // 2) & (lower < 3 * axis.period // 2)
        lower, upper, cell = lower[near], upper[near], np.tile(cell, turns.size)[near]
    edges = np.stack([lower, upper], axis=1).ravel()
    cells = np.stack([cell, np.full_like(cell, -1)], axis=1).ravel()[:-1]
    # Gaps of no width, between cells that touch, are dropped.
    kept = np.diff(edges) > 0
    edges = np.append(edges[:-1][kept], edges[-1])
    if not axis.period:
        return edges / scale, cells[kept]
    # Divided within one turn and shifted afterwards, so that a meridian is the same float in every
    # turn and every longitude frame.
    turn = (edges + axis.period // 2) // axis.period
    return (edges - turn * axis.period) / scale + turn * (axis.period / scale), cells[kept]


def _gathered(index: np.ndarray, weight: np.ndarray, width: int) -> Sparse:
    """A sparse matrix of entries (K, target), without those of weight 0."""
    used = weight.T > 0
    begin = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
    return Sparse(begin, index.T[used], weight.T[used], width)
