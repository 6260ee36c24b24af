"""ERA5 of the Climate Data Store: totals and mean rates of hours, in NetCDF and in GRIB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.products import ecmwf
from tests.products.common import cube, dates, faults, same
from tests.products.grib import grid, make_grib

PERIOD = ("2022-01-01", "2022-01-03")
PARTS = {"t2m": "2t", "d2m": "2d", "sp": "sp", "u10": "10u", "v10": "10v", "sd": "sd",
         "tp": "tp", "ssrd": "ssrd", "strd": "strd"}  # fmt: skip
"""Short names of GRIB by those of cfgrib."""


@pytest.fixture(autouse=True)
def quarter_degrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ecmwf, "LAT", np.array([45.25, 45.0]))


WEST = np.array([-0.5, -0.25, 0.0])
"""Longitudes of an area that crosses the first meridian, as the store writes them."""
BOUNDS = (-0.625, 44.875, 0.125, 45.375)


def make_era5(folder: Path) -> None:
    """Write January 2022 to its fourth day at 23 UTC, in NetCDF of the present store."""
    times = ecmwf.hours("2022-01-01", "2022-01-04")
    totals = ecmwf.amounts(times)
    rates = {"avg_tprate": totals["tp"] * 1000 / 3600, "avg_sdswrf": totals["ssrd"] / 3600,
             "avg_sdlwrf": totals["strd"] / 3600}  # fmt: skip
    home = folder / "era5"
    for part, series in (("instant", ecmwf.instants(times)), ("totals", totals), ("rates", rates)):
        ecmwf.make_new(home / part / f"era5_{part}_2022_01.nc", series, times, WEST)
    height = 9.80665 * np.array([[100.0, 200.0, 300.0], [0.0, 0.0, 0.0]])
    ecmwf.make_new(home / "static" / "era5_static.nc",
                   {"z": height[None], "lsm": np.ones((1, 2, 3))},
                   pd.DatetimeIndex(["2020-01-01"]), WEST)  # fmt: skip


def make_era5_grib(folder: Path) -> None:
    """Write two days in GRIB 1, analyses and forecasts of 06 and 18 UTC, preliminary at the end."""
    times = ecmwf.hours("2022-01-01", "2022-01-03")[:49]
    cells = grid(45.25, -0.5, 0.25, 2, 3)

    def messages(series: ecmwf.Series, is_forecast: bool) -> object:
        for name, values in series.items():
            for time, field in zip(times, values, strict=True):
                start = (time - pd.Timedelta(7, "h")).floor("12h") + pd.Timedelta(6, "h")
                start = start if is_forecast else time
                step = int((time - start) / pd.Timedelta(1, "h"))
                kind = {"stepRange": f"{step - 1}-{step}"} if is_forecast else {"stepRange": "0"}
                yield {
                    **cells, "shortName": PARTS[name], "dataDate": int(f"{start:%Y%m%d}"),
                    "dataTime": start.hour * 100, "stepType": "accum" if is_forecast else "instant",
                    "dataType": "fc" if is_forecast else "an", **kind,
                    "experimentVersionNumber": "0005" if time > times[30] else "0001",
                }, field  # fmt: skip

    home = folder / "era5" / "grib"
    make_grib(home / "era5_instant_2022_01.grib", messages(ecmwf.instants(times), False), 1)
    make_grib(home / "era5_totals_2022_01.grib", messages(ecmwf.amounts(times), True), 1)


def make_era5_old(folder: Path) -> None:
    """Write January 2022 of the store until 2024, preliminary from its third day on."""
    times = ecmwf.hours("2022-01-01", "2022-01-04")
    ecmwf.make_old(folder / "era5" / "old" / "era5_2022_01.nc",
                   ecmwf.instants(times) | ecmwf.amounts(times), times, 48)  # fmt: skip


def test_totals_and_rates_of_hours_are_the_same_days(tmp_path: Path) -> None:
    make_era5(tmp_path)
    ds = cube("era5", tmp_path, BOUNDS, 0.25, PERIOD, sources=["era5", "era5_totals"])
    assert dates(ds) == ["2022-01-01", "2022-01-02", "2022-01-03"]
    sea = ecmwf.SEA
    same(ds["air_temperature"], [6 * sea] * 3)
    same(ds["air_temperature_max"], [12 * sea] * 3)
    same(ds["dew_point_temperature"], [-3 * sea] * 3)
    same(ds["surface_pressure"], [90000 * sea] * 3)
    same(ds["snow_amount"], [250 * sea] * 3)
    # 24 hours of 1 mm, the last of which ends at 00 UTC of 3 January.
    same(ds["precipitation"], [0 * sea, 24 * sea, 0 * sea])
    same(ds["shortwave_radiation"], [100 * sea] * 3)
    rates = cube("era5", tmp_path, BOUNDS, 0.25, PERIOD, sources=["era5_rates"])
    same(rates["precipitation"], [0 * sea, 24 * sea, 0 * sea])
    same(rates["longwave_radiation"], [300 * sea] * 3)
    assert faults("era5", tmp_path, "era5", "era5_totals", "era5_rates") == []


def test_static_fields(tmp_path: Path) -> None:
    make_era5(tmp_path)
    ds = cube("era5", tmp_path, BOUNDS, 0.25, sources=["era5_elevation"])
    same(ds["elevation"], [[100.0, 200.0, 300.0], [0.0] * 3])
    same(ds["land_fraction"], np.ones((2, 3)))


def test_grib_has_final_and_preliminary_times_in_one_file(tmp_path: Path) -> None:
    make_era5_grib(tmp_path)
    ds = cube("era5", tmp_path, BOUNDS, 0.25, ("2022-01-01", "2022-01-02"),
              sources=["era5_grib", "era5_grib_totals"])  # fmt: skip
    sea = ecmwf.SEA
    same(ds["air_temperature"], [6 * sea] * 2)
    same(ds["snow_amount"], [250 * sea] * 2)
    same(ds["precipitation"], [0 * sea, 24 * sea])
    same(ds["longwave_radiation"], [300 * sea] * 2)


def test_old_files_with_preliminary_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(ecmwf, "LON", WEST)
    make_era5_old(tmp_path)
    names = ("era5_old_mixed", "era5_old_mixed_totals")
    ds = cube("era5", tmp_path, BOUNDS, 0.25, PERIOD, sources=names)
    sea = ecmwf.SEA
    np.testing.assert_allclose(ds["air_temperature"], [6 * sea] * 3, atol=1e-3)
    # A step of packing is 1 mm / 65533, and a day has 24 of them.
    np.testing.assert_allclose(ds["precipitation"], [0 * sea, 24 * sea, 0 * sea], atol=1e-3)
    assert float(ds["precipitation"].min()) >= 0
    assert faults("era5", tmp_path, *names) == []
