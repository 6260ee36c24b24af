"""Small gridded Datasets and slow float64 references for the tests of regridding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from pipeline.grid.target_grid import TargetGrid


def source(
    values: np.ndarray, y: np.ndarray, x: np.ndarray, crs: str | None = None, **attrs: object
) -> xr.Dataset:
    """A canonical Dataset of one variable `v`."""
    dims = ("time", "y", "x")[3 - values.ndim :]
    ds = xr.Dataset({"v": (dims, values, attrs)}, coords={"y": y, "x": x})
    return ds.assign_attrs(crs=crs) if crs else ds


def globe(step: float, function: Callable | None = None, **attrs: object) -> xr.Dataset:
    """A global float64 Dataset at `step` degrees of `function(lon, lat)`, or of noise."""
    y, x = 90 - step * (np.arange(180 / step) + 0.5), -180 + step * (np.arange(360 / step) + 0.5)
    if function is None:
        values = np.random.default_rng(1).random((y.size, x.size))
    else:
        values = function(*np.meshgrid(x, y))
    return source(values, y, x, **attrs)


def with_gaps(ds: xr.Dataset, share: float = 0.3, seed: int = 2) -> xr.Dataset:
    """The Dataset with a random share of its values missing."""
    random = np.random.default_rng(seed).random(ds.v.shape)
    return ds.assign(v=ds.v.where(random > share))


def grid(west: float, south: float, east: float, north: float, step: float) -> TargetGrid:
    """A geographic target grid."""
    return TargetGrid.from_bounds("test", "EPSG:4326", (west, south, east, north), step)


def brute_conservative(
    values: np.ndarray, x_edges: np.ndarray, y_edges: np.ndarray, target: TargetGrid
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and coverage by clipping every cell against every other, on the sphere, in float64.

    Edges of the source in degrees, x ascending, y descending; longitudes turned every way.
    """
    shape = target.shape
    mean, coverage = np.full(shape, np.nan), np.zeros(shape)
    for i in range(shape[0]):
        for j in range(shape[1]):
            top, bottom = target.y_edges[i], target.y_edges[i + 1]
            left, right = target.x_edges[j], target.x_edges[j + 1]
            high = np.minimum(top, y_edges[:-1])
            low = np.maximum(bottom, y_edges[1:])
            tall = np.sin(np.deg2rad(np.maximum(high, low))) - np.sin(np.deg2rad(low))
            wide = np.zeros(x_edges.size - 1)
            for turn in (-360, 0, 360):
                a = np.maximum(left, x_edges[:-1] + turn)
                wide += np.maximum(np.minimum(right, x_edges[1:] + turn) - a, 0)
            area = tall[:, None] * wide[None]
            valid = np.isfinite(values)
            whole = (np.sin(np.deg2rad(top)) - np.sin(np.deg2rad(bottom))) * (right - left)
            coverage[i, j] = area[valid].sum() / whole
            if coverage[i, j] > 1e-9:
                mean[i, j] = (area * np.where(valid, values, 0)).sum() / area[valid].sum()
    return mean, coverage
