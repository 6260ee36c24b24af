"""Tiles of the regrid stage with filled gaps: whatever the tiles, the same cube."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import pipeline.regrid_tile
from pipeline.build import held_bytes, template_of
from pipeline.core.errors import InputError
from pipeline.cube.open import open_cube
from pipeline.cube.write import create_cube
from pipeline.entries.source import Source, Variable
from pipeline.grid.named_grids import read_grids
from pipeline.grid.target_grid import TargetGrid
from pipeline.regrid_tile import RegridTask, regrid_source, regrid_tile
from pipeline.regridding.fill import GapFilling

GRID = TargetGrid.from_bounds("g", "EPSG:4326", (-180, -60, 180, 60), 10.0)
VARIABLES = {
    name: Variable(long_name=name, units="1") for name in ("rain", "land_fraction", "truth")
}


def source(folder: Path, name: str, values: np.ndarray) -> Source:
    y, x = 55 - 10.0 * np.arange(12), -175 + 10.0 * np.arange(36)
    dims, coords = ("time", "lat", "lon"), {"lat": y, "lon": x}
    if values.ndim == 2:
        dims = dims[1:]
    else:
        coords["time"] = np.array(["2001-01-01", "2001-01-02"], "datetime64[ns]")
    da = xr.DataArray(values.astype(np.float32), coords, dims, name, {"units": "1"})
    da.to_netcdf(folder / f"{name}.nc")
    return Source.model_validate(
        {"name": name, "uri": str(folder / f"{name}.nc"), "driver": "netcdf", "method": "mean",
         "variables": {name: {"name": name}}}
    )  # fmt: skip


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> RegridTask:
    folder = tmp_path_factory.mktemp("sources")
    random = np.random.default_rng(2)
    rain, truth = random.random((2, 12, 36)), random.random((2, 12, 36))
    rain[:, random.random((12, 36)) < 0.3] = np.nan
    rain[:, 4, [0, 35]] = np.nan  # a gap across the antimeridian
    rain[1, 8, 8:10] = np.nan
    truth[:, 5] = np.nan
    land = np.ones((12, 36))
    land[:3, :10] = 0
    tables = {"rain": rain, "land_fraction": land, "truth": truth}
    sources = tuple(source(folder, name, values) for name, values in tables.items())
    filling = GapFilling(distance=2, land_fraction="land_fraction", never=("truth",))
    return RegridTask(folder / "none", GRID, sources, VARIABLES, filling=filling)


def cube(task: RegridTask, path: Path, tile: tuple[int, int]) -> xr.Dataset:
    copy = replace(task, store=path)
    template = template_of(copy, tile)
    create_cube(path, template, {})
    for one in template.tiles:
        regrid_tile(copy, one)
    return open_cube(path).load()


@pytest.mark.parametrize("tile", [(4, 6), (5, 7), (12, 9), (3, 36)])
def test_any_tiling_fills_the_same_cells(task: RegridTask, tmp_path: Path, tile: tuple[int, int]):
    whole, tiled = cube(task, tmp_path / "a.zarr", (12, 36)), cube(task, tmp_path / "b.zarr", tile)
    for name in whole.data_vars:
        np.testing.assert_array_equal(tiled[name].values, whole[name].values, err_msg=str(name))


def test_gaps_on_land_alone_are_filled_and_flagged(task: RegridTask, tmp_path: Path) -> None:
    filled = cube(task, tmp_path / "a.zarr", (6, 12))
    raw = cube(replace(task, filling=None), tmp_path / "b.zarr", (6, 12))
    assert "input_is_filled" not in raw
    gap = raw["rain"].isnull().values
    now = filled["rain"].isnull().values
    sea = raw["land_fraction"].values == 0
    assert (gap & ~now)[:, 4, [0, 35]].all()
    assert (gap[:, sea] == now[:, sea]).all()
    np.testing.assert_array_equal(filled["input_is_filled"].values == 1, (gap & ~now).any(0))
    np.testing.assert_array_equal(filled["rain"].values[~gap], raw["rain"].values[~gap])


def test_the_target_is_never_filled(task: RegridTask, tmp_path: Path) -> None:
    filled = cube(task, tmp_path / "a.zarr", (6, 12))
    assert filled["truth"].isnull().values[:, 5].all()
    assert not filled["truth"].isnull().values[:, 4].any()


def test_a_grid_may_be_that_of_a_file(task: RegridTask, tmp_path: Path) -> None:
    path = tmp_path / "grids.yml"
    path.write_text(f"same:\n  like: {task.sources[0].uri}\n")
    assert read_grids(path)["same"].bounds == GRID.bounds
    assert read_grids(path)["same"].shape == GRID.shape
    path.write_text("same:\n  like: nowhere.tif\n")
    with pytest.raises(InputError, match=r"nowhere.tif: found no such file"):
        read_grids(path)


@pytest.mark.parametrize("rows", [slice(0, 1), slice(11, 12), slice(4, 6)])
def test_tiles_beyond_a_source_are_missing_with_no_coverage(
    task: RegridTask, tmp_path: Path, rows: slice
) -> None:
    values = np.arange(12.0 * 36).reshape(12, 36)
    whole = source(tmp_path, "rain", values)
    with xr.open_dataset(whole.uri) as ds:
        tropics = ds.isel(lat=slice(4, 8), lon=slice(10, 14)).load()
    tropics.to_netcdf(tmp_path / "tropics.nc")
    small = whole.model_copy(update={"uri": str(tmp_path / "tropics.nc")})
    for method in ("mean", "bilinear", "conservative", "nearest"):
        entry = small.model_copy(update={"method": method})
        for cols in (slice(0, 5), slice(30, 36), slice(8, 16)):
            ds = regrid_source(task, entry, GRID.window(rows, cols))
            inside = np.zeros(GRID.shape, bool)
            inside[4:8, 10:14] = True
            np.testing.assert_array_equal(ds["rain"].notnull(), inside[rows, cols])
            np.testing.assert_array_equal(ds["rain_coverage"] > 0, inside[rows, cols])


@pytest.fixture(scope="module")
def long_task(tmp_path_factory: pytest.TempPathFactory) -> RegridTask:
    """Two sources of 2,500 days and one without time; no gaps are filled."""
    folder = tmp_path_factory.mktemp("long")
    random = np.random.default_rng(4)
    sources = []
    for name, days in (("rain", 2500), ("land_fraction", 0), ("truth", 2600)):
        one = source(folder, name, random.random((12, 36)))
        if days:
            values = random.random((days, 12, 36)).astype(np.float32)
            values[:, 3:5, 7:9] = np.nan
            time = np.datetime64("2001-01-01", "ns") + np.arange(days) * np.timedelta64(1, "D")
            with xr.open_dataset(one.uri) as ds:
                degrees = {n: ds[n].values for n in ("lat", "lon")}
            da = xr.DataArray(values, {"time": time, **degrees}, ("time", "lat", "lon"), name,
                              {"units": "1"})  # fmt: skip
            da.to_netcdf(folder / f"{name}_long.nc")
            one = one.model_copy(update={"uri": str(folder / f"{name}_long.nc")})
        sources.append(one)
    cut = sources[2].time.model_copy(update={"period": (date(2001, 1, 1), date(2007, 11, 5))})
    sources[2] = sources[2].model_copy(update={"time": cut})
    return RegridTask(folder / "none", GRID, tuple(sources), VARIABLES)


def test_shards_in_time_change_no_value_and_are_filled_one_by_one(
    long_task: RegridTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = {}
    for name, steps in (("one", 4096), ("cut", 1024)):
        copy = replace(long_task, store=tmp_path / f"{name}.zarr")
        template = template_of(copy, (6, 12), steps)
        create_cube(copy.store, template, {})
        summaries = [regrid_tile(copy, tile) for tile in template.tiles]
        stores[name] = open_cube(copy.store).load(), summaries
    (one, whole), (cut, parts) = stores["one"], stores["cut"]
    assert one.sizes["time"] == 2500
    xr.testing.assert_identical(one, cut)
    assert len(list((tmp_path / "cut.zarr/rain/c/2").rglob("*"))) > 0
    for a, b in zip(whole, parts, strict=True):
        assert {k: (v["valid"], v.get("max")) for k, v in a.items()} == {
            k: (v["valid"], v.get("max")) for k, v in b.items()
        }
        assert [len(b[name]["shards"]) for name in ("rain", "land_fraction")] == [3, 1]
    steps = []
    real = pipeline.regrid_tile.regrid
    monkeypatch.setattr(
        pipeline.regrid_tile, "regrid",
        lambda ds, *a, **k: steps.append(ds.sizes.get("time", 0)) or real(ds, *a, **k),
    )  # fmt: skip
    copy = replace(long_task, store=tmp_path / "cut.zarr")
    regrid_tile(copy, template_of(copy, (6, 12), 1024).tiles[0])
    assert max(steps) == 1024, "more than a shard was held"


def test_sources_of_other_times_are_named_with_the_cure(long_task: RegridTask) -> None:
    whole = long_task.sources[2]
    uncut = whole.model_copy(update={"time": whole.time.model_copy(update={"period": None})})
    task = replace(long_task, sources=(*long_task.sources[:2], uncut))
    with pytest.raises(InputError, match=r"truth.*2600 steps.*2500 steps.*period: \[first day"):
        template_of(task, (6, 12))
    late = whole.time.model_copy(update={"period": (date(2001, 1, 1), date(2010, 1, 1))})
    task = replace(long_task, sources=(whole.model_copy(update={"time": late}),))
    with pytest.raises(InputError, match="the period 2001-01-01 to 2010-01-01"):
        template_of(task, (6, 12))


def series_source(folder: Path, name: str, times: pd.DatetimeIndex) -> Source:
    one = source(folder, name, np.ones((12, 36)))
    with xr.open_dataset(one.uri) as ds:
        da = ds[name].load().expand_dims(time=times)
    path = folder / f"{name}_{len(list(folder.iterdir()))}.nc"
    da.to_netcdf(path)
    return one.model_copy(update={"uri": str(path)})


def test_noon_and_midnight_go_together_and_other_stamps_are_reported(tmp_path: Path) -> None:
    def times(**second: object) -> np.ndarray:
        pair = (
            series_source(tmp_path, "rain", pd.date_range("2001-01-01", periods=12, freq="MS")),
            series_source(tmp_path, "truth", pd.date_range(periods=12, **second)),
        )
        template = template_of(RegridTask(tmp_path / "none", GRID, pair, VARIABLES), (6, 12))
        assert template.time is not None
        return template.time.values

    assert times(start="2001-01-01T12", freq="MS")[1] == np.datetime64("2001-02-01", "ns")
    with pytest.raises(InputError) as caught:
        times(start="2001-01-16", freq=pd.DateOffset(months=1))
    text = str(caught.value)
    assert "12 steps from 2001-01-16 to 2001-12-16, with 2001-01-16" in text
    assert "12 steps from 2001-01-01 to 2001-12-01, without 2001-01-16" in text
    assert "months must be stamped on the same day" in text
    assert "Cut the longer" not in text


def test_a_plan_counts_one_shard_of_one_source(long_task: RegridTask) -> None:
    template = template_of(long_task, (6, 12), 1024)
    assert held_bytes(long_task, template) == 2 * 1024 * 6 * 12 * 4
    assert held_bytes(replace(long_task, filling=GapFilling(distance=1)), template) is None
