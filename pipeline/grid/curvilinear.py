"""Positions of points on a curvilinear grid: fractional indices from 2-D longitudes and latitudes.

Regridding (`warp`) then uses these indices like any other axes. They are the inverse of the
bilinear patch between four cell centres, computed in a plane tangent to the sphere, so that poles
and the antimeridian need no special treatment. Columns are not periodic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import cKDTree

from pipeline.grid.crs import unit_vectors

_MOVES, _NEWTON = 8, 4


@dataclass(frozen=True, eq=False)
class Locator:
    """Search for points among the cell centres `lon`, `lat` of a grid; dims (y, x), degrees."""

    lon: np.ndarray
    lat: np.ndarray

    @cached_property
    def centres(self) -> np.ndarray:
        """Unit vectors of the centres; dims (y, x, 3)."""
        return unit_vectors(self.lon, self.lat)

    @cached_property
    def _tree(self) -> tuple[cKDTree, np.ndarray]:
        known = np.flatnonzero(np.isfinite(self.lon.ravel()) & np.isfinite(self.lat.ravel()))
        return cKDTree(self.centres.reshape(-1, 3)[known]), known

    def locate(self, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return fractional (column, row) of each point, 0 at the first centre.

        Beyond the outer centres the indices are extrapolated linearly. They are NaN for points that
        are not finite or next to missing centres.
        """
        finite = np.isfinite(lon) & np.isfinite(lat)
        point = unit_vectors(np.where(finite, lon, 0.0), np.where(finite, lat, 0.0))
        tree, known = self._tree
        row, col = np.divmod(known[tree.query(point)[1]], self.lon.shape[1])
        for _ in range(_MOVES):
            down, right = self._step(point, row, col)
            next_row = np.clip(np.rint(np.nan_to_num(row + down)), 0, self.lon.shape[0] - 1)
            next_col = np.clip(np.rint(np.nan_to_num(col + right)), 0, self.lon.shape[1] - 1)
            if (next_row == row).all() and (next_col == col).all():
                break
            row, col = next_row.astype(np.int64), next_col.astype(np.int64)
        down, right = self._step(point, row, col)
        x, y = self._refined(point, row + down, col + right)
        return np.where(finite, x, np.nan), np.where(finite, y, np.nan)

    def cell_area(self) -> np.ndarray:
        """Return the areas of the cells on the unit sphere, approximately; dims (y, x)."""
        along_y, along_x = (_gradient(self.centres, axis) for axis in (0, 1))
        return np.linalg.norm(np.cross(along_y, along_x), axis=-1)

    def _step(
        self, point: np.ndarray, row: np.ndarray, col: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the offset (rows, columns) from a centre to the point, by local derivatives."""
        last_row, last_col = self.lon.shape[0] - 1, self.lon.shape[1] - 1
        plane = _Plane(self.centres[row, col])
        above, below = np.maximum(row - 1, 0), np.minimum(row + 1, last_row)
        before, after = np.maximum(col - 1, 0), np.minimum(col + 1, last_col)
        per_row = (plane(self.centres[below, col]) - plane(self.centres[above, col])) / (
            below - above
        )[:, None]
        per_col = (plane(self.centres[row, after]) - plane(self.centres[row, before])) / (
            after - before
        )[:, None]
        return _solve(per_row, per_col, plane(point))

    def _refined(
        self, point: np.ndarray, row: np.ndarray, col: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (column, row) by Newton's method in the patch that contains the first guess."""
        top = np.clip(np.floor(np.nan_to_num(row)), 0, self.lon.shape[0] - 2).astype(np.int64)
        left = np.clip(np.floor(np.nan_to_num(col)), 0, self.lon.shape[1] - 2).astype(np.int64)
        plane = _Plane(self.centres[top, left])
        aim = plane(point)
        b, c, d = (plane(self.centres[top + i, left + j]) for i, j in ((0, 1), (1, 0), (1, 1)))
        twist = d - b - c
        v, u = row - top, col - left
        for _ in range(_NEWTON):
            u1, v1 = u[:, None], v[:, None]
            rest = aim - (u1 * b + v1 * c + u1 * v1 * twist)
            dv, du = _solve(c + u1 * twist, b + v1 * twist, rest)
            v, u = v + dv, u + du
        return left + u, top + v


def _gradient(centres: np.ndarray, axis: int) -> np.ndarray:
    """Return the change per cell along an axis, one-sided next to missing centres."""
    change = np.asarray(np.gradient(centres, axis=axis))
    if not np.isnan(change).any():
        return change
    steps = np.diff(centres, axis=axis)
    first, last = (np.take(steps, [end], axis) for end in (0, -1))
    for beside in (np.concatenate([steps, last], axis), np.concatenate([first, steps], axis)):
        change = np.where(np.isnan(change), beside, change)
    return change


class _Plane:
    """Gnomonic coordinates (east, north) about centres; dims (point, 2)."""

    def __init__(self, centre: np.ndarray) -> None:
        self.centre = centre
        east = np.stack([-centre[:, 1], centre[:, 0], np.zeros(len(centre))], axis=-1)
        at_pole = np.linalg.norm(east, axis=-1) < 1e-12
        east[at_pole] = (1.0, 0.0, 0.0)
        self.east = east / np.linalg.norm(east, axis=-1, keepdims=True)
        self.north = np.cross(centre, self.east)

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        height = np.maximum((vectors * self.centre).sum(axis=-1), 1e-3)
        east, north = (vectors * self.east).sum(axis=-1), (vectors * self.north).sum(axis=-1)
        return np.stack([east, north], axis=-1) / height[:, None]


def _solve(first: np.ndarray, second: np.ndarray, aim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the factors of two plane vectors whose sum is `aim`; NaN if they are parallel."""
    determinant = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return (
            (aim[:, 0] * second[:, 1] - aim[:, 1] * second[:, 0]) / determinant,
            (first[:, 0] * aim[:, 1] - first[:, 1] * aim[:, 0]) / determinant,
        )
