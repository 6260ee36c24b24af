"""build_cube(): a cube without a run, whole after any interruption, and never a mixture of two."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.build import build_cube
from pipeline.catalog.catalog import Catalog, read_catalog
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.execution.cluster import ClusterConfig, connect
from pipeline.execution.executor import HERE, Executor
from pipeline.execution.ledger import Ledger
from pipeline.execution.overlap import Overlapped
from pipeline.execution.run import StageError
from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding.fill import GapFilling
from pipeline.regridding.regrid import regrid
from pipeline.sources.open import check_source, open_source
from tests.conftest import ROOT
from tests.cubes import contents

GRID = TargetGrid.from_bounds("plains", "EPSG:4326", (-108, 36, -100, 44), 1.0)
ENTRIES = """
rain:
  uri: ${data}/rain.nc
  driver: netcdf
  variables: {precipitation: {name: rain, units: mm/day}}
heat:
  uri: ${data}/heat.nc
  driver: netcdf
  method: bilinear
  variables: {air_temperature: {name: heat, units: degC}}
heights:
  uri: ${data}/heights.nc
  driver: netcdf
  method: mean
  variables: {elevation: {name: heights, units: m}}
"""
NAMES = ("rain", "heat", "heights")


def write_sources(folder: Path) -> None:
    """40 days of rain and heat, and heights, on half a degree; with a gap and a stripe of sea."""
    rng = np.random.default_rng(5)
    lat, lon = 44.75 - 0.5 * np.arange(20), -108.75 + 0.5 * np.arange(20)
    days = pd.date_range("2001-01-01", periods=40)
    for name, units, steps in (("rain", "mm/day", 40), ("heat", "degC", 40), ("heights", "m", 0)):
        values = rng.random((steps or 1, 20, 20)).astype(np.float32) * 9
        values[:, :, -3:] = np.nan
        values[3:5, 8:10, 8:10] = np.nan
        coords: dict[str, Any] = {"lat": lat, "lon": lon}
        if steps:
            coords = {"time": days, **coords}
        field = values if steps else values[0]
        da = xr.DataArray(field, coords, tuple(coords), name, {"units": units})
        da.to_netcdf(folder / f"{name}.nc")
    (folder / "catalog.yml").write_text(ENTRIES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sources")
    write_sources(made)
    return made


@pytest.fixture(scope="module")
def catalog(folder: Path) -> Catalog:
    return read_catalog(folder / "catalog.yml", data=folder)


def test_the_cube_is_the_result_of_regridding_each_source(catalog: Catalog, tmp_path: Path) -> None:
    cube = build_cube(tmp_path / "a.zarr", GRID, catalog.select(*NAMES), tile=(3, 5))
    for name in NAMES:
        source = catalog[name]
        expected = regrid(open_source(source, on=GRID), GRID, source.method, source.min_coverage)
        for variable in expected.data_vars:
            np.testing.assert_array_equal(cube[variable].values, expected[variable].values)
    assert cube.sizes == {"time": 40, "y": 8, "x": 8}
    assert cube.attrs["sources"]["rain"]["uri"] == catalog["rain"].uri
    assert cube.attrs["config"]["tile"] == [3, 5]


def test_sites_are_refused_with_where_they_belong(tmp_path: Path) -> None:
    (tmp_path / "gauges.csv").write_text("id,lat,lon,rain\n1,40,-104,3\n")
    entry = {
        "name": "gauges", "uri": str(tmp_path / "gauges.csv"), "driver": "table",
        "cell": "id", "lat": "lat", "lon": "lon",
        "variables": {"precipitation": {"name": "rain", "units": "mm/day"}},
    }  # fmt: skip
    with pytest.raises(InputError, match=r"sites, as the driver table reads.*target_sites"):
        build_cube(tmp_path / "a.zarr", GRID, [Source.model_validate(entry)])


def test_running_totals_are_refused_as_amounts(tmp_path: Path) -> None:
    hours = pd.date_range("2001-01-01 01:00", periods=96, freq="h")
    rain = np.tile(np.arange(1.0, 25.0), 4)[:, None, None] * np.ones((1, 8, 8))
    lat, lon = np.arange(43.5, 35.5, -1), np.arange(-107.5, -99.5)
    da = xr.DataArray(rain, {"time": hours, "lat": lat, "lon": lon}, name="tp")
    da.assign_attrs(units="mm").to_netcdf(tmp_path / "tp.nc")
    entry: dict[str, Any] = {
        "name": "tp", "uri": str(tmp_path / "tp.nc"), "driver": "netcdf",
        "time": {"daily": True, "stamp": "end"},
        "variables": {"precipitation": {"name": "tp", "cell_method": "sum"}},
    }  # fmt: skip
    with pytest.raises(InputError, match=r"totals since then.*cell_method: accumulated"):
        build_cube(tmp_path / "sum.zarr", GRID, [Source.model_validate(entry)])
    assert not (tmp_path / "sum.zarr").exists()
    of_steps = {**entry, "time": {"stamp": "end"}, "variables": {"precipitation": {"name": "tp"}}}
    with pytest.raises(InputError, match=r"totals since then.*with no `cell_method`"):
        build_cube(tmp_path / "sum.zarr", GRID, [Source.model_validate(of_steps)])
    entry["variables"]["precipitation"]["cell_method"] = "accumulated"
    cube = build_cube(tmp_path / "acc.zarr", GRID, [Source.model_validate(entry)])
    assert (cube["precipitation"].values == 24.0).all()


@pytest.fixture(scope="module", params=["here", "overlapped", "cluster"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "cluster":
        with connect(ClusterConfig(workers=1, dashboard_port=0)) as made:
            yield made
    else:
        yield HERE if request.param == "here" else Overlapped(threads=2)


def test_every_executor_writes_the_same_bytes(
    catalog: Catalog, tmp_path: Path, executor: Executor
) -> None:
    settings: dict[str, Any] = {
        "tile": (3, 5),
        "terrain_from": "heights",
        "filling": GapFilling(distance=2, never=("air_temperature",)),
    }
    sources = catalog.select(*NAMES)
    build_cube(tmp_path / "a.zarr", GRID, sources, **settings, executor=executor)
    made = build_cube(tmp_path / "b.zarr", GRID, sources, **settings)
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")
    assert {"slope", "input_is_filled"} <= set(made.data_vars)
    assert made["input_is_filled"].values.max() == 1


def test_a_period_is_cut_from_every_series(catalog: Catalog, tmp_path: Path) -> None:
    period = ("2001-01-03", "2001-01-09")
    cube = build_cube(tmp_path / "a.zarr", GRID, catalog.select(*NAMES), time=period)
    assert str(cube["time"].values[0])[:10] == period[0]
    assert str(cube["time"].values[-1])[:10] == period[1]
    whole = build_cube(tmp_path / "b.zarr", GRID, catalog.select(*NAMES))
    for name in ("precipitation", "air_temperature"):
        np.testing.assert_array_equal(cube[name], whole[name].sel(time=slice(*period)))
    for wrong in (("soon", "later"), ("2001-01-03",)):
        with pytest.raises(InputError, match=r"time: found .*a first and a last day"):
            build_cube(tmp_path / "c.zarr", GRID, catalog.select("rain"), time=wrong)  # type: ignore[arg-type]


SCRIPT = """
    from pathlib import Path
    import sys
    sys.path.insert(0, {root!r})
    from pipeline.build import build_cube
    from pipeline.catalog.catalog import read_catalog
    import pipeline.core.files, time
    from tests.pipeline.test_build import GRID, NAMES

    pipeline.core.files.os.fsync = lambda descriptor: time.sleep(0.02)
    catalog = read_catalog({folder!r} + "/catalog.yml", data={folder!r})
    build_cube({path!r}, GRID, catalog.select(*NAMES), tile=(2, 2))
    print("ended", flush=True)
