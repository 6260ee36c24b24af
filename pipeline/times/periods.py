"""Periods of a time axis: the bounds of its steps, and the steps that form a whole period.

Maps are averaged over periods, and published with their bounds. After CF 1.11, sections 7.1
(bounds) and 7.4 (climatologies).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.times.plan import CLIMATOLOGY_YEAR

MONTHS = {"month": 1, "season": 3, "year": 12}
"""Months of a period, by the attribute `period` of a time axis."""
PERIODS = {"monthly": "month", "seasonal": "season", "annual": "year"}
"""Period of each aggregate."""

_DAY = np.timedelta64(86400, "s").astype("timedelta64[ns]")
_MONTH = 365.25 / 12  # days


@dataclass(frozen=True)
class Grouping:
    """Periods of a series, the period of each step, and the weights of its steps.

    `present` and `whole` [P] are the weights (`step_days`) of the steps that the series has in a
    period, and of those that it would have if all periods were complete.
    """

    first_days: np.ndarray
    """First day of each period [P], datetime64[ns]."""
    index: np.ndarray
    """Index of the period of each step [T]."""
    present: np.ndarray
    whole: np.ndarray


def is_climatology(time: xr.DataArray) -> bool:
    """Whether a time axis is a climatology: a nominal year that represents many years."""
    return bool(time.attrs.get("climatology"))


def month_step(time: xr.DataArray) -> int:
    """Return the months between steps of a monthly, quarterly or yearly series, else 0."""
    times = _times(time)
    if times.size < 2:
        return 0
    gaps = np.diff(_months(times))
    step = int(np.gcd.reduce(gaps)) if (gaps > 0).all() else 0
    days = float(_middle(np.diff(times)) / _DAY)
    return step if step and abs(days / step - _MONTH) < 3 else 0


def step_days(time: xr.DataArray) -> np.ndarray:
    """Return the weight of each step: the days of its month in monthly series, else 1."""
    index = pd.DatetimeIndex(_times(time))
    monthly = month_step(time) == 1
    return np.asarray(index.days_in_month, float) if monthly else np.ones(index.size)


def grouping(time: xr.DataArray, how: str) -> Grouping:
    """Return the periods of an aggregate `how`: monthly, seasonal, annual or climatology."""
    times, nominal = _times(time), is_climatology(time)
    year = climatology_year(time)
    labels = _labels(times, how, nominal, year)
    first_days, index = np.unique(labels, return_inverse=True)
    present = np.bincount(index, step_days(time))
    if nominal:
        ends = times[[0, -1]].astype("datetime64[Y]") + np.array([0, 1])
    else:
        months = MONTHS[PERIODS.get(how, "month")]
        spans = _labels(times[[0, -1]], how if how in PERIODS else "monthly", False, year)
        ends = spans.astype("datetime64[M]") + np.array([0, months])
    full = without_gaps(time, *ends.astype("datetime64[ns]"))
    weights = pd.Series(step_days(full)).groupby(_labels(full.values, how, nominal, year)).sum()
    whole = weights.reindex(first_days, fill_value=0).to_numpy(float)
    # If steps are longer than the period, some periods have no step of a regular axis.
    return Grouping(first_days, index, present, np.where(whole > 0, whole, present))


def without_gaps(
    time: xr.DataArray, begin: np.datetime64 | None = None, end: np.datetime64 | None = None
) -> xr.DataArray:
    """Return all steps between `begin` and `end` (excluded) with the spacing of `time`.

    By default they run from its first step to its last.
    """
    times = _times(time)
    begin = times[0] if begin is None else begin
    end = times[-1] + np.timedelta64(1, "ns") if end is None else end
    if step := month_step(time):
        first, low, high = (int(_months(np.array(t))) for t in (times[0], begin, end))
        # If the end lies within a month, this month still belongs to the steps.
        high += int(end > end.astype("datetime64[M]"))
        steps = np.arange(first - (first - low) // step * step, high, step)
        full = steps.astype("datetime64[M]").astype("datetime64[ns]")
    else:
        pace = _step(times)
        full = np.arange(times[0] - (times[0] - begin) // pace * pace, end, pace)
    return xr.DataArray(full, dims="time")


def climatology_year(time: xr.DataArray) -> int:
    """Return the year for the dates of a series' monthly climatology: that of the middle step."""
    if is_climatology(time):
        return CLIMATOLOGY_YEAR
    return int(pd.DatetimeIndex(_times(time))[time.size // 2].year)


def time_bounds(time: xr.DataArray) -> np.ndarray:
    """Return the beginning and end of each step; dims (time, 2), datetime64[s], the end excluded.

    Steps are calendar months, seasons or years if the attribute `period` states so or the steps are
    whole months; else they have the length of the time step, or a day if there is only one.
    """
    times = _times(time)
    months = MONTHS.get(str(time.attrs.get("period")), 0) or month_step(time)
    if months:
        first = _months(times)
        first = first - first % 12 if months == 12 else first
        edges = np.stack([first, first + months], axis=1).astype("datetime64[M]")
        return edges.astype("datetime64[s]")
    step = _step(times)
    begins = times.astype("datetime64[D]").astype("datetime64[ns]") if step >= _DAY else times
    return np.stack([begins, begins + step], axis=1).astype("datetime64[s]")


def time_coverage(time: xr.DataArray) -> tuple[np.datetime64, np.datetime64]:
    """Return the first and last second of the period of a time axis; datetime64[s].

    For a climatology these are the years in its attribute `climatology_period`, of which it is the
    mean, or else the nominal year.
    """
    period = time.attrs.get("climatology_period")
    if period:
        first, last = (np.datetime64(day, "D") for day in str(period).split("/"))
        begin, end = first.astype("datetime64[s]"), (last + 1).astype("datetime64[s]")
    else:
        bounds = time_bounds(time)
        begin, end = bounds[:, 0].min(), bounds[:, 1].max()
    return begin, end - np.timedelta64(1, "s")


def climatology_note(time: xr.DataArray) -> str:
    """Return a note on the dates of a climatology; empty for a series."""
    if not is_climatology(time):
        return ""
    years = time.attrs.get("climatology_period")
    if years:
        return f"climatology of {years}"
    return "climatology of years that are not told: the year of its dates is nominal"


def interval_text(begin: np.datetime64, end: np.datetime64) -> str:
    """Return an ISO 8601 interval of days, first and last included."""
    return "/".join(str(edge.astype("datetime64[D]")) for edge in (begin, end))


def _times(time: xr.DataArray) -> np.ndarray:
    return np.asarray(time.values).astype("datetime64[ns]")


def _months(times: np.ndarray) -> np.ndarray:
    return times.astype("datetime64[M]").astype(np.int64)


def _middle(steps: np.ndarray) -> np.timedelta64:
    # The lower of the two middle ones for an even number: gaps only make steps longer.
    middle: np.timedelta64 = np.sort(steps)[(steps.size - 1) // 2]
    return middle


def _step(times: np.ndarray) -> np.timedelta64:
    """Return the median time step; a day if there is only one time."""
    return _middle(np.diff(times)) if times.size > 1 else _DAY


def _labels(times: np.ndarray, how: str, nominal: bool, year_of_months: int) -> np.ndarray:
    """Return the first day of the period to which each time belongs."""
    index = pd.DatetimeIndex(times)
    year, month = np.asarray(index.year), np.asarray(index.month)
    if how == "climatology":
        year = np.full_like(year, year_of_months)
    elif how == "annual":
        month = np.ones_like(month)
    elif how == "seasonal":
        winter = month % 12 // 3 == 0
        # Winter begins in the December of the year before; in a climatology too, so that the four
        # seasons are in their usual order.
        year = year - (winter & ((month != 12) | nominal))
        month = np.where(winter, 12, month // 3 * 3)
    months = (year - 1970) * 12 + month - 1
    return months.astype("datetime64[M]").astype("datetime64[ns]")
