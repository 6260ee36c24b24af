"""TerraClimate: a file for each variable and year, packed, totals of months in mm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.products.common import cube, dates, faults, same

CELL = 1 / 24
DAYS = np.array([31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], float)
"""Days of the months of 2020."""


def make_terraclimate(
    folder: Path, name: str, units: str, values: np.ndarray, packed: dict
) -> None:
    """The file of 2020 with these values of months; the cell in the southeast is sea."""
    folder.mkdir(parents=True, exist_ok=True)
    data = np.broadcast_to(values[:, None, None], (12, 2, 4)).copy()
    data[:, 1, 3] = np.nan
    ds = xr.Dataset(
        {name: (("time", "lat", "lon"), data, {
            "units": units, "grid_mapping": "crs", "coordinate_system": "WGS84,EPSG:4326"}),
         "crs": ((), np.int16(3), {"grid_mapping_name": "latitude_longitude",
                                   "semi_major_axis": 6378137.0})},
        {"lat": ("lat", 45 - CELL * (np.arange(2) + 0.5), {"units": "degrees_north"}),
         "lon": ("lon", 7 + CELL * (np.arange(4) + 0.5), {"units": "degrees_east"}),
         "time": pd.date_range("2020-01-01", periods=12, freq="MS")},
    )  # fmt: skip
    encoding = {name: packed, "time": {"units": "days since 1900-01-01 00:00:00"}}
    ds.to_netcdf(folder / f"TerraClimate_{name}_2020.nc", encoding=encoding)


RAIN = {"dtype": "int32", "scale_factor": 0.1, "add_offset": 0.0, "_FillValue": -2147483648}
OTHERS = {"dtype": "int16", "scale_factor": 0.01, "add_offset": -99.0, "_FillValue": -32768}


@pytest.mark.parametrize(
    ("end", "name", "units", "packed", "of_file", "variable", "wanted"),
    [
        ("", "ppt", "mm", RAIN, 3 * DAYS, "precipitation", 3.0),
        ("_evapotranspiration", "pet", "mm", RAIN, 2 * DAYS, "reference_evapotranspiration", 2.0),
        ("_temperature_max", "tmax", "degC", OTHERS, 0 * DAYS + 21.5, "air_temperature_max", 21.5),
        ("_temperature_min", "tmin", "degC", OTHERS, 0 * DAYS - 3.5, "air_temperature_min", -3.5),
        ("_shortwave", "srad", "W/m^2", RAIN, 0 * DAYS + 180, "shortwave_radiation", 180),
        ("_vapour_pressure", "vap", "kPa", OTHERS, 0 * DAYS + 1.5, "vapour_pressure", 1500),
        ("_vapour_pressure_deficit", "vpd", "kPa", OTHERS, 0 * DAYS + 0.5,
         "vapour_pressure_deficit", 500),
        ("_wind", "ws", "m/s", OTHERS, 0 * DAYS + 4, "wind_speed", 4),
    ],
)  # fmt: skip
def test_a_variable_of_a_year(
    end: str, name: str, units: str, packed: dict, of_file: np.ndarray, variable: str,
    wanted: float, tmp_path: Path,
) -> None:  # fmt: skip
    make_terraclimate(tmp_path / "terraclimate", name, units, of_file, packed)
    bounds = (7, 45 - 2 * CELL, 7 + 4 * CELL, 45)
    source = f"terraclimate{end}"
    found = cube("terraclimate", tmp_path, bounds, 2 * CELL, ("2020-01-01", "2020-12-31"),
                 sources=[source])  # fmt: skip
    assert dates(found)[:3] == ["2020-01-01", "2020-02-01", "2020-03-01"]
    same(found[variable], np.full((12, 1, 2), wanted), rtol=1e-3)
    np.testing.assert_allclose(found[f"{variable}_coverage"][0], [[1, 0.75]], atol=1e-3)
    assert not faults("terraclimate", tmp_path, source)
