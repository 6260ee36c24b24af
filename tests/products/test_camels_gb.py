"""CAMELS-GB as at EIDC: a CSV a catchment named by its number, coordinates in another table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.products.sites import sites, text

NAMES = (
    "date,precipitation,pet,temperature,discharge_spec,discharge_vol,peti,humidity,"
    "shortwave_rad,longwave_rad,windspeed"
)


def make_camels_gb(folder: Path) -> None:
    """Two catchments, the first at a point that the Ordnance Survey gives in both grids.

    The second lacks a day of streamflow, the third has attributes alone.
    """
    for gauge, flow, rain in (
        (10002, ("1.14", "1.5"), (11.5, 0)),
        (76014, ("NaN", "0.25"), (2, 3)),
    ):
        rows = [
            f"1970-10-{day:02d},{rain[i]},0.5,{8 + day}.0,{flow[i]},9.9,0.6,6.5,40.5,320,4.5"
            for i, day in enumerate((1, 2))
        ]
        text(folder / "timeseries" / f"CAMELS_GB_hydromet_timeseries_{gauge}_19701001-20150930.csv",
             "\n".join([NAMES, *rows, ""]))  # fmt: skip
    text(folder / "CAMELS_GB_topographic_attributes.csv",
         "gauge_id,gauge_name,gauge_lat,gauge_lon,gauge_easting,gauge_northing,gauge_elev,area,"
         "dpsbar,elev_mean\n10002,Caister,52.66,1.72,651409.903,313177.27,8.5,323.8,46.9,83\n"
         "76014,\"Eden, at Kirkby\",54.47,-2.35,377300,508400,159.6,69.2,154.4,365\n"
         "3,None,50,0,1,1,1,1,1,NaN\n")  # fmt: skip
    text(folder / "CAMELS_GB_soil_attributes.csv",
         "gauge_id,sand_perc,sand_perc_missing,silt_perc,silt_perc_missing,clay_perc\n"
         "76014,45.5,0,34.25,0,20.25\n10002,60,0,25,0,15\n")  # fmt: skip


def test_series_and_attributes_of_catchments(tmp_path: Path) -> None:
    make_camels_gb(tmp_path / "camels_gb" / "data")
    found = sites("camels_gb", tmp_path)
    assert found["site"].values.tolist() == ["10002", "76014"]
    assert found["cell"].values.tolist() == [10002, 76014]
    assert [str(t)[:10] for t in found["time"].values] == ["1970-10-01", "1970-10-02"]
    # 52° 39' 28.7" N, 1° 42' 57.8" E, which the file rounds by a quarter of a kilometre.
    np.testing.assert_allclose(found["lat"][0], 52.65797, atol=1e-4)
    np.testing.assert_allclose(found["lon"][0], 1.71605, atol=1e-4)
    np.testing.assert_allclose(found["streamflow"], [[1.14, np.nan], [1.5, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(found["precipitation"], [[11.5, 2], [0, 3]])
    np.testing.assert_allclose(found["air_temperature"], [[9, 9], [10, 10]])
    np.testing.assert_allclose(found["reference_evapotranspiration"], np.full((2, 2), 0.5))
    # 6.5 g of vapour in a kg of air.
    np.testing.assert_allclose(found["specific_humidity"], np.full((2, 2), 0.0065), rtol=1e-6)
    np.testing.assert_allclose(found["area"], [323.8, 69.2], rtol=1e-6)
    np.testing.assert_allclose(found["elevation"], [83, 365])
    np.testing.assert_allclose(found["clay"], [0.15, 0.2025], rtol=1e-6)
