"""Lengths of time steps: of months, years, days, hours, dekads and pentads."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

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
