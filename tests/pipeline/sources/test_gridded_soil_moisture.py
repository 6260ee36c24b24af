"""Gridded soil moisture as published: daily files of ESA CCI, read by the packaged entry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding.regrid import regrid
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_source, open_source

EXAMPLES = Path(__file__).parents[3] / "catalogs" / "examples.yml"
LAT, LON = 90 - 0.125 - 0.25 * np.arange(720), -180 + 0.125 + 0.25 * np.arange(1440)
NORTH, WEST = 180, 320
"""Row and column of the cell whose north-western corner is 45 N, 100 W."""


def values(day: int) -> np.ndarray:
    """Return 0.2 around 44 N, 99 W, rising with time and to the south; missing elsewhere."""
    sm = np.full((720, 1440), np.nan)
    rows = np.arange(8)[:, None]
    sm[NORTH : NORTH + 8, WEST : WEST + 8] = 0.2 + 0.01 * day + 0.001 * rows
    sm[NORTH, WEST] = np.nan
    return sm


def written(root: Path, days: pd.DatetimeIndex) -> None:
    """Write daily files like those of ESA CCI: north first, -9999 for missing, with a flag."""
    for i, day in enumerate(days):
        folder = root / "esa_cci_sm" / f"{day:%Y}"
        folder.mkdir(parents=True, exist_ok=True)
        sm = values(i)
        ds = xr.Dataset(
            {"sm": (("time", "lat", "lon"), sm[None].astype(np.float32),
                    {"units": "m3 m-3", "long_name": "Volumetric Soil Moisture",
                     "_CoordinateAxes": "time lat lon"}),
             "flag": (("time", "lat", "lon"), np.isnan(sm)[None].astype(np.int8),
                      {"flag_masks": np.array([1, 2], np.int8),
                       "flag_meanings": "snow dense_vegetation"})},
            {"time": ("time", [day], {"standard_name": "time"}),
             "lat": ("lat", LAT.astype(np.float32), {"units": "degrees_north"}),
             "lon": ("lon", LON.astype(np.float32), {"units": "degrees_east"})},
        )  # fmt: skip
        name = f"ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-{day:%Y%m%d}000000-fv08.1.nc"
        encoding = {
            "sm": {"_FillValue": np.float32(-9999.0), "zlib": True},
            "flag": {"_FillValue": np.int8(127), "zlib": True},
            "time": {"units": "days since 1970-01-01 00:00:00 UTC"},
        }
        ds.to_netcdf(folder / name, encoding=encoding)


def shipped(root: Path, first: str, last: str) -> Source:
    """Return the entry of examples.yml for a period."""
    entry = read_catalog([EXAMPLES], {"data": str(root)})["esa_cci_soil_moisture"]
    period = tuple(pd.Timestamp(day).date() for day in (first, last))
    return entry.model_copy(update={"time": entry.time.model_copy(update={"period": period})})


def test_daily_files_across_a_year_are_one_series(tmp_path: Path) -> None:
    days = pd.date_range("2015-12-30", "2016-01-02")
    written(tmp_path, days)
    entry, faults = shipped(tmp_path, "2015-12-30", "2016-01-02"), Faults()
    assert len(entry.files) == 4
    check_source(entry, faults, read_variables())
    assert not faults.faults, faults.faults
    window = (-100.0, 43.0, -98.0, 45.0)
    da = canonicalise(open_source(entry, window), entry, read_variables())["soil_moisture"]
    np.testing.assert_array_equal(da["time"], days.values)
    inside = da.sel(y=slice(45, 43), x=slice(-100, -98))
    expected = [values(i)[NORTH : NORTH + 8, WEST : WEST + 8] for i in range(4)]
    np.testing.assert_allclose(inside, expected, rtol=1e-6)


def test_cells_of_a_coarser_grid_are_means_of_what_is_known(tmp_path: Path) -> None:
    written(tmp_path, pd.date_range("2016-02-28", "2016-02-29"))
    entry = shipped(tmp_path, "2016-02-28", "2016-02-29")
    grid = TargetGrid.from_bounds("g", "EPSG:4326", (-101, 43, -98, 45), 1)
    ds = canonicalise(open_source(entry, (-102, 42, -97, 46)), entry, read_variables())
    found = regrid(ds, grid, "conservative", min_coverage=entry.min_coverage)["soil_moisture"]
    assert np.isnan(found.values[:, :, 0]).all(), "west of the data"
    np.testing.assert_allclose(found.values[:, 1, 1], [0.2055, 0.2155], atol=2e-4)
    assert np.isfinite(found.values[:, 0, 1]).all(), "15 of 16 cells are known"


def test_a_missing_day_is_named(tmp_path: Path) -> None:
    written(tmp_path, pd.DatetimeIndex(["2016-01-01", "2016-01-03"]))
    faults = Faults()
    try:
        check_source(shipped(tmp_path, "2016-01-01", "2016-01-03"), faults, read_variables())
    except InputError as error:
        faults.faults += error.faults
    assert "20160102000000" in str(faults.faults)


def test_days_need_years_and_months() -> None:
    settings = {"name": "d", "driver": "netcdf", "variables": {"soil_moisture": {"name": "sm"}}}
    with pytest.raises(ValueError, match=r"\{day\} in the uri without \{year\} and \{month\}"):
        Source.model_validate({**settings, "uri": "a_{day:02d}.nc"})
