"""Crops of a source yield bitwise the results of the whole, on even and uneven axes, any tile."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.entries.source import Source, Variable
from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding.regrid import regrid, source_window
from pipeline.sources.canonical import canonicalise
from pipeline.sources.crop import cropped
from tests.gridded import grid
from tests.pipeline.regridding.test_regrid_properties import same_bits

VARIABLES = {"v": Variable(long_name="v", units="1")}
some = settings(max_examples=20, deadline=None)
METHODS = ["conservative", "bilinear", "nearest", "std"]


def entry(method: str, **more: object) -> Source:
    return Source.model_validate(
        {"name": "s", "uri": "s.nc", "driver": "netcdf", "method": method, "min_coverage": 0,
         "variables": {"v": {"name": "v", "units": "1"}}, **more}
    )  # fmt: skip


def noise(x: np.ndarray, y: np.ndarray, seed: int) -> xr.Dataset:
    values = np.random.default_rng(seed).random((y.size, x.size)).astype(np.float32)
    return xr.Dataset({"v": (("y", "x"), values)}, {"y": y, "x": x})


def tiles_are_the_whole(ds: xr.Dataset, source: Source, target: TargetGrid, size: int) -> None:
    def on(part: TargetGrid, ds: xr.Dataset) -> xr.Dataset:
        return regrid(
            canonicalise(ds, source, VARIABLES),
            part,
            source.method,
            0,
            require_overlap=False,
            threads=1,
        )

    whole = on(target, ds)
    for row in range(0, target.shape[0], size):
        for col in range(0, target.shape[1], size):
            rows, cols = slice(row, row + size), slice(col, col + size)
            part = target.window(rows, cols)
            crop = cropped(ds, source, source_window(part, source.crs), None)
            same_bits(whole.isel(y=rows, x=cols), on(part, crop))


def uneven(seed: int, low: float, high: float, finest: float, coarsest: float) -> np.ndarray:
    """Return centres whose distances vary by a factor of a hundred, some abruptly."""
    random = np.random.default_rng(seed)
    runs = [
        np.full(random.integers(1, 6), np.exp(random.uniform(np.log(finest), np.log(coarsest))))
        for _ in range(200)
    ]
    centres = low + np.cumsum(np.concatenate(runs))
    return centres[centres < high]


@some
@given(seed=st.integers(0, 10_000), method=st.sampled_from(METHODS), size=st.integers(1, 4),
       south_up=st.booleans(), west=st.sampled_from([-180.0, 0.0, 150.0]),
       width=st.sampled_from([60.0, 300.0, 360.0]), step=st.sampled_from([1.7, 4.0]))  # fmt: skip
def test_tiles_of_uneven_degrees_are_the_whole(
    seed: int, method: str, size: int, south_up: bool, west: float, width: float, step: float
) -> None:
    y = uneven(seed, -70, 80, 0.3, 25.0)
    x = uneven(seed + 1, west, west + width - 0.3, 0.3, 25.0)
    if min(x.size, y.size) < 3:
        return
    ds = noise(x, y if south_up else y[::-1], seed)
    left = 165.0 if seed % 2 else -12.0
    target = grid(left, 30, left + 5 * step, 30 + 5 * step, step)
    tiles_are_the_whole(ds, entry(method), target, size)


@some
@given(seed=st.integers(0, 10_000), method=st.sampled_from(METHODS), size=st.integers(1, 4))
def test_tiles_of_uneven_metres_are_the_whole(seed: int, method: str, size: int) -> None:
    x, y = (uneven(seed + i, -1e6, 1e6, 10_000, 300_000) for i in (0, 1))
    if min(x.size, y.size) < 3:
        return
    target = TargetGrid.from_bounds("a", "EPSG:5070", (-4e5, -4e5, 4e5, 4e5), 100_000)
    tiles_are_the_whole(noise(x, y, seed), entry(method, crs="EPSG:5070"), target, size)


@pytest.mark.parametrize("method", ["conservative", "bilinear"])
def test_rows_that_coarsen_suddenly_leave_no_gap(method: str) -> None:
    """Rows are 0.25° in the tropics and 4° beyond; tiles of one row were missing at 44..50 °N."""
    y = np.concatenate([np.arange(-30, 30, 0.25) + 0.125, np.arange(30, 80, 4.0) + 2])
    x = np.arange(-180, 180, 2.0) + 1
    ds = noise(x, y, 0)
    tiles_are_the_whole(ds, entry(method), grid(0, 44, 10, 50, 1), 1)


def test_an_even_crop_is_as_small_as_it_can_be() -> None:
    ds = noise(-180 + 0.25 * (np.arange(1440) + 0.5), 90 - 0.25 * (np.arange(720) + 0.5), 0)
    for west in (-180, 10, 178):
        crop = cropped(ds, entry("conservative"), (west, 40, west + 2, 42), None)
        edge = west in (-180, 178)
        assert crop.sizes == {"y": 10, "x": 9 if edge else 10}
    assert cropped(ds, entry("bilinear"), (10, 40, 12, 42), None).sizes == {"y": 14, "x": 14}


@pytest.mark.parametrize("method", ["conservative", "bilinear", "nearest"])
def test_tiles_of_a_diagonal_curvilinear_grid_are_the_whole(method: str) -> None:
    """Cells of a diagonal grid extend farther than half the step along either axis."""
    i, j = np.meshgrid(np.arange(12.0), np.arange(12.0))
    values = np.random.default_rng(0).random(i.shape)
    ds = xr.Dataset(
        {"v": (("y", "x"), values)},
        {"lon": (("y", "x"), 10 + i + j, {"units": "degrees_east"}),
         "lat": (("y", "x"), 30 + i - j, {"units": "degrees_north"})},
    )  # fmt: skip
    target = grid(20.85, 28.85, 22.05, 30.05, 0.1)
    tiles_are_the_whole(ds, entry(method), target, 1)