"""


def start(folder: Path, path: Path) -> subprocess.Popen[str]:
    text = SCRIPT.format(root=str(ROOT), folder=str(folder), path=str(path))
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def markers(folder: Path) -> set[str]:
    """The tiles of the cube that are done."""
    return {name for path in folder.glob("*") for name in Ledger(folder, path.name).names_done()}


def test_killed_in_the_middle_and_called_again_writes_the_same_bytes(
    catalog: Catalog, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.zarr"
    process, deadline = start(folder, path), time.monotonic() + 60
    while len(markers(tmp_path / "a.ledger")) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    done = markers(tmp_path / "a.ledger")
    assert 3 <= len(done) < 16, (out, err)
    times = {name: marker_time(tmp_path, name) for name in done}
    build_cube(path, GRID, catalog.select(*NAMES), tile=(2, 2))
    assert len(markers(tmp_path / "a.ledger")) == 16
    assert times == {name: marker_time(tmp_path, name) for name in done}, "a tile was done again"
    build_cube(tmp_path / "b.zarr", GRID, catalog.select(*NAMES), tile=(2, 2))
    assert contents(path) == contents(tmp_path / "b.zarr")


def marker_time(folder: Path, name: str) -> int:
    (marker,) = (folder / "a.ledger").glob(f"*/{name}.done.json")
    return marker.stat().st_mtime_ns


def test_another_cube_at_the_same_path_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    path, sources = tmp_path / "a.zarr", catalog.select("rain", "heights")
    build_cube(path, GRID, sources)
    before = contents(tmp_path)
    other = TargetGrid.from_bounds("plains", "EPSG:4326", (-108, 36, -100, 43), 1.0)
    for grid, chosen, settings, what in (
        (other, sources, {}, "attributes"),
        (GRID, sources, {"time": ("2001-01-03", "2001-01-09")}, "time"),
        (GRID, sources[:1], {}, "elevation"),
        (GRID, sources, {"tile": (4, 4)}, "precipitation"),
    ):
        with pytest.raises(InputError, match=rf"a store that differs in .*{what}"):
            build_cube(path, grid, chosen, **settings)  # type: ignore[arg-type]
    assert contents(tmp_path) == before
    build_cube(path, GRID, sources)
    assert contents(tmp_path) == before


def test_a_source_that_changed_is_read_again(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "own"
    copy.mkdir()
    write_sources(copy)
    sources = read_catalog(copy / "catalog.yml", data=copy).select("heights")
    first = build_cube(tmp_path / "a.zarr", GRID, sources)["elevation"].values
    with xr.open_dataset(copy / "heights.nc") as ds:
        changed = ds.load()
    changed["heights"] += 1
    changed.to_netcdf(copy / "new.nc")
    os.replace(copy / "new.nc", copy / "heights.nc")
    again = build_cube(tmp_path / "a.zarr", GRID, sources)["elevation"].values
    np.testing.assert_allclose(again, first + 1, rtol=1e-5)


def test_bad_sources_are_refused_before_anything_is_written(
    catalog: Catalog, tmp_path: Path
) -> None:
    twice = catalog["rain"].model_copy(update={"name": "gauges"})
    for sources, message in (
        ((), "sources: found none"),
        ((catalog["rain"], twice), 'source "gauges": found precipitation, which rain has too'),
    ):
        with pytest.raises(InputError, match=message):
            build_cube(tmp_path / "a.zarr", GRID, sources)
    with pytest.raises(InputError, match=r'"rains".*rain(.|\n)*"height".*heights'):
        catalog.select("rains", "heat", "height")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("entry", "variable", "message"),
    [
        ({"crs": "EPSG:32613"}, {}, "crs: found "),
        ({}, {"units": "K"}, 'air_temperature: found units "degC" in the file'),
        ({}, {"nodata": -9999}, "nodata -1 in the file"),
        ({"resolution": [0.25, 0.25]}, {}, "grid: found cells of 0.5 by 0.5"),
    ],
    ids=["crs", "units", "nodata", "resolution"],
)
def test_a_file_that_contradicts_its_entry_is_refused_as_by_check(
    folder: Path, tmp_path: Path, entry: dict[str, Any], variable: dict[str, Any], message: str
) -> None:
    with xr.open_dataset(folder / "heat.nc") as ds:
        own = ds.load()
    own["heat"].encoding["_FillValue"] = np.float32(-1)
    own["crs"] = xr.DataArray(0, attrs={"grid_mapping_name": "latitude_longitude"})
    own["heat"].attrs["grid_mapping"] = "crs"
    own.to_netcdf(tmp_path / "heat.nc")
    source = Source.model_validate(
        {"name": "heat", "uri": str(tmp_path / "heat.nc"), "driver": "netcdf", **entry,
         "variables": {"air_temperature": {"name": "heat", **variable}}}
    )  # fmt: skip
    with pytest.raises(InputError) as refused:
        build_cube(tmp_path / "a.zarr", GRID, [source])
    faults = Faults()
    check_source(source, faults)
    assert len(refused.value.faults) == 1
    assert message in str(refused.value)
    assert list(refused.value.faults) == faults.faults
    assert not (tmp_path / "a.zarr").exists()


def test_tiles_that_fail_are_named_and_the_others_stay(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "own"
    copy.mkdir()
    write_sources(copy)
    with xr.open_dataset(copy / "heights.nc") as ds:
        bad = ds.load()
    bad["heights"][2, 2] = 1e9
    bad.to_netcdf(copy / "heights.nc")
    sources = read_catalog(copy / "catalog.yml", data=copy).select("heights")
    with pytest.raises(StageError, match=r"heights\.nc: elevation"):
        build_cube(tmp_path / "a.zarr", GRID, sources, tile=(4, 4))
    assert markers(tmp_path / "a.ledger") == {"r000_c001", "r001_c000", "r001_c001"}


def test_a_source_that_lies_elsewhere_is_refused_before_any_compute(
    folder: Path, tmp_path: Path
) -> None:
    with xr.open_dataset(folder / "heights.nc") as ds:
        own = ds.load()
    far = TargetGrid.from_bounds("alps", "EPSG:4326", (6, 44, 14, 48), 1.0)
    at_home = Source.model_validate(
        {"name": "heights", "uri": str(tmp_path / "heights.nc"), "driver": "netcdf",
         "method": "mean", "variables": {"elevation": {"name": "heights", "units": "m"}}}
    )  # fmt: skip
    own.to_netcdf(tmp_path / "heights.nc")
    with pytest.raises(InputError, match=r"a grid of .6, 44, 14, 48. outside the source's"):
        build_cube(tmp_path / "a.zarr", far, [at_home])
    # Degrees under the name of a projection, and kilometres that no attribute declares.
    in_metres = at_home.model_copy(update={"crs": "EPSG:32613"})
    with pytest.raises(InputError, match=r"coordinates up to .*Set `crs: EPSG:4326`"):
        build_cube(tmp_path / "a.zarr", GRID, [in_metres])
    own.assign_coords(lon=own["lon"] * 11.0, lat=own["lat"] * 111.0).to_netcdf(tmp_path / "km.nc")
    in_km = in_metres.model_copy(update={"uri": str(tmp_path / "km.nc")})
    with pytest.raises(InputError, match="outside the source's"):
        build_cube(tmp_path / "a.zarr", GRID, [in_km])
    assert not (tmp_path / "a.zarr").exists()
