"""ECMWF's open data in GRIB 2: a file for each lead time, totals since the forecast's start."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.products.common import cube, dates, faults, same
from tests.products.grib import grid, make_grib

BOUNDS = (6.875, 44.875, 7.625, 45.375)
ONE = np.ones((2, 3))
WARMTH = {6: 2.0, 12: 10.0, 18: 8.0, 24: 4.0}
"""Temperature at each lead time, degC."""


def make_ecmwf_open_data(folder: Path) -> None:
    """Write three runs, each 1 K warmer than that before; the rain of a day is 24, 48 and 72 mm."""
    cells = grid(45.25, 7.0, 0.25, 2, 3)
    height = {"typeOfLevel": "heightAboveGround"}
    for number, run in enumerate(("20240229", "20240301", "20240302"), 1):
        for lead, warmth in WARMTH.items():
            start = {**cells, "centre": "ecmf", "dataDate": int(run), "dataTime": 0}
            at, total = {"stepRange": str(lead)}, {"stepRange": f"0-{lead}"}
            accumulated = {"productDefinitionTemplateNumber": 8, **total}
            messages = [
                ({"shortName": "2t", **height, "level": 2, **at}, 272.15 + warmth + number),
                ({"shortName": "2d", **height, "level": 2, **at}, 273.15),
                ({"shortName": "10u", **height, "level": 10, **at}, 3.0),
                ({"shortName": "10v", **height, "level": 10, **at}, -4.0),
                ({"shortName": "t", "typeOfLevel": "isobaricInhPa", "level": 850, **at}, 270.0),
                ({"shortName": "sp", **at}, 95000.0),
                ({**accumulated, "shortName": "tp"}, number * 1e-3 * lead),
                ({**accumulated, "shortName": "ssrd"}, 3.6e5 * lead),
                ({**accumulated, "shortName": "strd"}, 1.08e6 * lead),
            ]  # fmt: skip
            path = folder / "ecmwf_open_data" / f"{run}000000-{lead}h-oper-fc.grib2"
            make_grib(path, [({**start, **keys}, value * ONE) for keys, value in messages], 2)


def test_a_total_of_24_hours_is_of_the_day_of_the_run(tmp_path: Path) -> None:
    make_ecmwf_open_data(tmp_path)
    ds = cube("ecmwf_open_data", tmp_path, BOUNDS, 0.25, ("2024-02-29", "2024-03-02"),
              sources=["ecmwf_open_data_totals"])  # fmt: skip
    assert dates(ds) == ["2024-02-29", "2024-03-01", "2024-03-02"]
    same(ds["precipitation"], [24 * ONE, 48 * ONE, 72 * ONE])
    same(ds["shortwave_radiation"], [100 * ONE] * 3)
    same(ds["longwave_radiation"], [300 * ONE] * 3)
    assert faults("ecmwf_open_data", tmp_path, "ecmwf_open_data_totals") == []


def test_instants_of_consecutive_runs_are_one_series(tmp_path: Path) -> None:
    make_ecmwf_open_data(tmp_path)
    names = [f"ecmwf_open_data{part}" for part in ("", "_wind", "_pressure")]
    ds = cube("ecmwf_open_data", tmp_path, BOUNDS, 0.25, ("2024-03-01", "2024-03-02"),
              sources=names)  # fmt: skip
    # 00 UTC is the last lead time of the run of the day before.
    first = (4.0 + (2.0 + 1) + (10.0 + 1) + (8.0 + 1)) / 4
    same(ds["air_temperature"], [first * ONE, (first + 1) * ONE])
    same(ds["dew_point_temperature"], [0 * ONE] * 2)
    same(ds["eastward_wind"], [3.0 * ONE] * 2)
    same(ds["northward_wind"], [-4.0 * ONE] * 2)
    same(ds["surface_pressure"], [95000.0 * ONE] * 2)
