"""Regridding of scattered points (gauges, hydrologic units, stations) onto a target grid.

Called from `pipeline.regrid_tile`. The kernels of `kernels.sparse` form the sums, so that results
do not depend on tiling.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from scipy.spatial import cKDTree

from pipeline.core.errors import Faults, bad_input
from pipeline.grid.crs import EARTH_RADIUS
from pipeline.grid.curvilinear import unit_vectors
from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding.operators import Sparse, apply_sparse

_SMALLEST = 1e-12  # coverage below this counts as none


def regrid_points(
    ds: xr.Dataset,
    target_grid: TargetGrid,
    k: int = 4,
    power: float = 2.0,
    *,
    max_distance_km: float,
    require_overlap: bool = True,
) -> xr.Dataset:
    """Inverse-distance means of the `k` nearest points, plus `<name>_coverage`; dims (..., y, x).

    `ds` has dims (..., cell) and coordinates `lat`, `lon` (degrees). Distances are along great
    circles. Cells whose nearest point is farther than `max_distance_km` are NaN with coverage 0;
    elsewhere coverage is the fraction of the weight whose points have a value. A cell with a point
    at its centre takes the value of that point alone. `InputError` for points without coordinates
    and, unless a tile may be empty (`require_overlap` False), for no cell in reach.
    """
    names = [name for name, da in ds.data_vars.items() if "cell" in da.dims]
    _check(ds, names, k, power, max_distance_km)
    matrix = point_matrix(
        ds["lon"].values, ds["lat"].values, target_grid, k, power, max_distance_km
    )
    if require_overlap and not matrix.index.size:
        raise bad_input(
            f'grid "{target_grid.name}"', f"no point within {max_distance_km} km of any cell",
            "points on the grid", "Compare the bounds, or increase max_distance_km",
        )  # fmt: skip
    coords = target_grid.coords()
    result: dict[str, xr.DataArray] = {}
    for name in names:
        da = ds[name].transpose(..., "cell")
        lead = {key: c for key, c in da.coords.items() if "cell" not in c.dims}
        lead.pop("spatial_ref", None)
        dims, shape = (*da.dims[:-1], "y", "x"), (*da.shape[:-1], *target_grid.shape)
        out, coverage = _means(da, matrix, target_grid.shape)
        attrs = {
            **da.attrs, "grid_mapping": "spatial_ref", "ancillary_variables": f"{name}_coverage",
        }  # fmt: skip
        coverage_attrs = {
            "units": "1", "long_name": f"share of the weight of points with valid {name}",
        }  # fmt: skip
        results = ((name, out, attrs), (f"{name}_coverage", coverage, coverage_attrs))
        for key, array, array_attrs in results:
            result[str(key)] = xr.DataArray(
                array.reshape(shape), dims=dims, coords={**lead, **coords}, attrs=array_attrs
            )
    return xr.Dataset(result, attrs=ds.attrs)


def point_matrix(
    lon: np.ndarray, lat: np.ndarray, grid: TargetGrid, k: int, power: float, max_km: float
) -> Sparse:
    """Inverse-distance weights of points for every cell of the grid, each row summing to 1."""
    tree = cKDTree(unit_vectors(np.asarray(lon, float), np.asarray(lat, float)))
    cell_lon, cell_lat = grid.lonlat()
    k = min(k, tree.n)
    chord, point = tree.query(unit_vectors(cell_lon.ravel(), cell_lat.ravel()), k=k)
    chord, point = chord.reshape(-1, k), point.reshape(-1, k)
    kilometres = 2 * np.arcsin(np.minimum(chord / 2, 1)) * EARTH_RADIUS / 1000
    at_point = kilometres < 1e-6
    with np.errstate(divide="ignore"):
        weight = np.where(
            at_point.any(axis=1, keepdims=True), at_point, kilometres ** -float(power)
        ).astype(float)
    weight /= weight.sum(axis=1, keepdims=True)
    weight[kilometres[:, 0] > max_km] = 0
    used = weight > 0
    begin = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
    return Sparse(begin, point[used].astype(np.int64), weight[used], tree.n)


def _means(
    da: xr.DataArray, matrix: Sparse, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    from pipeline.regridding.kernels import sparse as kernels

    count = math.prod(da.shape[:-1])
    dtype = np.float64 if da.dtype == np.float64 else np.float32
    values = np.asarray(da.values, dtype).reshape(count, 1, -1)
    out = np.empty((count, *shape), dtype)
    coverage = np.empty((count, *shape), np.float32)
    apply_sparse(kernels.sparse_mean, matrix, values, _SMALLEST, 0, out, coverage)
    return out, coverage


def _check(
    ds: xr.Dataset, names: list, k: int, power: float, max_distance_km: float
) -> None:  # fmt: skip
    faults = Faults()
    if not names:
        faults.add("points", "no variable with dim cell", "variables with dims (..., cell)")
    for name in ("lon", "lat"):
        if name not in ds.variables:
            faults.add("points", f"no coordinate {name}", "lat and lon of every cell, in degrees")
        elif not np.isfinite(ds[name].values).all():
            faults.add("points", f"missing values of {name}", "lat and lon of every cell")
    if k < 1 or power <= 0 or max_distance_km <= 0:
        faults.add(
            "points", f"k={k}, power={power}, max_distance_km={max_distance_km}", "positive values"
        )
    faults.raise_if_any()
