"""Stamps: where in their steps the times of a file lie, by the entry or by CF time bounds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.times.axis import TimeAxis
from pipeline.times.plan import TimePlan, time_plan

BEGINS = {
    "hourly": pd.date_range("2003-12-30", periods=50, freq="h"),
    "daily": pd.date_range("2003-12-30", periods=70),
    "8 days": pd.date_range("2003-12-30", periods=9, freq="8D"),
    "monthly": pd.date_range("2003-11-01", periods=20, freq="MS"),
    "quarterly": pd.date_range("2003-01-01", periods=8, freq="QS"),
    "yearly": pd.date_range("2003-10-01", periods=5, freq="12MS"),
}
STEPS = {"hourly": pd.DateOffset(hours=1), "daily": pd.DateOffset(days=1),
         "8 days": pd.DateOffset(days=8), "monthly": pd.DateOffset(months=1),
         "quarterly": pd.DateOffset(months=3), "yearly": pd.DateOffset(years=1)}  # fmt: skip


def plan(times: object, bounds: np.ndarray | None = None, **axis: object) -> TimePlan:
    return time_plan(np.asarray(times), TimeAxis.model_validate(axis), "a.nc: time", bounds)


def refusal(times: object, bounds: np.ndarray | None = None, **axis: object) -> str:
    with pytest.raises(InputError) as caught:
        plan(times, bounds, **axis)
    return str(caught.value)


def stamped(which: str, stamp: str) -> tuple[pd.DatetimeIndex, np.ndarray, np.ndarray]:
    """Return begins, times and bounds [N, 2] of steps whose times are at `stamp` of them."""
    begins = BEGINS[which]
    ends = begins + STEPS[which]
    times = {"start": begins, "middle": begins + (ends - begins) / 2, "end": ends}[stamp]
    return begins, times.values, np.stack([begins.values, ends.values], 1)


@pytest.mark.parametrize("which", BEGINS)
@pytest.mark.parametrize("stamp", ["start", "middle", "end"])
def test_steps_of_every_length_begin_where_the_stamp_says(which: str, stamp: str) -> None:
    begins, times, bounds = stamped(which, stamp)
    np.testing.assert_array_equal(plan(times, stamp=stamp).values, begins.values)
    np.testing.assert_array_equal(plan(times, bounds, stamp=stamp).values, begins.values)


@pytest.mark.parametrize("which", BEGINS)
def test_bounds_move_the_ends_of_steps_where_the_entry_is_silent(which: str) -> None:
    begins, times, bounds = stamped(which, "end")
    np.testing.assert_array_equal(plan(times, bounds).values, begins.values)
    descending = bounds[:, ::-1]
    np.testing.assert_array_equal(plan(times, descending).values, begins.values)
    if which in ("daily", "monthly"):
        assert (plan(times).values != begins.values).all()


def test_days_at_noon_and_months_at_their_middle_keep_their_dates() -> None:
    _, noon, bounds = stamped("daily", "middle")
    days = plan(noon, bounds).values
    np.testing.assert_array_equal(days, noon.astype("M8[D]"))
    np.testing.assert_array_equal(days, plan(noon).values)
    _, middles, bounds = stamped("monthly", "middle")
    np.testing.assert_array_equal(plan(middles, bounds).values, plan(middles).values)


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_months_of_other_calendars_move_too(calendar: str) -> None:
    firsts = xr.date_range("2001-01-01", periods=14, freq="MS", calendar=calendar, use_cftime=True)
    begins, ends = firsts.values[:-1], firsts.values[1:]
    wanted = plan(begins, calendar="convert").values
    bounds = np.stack([begins, ends], 1)
    for settings in ({"bounds": bounds}, {"stamp": "end"}):
        found = plan(ends, calendar="convert", **settings).values
        np.testing.assert_array_equal(found, wanted)


def test_the_last_day_of_a_month_is_its_end_too() -> None:
    times = pd.date_range("2004-01-31", periods=6, freq="ME")
    found = plan(times, stamp="end").values
    np.testing.assert_array_equal(found, times.values.astype("M8[M]"))
    text = refusal(pd.date_range("2004-01-15", periods=6, freq="MS") + pd.Timedelta(14, "D"),
                   stamp="end")  # fmt: skip
    assert "as the end of a month" in text
    assert "stamp: middle" in text


@pytest.mark.parametrize(("at", "stamp"), [("end", "start"), ("end", "middle"), ("middle", "end"),
                                           ("start", "end")])  # fmt: skip
@pytest.mark.parametrize("which", ["hourly", "daily", "monthly"])
def test_bounds_that_disagree_with_the_entry_are_one_error(which: str, at: str, stamp: str) -> None:
    _, times, bounds = stamped(which, at)
    text = refusal(times, bounds, stamp=stamp)
    assert text.count("found") == 1
    assert f"the {at}" in text
    assert f"`stamp: {stamp}`" in text
    assert "wrong_in_file: [bounds]" in text


def test_bounds_of_instants_and_unreadable_bounds_say_nothing() -> None:
    _, times, bounds = stamped("daily", "end")
    instants = np.repeat(bounds[:, 1:], 2, axis=1)
    for empty in (instants, bounds.astype(np.int64), np.full_like(bounds, "NaT")):
        np.testing.assert_array_equal(plan(times, empty).values, times)
    # The first step of a forecast is an instant, the others end at their times.
    bounds[0, 0] = bounds[0, 1]
    assert plan(times, bounds).values[1] == bounds[1, 0]


def test_days_made_of_hours_take_the_hours_that_end_in_them() -> None:
    _, times, bounds = stamped("hourly", "end")
    for settings in ({"bounds": bounds}, {"stamp": "end"}):
        found = plan(times, daily=True, **settings)
        assert found.values.astype("M8[D]").astype(str).tolist() == ["2003-12-30", "2003-12-31"]
        assert found.first.tolist() == [0, 24]


def test_the_period_is_that_of_the_days_the_values_are_of() -> None:
    times = pd.date_range("2001-05-02", periods=5)
    found = plan(times, stamp="end", period=("2001-05-02", "2001-05-03"))
    assert found.first.tolist() == [1, 2]
    assert found.values.astype("M8[D]").astype(str).tolist() == ["2001-05-02", "2001-05-03"]
    assert "2001-05-01 to 2001-05-05" in refusal(times, stamp="end",
                                                 period=("2001-05-02", "2001-05-06"))  # fmt: skip


def test_one_time_moves_only_with_a_declared_step() -> None:
    time = pd.DatetimeIndex(["2001-03-01"])
    assert "Set `time.step`" in refusal(time, stamp="end")
    assert str(plan(time, stamp="end", step="daily").values[0])[:10] == "2001-02-28"
    bounds = np.array([["2001-02-01", "2001-03-01"]], "M8[ns]")
    assert str(plan(time, bounds, stamp="end").values[0])[:10] == "2001-02-01"


def test_restamped_months_begin_on_the_first() -> None:
    times = pd.to_datetime(["2001-01-16T12", "2001-02-15T00", "2001-03-31T00", "2001-04-01T00"])
    found = plan(times, restamp="month").values
    np.testing.assert_array_equal(found, times.values.astype("M8[M]"))
    ends = pd.date_range("2001-02-01", periods=12, freq="MS")
    moved = plan(ends, stamp="end", restamp="month").values
    np.testing.assert_array_equal(moved, (ends - pd.DateOffset(months=1)).values)


def test_restamped_months_of_a_series_with_gaps_have_their_gaps() -> None:
    times = pd.to_datetime(["2001-01-16", "2001-02-15", "2001-03-16", "2001-05-16", "2001-06-15"])
    found = plan(times, restamp="month", gaps="missing")
    assert found.count.tolist() == [1, 1, 1, 0, 1, 1]
    assert str(found.values[3])[:10] == "2001-04-01"


def test_two_times_of_one_month_are_not_restamped() -> None:
    text = refusal(pd.date_range("2001-01-01", periods=40), restamp="month")
    assert "two times of one month, 2001-01-01 and 2001-01-02" in text
    with pytest.raises(ValueError, match="restamp"):
        TimeAxis(restamp="month", daily=True)


def test_dumps_of_a_silent_entry_are_those_of_older_versions() -> None:
    assert TimeAxis().model_dump()["stamp"] == "start"
    assert TimeAxis(stamp="end").model_dump()["stamp"] == "end"
    assert "restamp" not in TimeAxis().model_dump()
