"""CAMELS-DE as at Zenodo: a CSV a catchment named by its gauge, coordinates in another table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.products.sites import sites, text

COLUMNS = (
    "date", "discharge_vol_obs", "discharge_spec_obs", "water_level_obs", "precipitation_mean",
    "precipitation_min", "precipitation_max", "humidity_mean", "radiation_global_mean",
    "temperature_min", "temperature_mean", "temperature_max",
)  # fmt: skip


def make_camels_de(folder: Path) -> None:
    """Two catchments; one lacks a day of streamflow and its radiation."""
    for gauge, first, second in (
        ("DE110000", "12.5,0.3,1.1,4.5,0,9,80,25,-3.5,1,4.5", ",,,0,0,0,90.5,,-4,0,3"),
        ("DEA10000", "1,0.5,,2,2,2,70,30,0,2,6", "1.5,0.75,,0,0,0,75,31,1,3,7"),
    ):
        text(folder / "timeseries" / f"CAMELS_DE_hydromet_timeseries_{gauge}.csv",
             f"{','.join(COLUMNS)}\n1951-01-01,{first}\n1951-01-02,{second}\n")  # fmt: skip
    text(folder / "CAMELS_DE_topographic_attributes.csv",
         "gauge_id,provider_id,gauge_name,water_body_name,federal_state,gauge_lon,gauge_lat,"
         "gauge_elev_metadata,area,elev_mean\n"
         "DEA10000,27,Köln,Rhein,Nordrhein-Westfalen,6.96,50.94,35,144232,500\n"
         "DE110000,1234,Kirchen-Hausen,Donau,Baden-Württemberg,8.69,47.93,664.5,763.07,822.25\n",
         )  # fmt: skip
    text(folder / "CAMELS_DE_soil_attributes.csv", "gauge_id,clay_0_30cm_mean,silt_0_30cm_mean,"
         "sand_0_30cm_mean\nDE110000,28.89,46.32,24.79\nDEA10000,20,50,30\n")  # fmt: skip


def test_gauges_are_named_by_files_and_empty_fields_missing(tmp_path: Path) -> None:
    make_camels_de(tmp_path / "camels_de" / "camels_de")
    found = sites("camels_de", tmp_path)
    assert found["site"].values.tolist() == ["DE110000", "DEA10000"]
    assert [str(t)[:10] for t in found["time"].values] == ["1951-01-01", "1951-01-02"]
    nan = np.nan
    np.testing.assert_allclose(found["streamflow"], [[0.3, 0.5], [nan, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(found["precipitation"], [[4.5, 2], [0, 0]])
    np.testing.assert_allclose(found["shortwave_radiation"], [[25, 30], [nan, 31]])
    np.testing.assert_allclose(found["relative_humidity"], [[80, 70], [90.5, 75]])
    np.testing.assert_allclose(found["air_temperature_min"], [[-3.5, 0], [-4, 1]])
    np.testing.assert_allclose(found["lat"], [47.93, 50.94])
    np.testing.assert_allclose(found["sand"], [0.2479, 0.3], rtol=1e-5)
    np.testing.assert_allclose(found["area"], [763.07, 144232], rtol=1e-6)
