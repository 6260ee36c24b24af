"""Lengths of time steps: of months, years, days, hours, dekads and pentads."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.times.axis import TimeAxis
from pipeline.times.plan import month_plan, time_plan


def lengths(times: pd.DatetimeIndex, **settings: object) -> list[float]:
    axis = TimeAxis.model_validate(settings)
    found: list[float] = time_plan(times.values, axis, "rain.nc").lengths.tolist()
    return found


def test_months_and_years_have_their_own_lengths() -> None:
    assert lengths(pd.date_range("2020-01-01", periods=3, freq="MS")) == [31, 29, 31]
    assert lengths(pd.date_range("2019-01-01", periods=3, freq="YS")) == [365, 366, 365]
    assert month_plan().lengths.sum() == 365.25


def test_days_and_hours() -> None:
    assert lengths(pd.date_range("2020-01-01", periods=3)) == [1, 1, 1]
    assert lengths(pd.date_range("2020-01-01", periods=3, freq="3h")) == [0.125] * 3
    assert lengths(pd.date_range("2020-01-01", periods=3, freq="8D")) == [8, 8, 8]


def test_days_made_of_hours_have_the_length_of_the_hours() -> None:
    hours = pd.date_range("2020-01-01", periods=48, freq="h")
    assert lengths(hours, daily=True) == pytest.approx([1 / 24] * 2)


def test_dekads_and_pentads_end_with_the_month() -> None:
    days = [f"2021-{month:02d}-{day:02d}" for month in (1, 2) for day in (1, 11, 21)]
    assert lengths(pd.DatetimeIndex(days)) == [10, 10, 11, 10, 10, 8]
    days = [f"2021-02-{day:02d}" for day in (1, 6, 11, 16, 21, 26)]
    assert lengths(pd.DatetimeIndex(days)) == [5, 5, 5, 5, 5, 3]


def test_one_time_has_the_length_that_the_entry_declares() -> None:
    one = pd.DatetimeIndex(["2020-02-01"])
    assert np.isnan(lengths(one)).all()
    assert lengths(one, step="monthly") == [29]
    assert lengths(one, step="daily") == [1]
    assert lengths(one, step="6-hourly") == [0.25]


def test_years_may_begin_with_any_month() -> None:
    assert lengths(pd.date_range("2002-10-01", periods=3, freq="YS-OCT")) == [365, 366, 365]
    assert lengths(pd.date_range("2003-07-02", periods=2, freq=pd.DateOffset(years=1))) == [
        365,
        366,
    ]


@pytest.mark.parametrize(("calendar", "days"), [("noleap", 365), ("360_day", 360)])
def test_years_of_other_calendars_have_their_own_days(calendar: str, days: int) -> None:
    years = xr.date_range("2003-01-01", periods=3, freq="YS", calendar=calendar, use_cftime=True)
    axis = TimeAxis(calendar="convert")
    assert time_plan(years.values, axis, "rain.nc").lengths.tolist() == [days] * 3


def test_seasons_have_the_days_of_their_months() -> None:
    seasons = pd.date_range("2003-12-01", periods=4, freq="QS-DEC")
    assert lengths(seasons) == [91, 92, 92, 91]
    assert lengths(seasons + pd.Timedelta(14, "D")) == [92] * 4  # where they begin is unknown


def test_composites_of_eight_days_end_with_the_year() -> None:
    days = [pd.Timestamp(f"{year}-01-01") + pd.Timedelta(8 * i, "D")
            for year in (2003, 2004) for i in range(46)]  # fmt: skip
    found = lengths(pd.DatetimeIndex(days))
    assert (found[45], found[91]) == (5, 6)
    assert {*found[:45], *found[46:91]} == {8}


@pytest.mark.parametrize("at", ["start", "end", "middle"])
def test_dekads_have_their_days_wherever_they_are_stamped(at: str) -> None:
    days = {"start": (1, 11, 21), "end": (10, 20, 29), "middle": (5, 15, 25)}[at]
    dates = pd.DatetimeIndex([f"2004-02-{day:02d}" for day in days])
    assert lengths(dates) == [10, 10, 9]
    if at != "start":
        axis = TimeAxis.model_validate({"stamp": at})
        found = time_plan(dates.values, axis, "rain.nc")
        assert found.values.astype("M8[D]").astype(str).tolist() == [
            "2004-02-01", "2004-02-11", "2004-02-21"
        ]  # fmt: skip
        assert found.lengths.tolist() == [10, 10, 9]


def test_the_end_of_a_dekad_may_be_the_midnight_after_it() -> None:
    ends = pd.DatetimeIndex(["2004-02-11", "2004-02-21", "2004-03-01", "2004-03-11"])
    found = time_plan(ends.values, TimeAxis(stamp="end"), "rain.nc")
    assert found.values.astype("M8[D]").astype(str).tolist()[1:3] == ["2004-02-11", "2004-02-21"]
    assert found.lengths.tolist() == [10, 10, 9, 10]
