"""Dates of the Julian calendar, which GPM files name although they mean the standard one."""

from __future__ import annotations

import cftime
import numpy as np

from pipeline.times.calendars import standard_labels


def julian(*years: int) -> np.ndarray:
    return np.array([cftime.datetime(y, 2, 28, 23, 30, calendar="julian") for y in years], object)


def test_julian_dates_keep_their_label() -> None:
    found = standard_labels(julian(2000, 2023))
    wanted = np.array(["2000-02-28T23:30", "2023-02-28T23:30"], "datetime64[ns]")
    np.testing.assert_array_equal(found, wanted)
    bounds = standard_labels(julian(2000, 2023).reshape(2, 1))
    assert (bounds.shape, bounds.dtype) == ((2, 1), np.dtype("datetime64[ns]"))


def test_julian_dates_of_years_with_other_leap_days_are_unchanged() -> None:
    times = julian(1900, 2000)
    assert standard_labels(times) is times
    others = np.array([cftime.datetime(2000, 1, 30, calendar="360_day")], object)
    assert standard_labels(others) is others
    texts = np.array(["2000-01-01"], object)
    assert standard_labels(texts) is texts
