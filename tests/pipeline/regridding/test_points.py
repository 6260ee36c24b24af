"""Scattered points onto a grid: inverse distances, reach, missing values, tiles."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.grid.crs import EARTH_RADIUS
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import tile_grid
from pipeline.regridding.points import regrid_points

GRID = TargetGrid.from_bounds("d", "EPSG:4326", (-76, 39, -74, 42), 0.25)


def points(n: int = 60, times: int = 3) -> xr.Dataset:
    random = np.random.default_rng(0)
    values = random.random((times, n)).astype(np.float32)
    return xr.Dataset(
        {"p": (("time", "cell"), values), "s": (("cell",), values[0])},
        coords={"lon": ("cell", random.uniform(-76, -74, n)), "cell": np.arange(n),
                "lat": ("cell", random.uniform(39, 42, n)), "time": np.arange(times)},
    )  # fmt: skip


def haversine(lon: float, lat: float, lons: np.ndarray, lats: np.ndarray) -> np.ndarray:
    a, b, dlon = np.deg2rad(lat), np.deg2rad(lats), np.deg2rad(lons - lon)
    h = np.sin((b - a) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(dlon / 2) ** 2
    return 2 * EARTH_RADIUS / 1000 * np.arcsin(np.sqrt(h))


def test_values_are_inverse_distance_means_of_the_nearest() -> None:
    ds = points()
    result = regrid_points(ds, GRID, k=4, power=2, max_distance_km=60)
    assert result.p.dims == ("time", "y", "x")
    assert result.s.dims == result.s_coverage.dims == ("y", "x")
    reached = 0
    for row in range(0, 12, 3):
        for col in range(8):
            km = haversine(GRID.x[col], GRID.y[row], ds.lon.values, ds.lat.values)
            near = np.argsort(km)[:4]
            value = result.p.values[:, row, col]
            if km[near[0]] > 60:
                assert np.isnan(value).all()
                continue
            weight = km[near] ** -2.0
            expected = (ds.p.values[:, near] * weight).sum(axis=1) / weight.sum()
            np.testing.assert_allclose(value, expected, rtol=1e-6)
            reached += 1
    assert reached > 10


def test_missing_values_leave_the_weights_of_the_others() -> None:
    ds = points()
    ds.p.values[1, ::2] = np.nan
    result = regrid_points(ds, GRID, max_distance_km=500)
    assert (result.p_coverage.sel(time=0) == 1).all()
    part = result.p_coverage.sel(time=1)
    assert part.min() < 1
    np.testing.assert_array_equal(result.p.sel(time=1).isnull(), part == 0)


def test_a_cell_takes_the_value_of_a_point_at_its_centre() -> None:
    ds = points(10)
    ds = ds.assign_coords(lon=ds.lon.copy(data=np.r_[GRID.x[3], ds.lon.values[1:]]),
                          lat=ds.lat.copy(data=np.r_[GRID.y[5], ds.lat.values[1:]]))  # fmt: skip
    result = regrid_points(ds, GRID, max_distance_km=500)
    np.testing.assert_array_equal(result.p[:, 5, 3], ds.p[:, 0])


def test_constants_are_exact_and_cells_out_of_reach_are_empty() -> None:
    ds = points().map(lambda da: da * 0 + np.float32(0.1))
    result = regrid_points(ds, GRID, max_distance_km=8)
    near = result.s_coverage.values == 1
    assert 0 < near.mean() < 1
    assert (result.s.values[near] == np.float32(0.1)).all()
    assert np.isnan(result.s.values[~near]).all()
    assert (result.s_coverage.values[~near] == 0).all()


def test_tiles_have_the_bits_of_the_whole() -> None:
    ds = points()
    whole = regrid_points(ds, GRID, max_distance_km=40)
    for tile in tile_grid(GRID, (5, 3)):
        part = regrid_points(ds, GRID.window(tile.rows, tile.cols), max_distance_km=40)
        for name in ("p", "p_coverage", "s"):
            assert part[name].values.tobytes() == (
                whole[name].isel(y=tile.rows, x=tile.cols).values.tobytes()
            )


def test_bad_points_are_refused_with_every_reason() -> None:
    with pytest.raises(InputError) as error:
        regrid_points(points().drop_vars(["lat"]), GRID, k=0, max_distance_km=5)
    assert len(error.value.faults) == 2
    far = points().assign_coords(lat=points().lat - 60)
    with pytest.raises(InputError, match="no point within"):
        regrid_points(far, GRID, max_distance_km=5)
    lost = points()
    lost.lon.values[0] = np.nan
    with pytest.raises(InputError, match="missing values of lon"):
        regrid_points(lost, GRID, max_distance_km=5)


def test_a_tile_without_points_is_empty_where_it_may_be() -> None:
    far = points().assign_coords(lat=points().lat - 60)
    found = regrid_points(far, GRID, max_distance_km=5, require_overlap=False)
    for name in points().data_vars:
        assert np.isnan(found[name].values).all()
        assert (found[f"{name}_coverage"].values == 0).all()
