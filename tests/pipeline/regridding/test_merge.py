"""Parts of a source merged on the target grid: preference, seams, and equality with the whole."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding.merge import Part, domain_of, extent_of, merged
from pipeline.regridding.regrid import regrid

FINE = TargetGrid.from_bounds("fine", "EPSG:4326", (0, 40, 12, 46), 0.5)


def field(values: np.ndarray, grid: TargetGrid = FINE, **attrs: object) -> xr.Dataset:
    dims = ("time", "y", "x")[-values.ndim :]
    return xr.Dataset(
        {"v": (dims, values.astype(np.float32), {"units": "1", **attrs})},
        {"y": grid.y, "x": grid.x},
    )


def part(
    ds: xr.Dataset, target: TargetGrid, method: str = "mean", min_coverage: float = 0.5
) -> Part:
    result = regrid(ds, target, method, 0.0, require_overlap=False, threads=1)
    extent = extent_of(ds, target, method)
    return Part(
        ds=result, extent=extent, min_coverage=min_coverage, method=method, domain=domain_of(ds)
    )


@st.composite
def cut_fields(draw: st.DrawFn) -> tuple[xr.Dataset, list[xr.Dataset]]:
    """A field with gaps, and its tiles: cut at random rows and columns, two cells or more each."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = rng.normal(size=(2, *FINE.shape)).astype(np.float32)
    values[rng.random(values.shape) < draw(st.sampled_from([0.0, 0.3, 0.8]))] = np.nan
    rows = sorted(draw(st.sets(st.integers(1, FINE.shape[0] // 2 - 1), max_size=2)))
    cols = sorted(draw(st.sets(st.integers(1, FINE.shape[1] // 2 - 1), max_size=3)))
    whole = field(values)
    edges = ([0, *(2 * r for r in rows), FINE.shape[0]], [0, *(2 * c for c in cols), FINE.shape[1]])
    tiles = [
        whole.isel(y=slice(*y), x=slice(*x)) for y in pairwise(edges[0]) for x in pairwise(edges[1])
    ]
    return whole, tiles


targets = st.sampled_from([1.0, 1.5, 2.0, 3.0, 6.0]).map(
    lambda step: TargetGrid.from_bounds("target", "EPSG:4326", (0, 40, 12, 46), step)
)


@settings(max_examples=30, deadline=None)
@given(cut_fields(), targets, st.sampled_from([0.1, 0.5, 0.9]), st.randoms())
def test_merged_tiles_are_the_whole(cut, target: TargetGrid, least: float, random) -> None:
    whole, tiles = cut
    expected = regrid(whole, target, "mean", least, threads=1)
    random.shuffle(tiles)
    result = merged(part(tile, target, min_coverage=least) for tile in tiles)
    np.testing.assert_allclose(
        result["v_coverage"], np.where(expected["v_coverage"] > 0, expected["v_coverage"], 0),
        atol=2e-6,
    )  # fmt: skip
    near = np.abs(expected["v_coverage"].values - least) < 1e-5  # decided by rounding
    a, b = result["v"].values[~near], expected["v"].values[~near]
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)
    assert result["v"].dtype == np.float32
    assert result["v"].attrs == expected["v"].attrs


@settings(max_examples=15, deadline=None)
@given(cut_fields())
def test_merged_tiles_in_another_crs_are_the_whole(cut) -> None:
    whole, tiles = cut
    target = TargetGrid.from_bounds("laea", "EPSG:3035", (3.6e6, 1.95e6, 4.2e6, 2.55e6), 1e5)
    expected = regrid(whole, target, "mean", 0.5, threads=1)
    result = merged(part(tile, target) for tile in tiles)
    near = np.abs(expected["v_coverage"].values - 0.5) < 1e-5
    np.testing.assert_allclose(
        result["v"].values[~near], expected["v"].values[~near], rtol=1e-4, atol=1e-5
    )


def test_fractions_of_tiles_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 3, FINE.shape).astype(np.float32)
    codes[rng.random(codes.shape) < 0.2] = np.nan
    whole = field(codes, flag_values=[0, 1, 2], flag_meanings="sand silt clay")
    target = TargetGrid.from_bounds("target", "EPSG:4326", (0, 40, 12, 46), 3.0)
    tiles = [whole.isel(x=slice(0, 9)), whole.isel(x=slice(9, None))]
    expected = regrid(whole, target, "fractions", 0.5, threads=1)
    result = merged(part(tile, target, "fractions") for tile in tiles)
    assert list(result.data_vars) == list(expected.data_vars)
    for name in expected.data_vars:
        np.testing.assert_allclose(result[name], expected[name], atol=1e-6)


def test_the_first_part_with_enough_valid_area_is_used_in_each_cell_and_step() -> None:
    target = TargetGrid.from_bounds("target", "EPSG:4326", (0, 40, 12, 46), 1.0)
    final, preliminary = np.full((2, *FINE.shape), 1.0), np.full((2, *FINE.shape), 2.0)
    final[0, :, 12:] = np.nan  # the first step lacks the east
    final[1, ::2, :2] = np.nan  # half of a cell, which is enough
    preliminary[0, :4] = np.nan
    result = merged(part(field(values), target) for values in (final, preliminary))
    assert (result["v"].values[0, :, :6] == 1).all()
    assert (result["v"].values[0, 2:, 6:] == 2).all()
    assert np.isnan(result["v"].values[0, :2, 6:]).all()
    assert (result["v"].values[1] == 1).all()
    np.testing.assert_allclose(result["v_coverage"].values[1, :, 0], 0.5, atol=0.01)


def test_an_entry_that_ends_within_a_cell_is_not_mixed_with_one_that_has_all_of_it() -> None:
    """A regional product on a global one is used where it has half of a cell."""
    target = TargetGrid.from_bounds("target", "EPSG:4326", (0, 40, 12, 46), 3.0)
    region = field(np.full(FINE.shape, 7.0)).isel(x=slice(0, 10))  # ends at 5 degrees east
    globe = field(np.full(FINE.shape, 1.0))
    result = merged([part(region, target), part(globe, target)])["v"].values
    assert result.tolist() == [[7.0, 7.0, 1.0, 1.0]] * 2
    assert (merged([part(globe, target), part(region, target)])["v"].values == 1).all()


def test_parts_with_the_same_domain_are_not_averaged_at_its_edge() -> None:
    """Final and preliminary data end within the same target cell: there too the first is used."""
    target = TargetGrid.from_bounds("target", "EPSG:4326", (0, 40, 12, 46), 3.0)
    coarse = TargetGrid.from_bounds("coarse", "EPSG:4326", (0, 40, 4.5, 46), 1.5)
    final = field(np.full(FINE.shape, 7.0)).isel(x=slice(0, 9))  # ends at 4.5 degrees east
    gap = final.assign(v=final["v"] * np.nan)
    same_grid = field(np.full(FINE.shape, 1.0)).isel(x=slice(0, 9))
    for later in (same_grid, field(np.full(coarse.shape, 1.0), coarse)):
        for first, value in ((final, 7.0), (gap, 1.0)):
            parts = [part(ds, target, min_coverage=0.1) for ds in (first, later)]
            found = merged(parts)["v"].values[:, :2]
            assert found.tolist() == [[value, value]] * 2


def test_two_regional_tiles_are_preferred_together_to_the_globe_that_comes_later() -> None:
    target = TargetGrid.from_bounds("target", "EPSG:4326", (0, 40, 12, 46), 6.0)
    tiles = [field(np.full(FINE.shape, v)).isel(x=x) for v, x in
             ((4.0, slice(0, 4)), (8.0, slice(4, 8)))]  # fmt: skip
    globe = field(np.full(FINE.shape, 1.0))
    parts = [part(ds, target, min_coverage=0.6) for ds in (*tiles, globe)]
    assert merged(parts)["v"].values.tolist() == [[6.0, 1.0]]


def test_other_methods_use_the_tile_with_the_larger_part_of_a_seam() -> None:
    target = TargetGrid.from_bounds("target", "EPSG:4326", (0, 40, 6, 46), 6.0)
    one, two = (
        field(np.full(FINE.shape, 350.0), units="degree"),
        field(np.full(FINE.shape, 10.0), units="degree"),
    )
    parts = [part(one.isel(x=slice(0, 5)), target, "circular_mean"),
             part(two.isel(x=slice(5, 12)), target, "circular_mean")]  # fmt: skip
    result = merged(parts)
    assert result["v"].values.tolist() == [[10.0]]
    assert result["v_coverage"].values.tolist() == [[np.float32(7 / 12)]]


def test_a_variable_with_times_in_one_part_only_is_refused() -> None:
    target = TargetGrid.from_bounds("target", "EPSG:4326", (0, 40, 12, 46), 2.0)
    series, static = field(np.ones((2, *FINE.shape))), field(np.ones(FINE.shape))
    with pytest.raises(InputError, match="v: found dimensions y, x in one part"):
        merged([part(series, target), part(static, target)])


def test_the_extent_counts_missing_values_but_not_area_beyond_the_grid() -> None:
    target = TargetGrid.from_bounds("target", "EPSG:4326", (9, 40, 15, 46), 2.0)
    ds = field(np.full(FINE.shape, np.nan))
    np.testing.assert_allclose(extent_of(ds, target, "mean"), [[1, 0.5, 0]] * 3, atol=1e-12)
    fields = {"lat": np.repeat(FINE.y[:, None], 24, 1), "lon": np.repeat(FINE.x[None], 12, 0)}
    rotated = ds.drop_vars(["y", "x"]).assign_coords(
        {k: (("y", "x"), v) for k, v in fields.items()}
    )
    found = extent_of(rotated, target, "mean")
    np.testing.assert_allclose(found, [[1, 0.5, 0]] * 3, atol=1e-3)
