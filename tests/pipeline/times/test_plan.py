"""Time axes: missing steps are found in every calendar; days and months keep their dates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.times.axis import TimeAxis
from pipeline.times.plan import TimePlan, month_plan, time_plan

FILL = {"gaps": "missing", "calendar": "convert"}


def dates(start: str, count: int, freq: str = "D", calendar: str = "standard") -> np.ndarray:
    if calendar == "standard":
        return pd.date_range(start, periods=count, freq=freq).values
    return xr.date_range(start, periods=count, freq=freq, calendar=calendar, use_cftime=True).values


def without(times: np.ndarray, *positions: int | slice) -> np.ndarray:
    return np.delete(times, np.r_[positions])


def plan(times: np.ndarray, **axis: object) -> TimePlan:
    return time_plan(times, TimeAxis.model_validate(axis), "a.nc: time")


def refusal(times: np.ndarray, **axis: object) -> str:
    with pytest.raises(InputError) as caught:
        plan(times, **{"calendar": "convert", **axis})
    return str(caught.value)


def days(found: TimePlan) -> list[str]:
    return found.values.astype("datetime64[D]").astype(str).tolist()


HOURS = dates("2001-01-01", 24 * 20, "h")
NOON_THEN_MIDNIGHT = np.concatenate(
    [dates("2000-01-01T12", 366), dates("2002-01-01", 365)]
)  # fmt: skip


@pytest.mark.parametrize(
    ("times", "axis", "found"),
    [
        (without(HOURS, 127), {"daily": True}, "1 step without data: 2001-01-06T07:00"),
        (without(HOURS, slice(127, 140)), {"daily": True},
         "13 steps without data: 2001-01-06T07:00 to 2001-01-06T19:00"),
        (without(HOURS, 127, slice(200, 260)), {"daily": True},
         "61 steps without data: 2001-01-06T07:00, 2001-01-09T08:00 to 2001-01-11T19:00"),
        (NOON_THEN_MIDNIGHT, {}, "365 steps without data: 2001-01-01 to 2001-12-31"),
        (without(dates("2000-01-16", 36, "MS", "noleap"), slice(12, 24)), {},
         "12 steps without data: 2001-02-01 to 2002-01-01"),
        (without(dates("2001-01-01", 30, "D", "noleap"), slice(5, 20)), {},
         "15 steps without data: 2001-01-06 to 2001-01-20"),
        (without(dates("2004-02-20", 30, "D", "noleap"), slice(5, 15)), {},
         "10 steps without data: 2004-02-25 to 2004-03-06"),
        (without(dates("2001-02-01", 60, "D", "360_day"), slice(25, 31)), {},
         "6 steps without data: 2001-02-26 to 2001-03-01"),
        (without(dates("2001-01-01", 40, "6h", "noleap"), 9), {},
         "1 step without data: 2001-01-03T06:00"),
        (without(dates("2001-01-01", 24, "MS", "360_day"), 1), {},
         "1 step without data: 2001-02-01"),
        (without(dates("2001-01-01", 8, "QS", "noleap"), 3), {}, "1 step without data: 2001-10-01"),
        (without(dates("2001-01-01", 9, "YS"), 2, slice(5, 7)), {},
         "3 steps without data: 2003-01-01, 2006-01-01 to 2007-01-01"),
        (without(dates("2001-01-01", 10, "8D"), 4), {}, "1 step without data: 2001-02-02"),
    ],
)  # fmt: skip
def test_gaps_are_refused_with_their_number_and_dates(
    times: np.ndarray, axis: dict, found: str
) -> None:
    text = refusal(times, **axis)
    assert f"a.nc: time: found {found}" in text
    assert "Download what is missing, or set `time: {gaps: missing}`" in text


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
@pytest.mark.parametrize(("freq", "daily"), [("h", True), ("6h", False), ("D", False),
                                             ("MS", False), ("YS", False)])  # fmt: skip
def test_whole_series_of_every_calendar_have_no_gaps(
    calendar: str, freq: str, daily: bool
) -> None:  # fmt: skip
    times = dates("2003-01-01", 24 * 400 if freq == "h" else 400, freq, calendar)
    if freq == "YS":
        times = times[:30]
    found = plan(times, calendar="convert", daily=daily)
    assert (np.diff(found.values) > np.timedelta64(0)).all()
    if freq in ("MS", "YS"):
        step = np.timedelta64(1 if freq == "MS" else 12, "M")
        assert set(np.diff(found.values.astype("datetime64[M]"))) == {step}
        assert set(found.values.astype("datetime64[D]").astype(str).astype("U10")) == {
            f"{t.astype('datetime64[M]')}-01" for t in found.values
        }


@pytest.mark.parametrize(
    ("freq", "count", "last", "later"),
    [("MS", 3, "2001-03-31", "2001-04-01"), ("YS", 2, "2002-12-31", "2003-01-01"),
     ("8D", 4, "2001-02-01", "2001-02-02"), ("D", 4, "2001-01-04", "2001-01-05")],
)  # fmt: skip
def test_a_period_ends_with_the_last_day_of_a_step(
    freq: str, count: int, last: str, later: str
) -> None:
    times = dates("2001-01-01", count, freq)
    assert plan(times, period=["2001-01-01", last]).values.size == count
    with pytest.raises(InputError, match=f"the period 2001-01-01 to {later}"):
        plan(times, period=["2001-01-01", later])


def test_dates_that_a_file_calls_julian_are_those_of_the_standard_calendar() -> None:
    times = dates("2019-12-30", 64, "D", "julian")
    found = plan(times, calendar="convert")
    assert found.calendar == "standard"
    assert [str(t)[:10] for t in found.values[[0, 2, 61, 63]]] == [
        "2019-12-30", "2020-01-01", "2020-02-29", "2020-03-02"
    ]  # fmt: skip
    with pytest.raises(InputError, match="convert}`: dates keep their year, month and day"):
        plan(times)


@pytest.mark.parametrize("day", ["01", "16", "30"])
def test_months_of_360_days_stay_their_months(day: str) -> None:
    times = xr.date_range("2001-01-01", periods=720, calendar="360_day", use_cftime=True)
    of_months = times[times.day == int(day)].values
    found = plan(of_months, calendar="convert")
    assert pd.DatetimeIndex(found.values).month.tolist() == [*range(1, 13)] * 2
    assert set(found.days) == {30.0}
    assert days(found)[0] == f"2001-01-{day}"
    assert days(found)[1] == f"2001-02-{min(int(day), 28):02d}"


def test_irregular_times_have_no_gaps_and_stay_as_they_are() -> None:
    times = np.array(["2001-01-01T10:20", "2001-01-04T03:00", "2001-02-17T10:10",
                      "2001-02-17T23:00", "2001-05-01T01:00"], "datetime64[ns]")  # fmt: skip
    np.testing.assert_array_equal(plan(times).values, times)


def test_absent_steps_come_where_they_belong() -> None:
    found = plan(NOON_THEN_MIDNIGHT, **FILL)
    assert days(found) == np.arange("2000-01-01", "2003-01-01", dtype="M8[D]").astype(str).tolist()
    assert found.count.sum() == 731
    ends = without(dates("2001-01-31", 6, "ME"), 1)
    assert days(plan(ends, **FILL))[:3] == ["2001-01-31", "2001-02-28", "2001-03-31"]
    half = np.concatenate([dates("2001-01-01T00:30", 48, "h"), dates("2001-01-03T05:00", 48, "h")])
    filled = plan(half, **FILL)
    assert filled.count.tolist() == [1] * 48 + [0] * 4 + [1] * 48
    assert (np.diff(filled.values) > np.timedelta64(0)).all()


@pytest.mark.parametrize("stamp", ["start", "end"])
@pytest.mark.parametrize("begins", [0.0, 6.0, -7.5])
def test_days_of_a_calendar_without_leap_days_are_whole(stamp: str, begins: float) -> None:
    times = dates("2004-02-20", 24 * 20, "h", "noleap")
    found = plan(times, calendar="convert", daily=True, day_starts=begins, stamp=stamp)
    leap = np.array(days(found)) == "2004-02-29"
    assert found.count[leap].tolist() == [0]
    assert set(found.count[~leap].tolist()) == {24}


def test_lacking_hours_pass_where_the_share_of_a_day_allows_them() -> None:
    found = plan(without(HOURS, 127), daily=True, min_share=0.9)
    assert found.count.tolist() == [24] * 5 + [23] + [24] * 14
    assert "13 steps" in refusal(without(HOURS, slice(127, 140)), daily=True, min_share=0.9)
    moved = np.concatenate([HOURS[:48] + np.timedelta64(30, "m"), HOURS[49:]])
    assert "1 step without data: 2001-01-03" in refusal(moved, daily=True)


def test_noon_and_midnight_are_one_day_and_twice_a_day_is_refused() -> None:
    noon, midnight = dates("2001-01-01T12", 365), dates("2001-01-01", 365)
    np.testing.assert_array_equal(plan(noon).values, plan(midnight).values)
    assert plan(noon).is_identity
    middle = np.array(["2001-01-16T12", "2001-02-15T00", "2001-03-16T12"], "datetime64[ns]")
    assert days(plan(middle)) == ["2001-01-16", "2001-02-15", "2001-03-16"]
    assert (plan(middle).values == middle.astype("datetime64[D]")).all()
    hourly = dates("2001-01-01T00:30", 48, "h")
    np.testing.assert_array_equal(plan(hourly).values, hourly)
    doubled = np.concatenate([midnight[:9], noon[8:]])
    assert "found 1 duplicate times, the first 2001-01-09" in refusal(doubled)


def test_times_that_are_microseconds_off_are_regular() -> None:
    jitter = np.random.default_rng(1).integers(-20_000, 20_000, HOURS.size)
    times = HOURS + jitter.astype("timedelta64[ns]")
    assert plan(times, daily=True).count.tolist() == [24] * 20
    assert "found 1 step without data: 2001-01-06T07:00" in refusal(without(times, 127))


def test_years_that_no_timestamp_can_hold_are_refused() -> None:
    text = refusal(dates("2250-01-01", 40, "YS", "noleap"))
    assert "found years 2250 to 2289; expected 1678 to 2261" in text


@given(
    calendar=st.sampled_from(["standard", "noleap", "360_day"]),
    freq=st.sampled_from(["h", "3h", "D", "MS"]),
    absent=st.sets(st.integers(1, 98), min_size=1, max_size=30),
    begins=st.integers(1, 12),
)
def test_every_absent_step_is_counted(
    calendar: str, freq: str, absent: set[int], begins: int
) -> None:
    times = without(dates(f"2003-{begins:02d}-01", 100, freq, calendar), *sorted(absent))
    plural = "s" if len(absent) > 1 else ""
    assert f"found {len(absent)} step{plural} without data" in refusal(times)


@pytest.mark.parametrize(
    ("calendar", "february"), [("standard", (29.0, 28.0)), ("noleap", (28.0, 28.0)),
                               ("360_day", (30.0, 30.0))],
)  # fmt: skip
def test_months_of_real_years_have_their_own_days(
    calendar: str, february: tuple[float, float]
) -> None:
    found = plan(dates("2004-01-01", 24, "MS", calendar), calendar="convert")
    assert (found.days[1], found.days[13]) == february


def test_the_months_of_a_climatology_make_a_mean_year() -> None:
    assert month_plan().days.sum() == 365.25
    assert month_plan().days[1] == 28.25


@pytest.mark.parametrize("kept", [(0, 1, 3), (0, 1, 3, 5, 8), (0, 2, 4, 6, 7)])
def test_days_of_which_most_are_missing_have_the_declared_step(kept: tuple[int, ...]) -> None:
    times = dates("2015-03-31", 9)[list(kept)]
    found = plan(times, step="daily", gaps="missing")
    whole = [str(day)[:10] for day in dates("2015-03-31", kept[-1] + 1)]
    assert days(found) == whole
    assert [whole[i] for i in np.flatnonzero(found.count)] == [whole[i] for i in kept]


def test_times_that_are_not_on_the_declared_step_are_refused() -> None:
    every_other = dates("2015-03-31", 5, "2D")
    assert "times 48 hours apart" in refusal(every_other, step="daily", gaps="missing")
    off = np.append(dates("2015-03-31", 2), np.datetime64("2015-04-03T12", "ns"))
    assert "hours apart" in refusal(off, step="daily", gaps="missing")
