"""gridMET as published: a file for each variable and year, packed as unsigned 16-bit numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.products.common import cube, dates, faults, same

LAT, LON = 49.4 - np.arange(2) / 24, -124.76666663 + np.arange(3) / 24
BOUNDS = (LON[0] - 1 / 48, LAT[1] - 1 / 48, LON[2] + 1 / 48, LAT[0] + 1 / 48)
STORED = np.array([[0, 10, 20], [30, 40, 32767]], "u2")
"""Stored numbers of every day, of which the last one means missing."""
FILES = {
    "pr": ("precipitation_amount", "mm", 0.1, 0.0), "tmmx": ("air_temperature", "K", 0.1, 220.0),
    "tmmn": ("air_temperature", "K", 0.1, 210.0), "sph": ("specific_humidity", "kg/kg", 1e-5, 0.0),
    "srad": ("surface_downwelling_shortwave_flux_in_air", "W m-2", 0.1, 0.0),
    "rmax": ("relative_humidity", "%", 0.1, 0.0), "rmin": ("relative_humidity", "%", 0.1, 0.0),
    "vs": ("wind_speed", "m/s", 0.1, 0.0), "pet": ("potential_evapotranspiration", "mm", 0.1, 0.0),
    "vpd": ("mean_vapor_pressure_deficit", "kPa", 0.01, 0.0),
}  # fmt: skip


def make_gridmet(folder: Path, file: str, year: int, stored: np.ndarray) -> None:
    """Write one file of stored numbers, dims (day, lat, lon), with the attributes of the server."""
    (folder / "gridmet").mkdir(exist_ok=True)
    name, units, scale, offset = FILES[file]
    days = pd.date_range(f"{year}-01-01", periods=len(stored))
    attrs = {
        "units": units, "description": f"Daily {name}", "long_name": file, "standard_name": file,
        "dimensions": "lon lat time", "grid_mapping": "crs", "_FillValue": np.uint16(32767),
        "missing_value": np.uint16(32767), "coordinate_system": "WGS84,EPSG:4326",
        "scale_factor": scale, "add_offset": offset, "coordinates": "lon lat",
        "_Unsigned": "true", "cell_methods": "time: sum(interval: 24 hours)",
    }  # fmt: skip
    crs = {
        "grid_mapping_name": "latitude_longitude", "longitude_of_prime_meridian": 0.0,
        "semi_major_axis": 6378137.0, "long_name": "WGS 84", "inverse_flattening": 298.257223563,
        "GeoTransform": "-124.7666666333333 0.041666666666666 0  49.400000000000000 -0.0416666666",
        "spatial_ref": 'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],'
        'PRIMEM["Greenwich",0],UNIT["degree",0.01745329251994328]]',
    }  # fmt: skip
    ds = xr.Dataset(
        {name: (("day", "lat", "lon"), stored, attrs), "crs": ("crs", np.uint16([3]), crs)},
        {"day": ("day", (days - pd.Timestamp("1900-01-01")).days.values.astype("f4"),
                 {"units": "days since 1900-01-01 00:00:00", "standard_name": "time",
                  "calendar": "gregorian", "description": "days since 1900-01-01"}),
         "lat": ("lat", LAT, {"units": "degrees_north", "standard_name": "latitude"}),
         "lon": ("lon", LON, {"units": "degrees_east", "standard_name": "longitude"})},
    )  # fmt: skip
    ds.to_netcdf(folder / "gridmet" / f"{file}_{year}.nc")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for file in FILES:
        stored = np.broadcast_to(STORED, (366, 2, 3)).copy()
        stored[1] = np.where(STORED < 100, STORED + 400, STORED)
        make_gridmet(tmp_path, file, 2020, stored)
    return tmp_path


MISSING = np.where(STORED == 32767, np.nan, STORED.astype(float))


def test_totals_of_days_are_unpacked_and_keep_their_day(data: Path) -> None:
    ds = cube("gridmet", data, BOUNDS, 1 / 24, ("2020-01-01", "2020-01-03"))
    assert dates(ds) == ["2020-01-01", "2020-01-02", "2020-01-03"]
    same(ds["precipitation"], [MISSING / 10, 40 + MISSING / 10, MISSING / 10])


def test_two_files_with_one_name_are_two_variables(data: Path) -> None:
    names = [f"gridmet_{name}" for name in
             ("temperature_max", "temperature_min", "relative_humidity_max",
              "relative_humidity_min", "shortwave", "humidity", "wind",
              "vapour_pressure_deficit", "evapotranspiration")]  # fmt: skip
    ds = cube("gridmet", data, BOUNDS, 1 / 24, ("2020-01-02", "2020-01-02"), sources=names)
    # 400 more on this day: 40 K, 40 %, 40 W m-2, 0.004 kg kg-1, 40 m s-1, 4 kPa, 40 mm.
    same(ds["air_temperature_max"], [260 - 273.15 + MISSING / 10])
    same(ds["air_temperature_min"], [250 - 273.15 + MISSING / 10])
    same(ds["relative_humidity_max"], [40 + MISSING / 10])
    same(ds["relative_humidity_min"], [40 + MISSING / 10])
    same(ds["shortwave_radiation"], [40 + MISSING / 10])
    same(ds["specific_humidity"], [0.004 + MISSING / 1e5])
    same(ds["wind_speed"], [40 + MISSING / 10])
    same(ds["vapour_pressure_deficit"], [4000 + MISSING * 10])
    same(ds["reference_evapotranspiration"], [40 + MISSING / 10])


def test_older_files_are_not_packed_and_run_along_longitudes(tmp_path: Path) -> None:
    (tmp_path / "gridmet").mkdir()
    rain = np.array([[[0.0, 1.0, 2.0], [3.0, 4.0, -32767]], [[5.0, 0, 0], [0, 0, -32767]]])
    attrs = {"units": "mm", "_FillValue": np.float32(-32767), "missing_value": np.float32(-32767)}
    ds = xr.Dataset(
        {"precipitation_amount": (("day", "lon", "lat"), rain.swapaxes(1, 2).astype("f4"), attrs)},
        {"day": ("day", [42734.0, 42735.0], {"units": "days since 1900-01-01 00:00:00"}),
         "lat": ("lat", LAT, {"units": "degrees_north"}),
         "lon": ("lon", LON, {"units": "degrees_east"})},
    )  # fmt: skip
    ds.to_netcdf(tmp_path / "gridmet" / "pr_2017.nc")
    found = cube("gridmet", tmp_path, BOUNDS, 1 / 24, ("2017-01-01", "2017-01-02"))
    assert dates(found) == ["2017-01-01", "2017-01-02"]
    same(found["precipitation"], np.where(rain < 0, np.nan, rain))


def test_files_agree_with_their_entries(data: Path) -> None:
    assert faults("gridmet", data, "gridmet", "gridmet_humidity") == []
