"""Periods of a time axis: what a step stands for, and the steps that make a whole period.

Upstream: time axes of predictions and maps. Downstream: `aggregate` averages over periods, `bands`,
`cf` and `stac` say when they begin and end. CF 1.11, sections 7.1 (bounds) and 7.4 (climatologies).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.times.plan import CLIMATOLOGY_YEAR

MONTHS = {"month": 1, "season": 3, "year": 12}
"""Months of a period, by what a time axis says in its attribute `period`."""
PERIODS = {"monthly": "month", "seasonal": "season", "annual": "year"}
"""The period of an aggregate."""

_DAY = np.timedelta64(86400, "s").astype("timedelta64[ns]")
_MONTH = 365.25 / 12  # days


@dataclass(frozen=True)
class Grouping:
    """Periods of a series: first day of each, which one each step is in, and how much is whole.

    `present` and `whole` [P] are the weights (`step_days`) of the steps that the series has in a
    period, and of those that it would have without gaps, with the whole of its first and last.
    """

    first_days: np.ndarray
    place: np.ndarray
    present: np.ndarray
    whole: np.ndarray


def is_closed(time: xr.DataArray) -> bool:
    """Whether a time axis is a year that stands for many: its dates are nominal."""
    return bool(time.attrs.get("climatology"))


def month_step(time: xr.DataArray) -> int:
    """Months between the steps of a monthly, quarterly or yearly series; 0 of any other."""
    times = _times(time)
    if times.size < 2:
        return 0
    gaps = np.diff(_months(times))
    step = int(np.gcd.reduce(gaps)) if (gaps > 0).all() else 0
    days = float(_middle(np.diff(times)) / _DAY)
    return step if step and abs(days / step - _MONTH) < 3 else 0


def step_days(time: xr.DataArray) -> np.ndarray:
    """Weight of each step: the days of its month where steps are months, else the same."""
    index = pd.DatetimeIndex(_times(time))
    monthly = month_step(time) == 1
    return np.asarray(index.days_in_month, float) if monthly else np.ones(index.size)


def grouping(time: xr.DataArray, how: str) -> Grouping:
    """The periods of an aggregate: monthly, seasonal, annual, or months of a climatology."""
    times, closed = _times(time), is_closed(time)
    year = climatology_year(time)
    labels = _labels(times, how, closed, year)
    first_days, place = np.unique(labels, return_inverse=True)
    present = np.bincount(place, step_days(time))
    if closed:
        ends = times[[0, -1]].astype("datetime64[Y]") + np.array([0, 1])
    else:
        months = MONTHS[PERIODS.get(how, "month")]
        spans = _labels(times[[0, -1]], how if how in PERIODS else "monthly", False, year)
        ends = spans.astype("datetime64[M]") + np.array([0, months])
    full = without_gaps(time, *ends.astype("datetime64[ns]"))
    weights = pd.Series(step_days(full)).groupby(_labels(full.values, how, closed, year)).sum()
    whole = weights.reindex(first_days, fill_value=0).to_numpy(float)
    # Steps longer than the period leave some of the periods to none of a regular axis.
    return Grouping(first_days, place, present, np.where(whole > 0, whole, present))


def without_gaps(
    time: xr.DataArray, begin: np.datetime64 | None = None, end: np.datetime64 | None = None
) -> xr.DataArray:
    """The steps between `begin` and `end` (excluded) of a series at the pace of `time`.

    By default from its first step to its last.
    """
    times = _times(time)
    begin = times[0] if begin is None else begin
    end = times[-1] + np.timedelta64(1, "ns") if end is None else end
    if step := month_step(time):
        first, low, high = (int(_months(np.array(t))) for t in (times[0], begin, end))
        # An end within a month, that of the last step, has this month still before it.
        high += int(end > end.astype("datetime64[M]"))
        steps = np.arange(first - (first - low) // step * step, high, step)
        full = steps.astype("datetime64[M]").astype("datetime64[ns]")
    else:
        pace = _step(times)
        full = np.arange(times[0] - (times[0] - begin) // pace * pace, end, pace)
    return xr.DataArray(full, dims="time")


def climatology_year(time: xr.DataArray) -> int:
    """The year in which the months of a series' climatology are dated: that of its middle."""
    if is_closed(time):
        return CLIMATOLOGY_YEAR
    return int(pd.DatetimeIndex(_times(time))[time.size // 2].year)


def time_bounds(time: xr.DataArray) -> np.ndarray:
    """When each step begins and ends; dims (time, 2), datetime64[s], the end excluded.

    Calendar months, seasons or years where the axis says so in `period` or steps by months, else
    as long as its steps are; a day where there is but one.
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
    """First and last second of what a time axis stands for; datetime64[s].

    Of a climatology the years that it is the mean of where the axis tells them in
    `climatology_period`, else the nominal year.
    """
    told = time.attrs.get("climatology_period")
    if told:
        first, last = (np.datetime64(day, "D") for day in str(told).split("/"))
        begin, end = first.astype("datetime64[s]"), (last + 1).astype("datetime64[s]")
    else:
        bounds = time_bounds(time)
        begin, end = bounds[:, 0].min(), bounds[:, 1].max()
    return begin, end - np.timedelta64(1, "s")


def climatology_note(time: xr.DataArray) -> str:
    """What the dates of a climatology mean; nothing of a series."""
    if not is_closed(time):
        return ""
    years = time.attrs.get("climatology_period")
    if years:
        return f"climatology of {years}"
    return "climatology of years that are not told: the year of its dates is nominal"


def interval_text(begin: np.datetime64, end: np.datetime64) -> str:
    """An ISO 8601 interval of days, both included."""
    return "/".join(str(edge.astype("datetime64[D]")) for edge in (begin, end))


def _times(time: xr.DataArray) -> np.ndarray:
    return np.asarray(time.values).astype("datetime64[ns]")


def _months(times: np.ndarray) -> np.ndarray:
    return times.astype("datetime64[M]").astype(np.int64)


def _middle(steps: np.ndarray) -> np.timedelta64:
    # Of an even number the lower one: gaps make steps longer, never shorter.
    middle: np.timedelta64 = np.sort(steps)[(steps.size - 1) // 2]
    return middle


def _step(times: np.ndarray) -> np.timedelta64:
    """What most times are apart; a day of a single one."""
    return _middle(np.diff(times)) if times.size > 1 else _DAY


def _labels(times: np.ndarray, how: str, closed: bool, year_of_months: int) -> np.ndarray:
    """The first day of the period that each time belongs to."""
    index = pd.DatetimeIndex(times)
    year, month = np.asarray(index.year), np.asarray(index.month)
    if how == "climatology":
        year = np.full_like(year, year_of_months)
    elif how == "annual":
        month = np.ones_like(month)
    elif how == "seasonal":
        winter = month % 12 // 3 == 0
        # Winter is dated by its December, which lies in the year before; a climatology's too,
        # so that the four seasons are in their usual order.
        year = year - (winter & ((month != 12) | closed))
        month = np.where(winter, 12, month // 3 * 3)
    months = (year - 1970) * 12 + month - 1
    return months.astype("datetime64[M]").astype("datetime64[ns]")
