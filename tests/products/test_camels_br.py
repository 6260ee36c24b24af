"""CAMELS-BR as published: text files separated by spaces, and flags of doubtful values."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.products.sites import sites, text

SERIES = {
    "03_CAMELS_BR_streamflow_selected_catchments/{}_streamflow.txt": (
        "year month day streamflow_m3s streamflow_mm qual_control_by_ana qual_flag",
        ("1999 12 30 820.5 1.152 1 1", "1999 12 31 1000 1.403 1 3", "2000 1 1 nan nan nan nan",
         "2000 1 2 5000 7.015 0 4", "2000 1 3 810 1.136 0 0", "2000 1 4 6000 8.418 0 7",
         "2000 1 5 0 0 0 6", "2000 1 6 900 1.263 0 5"),
    ),
    "05_CAMELS_BR_precipitation/{}_precipitation.txt": (
        "year month day p_brdwgd p_chirps p_cpc p_era5land p_mswep",
        ("1999 12 30 0 0 0 1.25 0.5", "1999 12 31 nan 3.5 2.25 6 4.75"),
    ),
    "09_CAMELS_BR_temperature/{}_temperature.txt": (
        "year month day tmin_brdwgd tmax_brdwgd tmin_cpc tmax_cpc tmin_era5land tmean_era5land "
        "tmax_era5land",
        ("1999 12 30 nan nan 20 33 21.5 26.25 32.5",),
    ),
}  # fmt: skip
TABLES = {
    "location": ("gauge_name gauge_region gauge_lat gauge_lon area_ana area_gsim",
                 "estirao_do_repouso amazonas -4.3408 -70.9056 61400 61581.51",
                 "porto_murtinho parana -21.7 -57.89 nan 581000"),
    "topography": ("elev_gauge elev_mean slope_mean area", "74.0 154.4 7.96 61581.51",
                   "82 312.5 12 581000"),
    "soil": ("sand_perc silt_perc clay_perc", "30.5 34.5 35", "nan nan nan"),
}  # fmt: skip


def make_camels_br(folder: Path) -> None:
    """A gauge with series and one without; each archive is a folder in a folder of its name."""
    for name, (columns, rows) in SERIES.items():
        archive = name.split("/")[0]
        text(folder / archive / name.format("10500000"), "\n".join([columns, *rows, ""]))
    inner = folder / "01_CAMELS_BR_attributes" / "01_CAMELS_BR_attributes"
    for name, (columns, first, second) in TABLES.items():
        text(inner / f"camels_br_{name}.txt",
             f"gauge_id {columns}\n10500000 {first}\n67100000 {second}\n")  # fmt: skip


def test_doubtful_flows_are_missing_and_floods_are_not(tmp_path: Path) -> None:
    make_camels_br(tmp_path / "camels_br")
    found = sites("camels_br", tmp_path)
    assert found["site"].values.tolist() == ["10500000"]
    assert [str(t)[:10] for t in found["time"].values] == [
        "1999-12-30", "1999-12-31", "2000-01-01", "2000-01-02", "2000-01-03", "2000-01-04",
        "2000-01-05", "2000-01-06",
    ]  # fmt: skip
    flow = [1.152, np.nan, np.nan, 7.015, 1.136, 8.418, 0, np.nan]
    np.testing.assert_allclose(found["streamflow"][:, 0], flow, rtol=1e-6)
    np.testing.assert_allclose([found["lat"][0], found["lon"][0]], [-4.3408, -70.9056])
    np.testing.assert_allclose([found["area"][0], found["elevation"][0]], [61581.51, 154.4])
    np.testing.assert_allclose(found["clay"], [0.35], rtol=1e-6)


def test_forcings(tmp_path: Path) -> None:
    make_camels_br(tmp_path / "camels_br")
    rain = sites("camels_br", tmp_path, "camels_br_precipitation")["precipitation"]
    np.testing.assert_allclose(rain, [[0.5], [4.75]])
    warm = sites("camels_br", tmp_path, "camels_br_temperature")
    np.testing.assert_allclose(warm["air_temperature"], [[26.25]])
    np.testing.assert_allclose(warm["air_temperature_max"], [[32.5]])
    np.testing.assert_allclose(warm["air_temperature_min"], [[21.5]])
