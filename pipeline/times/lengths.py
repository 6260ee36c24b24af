"""step_days(): the length of each time step, by which amounts become rates."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.times.calendars import STANDARD, month_days, year_days

PARTS_OF_MONTH = ((1, 11, 21), (1, 6, 11, 16, 21, 26))
"""Days of the month on which dekads and pentads begin; the last of a month ends with it."""
COMPOSITES = (8.0, 16.0)
"""Days of composites of satellite data, the first of which begins on 1 January."""


def step_days(
    values: np.ndarray, step: str | float | None, of_months: np.ndarray, calendar: str = STANDARD
) -> np.ndarray:
    """Return the lengths [T] in days of steps at the times `values` [T]; NaN if unknown.

    `step` is "daily", "monthly", "yearly" or a number of hours, `of_months` [T] the days of the
    month of each time, and `calendar` that of the files. Seasons, dekads and pentads have their own
    lengths, and composites of 8 or 16 days that start again with each year end with it.
    """
    if step is None:
        return np.full(values.size, np.nan)
    if step == "monthly":
        return np.asarray(of_months, float)
    index = pd.DatetimeIndex(values)
    if step == "yearly":
        return _of_years(values, np.asarray(index.day), calendar)
    days = 1.0 if step == "daily" else float(step) / 24.0
    day = np.asarray(index.day)
    if days >= 28 and (seasons := _of_months(values, days, day, calendar)) is not None:
        return seasons
    if days in COMPOSITES and calendar == STANDARD and ((index.day_of_year - 1) % days == 0).all():
        return np.minimum(days, year_days(values, calendar) + 1 - np.asarray(index.day_of_year))
    if days > 1 and (parts := parts_of_month(day, np.asarray(of_months))) is not None:
        return parts[1]
    return np.full(values.size, days)


def parts_of_month(day: np.ndarray, of_months: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the first day of the month [T] and the length [T] of dekads or pentads; else None.

    `day` [T] of the month is the first, the middle or the last day of each.
    """
    for begins in PARTS_OF_MONTH:
        first = np.asarray(begins)[np.searchsorted(begins, day, "right") - 1]
        after = np.array([*begins[1:], 0])[np.searchsorted(begins, day, "right") - 1]
        length = np.where(after > 0, after, of_months + 1) - first
        middle = (begins[1] - begins[0]) // 2
        known = (first, first + length - 1, first + middle - 1, first + middle)
        if np.unique(first).size > 1 and any((day == one).all() for one in known):
            return first, np.asarray(length, float)
    return None


def _of_years(values: np.ndarray, day: np.ndarray, calendar: str) -> np.ndarray:
    """Return the days [T] of years from the first of a month, such as October; else of the year."""
    if (day != 1).any():
        return year_days(values, calendar)
    months = values.astype("datetime64[M]")
    within = (month_days((months + i).astype("datetime64[ns]"), calendar) for i in range(12))
    return np.asarray(sum(within), float)


def _of_months(
    values: np.ndarray, days: float, day: np.ndarray, calendar: str
) -> np.ndarray | None:  # fmt: skip
    """Return the lengths [T] of steps of several whole months; None for other steps."""
    months = values.astype("datetime64[M]")
    if (day != 1).any() or values.size < 2:
        return None
    each = int(np.gcd.reduce(np.diff(months).astype(int)))
    if each < 2 or not 28 * each <= days <= 31 * each:
        return None
    within = (month_days((months + i).astype("datetime64[ns]"), calendar) for i in range(each))
    return np.asarray(sum(within), float)
