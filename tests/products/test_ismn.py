"""ISMN as its portal delivers it: files with header values, and files in the CEOP format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.products.sites import sites, text


def name(network: str, station: str, depth: float, sensor: str) -> str:
    at = f"{depth:.6f}_{depth:.6f}"
    file = f"{network}_{network}_{station}_sm_{at}_{sensor}_20170809_20170811.stm"
    return f"{network}/{station}/{file}"


def make_ismn(folder: Path) -> None:
    """A station in each format, from 18:00 UTC to the evening of the next day, with flags."""
    hours = [(9, hour) for hour in range(18, 24)] + [(10, hour) for hour in range(24)]
    # 0.2 in the first half of the day, 0.3 in the second, and a spike that is flagged.
    values = [(day, hour, 0.9 if hour == 3 else 0.2 if hour < 12 else 0.3) for day, hour in hours]
    flags = {3: "D06"}
    rows = "".join(f"2017/08/{day:02d} {hour:02d}:00 {value:8.4f} {flags.get(hour, 'G')} M\n"
                   for day, hour, value in values)  # fmt: skip
    header = "SCAN   SCAN   Alcalde   36.08833  -105.57778  1735.00  0.0500  0.0500  Hydra\n"
    text(folder / name("SCAN", "Alcalde", 0.05, "Hydra"), header + rows)
    text(folder / name("SCAN", "Alcalde", 0.2, "Hydra"), header.replace("0.05", "0.20") + rows)
    row = (
        "2017/08/{0:02d} {1:02d}:00 2017/08/{0:02d} {1:02d}:00 AMMA AMMA Banizoumbou 13.53 2.66 "
        "211.00 0.05 0.05 {2:8.4f} {3} M\n"
    )
    text(folder / name("AMMA", "Banizoumbou", 0.05, "CS616"),
         "".join(row.format(day, hour, value / 2, flags.get(hour, "G"))
                 for day, hour, value in values))  # fmt: skip


def test_days_of_both_formats_are_means_of_good_hours(tmp_path: Path) -> None:
    pytest.importorskip("ismn")
    make_ismn(tmp_path / "ismn")
    found = sites("ismn", tmp_path)
    assert found["site"].values.tolist() == ["AMMA/Banizoumbou", "SCAN/Alcalde"]
    np.testing.assert_allclose(found["lat"], [13.53, 36.08833])
    # 6 hours are fewer than 12; the spike at 03:00 is left out.
    day = (11 * 0.2 + 12 * 0.3) / 23
    assert [str(t)[:10] for t in found["time"].values] == ["2017-08-09", "2017-08-10"]
    np.testing.assert_allclose(
        found["soil_moisture"], [[np.nan, np.nan], [day / 2, day]], rtol=1e-5
    )
