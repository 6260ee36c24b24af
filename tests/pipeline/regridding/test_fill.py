"""Small gaps take the nearest value, never farther than allowed, never off land, always marked."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from pipeline.core.errors import InputError
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import padded_window, tile_grid
from pipeline.regridding.fill import fill_gaps

GRID = TargetGrid.from_bounds("g", "EPSG:4326", (0, 0, 20, 15), 1.0)


def field(seed: int, share: float = 0.5) -> xr.Dataset:
    random = np.random.default_rng(seed)
    values = random.random((2, *GRID.shape)).astype(np.float32)
    values[random.random(values.shape) < share] = np.nan
    return xr.Dataset({"v": (("time", "y", "x"), values)}, coords=GRID.coords())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), reach=st.sampled_from([1, 1.5, 2, 3.2]))
def test_gaps_within_reach_are_filled_and_marked(seed: int, reach: float) -> None:
    ds, land = field(seed, 0.8), np.random.default_rng(seed).random(GRID.shape) < 0.8
    filled, mask = fill_gaps(ds, land, reach)
    for time in range(2):
        before, after = ds.v.values[time], filled.v.values[time]
        gap = np.isnan(before)
        distance = distance_transform_edt(gap)
        expected = gap & land & (distance <= reach)
        np.testing.assert_array_equal(mask.v.values[time], expected)
        np.testing.assert_array_equal(np.isnan(after), gap & ~expected)
        np.testing.assert_array_equal(after[~gap], before[~gap])
        assert set(after[expected]) <= set(before[~gap])


def test_tiles_with_a_halo_fill_alike() -> None:
    ds, land = field(3, 0.7), np.ones(GRID.shape, bool)
    whole, mask = fill_gaps(ds, land, 3)
    for tile in tile_grid(GRID, 6):
        grid, inside = padded_window(GRID, tile, 3)
        read = {"y": np.isin(GRID.y, grid.y), "x": np.isin(GRID.x, grid.x)}
        result, marked = fill_gaps(ds.isel(read), land[np.ix_(read["y"], read["x"])], 3)
        core = {"y": inside.rows, "x": inside.cols}
        xr.testing.assert_identical(result.v[core], whole.v.isel(y=tile.rows, x=tile.cols))
        xr.testing.assert_identical(marked.v[core], mask.v.isel(y=tile.rows, x=tile.cols))


def test_the_globe_is_periodic() -> None:
    globe = TargetGrid.from_bounds("g", "EPSG:4326", (-180, -90, 180, 90), 10.0)
    values = np.full(globe.shape, np.nan)
    values[5, 35] = 7
    ds = xr.Dataset({"v": (("y", "x"), values)}, coords=globe.coords())
    filled, mask = fill_gaps(ds, np.ones(globe.shape, bool), 1)
    assert filled.v.values[5, 0] == 7
    assert mask.v.values.sum() == 4


def test_coverage_is_passed_through_and_shapes_must_agree() -> None:
    ds = field(0)
    ds["v_coverage"] = ds.v * np.nan
    filled, mask = fill_gaps(ds, np.ones(GRID.shape, bool), 2)
    xr.testing.assert_identical(filled.v_coverage, ds.v_coverage)
    assert list(mask.data_vars) == ["v"]
    with pytest.raises(InputError, match="land mask"):
        fill_gaps(ds, np.ones((3, 3), bool), 2)
