"""CAMELS-AUS as at Zenodo: wide CSV files with a column a station, -99.99 where missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.products.sites import sites, text

MASTER = "CAMELS_AUS_Attributes&Indices_MasterTable.csv"


def make_camels_aus(folder: Path, nested: bool = True) -> None:
    """Two stations, one of whose numbers ends with a letter, over the end of a year.

    Streamflow is at the top of its archive, forcings in a folder of its name, or at the top too.
    """
    other = folder / "05_hydrometeorology" / ("05_hydrometeorology" if nested else "")
    for path, rows in (
        (folder / "03_streamflow" / "streamflow_mmd.csv",
         [(-99.99, 0.25), (1.5, 0), (2.5, -99.99)]),
        (other / "01_precipitation_timeseries" / "precipitation_AGCD.csv",
         [(0, 12.5), (0, 3), (1, 0)]),
        (other / "03_Other" / "AGCD" / "tmin_AGCD.csv", [(9, 15), (9.5, 15), (-1, 15)]),
        (other / "03_Other" / "AGCD" / "tmax_AGCD.csv", [(29, 35), (29.5, 35), (9, 35)]),
    ):  # fmt: skip
        days = ["2015,12,30", "2015,12,31", "2016,1,1"]
        lines = [f"{day},{a},{b}" for day, (a, b) in zip(days, rows, strict=True)]
        text(path, "\n".join(["year,month,day,912101A,410730", *lines, ""]))
    text(folder / MASTER, "station_id,station_name,drainage_division,state_outlet,lat_outlet,"
         "long_outlet,catchment_area,elev_mean\n"
         "912101A,Gregory River at Gregory Downs,LEE,QLD,-18.6436,139.2522,12654,233.5\n"
         "410730,\"Cotter River, Gingera\",MDB,ACT,-35.5883,148.8217,130,1366\n")  # fmt: skip


def test_columns_are_stations_on_days_of_three_columns(tmp_path: Path) -> None:
    make_camels_aus(tmp_path / "camels_aus")
    found = sites("camels_aus", tmp_path)
    assert found["site"].values.tolist() == ["410730", "912101A"]
    assert [str(t)[:10] for t in found["time"].values] == ["2015-12-30", "2015-12-31", "2016-01-01"]
    nan = np.nan
    np.testing.assert_allclose(found["streamflow"], [[0.25, nan], [0, 1.5], [nan, 2.5]])
    np.testing.assert_allclose(found["lon"], [148.8217, 139.2522])
    rain = sites("camels_aus", tmp_path, "camels_aus_precipitation")["precipitation"]
    np.testing.assert_allclose(rain, [[12.5, 0], [3, 0], [0, 1]])
    low = sites("camels_aus", tmp_path, "camels_aus_temperature_min")["air_temperature_min"]
    np.testing.assert_allclose(low[:, 1], [9, 9.5, -1])
    high = sites("camels_aus", tmp_path, "camels_aus_temperature_max")["air_temperature_max"]
    np.testing.assert_allclose(high[:, 0], [35, 35, 35])
    np.testing.assert_allclose(found["area"], [130, 12654])
    np.testing.assert_allclose(found["elevation"], [1366, 233.5])


def test_archives_without_folders_of_their_name_are_read_too(tmp_path: Path) -> None:
    make_camels_aus(tmp_path / "camels_aus", nested=False)
    rain = sites("camels_aus", tmp_path, "camels_aus_precipitation")["precipitation"]
    np.testing.assert_allclose(rain, [[12.5, 0], [3, 0], [0, 1]])
