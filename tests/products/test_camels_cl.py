"""CAMELS-CL as at PANGAEA: quoted fields by tabs, a column a gauge, attributes as rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.products.sites import sites, text


def quoted(*rows: list[str]) -> str:
    return "".join("\t".join(f'"{field}"' for field in row) + "\n" for row in rows)


def make_camels_cl(folder: Path) -> None:
    """Two gauges; a quoted blank is missing. The last row of a file is a day after a gap."""
    for part, values in (
        ("3_CAMELScl_streamflow_mm", [["0.5", " "], [" ", "2.25"], ["0.25", "0"]]),
        ("4_CAMELScl_precip_cr2met", [["0", "12.5"], ["1", "1"], ["2", "2"]]),
        ("8_CAMELScl_tmin_cr2met", [["-5", "1"], ["1", "1"], ["2", "2"]]),
        ("9_CAMELScl_tmax_cr2met", [["15", "21"], ["1", "1"], ["2", "2"]]),
        ("10_CAMELScl_tmean_cr2met", [["5", "11"], ["1", "1"], ["2", "2"]]),
        ("12_CAMELScl_pet_hargreaves", [["4.5", "3"], ["1", "1"], ["2", "2"]]),
    ):
        days = ["1979-12-31", "1980-01-01", "1980-01-02"]
        text(folder / part / f"{part}.txt", quoted(
            ["gauge_id", "12930001", " 1001001"],
            *([day, *row] for day, row in zip(days, values, strict=True)),
        ))  # fmt: skip
    path = folder / "1_CAMELScl_attributes" / "1_CAMELScl_attributes.txt"
    text(path, quoted(
        ["gauge_id", " 1001001", "12930001", "9999999"],
        ["gauge_name", "Rio Caquena En Nacimiento", "Rio Robalo", "Other"],
        ["gauge_lat", "-18.0769", "-54.95", "-30"], ["gauge_lon", "-69.1961", "-67.65", "-71"],
        ["area", "49.6", " ", "21.9"], ["elev_mean", "4842.449", "487.1", "10"],
    ))  # fmt: skip


def test_columns_are_gauges_and_quoted_blanks_missing(tmp_path: Path) -> None:
    make_camels_cl(tmp_path / "camels_cl")
    found = sites("camels_cl", tmp_path)
    assert found["site"].values.tolist() == ["1001001", "12930001"]
    assert [str(t)[:10] for t in found["time"].values] == ["1979-12-31", "1980-01-01", "1980-01-02"]
    nan = np.nan
    np.testing.assert_allclose(found["streamflow"], [[nan, 0.5], [2.25, nan], [0, 0.25]])
    np.testing.assert_allclose(found["lat"], [-18.0769, -54.95])
    np.testing.assert_allclose(found["area"], [49.6, nan], rtol=1e-6)
    np.testing.assert_allclose(found["elevation"], [4842.449, 487.1], rtol=1e-6)


@pytest.mark.parametrize(
    ("end", "variable", "first"),
    [("precipitation", "precipitation", [12.5, 0]), ("temperature", "air_temperature", [11, 5]),
     ("temperature_min", "air_temperature_min", [1, -5]),
     ("temperature_max", "air_temperature_max", [21, 15]),
     ("evapotranspiration", "reference_evapotranspiration", [3, 4.5])],
)  # fmt: skip
def test_each_forcing_has_a_file(end: str, variable: str, first: list, tmp_path: Path) -> None:
    make_camels_cl(tmp_path / "camels_cl")
    found = sites("camels_cl", tmp_path, f"camels_cl_{end}")
    np.testing.assert_allclose(found[variable], [first, [1, 1], [2, 2]])
