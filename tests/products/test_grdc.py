"""GRDC as its portal delivers it: one NetCDF of stations, or texts with a header of comments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from tests.products.sites import sites, text

STATIONS = {6335020: (51.757, 6.395, 159300.0), 4127800: (32.315, -90.906, -999.0)}
FLOW = {6335020: (1500.0, -999.0, 0.0), 4127800: (9.0, 9.0, 9.0)}
DAYS = ("1999-12-30", "1999-12-31", "2000-01-01")


def make_grdc(folder: Path) -> None:
    """Both forms of two stations, of which the second has no area."""
    lat, lon, area = (np.float32(column) for column in zip(*STATIONS.values(), strict=True))
    numbers = list(STATIONS)
    xr.Dataset(
        {"runoff_mean": (("time", "id"), np.float32([FLOW[n] for n in numbers]).T,
                         {"units": "m3/s", "long_name": "Mean daily discharge (Q)"}),
         "area": ("id", area, {"units": "km2", "long_name": "catchment area"}),
         "country": ("id", ["DE", "US"]), "geo_x": ("id", lon, {"units": "degree_east"}),
         "geo_y": ("id", lat, {"units": "degree_north"}), "geo_z": ("id", np.float32([17, 20])),
         "river_name": ("id", ["RHINE RIVER", "YAZOO"]), "timezone": ("id", np.float32([1, -6]))},
        {"time": np.array(DAYS, "datetime64[ns]"), "id": np.int32(numbers)},
        {"title": "Mean daily discharge (Q)", "missing_value": "-999.000"},
    ).to_netcdf(folder / "GRDC-Daily.nc",
                encoding={"time": {"units": "days since 1700-01-01 00:00:00"}})  # fmt: skip
    for number, (lat_, lon_, area_) in STATIONS.items():
        rows = "".join(f"{day};--:--;{value:11.3f}\r\n"
                       for day, value in zip(DAYS, FLOW[number], strict=True))  # fmt: skip
        text(folder / "text" / f"{number}_Q_Day.Cmd.txt",
             "# Title:                 GRDC STATION DATA FILE\r\n#                        -----\r\n"
             "# missing values are indicated by -999.000\r\n#\r\n# file generation date: 2024\r\n"
             f"# GRDC-No.:              {number}\r\n# River:                 RHINE RIVER\r\n"
             f"# Latitude (DD):       {lat_}\r\n# Longitude (DD): {lon_}\r\n"
             f"# Catchment area (km²):      {area_}\r\n# Unit of measure:       m³/s\r\n"
             f"# Data lines: 3\r\n# DATA\r\nYYYY-MM-DD;hh:mm; Value\r\n{rows}",
             "latin-1")  # fmt: skip


def test_discharge_is_divided_by_the_area(tmp_path: Path) -> None:
    (tmp_path / "grdc").mkdir()
    make_grdc(tmp_path / "grdc")
    for source, order in (("grdc", [0, 1]), ("grdc_text", [1, 0])):
        found = sites("grdc", tmp_path, source)
        assert found["cell"].values[order].tolist() == [6335020, 4127800]
        assert [str(t)[:10] for t in found["time"].values] == list(DAYS)
        # 1500 m3 s-1 are 129.6 million m3 a day, over 159.3 thousand million m2.
        wanted = [[129.6 / 159.3, np.nan], [np.nan, np.nan], [0, np.nan]]
        np.testing.assert_allclose(found["streamflow"].values[:, order], wanted, rtol=1e-6)
        np.testing.assert_allclose(found["lat"].values[order], [51.757, 32.315], rtol=1e-6)
        np.testing.assert_allclose(found["lon"].values[order], [6.395, -90.906], rtol=1e-6)
