"""MSWEP as shared: files named by year and day of the year, days and three hours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tests.products.common import cube, dates, faults, same
from tests.products.gloh2o import BOUNDS, FIELD, make_gloh2o


def make_mswep(folder: Path, part: str, values: dict[str, float]) -> None:
    """Write the days of `Past/Daily` or `NRT/Daily`, each so many times the field."""
    for day, factor in values.items():
        make_gloh2o(folder / "mswep" / part, day, "precipitation", "mm/day", factor * FIELD)


def test_days_of_a_leap_year(tmp_path: Path) -> None:
    make_mswep(tmp_path, "Past/Daily",
               {"2016-12-30": 1.0, "2016-12-31": 2.0, "2017-01-01": 3.0})  # fmt: skip
    assert (tmp_path / "mswep" / "Past" / "Daily" / "2016366.nc").exists()
    ds = cube("mswep", tmp_path, BOUNDS, 0.1, ("2016-12-30", "2017-01-01"))
    assert dates(ds) == ["2016-12-30", "2016-12-31", "2017-01-01"]
    same(ds["precipitation"], [FIELD, 2 * FIELD, 3 * FIELD])
    assert faults("mswep", tmp_path) == []


def test_the_record_goes_on_in_near_real_time(tmp_path: Path) -> None:
    make_mswep(tmp_path, "Past/Daily", {"2020-11-25": 1.0, "2020-11-26": 2.0})
    make_mswep(tmp_path, "NRT/Daily", {"2020-11-26": 9.0, "2020-11-27": 3.0})
    ds = cube("mswep", tmp_path, BOUNDS, 0.1, ("2020-11-25", "2020-11-27"), sources=["mswep_all"])
    same(ds["precipitation"], [FIELD, 2 * FIELD, 3 * FIELD])


def test_days_of_three_hours_begin_at_00_utc(tmp_path: Path) -> None:
    folder = tmp_path / "mswep" / "Past" / "3hourly"
    for time in pd.date_range("2001-03-01", "2001-03-02 21:00", freq="3h"):
        # 3.6 mm until 21 UTC, and from then on 1 mm on the first day, 0.4 mm on the second.
        last = 1.0 if time.day == 1 else 0.4
        amount = (0.9, 0.6, 0.3, 0.0, 0.9, 0.6, 0.3, last)[time.hour // 3]
        make_gloh2o(folder, str(time), "precipitation", "mm/3h", amount * np.ones((2, 3)))
    assert (folder / "2001060.21.nc").exists()
    ds = cube("mswep", tmp_path, BOUNDS, 0.1, ("2001-03-01", "2001-03-02"),
              sources=["mswep_3hourly"])  # fmt: skip
    same(ds["precipitation"], [np.full((2, 3), 4.6), np.full((2, 3), 4.0)])
