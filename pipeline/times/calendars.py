"""Calendars of model output: times counted in the calendar of a file, and as standard dates.

Gaps are sought in whole seconds of the file's calendar ("calendar seconds"), so that no step counts
as missing only because the standard calendar has other days.
"""

from __future__ import annotations

import cftime
import numpy as np
import pandas as pd

STANDARD = "standard"
JULIAN = "julian"
"""A calendar whose months have the days of the standard one from 1901 to 2099. Files that name it
mean the dates of the standard calendar."""
EPOCH = "seconds since 1970-01-01"
DAY = 86400
"""Seconds of a day."""
DAYS_IN_MONTH = (31.0, 28.25, 31.0, 30.0, 31.0, 30.0, 31.0, 31.0, 30.0, 31.0, 30.0, 31.0)
"""February has its mean length with leap days, so that twelve climatological months are a year."""
YEARS = (1678, 2261)
"""First and last whole year that datetime64[ns] can hold."""


JULIAN = "julian"
SAME_LEAP_YEARS = (1901, 2099)
"""First and last whole year in which the Julian and the standard calendar have the same days."""


def standard_labels(times: np.ndarray) -> np.ndarray:
    """Return dates of the Julian calendar, of any shape, as the same dates of the standard one.

    Files such as those of IMERG name that calendar but count from a date of the standard one. Other
    times, and those of years in which the two have other leap days, are returned unchanged.
    """
    if times.dtype != object or not times.size:
        return times
    dates = times.reshape(-1)
    first, last = SAME_LEAP_YEARS
    if not all(
        isinstance(date, cftime.datetime) and date.calendar == JULIAN and first <= date.year <= last
        for date in dates
    ):
        return times
    labels = [date.isoformat() for date in dates]
    return np.array(labels, "datetime64[us]").astype("datetime64[ns]").reshape(times.shape)


def calendar_seconds(times: np.ndarray, calendar: str) -> np.ndarray:
    """Return seconds [N] since 1970, int64, counted in the calendar; from datetime64 or cftime."""
    if calendar == STANDARD:
        # Times stored as fractions of days have errors of some microseconds.
        return (times.astype("datetime64[ns]").astype(np.int64) + 500_000_000) // 1_000_000_000
    return np.rint(cftime.date2num(times, EPOCH, calendar=calendar)).astype(np.int64)


def named_dates(times: np.ndarray) -> np.ndarray:
    """Return the standard times, datetime64[ns], with the dates that cftime objects are named by.

    >>> named_dates(np.array([cftime.datetime(2020, 2, 29, calendar="julian")])).astype(str)[0][:10]
    '2020-02-29'
    """
    texts = [time.isoformat() for time in times.ravel().tolist()]
    return np.array(texts, "datetime64[ns]").reshape(times.shape)


def calendar_months(seconds: np.ndarray, calendar: str) -> np.ndarray:
    """Return months [N] since January 1970, int64, of calendar seconds."""
    if calendar == STANDARD:
        return seconds.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
    return np.array([(d.year - 1970) * 12 + d.month - 1 for d in _dates(seconds, calendar)], int)


def month_days(times: np.ndarray, calendar: str) -> np.ndarray:
    """Return the days [N], float64, of the month of each standard time, in years of the calendar.

    The months of no calendar, "", have their mean length. Missing times have NaN.
    """
    index = pd.DatetimeIndex(times)
    if calendar == STANDARD:
        return np.asarray(index.days_in_month, float)
    lengths = np.array(DAYS_IN_MONTH)
    if calendar:
        lengths = np.full(12, 30.0) if calendar == "360_day" else np.floor(lengths)
    return lengths[np.asarray(index.month) - 1]


def year_days(times: np.ndarray, calendar: str) -> np.ndarray:
    """Return the days [N], float64, of the year of each standard time, in years of the calendar."""
    leap = np.asarray(pd.DatetimeIndex(times).is_leap_year)
    if calendar == STANDARD:
        return np.where(leap, 366.0, 365.0)
    return np.full(leap.shape, 360.0 if calendar == "360_day" else 365.0 if calendar else 365.25)


def month_begins(months: np.ndarray, calendar: str) -> np.ndarray:
    """Return the calendar seconds [N] at which months, counted from January 1970, begin."""
    if calendar == STANDARD:
        return months.astype("datetime64[M]").astype("datetime64[s]").astype(np.int64)
    firsts = [
        cftime.datetime(1970 + month // 12, month % 12 + 1, 1, calendar=calendar)
        for month in months.tolist()
    ]
    return calendar_seconds(np.array(firsts, object), calendar) if firsts else months


def standard_times(seconds: np.ndarray, calendar: str, by_month: bool = False) -> np.ndarray:
    """Return calendar seconds as standard dates [N], datetime64[ns].

    Dates of a 360-day year are moved to the same fraction of the standard year, so that seasons do
    not shift; `by_month` keeps month and day instead, for steps that are whole months.
    """
    if calendar == STANDARD:
        return seconds.astype("datetime64[s]").astype("datetime64[ns]")
    same_date = by_month or calendar != "360_day"
    convert = _same_date if same_date else _same_share
    days = [convert(date) for date in _dates(seconds, calendar)]
    clock = (seconds % DAY).astype("timedelta64[s]")
    return (np.array(days, "datetime64[D]") + clock).astype("datetime64[ns]")


def text(second: int, calendar: str) -> str:
    """Return a date of the calendar as text, with the time of day if that is not midnight."""
    if calendar == STANDARD:
        written = str(np.datetime64(int(second), "s").astype("datetime64[m]"))
    else:
        written = _dates(np.array([second]), calendar)[0].isoformat()[:16]
    return written.removesuffix("T00:00")


def _dates(seconds: np.ndarray, calendar: str) -> np.ndarray:
    return np.atleast_1d(cftime.num2date(seconds, EPOCH, calendar=calendar))


def _same_date(time: cftime.datetime) -> np.datetime64:
    """Return the same date in the standard calendar, or the last day of a shorter month."""
    month = np.datetime64(f"{time.year:04d}-{time.month:02d}", "M")
    length = int(((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(int))
    return month.astype("datetime64[D]") + np.timedelta64(min(time.day, length) - 1, "D")


def _same_share(time: cftime.datetime) -> np.datetime64:
    """Return the date at the same fraction of the standard year."""
    year = np.datetime64(f"{time.year:04d}", "Y")
    length = int(((year + 1).astype("datetime64[D]") - year.astype("datetime64[D]")).astype(int))
    day = round((30 * (time.month - 1) + time.day - 0.5) * length / 360 - 0.5)
    return year.astype("datetime64[D]") + np.timedelta64(day, "D")
