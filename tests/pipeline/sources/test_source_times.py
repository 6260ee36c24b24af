"""Times of whole sources: stamps, time bounds and months, from files to canonical steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.build import build_cube
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.common_times import within
from pipeline.sources.open import check_source, open_source

GRID = TargetGrid.from_bounds("two", "EPSG:4326", (0, 0, 2, 2), 1.0)
XY = {"lat": [1.5, 0.5], "lon": [0.5, 1.5]}


def written(path: Path, times: Any, values: Any, units: str = "mm/day",
            bounds: Any = None, zarr: bool = False) -> Path:  # fmt: skip
    """Write one value for all cells of each time, with CF bounds of the times if there are any."""
    field = np.asarray(values, np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    ds = xr.Dataset({"v": (("time", "lat", "lon"), field, {"units": units})}, {"time": times, **XY})
    if bounds is not None:
        ds["time_bnds"] = ("time", "nv"), np.asarray(bounds)
        ds["time"].attrs["bounds"] = "time_bnds"
    ds["time"].encoding["units"] = "hours since 1990-01-01"
    ds.to_zarr(path, zarr_format=2) if zarr else ds.to_netcdf(path)
    return path


def entry(path: Path | str, name: str = "precipitation", **settings: Any) -> Source:
    return Source.model_validate(
        {"name": name, "uri": str(path), "driver": "netcdf", "variables": {name: {"name": "v"}},
         **settings}
    )  # fmt: skip


def canonical(source: Source) -> xr.DataArray:
    return open_source(source, on=GRID)[source.name][:, 0, 0].load()


def dates(da: xr.DataArray) -> list[str]:
    return da["time"].values.astype("M8[D]").astype(str).tolist()


DAYS = pd.date_range("2001-12-30", periods=6)
ENDS = DAYS + pd.Timedelta(1, "D")


@pytest.mark.parametrize("driver", ["netcdf", "zarr"])
def test_bounds_of_the_file_decide(tmp_path: Path, driver: str) -> None:
    path = written(tmp_path / f"a.{driver}", ENDS, range(6), bounds=np.stack([DAYS, ENDS], 1),
                   zarr=driver == "zarr")  # fmt: skip
    found = canonical(entry(path, driver=driver))
    assert dates(found) == DAYS.strftime("%Y-%m-%d").tolist()
    assert found.values.tolist() == [0, 1, 2, 3, 4, 5]
    wrong = entry(path, driver=driver, wrong_in_file=["bounds"])
    assert dates(canonical(wrong)) == ENDS.strftime("%Y-%m-%d").tolist()
    with pytest.raises(InputError, match="the end by their bounds"):
        canonical(entry(path, driver=driver, time={"stamp": "start"}))


def test_bounds_of_many_files_are_joined(tmp_path: Path) -> None:
    for year, part in ((2001, slice(0, 1)), (2002, slice(1, 6))):
        bounds = np.stack([DAYS[part], ENDS[part]], 1)
        written(tmp_path / f"{year}.nc", ENDS[part], np.arange(6)[part], bounds=bounds)
    source = entry(tmp_path / "{year}.nc", time={"years": [2001, 2002]})
    found = canonical(source)
    assert dates(found)[:2] == ["2001-12-30", "2001-12-31"]
    assert found.values.tolist() == [0, 1, 2, 3, 4, 5]
    # Bounds that only some files have are not known for all steps.
    written(tmp_path / "new.nc", ENDS[:1], [0]).replace(tmp_path / "2001.nc")
    assert dates(canonical(source))[0] == "2001-12-31"


def test_the_next_file_holds_the_last_day_of_a_period(tmp_path: Path) -> None:
    for year in (2001, 2002):
        times = pd.date_range(f"{year}-01-01", f"{year}-12-31")
        written(tmp_path / f"{year}.nc", times, np.arange(times.size) + year - 2000)
    time = {"years": [2001, 2002], "stamp": "end", "period": ["2001-12-30", "2001-12-31"]}
    found = canonical(entry(tmp_path / "{year}.nc", time=time))
    assert found.values.tolist() == [1 + 364, 2]


def test_a_period_of_a_cube_leaves_a_silent_entry_silent(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", ENDS, range(6), bounds=np.stack([DAYS, ENDS], 1))
    source = within(entry(path), ("2001-12-31", "2002-01-01"))
    assert source.time.stamp is None
    assert dates(canonical(source)) == ["2001-12-31", "2002-01-01"]


def test_months_of_real_years_and_of_a_climatology(tmp_path: Path) -> None:
    times = pd.date_range("2019-01-01", periods=24, freq="MS")
    totals = 2.0 * times.days_in_month
    path = written(tmp_path / "a.nc", times, totals, units="mm/month")
    np.testing.assert_allclose(canonical(entry(path)), 2.0, rtol=1e-6)
    path = written(tmp_path / "b.nc", times[:12], np.full(12, 28.25), units="mm/month")
    assert canonical(entry(path, time={"kind": "months"})).values[1] == 1.0


def test_monthly_sources_with_two_stamps_join_after_restamp(tmp_path: Path) -> None:
    middles = pd.to_datetime(["2001-01-16", "2001-02-15", "2001-03-16"])
    firsts = pd.date_range("2001-01-01", periods=3, freq="MS")
    rain = entry(written(tmp_path / "a.nc", firsts, [1, 2, 3]))
    warm_file = written(tmp_path / "b.nc", middles, [4, 5, 6], units="degC")
    warm = entry(warm_file, "air_temperature")
    with pytest.raises(InputError, match=r"time: \{restamp: month\}"):
        build_cube(tmp_path / "no.zarr", GRID, [rain, warm])
    moved = entry(warm_file, "air_temperature", time={"restamp": "month"})
    cube = build_cube(tmp_path / "c.zarr", GRID, [rain, moved])
    assert cube["time"].values.astype("M8[D]").astype(str).tolist() == [
        "2001-01-01", "2001-02-01", "2001-03-01"
    ]  # fmt: skip
    assert cube["air_temperature"].values[:, 0, 0].tolist() == [4, 5, 6]


def test_check_reports_bounds_that_disagree(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", ENDS, range(6), bounds=np.stack([DAYS, ENDS], 1))
    faults = Faults()
    check_source(entry(path, time={"stamp": "middle"}), faults)
    assert len(faults.faults) == 1
    assert "bounds" in faults.faults[0].hint
