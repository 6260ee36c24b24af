"""ERA5-Land in Zarr: running totals in the store of Earth Data Hub, amounts of hours in ECMWF's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.products import ecmwf
from tests.products.common import cube, dates, faults, same

LAST = "2022-01-04"


def stored(path: Path, series: ecmwf.Series, times: pd.DatetimeIndex, time: str, lon: object,
           scalars: dict[str, float], northwards: bool = False) -> None:  # fmt: skip
    rows = slice(None, None, -1 if northwards else 1)
    ds = xr.Dataset(
        {name: ((time, "latitude", "longitude"), values[:, rows].astype("f4"),
                {"units": ecmwf.UNITS[name], "GRIB_stepType": "instant"})
         for name, values in series.items()},
        {time: times, "latitude": ecmwf.LAT[rows], "longitude": lon,
         **{name: ((), value) for name, value in scalars.items()}},
    )  # fmt: skip
    encoding = {name: {"chunks": (2880, 2, 3)} for name in series}
    ds.to_zarr(path, zarr_format=2, consolidated=True, encoding=encoding)


def make_era5_land_arco(folder: Path) -> None:
    """Write the store of Earth Data Hub, and four of ECMWF, from the second day and the south."""
    times = ecmwf.hours("2022-01-01", LAST)
    home = folder / "era5_land_arco"
    stored(home / "reanalysis-era5-land-no-antartica-v0.zarr",
           ecmwf.instants(times) | ecmwf.running(times), times, "valid_time", ecmwf.LON,
           {"number": 0, "surface": 0.0, "depthBelowLandLayer": 100.0})  # fmt: skip
    times = times[24:]
    values = ecmwf.instants(times) | ecmwf.amounts(times)
    for group, names in (("sfc-2m-temperature", ("t2m", "d2m")), ("sfc-wind", ("u10", "v10")),
                         ("sfc-pressure-precipitation", ("sp", "tp")),
                         ("sfc-radiation-heat", ("ssrd", "strd"))):  # fmt: skip
        stored(home / "cds" / f"{group}.zarr", {name: values[name] for name in names}, times,
               "time", ecmwf.LON, {}, northwards=True)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_era5_land_arco(folder)
    return folder


def test_running_totals_of_earth_data_hub(data: Path) -> None:
    ds = cube("era5_land_arco", data, ecmwf.BOUNDS, 0.1, ("2022-01-01", "2022-01-03"),
              sources=["era5_land_arco", "era5_land_arco_accumulated"])  # fmt: skip
    assert dates(ds) == ["2022-01-01", "2022-01-02", "2022-01-03"]
    same(ds["air_temperature"], [6 * ecmwf.SEA] * 3)
    same(ds["air_temperature_max"], [12 * ecmwf.SEA] * 3)
    same(ds["air_temperature_min"], [0 * ecmwf.SEA] * 3)
    same(ds["dew_point_temperature"], [-3 * ecmwf.SEA] * 3)
    same(ds["surface_pressure"], [90000 * ecmwf.SEA] * 3)
    same(ds["snow_amount"], [250 * ecmwf.SEA] * 3)
    same(ds["precipitation"], [0 * ecmwf.SEA, 24 * ecmwf.SEA, 0 * ecmwf.SEA])
    same(ds["shortwave_radiation"], [100 * ecmwf.SEA] * 3)
    same(ds["longwave_radiation"], [300 * ecmwf.SEA] * 3)


def test_amounts_of_hours_of_ecmwf(data: Path) -> None:
    groups = ("temperature", "pressure", "wind", "precipitation", "radiation")
    ds = cube("era5_land_arco", data, ecmwf.BOUNDS, 0.1, ("2022-01-02", "2022-01-03"),
              sources=[f"era5_land_arco_cds_{group}" for group in groups])  # fmt: skip
    same(ds["air_temperature"], [6 * ecmwf.SEA] * 2)
    same(ds["surface_pressure"], [90000 * ecmwf.SEA] * 2)
    same(ds["northward_wind"], [2 * ecmwf.SEA] * 2)
    # The amount of the hour that ends at 00 UTC of 2 January is of the day before.
    same(ds["precipitation"], [24 * ecmwf.SEA, 0 * ecmwf.SEA])
    same(ds["shortwave_radiation"], [100 * ecmwf.SEA] * 2)
    same(ds["longwave_radiation"], [300 * ecmwf.SEA] * 2)


def test_the_check_knows_running_totals_from_amounts(data: Path, tmp_path: Path) -> None:
    names = ("era5_land_arco_accumulated", "era5_land_arco_cds_precipitation",
             "era5_land_arco_cds_radiation")  # fmt: skip
    assert faults("era5_land_arco", data, *names) == []
    # A store of running totals in the place of one of amounts.
    times = ecmwf.hours("2022-01-01", LAST)
    totals = ecmwf.running(times)
    path = tmp_path / "era5_land_arco" / "cds" / "sfc-radiation-heat.zarr"
    stored(path, {"ssrd": totals["ssrd"], "strd": totals["strd"]}, times, "time", ecmwf.LON, {})
    found = faults("era5_land_arco", tmp_path, names[-1])
    assert any("never fall but at 00:00" in text for text in found), found
    assert np.isfinite(totals["ssrd"][:, 0, 0]).all()
