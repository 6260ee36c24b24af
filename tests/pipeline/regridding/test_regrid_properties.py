"""Properties of every regrid: constants, integrals, frames, row order, tiles, seams and poles."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import tile_grid
from pipeline.regridding.regrid import METHODS, operator_for, regrid, source_window
from tests.gridded import globe, grid, source, with_gaps

fifteen_examples = settings(max_examples=15, deadline=None)
NUMBERS = sorted(set(METHODS) - {"mode", "fractions", "std"})
ALBERS = TargetGrid.from_bounds("a", "EPSG:5070", (-2e6, 0, 2e6, 3e6), 250_000)
POLAR = TargetGrid.from_bounds("p", "EPSG:3413", (-3e6, -3e6, 3e6, 3e6), 500_000)
GLOBE = grid(-180, -90, 180, 90, 7.5)
TARGETS = [GLOBE, grid(0, -60, 360, 84, 9), grid(170, 20, 201, 51, 3.1), ALBERS, POLAR,
           TargetGrid.from_bounds("e", "EPSG:6933", (-9e6, 2e6, -6e6, 5e6), 300_000)]  # fmt: skip
anywhere = st.sampled_from(TARGETS)


def same_bits(a: xr.Dataset, b: xr.Dataset) -> None:
    assert set(a.data_vars) == set(b.data_vars)
    for name in a.data_vars:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=str(name))


@fifteen_examples
@given(target=anywhere, method=st.sampled_from([*NUMBERS, "mode"]), value=st.integers(0, 359),
       missing=st.sampled_from([0.0, 0.4]))  # fmt: skip
def test_a_constant_comes_back_exactly(
    target: TargetGrid, method: str, value: int, missing: float
) -> None:
    constant = np.float32(value + (0.1 if method != "mode" else 0))
    ds = with_gaps(globe(4.0, lambda x, y: np.full_like(x, constant)).astype(np.float32), missing)
    result = regrid(ds.assign(v=ds.v.assign_attrs(units="degree")), target, method, 0.2).v.values
    assert np.isfinite(result).any()
    assert (result[np.isfinite(result)] == constant).all()
    spread = regrid(ds, target, "std", 0.2).v.values
    assert (spread[np.isfinite(spread)] == 0).all()


@fifteen_examples
@given(step=st.sampled_from([2.5, 4.0, 7.5]), onto=st.sampled_from([1.8, 3.0, 10.0]),
       seed=st.integers(0, 99))  # fmt: skip
def test_a_conservative_regrid_keeps_the_integral(step: float, onto: float, seed: int) -> None:
    ds = globe(step)
    ds.v.values[:] = np.random.default_rng(seed).random(ds.v.shape)
    target, source = grid(-180, -90, 180, 90, onto), grid(-180, -90, 180, 90, step)
    before = (ds.v.values * source.cell_area()).sum()
    after = (regrid(ds, target, "conservative").v.values * target.cell_area()).sum()
    np.testing.assert_allclose(after, before, rtol=1e-12)


def test_a_warp_uses_every_source_cell_once() -> None:
    ds = globe(2.0)
    matrix = operator_for(ds, POLAR, "conservative").sparse(POLAR)
    heights = -np.diff(np.sin(np.deg2rad(90 - 2.0 * np.arange(91))))
    source_area = np.repeat(heights * np.deg2rad(2.0), 180)
    entries = [slice(*pair) for pair in zip(matrix.begin, matrix.begin[1:], strict=False)]
    handed = np.zeros(ds.v.size)
    for cell in entries:  # a cell's area, from the source cells that lie wholly in it
        area = (source_area[matrix.index[cell]] / matrix.weight[cell]).min()
        handed[matrix.index[cell]] += matrix.weight[cell] * area
    share = (handed / source_area).reshape(ds.v.shape)
    np.testing.assert_allclose(share[:13], 1, rtol=1e-9)  # the pole's cap lies inside the grid
    assert share.max() < 1 + 1e-9
    weights = np.array([matrix.weight[cell].sum() for cell in entries])
    np.testing.assert_allclose(weights, 1, rtol=1e-9)


@fifteen_examples
@given(target=anywhere, method=st.sampled_from(sorted(METHODS)), turn=st.integers(0, 90),
       step=st.sampled_from([4.0, 0.1 * 45, 3.6]))  # fmt: skip
def test_longitude_frame_and_row_order_change_no_bit(
    target: TargetGrid, method: str, turn: int, step: float
) -> None:
    ds = with_gaps(globe(step)).isel(time=0, missing_dims="ignore")
    if method in {"mode", "fractions"}:
        ds = ds.assign(v=np.floor(ds.v * 3).assign_attrs(flag_values=[0, 1, 2]))
    ds.v.attrs["units"] = "degree"
    here = regrid(ds, target, method)
    there = ds.roll(x=-turn, roll_coords=True)
    same_bits(here, regrid(there.assign_coords(x=there.x.values % 360), target, method))
    same_bits(here, regrid(there.isel(y=slice(None, None, -1)), target, method))
    same_bits(here, regrid(ds.isel(x=slice(None, None, -1)), target, method))


@fifteen_examples
@given(target=anywhere, method=st.sampled_from(sorted(METHODS)), size=st.integers(3, 25),
       threads=st.integers(1, 3), lazy=st.booleans())  # fmt: skip
def test_tiles_threads_and_chunks_change_no_bit(
    target: TargetGrid, method: str, size: int, threads: int, lazy: bool
) -> None:
    ds = xr.concat([with_gaps(globe(5.0), seed=s) for s in range(3)], "time")
    ds = ds.assign(v=np.floor(ds.v * 3).astype(np.float32).assign_attrs(units="degree"))
    ds.v.attrs["flag_values"] = [0, 1, 2]
    whole = regrid(ds, target, method, threads=1)
    pieces = ds.chunk(time=2, y=7, x=11) if lazy else ds
    for tile in tile_grid(target, size):
        part = target.window(tile.rows, tile.cols)
        result = regrid(pieces, part, method, threads=threads, require_overlap=False)
        same_bits(whole.isel(y=tile.rows, x=tile.cols), result)
        np.testing.assert_array_equal(result.x, whole.x[tile.cols])


@fifteen_examples
@given(target=anywhere, method=st.sampled_from(sorted(METHODS)))
def test_a_crop_with_a_margin_changes_no_bit(target: TargetGrid, method: str) -> None:
    ds = globe(3.0).astype(np.float32)
    ds = ds.assign(v=np.floor(ds.v * 3).assign_attrs(units="degree", flag_values=[0, 1, 2]))
    part = target.window(slice(2, 6), slice(3, 6))
    west, south, east, north = source_window(part, resolution=3.0)
    middle = (west + east) / 2
    inside = np.abs((ds.x - middle + 180) % 360 - 180) <= (east - west) / 2
    crop = ds.isel(x=np.flatnonzero(inside), y=np.flatnonzero((ds.y >= south) & (ds.y <= north)))
    same_bits(regrid(ds, part, method), regrid(crop, part, method))


@pytest.mark.parametrize("target", TARGETS)
def test_fractions_sum_to_one_and_mode_is_the_largest(target: TargetGrid) -> None:
    codes = np.random.default_rng(0).integers(1, 5, (90, 180)).astype(np.uint8)
    ds = globe(2.0)
    ds = source(codes, ds.y.values, ds.x.values, flag_values=[1, 2, 3, 4])
    shares = regrid(ds, target, "fractions")
    stack = np.stack([shares[f"v_fraction_{c}"].values for c in (1, 2, 3, 4)])
    covered = np.isfinite(stack[0])
    assert covered.any()
    np.testing.assert_allclose(stack.sum(axis=0)[covered], 1, rtol=1e-6)
    mode = regrid(ds, target, "mode").v.values[covered].astype(int)
    largest = np.take_along_axis(stack[:, covered], mode[None] - 1, axis=0)[0]
    np.testing.assert_allclose(largest, stack[:, covered].max(axis=0), atol=1e-7)


@fifteen_examples
@given(min_coverage=st.sampled_from([0.0, 0.3, 0.5, 1.0]), target=anywhere)
def test_values_are_valid_exactly_where_coverage_suffices(
    min_coverage: float, target: TargetGrid
) -> None:
    ds = with_gaps(globe(3.0).astype(np.float32), 0.4)
    for method in ("conservative", "bilinear", "nearest", "std"):
        result = regrid(ds, target, method, min_coverage)
        enough = result.v_coverage.values > min_coverage
        assert np.isfinite(result.v.values[enough]).all()
        scarce = result.v_coverage.values < min_coverage - 1e-6
        assert np.isnan(result.v.values[scarce | (result.v_coverage.values == 0)]).all()
        assert result.v_coverage.min() >= 0
        assert result.v_coverage.max() <= 1


def test_a_window_over_the_antimeridian_continues_across_it() -> None:
    ds = globe(1.0, lambda x, y: np.cos(np.deg2rad(x)) * np.cos(np.deg2rad(y)))
    target = grid(174, -6, 186, 6, 0.5)
    lon, lat = target.lonlat()
    expected = np.cos(np.deg2rad(lon)) * np.cos(np.deg2rad(lat))
    for method in ("bilinear", "conservative"):
        result = regrid(ds, target, method)
        assert (result.v_coverage == 1).all()
        np.testing.assert_allclose(result.v, expected, atol=2e-3)


def test_poles_are_covered_and_smooth() -> None:
    ds = globe(1.0, lambda x, y: np.sin(np.deg2rad(y)))
    for crs, sign in (("EPSG:3413", 1), ("EPSG:3031", -1)):
        for half in (1e6, 1.25e6):  # the pole on a corner, and inside a cell
            target = TargetGrid.from_bounds(
                "p", crs, (-half, -half, half, half), 250_000 if half == 1e6 else 500_000
            )
            result = regrid(ds, target, "conservative")
            np.testing.assert_allclose(result.v_coverage, 1)
            _, lat = target.lonlat()
            np.testing.assert_allclose(result.v, np.sin(np.deg2rad(lat)), atol=2e-3)
            assert (np.sign(result.v) == sign).all()


def test_cells_torn_by_the_projection_are_missing_and_not_smeared() -> None:
    """A sinusoidal source has its seam at 180 degrees; cells across it have no polygon there."""
    y = 6e6 - 1e5 * (np.arange(120) + 0.5)
    x = -20e6 + 1e5 * (np.arange(400) + 0.5)
    values = np.repeat(x[None], y.size, axis=0)
    ds = source(values, y, x, crs="+proj=sinu +R=6371007.181 +units=m")
    target = grid(170, -20, 191, 22, 3)
    result = regrid(ds, target, "conservative", min_coverage=0.3)
    across = np.abs(target.x - 180) < 1.4
    assert result.v[:, across].isnull().all()
    assert (result.v[:, target.x < 178] > 15e6).all()
    assert (result.v[:, target.x > 182] < -15e6).all()
