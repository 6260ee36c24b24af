"""CAMELS-BR as at Zenodo: text by spaces, a file a gauge in a folder of a folder, flags."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.products.sites import sites, text


def make_camels_br(folder: Path) -> None:
    """Two gauges; the second has a doubtful day, and a missing one without a flag."""

    def series(part: str, gauge: str, end: str, rows: list[str]) -> None:
        path = folder / part / part / f"{gauge}_{end}.txt"
        text(path, "\n".join([f"year month day {end}", *rows, ""]))

    flow = "streamflow_mm qual_control_by_ana qual_flag"
    for gauge, rows in (("10500000", ["1980 12 31 2.5 1 1", "1981 1 1 2.75 1 2"]),
                        ("60615000", ["1980 12 31 9.0 0 3", "1981 1 1 nan nan nan",
                                      "1981 1 2 0.5 0 0"])):  # fmt: skip
        path = folder / "03_CAMELS_BR_streamflow_mm_selected_catchments"
        text(path / path.name / f"{gauge}_streamflow_mm.txt",
             "\n".join([f"year month day {flow}", *rows, ""]))  # fmt: skip
        series("05_CAMELS_BR_precipitation_chirps", gauge, "precipitation_chirps",
               ["1981 1 1 12.5", "1981 1 2 0"])  # fmt: skip
        series("12_CAMELS_BR_temperature_mean_cpc", gauge, "temperature_mean", ["1981 1 1 25.5"])
    tables = folder / "01_CAMELS_BR_attributes" / "01_CAMELS_BR_attributes"
    text(tables / "camels_br_location.txt",
         "gauge_id gauge_name gauge_region gauge_lat gauge_lon area_ana area_gsim quality\n"
         "10500000 estirao_do_repouso amazonas -4.3408 -70.9056 61400 61581.51 high\n"
         "60615000 \"fazenda santa\" parana -16.9 -48.3 nan 1000.5 high\n"
         "99999999 elsewhere parana -16 -48 1 1 low\n")  # fmt: skip
    text(tables / "camels_br_topography.txt", "gauge_id elev_gauge elev_mean slope_mean area\n"
         "10500000 76 218.1 24.3 61581.5\n60615000 600 850.5 60 1000.5\n")  # fmt: skip
    text(tables / "camels_br_soil.txt", "gauge_id sand_perc silt_perc clay_perc bedrock_depth\n"
         "10500000 40 30 30 2000\n60615000 55.5 nan 30 2500\n")  # fmt: skip


def test_doubtful_flows_are_missing(tmp_path: Path) -> None:
    make_camels_br(tmp_path / "camels_br")
    found = sites("camels_br", tmp_path)
    assert found["site"].values.tolist() == ["10500000", "60615000"]
    assert [str(t)[:10] for t in found["time"].values] == ["1980-12-31", "1981-01-01", "1981-01-02"]
    nan = np.nan
    np.testing.assert_allclose(found["streamflow"], [[2.5, nan], [2.75, nan], [nan, 0.5]])
    np.testing.assert_allclose(found["lat"], [-4.3408, -16.9])
    rain = sites("camels_br", tmp_path, "camels_br_precipitation")
    np.testing.assert_allclose(rain["precipitation"], [[12.5, 12.5], [0, 0]])
    warm = sites("camels_br", tmp_path, "camels_br_temperature")
    np.testing.assert_allclose(warm["air_temperature"], [[25.5, 25.5]])


def test_attributes_have_the_places_of_the_gauges(tmp_path: Path) -> None:
    make_camels_br(tmp_path / "camels_br")
    topography = sites("camels_br", tmp_path, "camels_br_topography")
    np.testing.assert_allclose(topography["area"], [61581.5, 1000.5])
    np.testing.assert_allclose(topography["lon"], [-70.9056, -48.3])
    soil = sites("camels_br", tmp_path, "camels_br_soil")
    np.testing.assert_allclose(soil["sand"], [0.4, 0.555], rtol=1e-6)
    np.testing.assert_allclose(soil["silt"], [0.3, np.nan], rtol=1e-6)
