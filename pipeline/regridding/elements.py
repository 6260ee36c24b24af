"""Operators from elements in one dimension onto a target grid: polygons, cells of a mesh, points.

Elements with outlines are weighted by the exact area that they share with a target cell
(`outlines`); elements known by their centres alone count equally within a cell, or else the nearest
one stands for it. `regrid` applies the matrices like those of any other source.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.sparse
import shapely
import xarray as xr
from scipy.spatial import cKDTree

from pipeline.core.errors import bad_input
from pipeline.grid.crs import unit_vectors
from pipeline.grid.healpix import PIXEL, corners
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.unstructured import CELL, bounds_of
from pipeline.grid.window import source_window
from pipeline.regridding.operators import Sparse, Window
from pipeline.regridding.outlines import (
    DEGREES,
    Rings,
    overlap,
    parts_of_sides,
    rings_of_bounds,
)

OUTLINES = "polygon_outline"
"""Coordinate with the polygon of each element; None stands for what lies outside of them all."""
_STRIP = 2_000_000  # entries of a matrix that one thread holds
_NEAR = 4096  # elements between two that are needed which are read with them
_OVERLAP = 0.02  # fraction of the covered area that polygons may cover twice
_TINY = 1e-12  # weights are rounded to this
_NEIGHBOURS = 7  # an element and its six neighbours
_HELD = 4  # number of operators kept for the next variable or times


@dataclass(frozen=True, eq=False)
class Elements:
    """Operator from elements onto a grid: a sparse matrix (cell, element)."""

    grid: TargetGrid
    weights: scipy.sparse.csr_array

    @property
    def shape(self) -> tuple[int, int]:
        """Target rows and columns."""
        return self.grid.shape

    def strips(self) -> list[slice]:
        """Slices of target rows whose matrices are of a bounded size."""
        rows = self.grid.shape[0]
        step = max(1, int(_STRIP * rows // max(self.weights.nnz, 1)))
        return [slice(row, min(row + step, rows)) for row in range(0, rows, step)]

    def overlaps(self) -> bool:
        """Whether any target cell meets any element."""
        return bool(self.weights.nnz)

    def matrix(self, rows: slice) -> tuple[Sparse, Window]:
        """The matrix of some target rows, on the elements that it needs; they are one row."""
        cols = self.grid.shape[1]
        part = self.weights[rows.start * cols : rows.stop * cols]
        used = _with_near(np.unique(part.indices))
        index = np.searchsorted(used, part.indices)
        matrix = Sparse(part.indptr.astype(np.int64), index, part.data, used.size)
        return matrix, Window(slice(0, 1), used)


def _with_near(used: np.ndarray) -> np.ndarray:
    """The elements and those between near ones, which are faster to read than to leave out."""
    if not used.size:
        return used
    breaks = np.flatnonzero(np.diff(used) > _NEAR)
    first, last = used[np.append(0, breaks + 1)], used[np.append(breaks, used.size - 1)]
    return np.concatenate([np.arange(a, b + 1) for a, b in zip(first, last, strict=True)])


_recent: deque[tuple[object, TargetGrid, str, Elements]] = deque(maxlen=_HELD)


def element_operator(ds: xr.Dataset, grid: TargetGrid, method: str) -> Elements:
    """The operator of `method` from the elements of `ds` (dim cell) onto the grid.

    `InputError` for elements that the method cannot use, and for polygons that overlap.
    """
    located = ds.coords[OUTLINES if OUTLINES in ds.coords else "lat"].variable._data
    kind = method if method in ("nearest", "bilinear", "conservative") else "area"
    # Blocks of times share the coordinates of their source: they are the same objects.
    for known, on, of, operator in tuple(_recent):
        if known is located and on == grid and of == kind:
            return operator
    operator = Elements(grid, _weights(ds, grid, kind))
    _recent.append((located, grid, kind, operator))
    return operator


def check_method(ds: xr.Dataset, method: str, where: str) -> None:
    """Raise `InputError` where the elements of `ds` do not suffice for a method of regridding."""
    if OUTLINES in ds.coords and method in ("nearest", "bilinear"):
        raise bad_input(
            where, f"method {method} of polygons", "a method of areas",
            "Use mean, or fractions or mode for classes.",
        )  # fmt: skip
    if method == "bilinear":
        raise bad_input(
            where, "method bilinear of cells without rows and columns", "another method",
            "Use nearest, or conservative if the cells have bounds.",
        )  # fmt: skip
    if method == "conservative" and not has_outlines(ds):
        raise bad_input(
            where, "method conservative of cells without bounds", "the bounds of each cell",
            "Use `method: mean` (of the centres within a target cell, or else the nearest one) or"
            " nearest; or add variables with the corners of the cells, which the attribute"
            " `bounds` of the latitudes and longitudes names.",
        )  # fmt: skip


def has_outlines(ds: xr.Dataset) -> bool:
    """Whether the extent of each element is known."""
    return any(name in ds.coords for name in (OUTLINES, PIXEL, "lat_bounds"))


def _weights(ds: xr.Dataset, grid: TargetGrid, kind: str) -> scipy.sparse.csr_array:
    where, count = f'grid "{grid.name}"', ds.sizes[CELL]
    check_method(ds, kind, where)
    if OUTLINES in ds.coords:
        attrs, polygons = ds.coords[OUTLINES].attrs, ds.coords[OUTLINES].values
        where = attrs.get("where", where)
        matrix = overlap(polygons, attrs["crs"], grid, count, where)
        most: np.ndarray | float = 1.0
        if attrs.get("overlaps") == "normalise":
            union = np.array([shapely.union_all(polygons)])
            most = np.asarray(overlap(union, attrs["crs"], grid, 1, where).sum(axis=1))
        else:
            _check_overlaps(matrix, where)
        outside = np.flatnonzero(shapely.is_missing(polygons))
        return _with_rest(_normalised(matrix, most), outside)
    if kind == "nearest" or not has_outlines(ds):
        return _of_centres(ds, grid, kind)
    return _normalised(overlap(_rings(ds, grid), DEGREES, grid, count, where))


def _rings(ds: xr.Dataset, grid: TargetGrid) -> Rings:
    """The outlines of the cells near the grid."""
    if PIXEL in ds.coords:
        near = _near(*corners(ds.coords[PIXEL], parts=1), grid)
        return rings_of_bounds(*corners(ds.coords[PIXEL][near]), near)
    lon, lat = bounds_of(ds)
    near = _near(lon, lat, grid)
    return rings_of_bounds(lon[near], lat[near], near, parts_of_sides(ds.sizes[CELL]))


def _near(lon: np.ndarray, lat: np.ndarray, grid: TargetGrid) -> np.ndarray:
    """Positions of the cells with corners `lon`, `lat` (cell, vertex) that may meet the grid."""
    west, south, east, north = source_window(grid)
    offset = (lon - lon[:, :1] + 180.0) % 360.0 - 180.0
    first, last = (lon[:, 0] + f(offset, axis=1) for f in (np.nanmin, np.nanmax))
    low, high = np.nanmin(lat, axis=1), np.nanmax(lat, axis=1)
    # Great circles bulge towards the poles beyond the latitudes of their ends, and a cell with a
    # pole spans all longitudes.
    margin = (high - low) / 2 + (last - first) / 8
    inside = (high + margin >= south) & (low - margin <= north)
    anywhere = (np.maximum(high, -low) + margin >= 90.0) | (lon.shape[1] == 2)
    return np.flatnonzero(
        inside & (anywhere | ((first - west) % 360.0 <= east - west)
                  | ((west - first) % 360.0 <= last - first))
    )  # fmt: skip


def _check_overlaps(matrix: scipy.sparse.csr_array, where: str) -> None:
    """Raise `InputError` where polygons cover much of a grid more than once."""
    covered = np.asarray(matrix.sum(axis=1))
    check_share(
        np.maximum(covered - 1.0, 0.0).sum() / max(np.minimum(covered, 1.0).sum(), 1e-9), where
    )


def check_share(twice: float, where: str) -> None:
    """Raise `InputError` if the fraction of area that polygons cover `twice` is not small."""
    if twice > _OVERLAP:
        raise bad_input(
            where, f"polygons of which {100 * twice:.0f} % overlap others",
            f"polygons side by side; up to {100 * _OVERLAP:g} % of their area may overlap",
            "Keep one level of nested polygons, or set `options: {overlaps: normalise}` to weight"
            " polygons by their areas in a cell, divided by the sum of these areas.",
        )  # fmt: skip


def _normalised(
    matrix: scipy.sparse.csr_array, most: np.ndarray | float = 1.0
) -> scipy.sparse.csr_array:
    """The matrix with weights of at most `most` in total, where outlines overlap."""
    covered = np.asarray(matrix.sum(axis=1))
    scale = np.where(covered > most, most / np.maximum(covered, _TINY), 1.0)
    matrix.data *= np.repeat(scale, np.diff(matrix.indptr))
    return matrix


def _with_rest(matrix: scipy.sparse.csr_array, outside: np.ndarray) -> scipy.sparse.csr_array:
    """The matrix with the uncovered fraction of each cell as weight of the element `outside`."""
    if not outside.size:
        return matrix
    rest = np.round(1.0 - np.asarray(matrix.sum(axis=1)), 12)
    cell = np.flatnonzero(rest > 0)
    entries = (rest[cell], (cell, np.full(cell.size, outside[-1])))
    return (matrix + scipy.sparse.coo_array(entries, matrix.shape)).tocsr()


def _of_centres(ds: xr.Dataset, grid: TargetGrid, kind: str) -> scipy.sparse.csr_array:
    """Weights of elements by their centres: equal within a cell, or else the nearest one.

    An element is no nearer to a target than to its neighbours beyond the edge of its mesh: there
    is no value.
    """
    lon, lat = (np.ascontiguousarray(ds.coords[name].values, float) for name in ("lon", "lat"))
    tree, known, reach = _tree(lon.tobytes(), lat.tobytes())
    to_lon, to_lat = grid.lonlat()
    points = unit_vectors(to_lon.ravel(), to_lat.ravel())
    finite = np.isfinite(points).all(axis=1)
    distance, nearest = tree.query(np.where(finite[:, None], points, 0.0))
    found = finite & (distance <= reach[nearest])
    cell, element = np.flatnonzero(found), known[nearest[found]]
    if kind != "nearest":
        row, col = grid.index_of(lon[known], lat[known])
        inside = row >= 0
        filled = row[inside] * grid.shape[1] + col[inside]
        empty = ~np.isin(cell, filled)
        cell = np.concatenate([filled, cell[empty]])
        element = np.concatenate([known[inside], element[empty]])
    count = np.bincount(cell, minlength=points.shape[0])
    shape = (points.shape[0], lon.size)
    matrix = scipy.sparse.coo_array((1.0 / count[cell], (cell, element)), shape).tocsr()
    matrix.sort_indices()
    return matrix


@lru_cache(maxsize=4)
def _tree(lon: bytes, lat: bytes) -> tuple[cKDTree, np.ndarray, np.ndarray]:
    """A search tree of centres, their positions in the source, and how far each one reaches."""
    at = unit_vectors(np.frombuffer(lon), np.frombuffer(lat))
    known = np.flatnonzero(np.isfinite(at).all(axis=1))
    tree = cKDTree(at[known])
    spacing = tree.query(at[known], min(_NEIGHBOURS, known.size))[0].reshape(known.size, -1)[:, -1]
    # Where rows are closer than columns, the neighbours of an element may all be in its own row.
    return tree, known, np.maximum(spacing, np.median(spacing))
