"""USCRN as at NCEI: texts without names of columns, a folder a year, two codes of missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.products.sites import sites, text


def row(
    station: str, day: str, lon: float, lat: float, rain: float, soil: tuple[float, ...],
    mean: float = 10.0, sun: float = 8.64,
) -> str:  # fmt: skip
    """A line in the columns of a file, with the temperatures 4 degrees around the mean."""
    high, low = (mean + 4, mean - 4) if mean > -9999 else (mean, mean)
    fields = [f"{station:>5} {day}  2.623 {lon:7.2f} {lat:7.2f} {high:7.1f} {low:7.1f} {mean:7.1f} "
              f"{mean:7.1f} {rain:7.1f} {sun:8.2f} C {high:7.1f} {low:7.1f} {mean:7.1f}    90.0    "
              "40.0    65.5"]  # fmt: skip
    return " ".join(fields + [f"{value:7.3f}" for value in soil] + ["-9999.0"] * 5) + "\n"


def make_uscrn(folder: Path) -> None:
    """Two stations at the end of a year, of which one measures soil at two depths only."""
    none = (-99.0,) * 5
    last, first, second = "20201231", "20210101", "20210102"
    name = "CRND0103-{}-CO_Boulder_14_W.txt"
    text(folder / "2020" / name.format(2020),
         row("94075", last, -105.54, 40.04, 2.5, (0.1, 0.2, 0.3, 0.4, 0.2)))  # fmt: skip
    text(folder / "2021" / name.format(2021),
         row("94075", first, -105.54, 40.04, -9999.0, none, -9999.0, -9999.0)
         + row("94075", second, -105.54, 40.04, 0.0, (0.12, 0.2, 0.3, -99.0, 0.2)))  # fmt: skip
    text(folder / "2021" / "CRND0103-2021-AL_Selma_6_SSE.txt",
         row("03047", first, -86.98, 32.34, 12.3, (0.25, 0.3, -99.0, -99.0, -99.0)))  # fmt: skip
    text(folder / "2021" / "readme.txt", "USCRN DAILY FILES\n")


def test_local_days_of_both_years_and_both_codes_of_missing(tmp_path: Path) -> None:
    make_uscrn(tmp_path / "uscrn")
    found = sites("uscrn", tmp_path)
    assert found["cell"].values.tolist() == [3047, 94075]
    assert [str(t)[:10] for t in found["time"].values] == ["2020-12-31", "2021-01-01", "2021-01-02"]
    nan = np.nan
    np.testing.assert_allclose(found["soil_moisture"], [[nan, 0.1], [0.25, nan], [nan, 0.12]],
                               rtol=1e-6)  # fmt: skip
    # 7.5, 7.5, 20, 40 and 25 cm of the first metre.
    metre = (7.5 * 0.1 + 7.5 * 0.2 + 20 * 0.3 + 40 * 0.4 + 25 * 0.2) / 100
    np.testing.assert_allclose(found["soil_moisture_root_zone"],
                               [[nan, metre], [nan, nan], [nan, nan]], rtol=1e-6)  # fmt: skip
    np.testing.assert_allclose(
        found["precipitation"], [[nan, 2.5], [12.3, nan], [nan, 0]], rtol=1e-6
    )
    np.testing.assert_allclose(found["air_temperature_min"], [[nan, 6], [6, nan], [nan, 6]])
    # 8.64 MJ m-2 of a day are 100 W m-2.
    np.testing.assert_allclose(found["shortwave_radiation"], [[nan, 100], [100, nan], [nan, 100]],
                               rtol=1e-6)  # fmt: skip
