"""Overlap of the cells and sites of one cube with the cells of another on a different grid.

It serves folds that are carried from one cube to another. Cells in different CRSs are compared by
boxes, which may include a neighbour but never miss a cell.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyproj

from pipeline.grid.target_grid import TargetGrid

CELLS_AT_ONCE = 1 << 18
_INSET = 1e-6  # fraction of a cell: cells that only touch do not overlap
_BULGE = 0.02  # fraction of a box: margin for sides of cells that bend outwards


def cells_over_cells(grid: TargetGrid, cells: np.ndarray, other: TargetGrid) -> np.ndarray:
    """[y * x] bool: the cells of `other` that overlap any of the flat indices `cells` of `grid`."""
    rows, cols = other.shape
    # Each box adds 1 at its first corner and subtracts it beyond its last: cumulative sums count
    # the overlaps.
    steps = np.zeros((rows + 1, cols + 1), np.int32)
    left, _, _, top = other.bounds
    for west, south, east, north in _boxes(grid, np.asarray(cells), other):
        at, width = west - left, east - west
        if other.is_geographic:
            at = np.mod(at, 360.0)
        # A box that begins east of the grid's last column may end in its first ones.
        for turn in (0.0, 360.0) if other.is_geographic else (0.0,):
            _mark(steps, ((top - north) / other.dy, (top - south) / other.dy),
                  ((at - turn) / other.dx, (at - turn + width) / other.dx))  # fmt: skip
    covered: np.ndarray = steps.cumsum(0).cumsum(1)[:-1, :-1].ravel() > 0
    return covered


def _mark(
    steps: np.ndarray, height: tuple[np.ndarray, np.ndarray], width: tuple[np.ndarray, np.ndarray]
) -> None:
    """Add boxes, first and last position along y and x in cells, to `steps` (y + 1, x + 1)."""
    (first_row, last_row), (first_col, last_col) = (
        (np.floor(first), np.floor(last)) for first, last in (height, width)
    )
    rows, cols = steps.shape[0] - 1, steps.shape[1] - 1
    meets = (last_row >= 0) & (first_row < rows) & (last_col >= 0) & (first_col < cols)
    upper, lower = (
        edge[meets].clip(0, rows).astype(np.int64) for edge in (first_row, last_row + 1)
    )
    left, right = (edge[meets].clip(0, cols).astype(np.int64) for edge in (first_col, last_col + 1))
    for row, col, sign in (
        (upper, left, 1), (lower, right, 1), (upper, right, -1), (lower, left, -1),
    ):  # fmt: skip
        np.add.at(steps, (row, col), sign)


def cells_with_sites(lonlat: np.ndarray, other: TargetGrid) -> np.ndarray:
    """[y * x] bool: the cells of `other` that contain any of the sites [n, 2] in degrees."""
    row, col = other.index_of(lonlat[:, 0], lonlat[:, 1])
    covered = np.zeros(other.shape, bool)
    covered[row[row >= 0], col[row >= 0]] = True
    return covered.ravel()


def sites_in_cells(grid: TargetGrid, cells: np.ndarray, lonlat: np.ndarray) -> np.ndarray:
    """[n] bool: the sites [n, 2] in degrees that lie in the flat indices `cells` of `grid`."""
    row, col = grid.index_of(lonlat[:, 0], lonlat[:, 1])
    inside: np.ndarray = (row >= 0) & np.isin(row * grid.shape[1] + col, cells)
    return inside


def _boxes(
    grid: TargetGrid, cells: np.ndarray, other: TargetGrid
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """West, south, east and north [n] of the cells in the CRS of `other`, in blocks of cells."""
    across = np.array([-0.5, 0.0, 0.5]) * (1 - 2 * _INSET)
    side, up = (offsets.ravel() for offsets in np.meshgrid(across, across))
    same = pyproj.CRS(grid.crs) == pyproj.CRS(other.crs)
    change = pyproj.Transformer.from_crs(grid.crs, other.crs, always_xy=True)
    for start in range(0, len(cells), CELLS_AT_ONCE):
        row, col = np.divmod(cells[start : start + CELLS_AT_ONCE], grid.shape[1])
        x = grid.x[col][:, None] + side * grid.dx
        y = grid.y[row][:, None] + up * grid.dy
        if not same:
            x, y = (np.where(np.isfinite(v), v, np.nan) for v in change.transform(x, y))
        centre = x[:, [4]].copy()
        if other.is_geographic and not same:
            x = centre + (x - centre + 180.0) % 360.0 - 180.0
        known = np.isfinite(x).any(1) & np.isfinite(y).any(1)
        x, y = x[known], y[known]
        west, east = np.nanmin(x, 1), np.nanmax(x, 1)
        south, north = np.nanmin(y, 1), np.nanmax(y, 1)
        if not same:
            wide, tall = _BULGE * (east - west), _BULGE * (north - south)
            west, east, south, north = west - wide, east + wide, south - tall, north + tall
        if other.is_geographic and not same:
            # A cell that contains a pole has corners on all sides and reaches the pole.
            polar = east - west > 180.0
            west, east = np.where(polar, -180.0, west), np.where(polar, 180.0 - 1e-9, east)
            north = np.where(polar & (north > 0), 90.0, north)
            south = np.where(polar & (south < 0), -90.0, south)
        yield west, south, east, north
