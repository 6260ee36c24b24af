"""step_days(): the length of each time step, by which amounts become rates."""

from __future__ import annotations

import numpy as np
import pandas as pd

PARTS_OF_MONTH = ((1, 11, 21), (1, 6, 11, 16, 21, 26))
"""Days of the month on which dekads and pentads begin; the last of a month ends with it."""


def step_days(values: np.ndarray, step: str | float | None, month_days: np.ndarray) -> np.ndarray:
    """Return the lengths [T] in days of steps at the times `values` [T]; NaN if unknown.

    `step` is "daily", "monthly", "yearly" or a number of hours, and `month_days` [T] the days of
    the month of each time. Dekads and pentads have their own lengths within a month.
    """
    if step is None:
        return np.full(values.size, np.nan)
    if step == "monthly":
        return np.asarray(month_days, float)
    index = pd.DatetimeIndex(values)
    if step == "yearly":
        return np.where(index.is_leap_year, 366.0, 365.0)
    days = 1.0 if step == "daily" else float(step) / 24.0
    day = np.asarray(index.day)
    for begins in PARTS_OF_MONTH:
        if days > 1 and values.size > 1 and np.isin(day, begins).all() and np.unique(day).size > 1:
            edges = np.array([*begins, 0])
            position = np.searchsorted(begins, day)
            ends = np.where(edges[position + 1] > 0, edges[position + 1], month_days + 1)
            return np.asarray(ends - day, float)
    return np.full(values.size, days)
