"""Slope, aspect and curvature of planes and bowls whose derivatives are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding.terrain import terrain

ALBERS = TargetGrid.from_bounds(
    "a", "EPSG:5070", (1_000_000, 1_000_000, 1_040_000, 1_030_000), 1000
)
DEGREES = TargetGrid.from_bounds("g", "EPSG:4326", (-106, 39, -105, 40), 1 / 120)


def elevation(grid: TargetGrid, values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(
        values, dims=("y", "x"), coords=grid.coords(), name="z", attrs={"units": "m"}
    )


@pytest.mark.parametrize(("east", "north"), [(0.1, 0.0), (0.0, -0.2), (0.05, 0.07)])
def test_a_plane_in_degrees_has_its_slope_in_metres(east: float, north: float) -> None:
    geod = pyproj.Geod(ellps="WGS84")
    lon, lat = DEGREES.lonlat()
    _, _, per_x = geod.inv(lon - 0.01, lat, lon + 0.01, lat)
    _, _, per_y = geod.inv(lon, lat - 0.01, lon, lat + 0.01)
    z = east * per_x / 0.02 * (lon + 105.5) + north * np.mean(per_y) / 0.02 * (lat - 39.5)
    result = terrain(elevation(DEGREES, z)).isel(y=slice(50, 70), x=slice(50, 70))
    steep = np.hypot(east, north)
    np.testing.assert_allclose(result.slope, np.rad2deg(np.arctan(steep)), rtol=2e-3)
    np.testing.assert_allclose(result.aspect_sine, -east / steep, atol=5e-3)
    np.testing.assert_allclose(result.aspect_cosine, -north / steep, atol=5e-3)


def test_aspect_on_a_projected_grid_counts_from_true_north() -> None:
    lat = ALBERS.lonlat()[1]
    result = terrain(elevation(ALBERS, -100_000 * np.deg2rad(lat)))  # falls to true north
    np.testing.assert_allclose(result.aspect_cosine, 1, atol=1e-4)
    np.testing.assert_allclose(result.aspect_sine, 0, atol=5e-3)
    grid_north = terrain(elevation(ALBERS, np.repeat(-0.1 * ALBERS.y[:, None], 40, axis=1)))
    assert np.abs(grid_north.aspect_sine).min() > 0.05  # grid north is not north here


def test_a_bowl_has_positive_curvature_and_its_laplacian() -> None:
    x, y = np.meshgrid(ALBERS.x - ALBERS.x.mean(), ALBERS.y - ALBERS.y.mean())
    result = terrain(elevation(ALBERS, 1e-5 * (x**2 + 2 * y**2)))
    inner = result.curvature.isel(y=slice(1, -1), x=slice(1, -1))
    np.testing.assert_allclose(inner, 6e-5, rtol=1e-5)


def test_flat_ground_has_no_direction_and_planes_keep_their_slope_to_the_border() -> None:
    flat = terrain(elevation(ALBERS, np.full(ALBERS.shape, 12.0)))
    for name in flat.data_vars:
        assert (flat[name] == 0).all()
    plane = terrain(elevation(ALBERS, np.repeat(0.2 * ALBERS.x[None], 30, axis=0)))
    np.testing.assert_allclose(plane.slope, np.rad2deg(np.arctan(0.2)), rtol=1e-5)


def test_missing_elevation_stays_missing_and_neighbours_do_not() -> None:
    z = np.repeat(0.2 * ALBERS.x[None], 30, axis=0)
    z[10, 10] = np.nan
    result = terrain(elevation(ALBERS, z))
    assert np.isnan(result.slope.values).sum() == 1
    np.testing.assert_allclose(
        result.slope.values[np.isfinite(z)], np.rad2deg(np.arctan(0.2)), rtol=1e-5
    )


def test_columns_are_periodic_on_a_global_grid() -> None:
    globe = TargetGrid.from_bounds("g", "EPSG:4326", (-180, -90, 180, 90), 5.0)
    lon, lat = np.deg2rad(globe.lonlat())
    z = 1000 * np.cos(lat) * np.cos(lon)
    slope = terrain(elevation(globe, z)).slope.values
    rolled = terrain(elevation(globe, np.roll(z, 11, axis=1))).slope.values
    np.testing.assert_allclose(np.roll(slope, 11, axis=1), rolled, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("grid", [DEGREES, ALBERS], ids=["degrees", "albers"])
def test_blocks_and_lazy_elevation_change_no_bit(
    grid: TargetGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    z = rng.random(grid.shape, np.float32) * 1000
    z[rng.random(grid.shape) < 0.1] = np.nan
    whole = terrain(elevation(grid, z))
    monkeypatch.setattr("pipeline.regridding.terrain.BLOCK_CELLS", 5 * grid.shape[1])
    xr.testing.assert_identical(terrain(elevation(grid, z)), whole)
    elevation(grid, z).to_netcdf(tmp_path / "z.nc")
    with xr.open_dataset(tmp_path / "z.nc", decode_coords="all", cache=False) as ds:
        lazy = terrain(ds["z"])
        assert not lazy["slope"].variable._in_memory
        for rows, cols in ((slice(3, 17), slice(2, 9)), (slice(20, 4, -3), 5), (0, slice(None))):
            for name in whole.data_vars:
                found = lazy[name][rows, cols].values
                np.testing.assert_array_equal(found, whole[name].values[rows, cols])
        xr.testing.assert_equal(lazy.load(), whole)


def test_attributes_and_refusals() -> None:
    da = elevation(ALBERS, np.zeros(ALBERS.shape))
    result = terrain(da)
    assert result.slope.attrs["units"] == "degree"
    assert result.slope.dtype == np.float32
    assert "standard_name" not in result.slope.attrs
    with pytest.raises(InputError, match="elevation in m"):
        terrain(da.assign_attrs(units="ft"))
    with pytest.raises(InputError, match="north-up"):
        terrain(da.isel(y=slice(None, None, -1)))
