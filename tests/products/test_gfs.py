"""GFS in GRIB 2: a file for each lead time, buckets of 6 hours beside totals since the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.products.common import cube, dates, faults, same
from tests.products.grib import grid, make_grib

BOUNDS = (6.875, 44.875, 7.625, 45.375)
RUNS = ("2024-02-28", "2024-02-29", "2024-03-01")
WARMTH = {12: 10.0, 18: 8.0, 24: 4.0, 30: 2.0}
RAIN = {6: 3.0, 12: 1.0, 18: 0.0, 24: 2.0, 30: 1.0}
"""Temperature, degC, and the rain of the 6 hours before, mm, at each lead time."""
ONE = np.ones((2, 3))


def instant(lead: int, name: str, level: int | None = None) -> dict[str, Any]:
    height = {} if level is None else {"typeOfLevel": "heightAboveGround", "level": level}
    return {"shortName": name, **height, "stepRange": str(lead)}


def statistic(first: int, last: int, category: int, number: int, kind: int) -> dict[str, Any]:
    """A total (1) or a mean (0) over lead times, by the numbers of its parameter."""
    return {"productDefinitionTemplateNumber": 8, "discipline": 0, "parameterCategory": category,
            "parameterNumber": number, "typeOfFirstFixedSurface": 1,
            "typeOfStatisticalProcessing": kind, "stepRange": f"{first}-{last}"}  # fmt: skip


def make_gfs(folder: Path) -> None:
    """Write three runs, each 1 K warmer than that before."""
    cells = grid(45.25, 7.0, 0.25, 2, 3)
    for number, run in enumerate(RUNS):
        start = {**cells, "centre": "kwbc", "dataDate": int(run.replace("-", "")), "dataTime": 0}
        for lead, warmth in WARMTH.items():
            since = sum(rain for before, rain in RAIN.items() if before <= lead)
            messages = [
                (instant(lead, "2t", 2), 273.15 + warmth + number),
                (instant(lead, "2d", 2), 273.15),
                (instant(lead, "2sh", 2), 0.005), (instant(lead, "t", 80), 250.0),
                (instant(lead, "10u", 10), 3.0), (instant(lead, "10v", 10), -4.0),
                (instant(lead, "sp"), 95000.0),
                (instant(lead, "prate"), 1.0), (statistic(lead - 6, lead, 1, 7, 0), 2.0),
                (statistic(lead - 6, lead, 1, 8, 1), RAIN[lead]),
                (statistic(0, lead, 1, 8, 1), since),
                (statistic(lead - 6, lead, 4, 192, 0), 100 * RAIN[lead]),
                (statistic(lead - 6, lead, 5, 192, 0), 300.0),
            ]  # fmt: skip
            path = folder / "gfs" / run.replace("-", "") / f"gfs.t00z.pgrb2.0p25.f{lead:03d}"
            make_grib(path, [({**start, **keys}, value * ONE) for keys, value in messages], 2)


def test_days_of_buckets_of_six_hours(tmp_path: Path) -> None:
    make_gfs(tmp_path)
    names = ["gfs_precipitation", "gfs_radiation"]
    ds = cube("gfs", tmp_path, BOUNDS, 0.25, ("2024-02-29", "2024-03-01"), sources=names)
    assert dates(ds) == ["2024-02-29", "2024-03-01"]
    # 00 to 06 UTC are 24 to 30 hours of the run of the day before; 18 to 24 UTC end at 24 hours.
    same(ds["precipitation"], [(1.0 + 1.0 + 0.0 + 2.0) * ONE] * 2)
    same(ds["shortwave_radiation"], [(100.0 + 100.0 + 0.0 + 200.0) / 4 * ONE] * 2)
    same(ds["longwave_radiation"], [300.0 * ONE] * 2)
    assert faults("gfs", tmp_path, "gfs_precipitation") == []


def test_days_of_instants(tmp_path: Path) -> None:
    make_gfs(tmp_path)
    names = ["gfs", "gfs_wind", "gfs_pressure"]
    ds = cube("gfs", tmp_path, BOUNDS, 0.25, ("2024-02-29", "2024-03-01"), sources=names)
    # 00 and 06 UTC are 24 and 30 hours of the run of the day before, 12 and 18 UTC of the day's.
    first = (4.0 + 2.0 + (10.0 + 1) + (8.0 + 1)) / 4
    same(ds["air_temperature"], [first * ONE, (first + 1) * ONE])
    same(ds["dew_point_temperature"], [0 * ONE] * 2)
    same(ds["specific_humidity"], [0.005 * ONE] * 2)
    same(ds["eastward_wind"], [3.0 * ONE] * 2)
    same(ds["northward_wind"], [-4.0 * ONE] * 2)
    same(ds["surface_pressure"], [95000.0 * ONE] * 2)
