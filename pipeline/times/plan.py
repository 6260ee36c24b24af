"""time_plan(): canonical times of a source, and the steps of its files for each of them.

Calendars, order, spacing and gaps of the files' times are checked here;
`pipeline.sources.aggregate` reads the values by the plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import cftime
import numpy as np
import pandas as pd

from pipeline.core.errors import Faults, InputError, bad_input
from pipeline.times.axis import TimeAxis
from pipeline.times.calendars import (
    DAY,
    STANDARD,
    YEARS,
    calendar_months,
    calendar_seconds,
    month_begins,
    month_days,
    standard_times,
    text,
)
from pipeline.times.gaps import MONTH, MONTHS, absent_runs, described
from pipeline.times.lengths import step_days
from pipeline.times.stamps import HOURS, step_begins

CLIMATOLOGY_YEAR = 2001
"""Nominal year of the months of a climatology, without a leap day."""


@dataclass(frozen=True)
class TimePlan:
    """Canonical times [T] (datetime64[ns]) and the files' steps from which each is computed."""

    values: np.ndarray
    first: np.ndarray
    """Positions [T] of the first step in the files."""
    count: np.ndarray
    """Numbers [T] of steps: 1, those of a day, or 0 if no file has any."""
    expected: int = 1
    """Number of steps of a complete canonical step."""
    calendar: str = STANDARD
    """Calendar of the files; empty for a climatology."""
    step: str | float | None = None
    """Length of a canonical step: "daily", "monthly", "yearly" or hours; None if unknown."""

    @property
    def is_identity(self) -> bool:
        """Whether canonical steps are consecutive steps of the files, without a gap."""
        return self.expected == 1 and bool(
            (self.count == 1).all() and (np.diff(self.first) == 1).all()
        )

    @property
    def days(self) -> np.ndarray:
        """Days [T] of the month of each time; the mean length in a climatology."""
        return month_days(self.values, self.calendar)

    @property
    def lengths(self) -> np.ndarray:
        """Lengths [T] in days of the files' steps of each time; NaN if unknown."""
        return step_days(self.values, self.step, self.days) / self.expected


def month_plan() -> TimePlan:
    """Return the plan of a climatology: the middles of twelve months of a nominal year."""
    first = pd.date_range(f"{CLIMATOLOGY_YEAR}-01-01", periods=12, freq="MS")
    middle = first + pd.to_timedelta(first.days_in_month // 2, unit="D")
    return TimePlan(
        middle.values.astype("datetime64[ns]"), np.arange(12), np.ones(12, dtype=np.int64),
        calendar="", step="monthly",
    )  # fmt: skip


def time_plan(
    times: np.ndarray, axis: TimeAxis, where: str, bounds: np.ndarray | None = None
) -> TimePlan:
    """Return the canonical times for the times [N] (datetime64 or cftime) of the files.

    Times are the begins of steps (`step_begins`, by the entry or the `bounds` [N, 2] of the
    times); days and longer steps are stamped with their day. Raises `InputError` with all of: a
    calendar that the entry refuses, times that are missing, duplicates or out of order, a step
    other than the declared one, bounds that disagree with the entry, and gaps.
    """
    faults = Faults()
    calendar = _calendar(times, axis, where)
    seconds = calendar_seconds(times, calendar)
    _check_order(seconds, calendar, where, faults)
    faults.raise_if_any()
    step = _step(seconds, calendar)
    _check_step(step, axis, where, faults)
    begins = step_begins(seconds, bounds, calendar, step, axis, where)
    if axis.daily:
        plan, runs = _days(begins, calendar, step, axis, where)
    else:
        stamps = _stamps(begins, step)
        if axis.restamp:
            stamps = _first_of_months(stamps, calendar, where)
        _check_order(stamps, calendar, where, faults)
        faults.raise_if_any()
        runs = absent_runs(stamps, calendar, step)
        exact = calendar == STANDARD and stamps is seconds
        values = times.astype("datetime64[ns]") if exact else _dated(stamps, calendar, step)
        ones = np.ones(values.size, dtype=np.int64)
        plan = TimePlan(values, np.arange(values.size), ones, calendar=calendar)
    if runs and axis.gaps == "refuse":
        faults.add(
            where, described(runs, calendar), "a time axis without gaps",
            "Download what is missing, or set `time: {gaps: missing}` for NaN in these steps.",
        )  # fmt: skip
    faults.raise_if_any()
    declared = HOURS.get(axis.step, axis.step) if axis.step else None
    plan = replace(plan, step="daily" if axis.daily else declared if step is None else step)
    plan = _filled(plan, _every(plan.values, runs, calendar, "daily" if axis.daily else step))
    return plan if axis.period is None else _within(plan, axis.period, where)


def _within(plan: TimePlan, period: tuple[date, date], where: str) -> TimePlan:
    """Return the plan for the days of `period`, all of which must exist."""
    first, last = (np.datetime64(day, "D") for day in period)
    days = plan.values.astype("datetime64[D]")
    if first > last or days[0] > first or days[-1] < last:
        raise bad_input(
            where, f"times from {days[0]} to {days[-1]}", f"the period {first} to {last}",
            "Change `time: {period: [...]}`.",
        )  # fmt: skip
    inside = (days >= first) & (days <= last)
    return replace(
        plan, values=plan.values[inside], first=plan.first[inside], count=plan.count[inside]
    )


def _calendar(times: np.ndarray, axis: TimeAxis, where: str) -> str:
    """Return the calendar of the times; raises `InputError` if it or one of them is not usable."""
    if np.issubdtype(times.dtype, np.datetime64):
        if np.isnat(times).any():
            raise bad_input(where, "times that are missing", "a time for every step")
        return STANDARD
    if times.dtype != object or not times.size or not isinstance(times[0], cftime.datetime):
        raise bad_input(
            where, f"times of type {times.dtype} without units", "CF times",
            'Set units of the time variable, such as "days since 1980-01-01".',
        )  # fmt: skip
    if not all(isinstance(time, cftime.datetime) for time in times):
        raise bad_input(where, "times that are missing", "a time for every step")
    years = [time.year for time in times]
    if min(years) < YEARS[0] or max(years) > YEARS[1]:
        raise bad_input(
            where, f"years {min(years)} to {max(years)}", f"{YEARS[0]} to {YEARS[1]}",
            "Cut the files to these years.",
        )  # fmt: skip
    calendar = str(times[0].calendar)
    if calendar not in ("noleap", "365_day", "360_day"):
        raise bad_input(where, f'the calendar "{calendar}"', "standard, noleap or 360_day")
    if axis.calendar == "refuse":
        raise bad_input(
            where, f'the calendar "{calendar}"', "the standard calendar",
            "Set `time: {calendar: convert}`: days that this calendar lacks become missing.",
        )  # fmt: skip
    return calendar


def _check_order(seconds: np.ndarray, calendar: str, where: str, faults: Faults) -> None:
    values, counts = np.unique(seconds, return_counts=True)
    if (counts > 1).any():
        twice = values[counts > 1]
        faults.add(
            where, f"{twice.size} duplicate times, the first {text(twice[0], calendar)}",
            "every time once", "Drop the duplicate steps, or the file that contains them.",
        )  # fmt: skip
    back = np.flatnonzero(np.diff(seconds) < 0)
    if back.size:
        before, after = (text(seconds[back[0] + i], calendar) for i in (0, 1))
        faults.add(
            where, f"times out of order: {after} after {before}",
            "ascending times", "Sort the files by time.",
        )  # fmt: skip


def _step(seconds: np.ndarray, calendar: str) -> str | float | None:
    """Return the median time step: "daily", "monthly", "yearly" or hours; None for one time."""
    if seconds.size < 2:
        return None
    hours = float(np.median(np.diff(seconds))) / 3600
    if hours * 3600 < MONTH:
        return "daily" if hours == 24.0 else hours
    if np.gcd.reduce(np.diff(calendar_months(seconds, calendar))) % 12 == 0:
        return "yearly"
    return "monthly" if hours <= 31 * 24 else hours


def _check_step(step: str | float | None, axis: TimeAxis, where: str, faults: Faults) -> None:
    if axis.step is None or step is None:
        return
    wanted = HOURS.get(axis.step, axis.step)
    found = HOURS.get(step, step) if isinstance(step, str) else step
    if found != wanted:
        text = f"{found:g} hours apart" if isinstance(found, float) else str(found)
        faults.add(where, f"times {text}", f"{axis.step} times",
                   "Correct `time.step` of the entry.")  # fmt: skip


def _stamps(seconds: np.ndarray, step: str | float | None) -> np.ndarray:
    """Return the beginning of the day for steps of days, months or years; else `seconds` unchanged.

    Daily values stamped at noon (Daymet) thus have the same time as others stamped at midnight.
    """
    if step is None or (not isinstance(step, str) and step % 24):
        return seconds
    days = seconds - seconds % DAY
    if step != "daily" and np.unique(days).size < days.size:
        return seconds
    return days


def _first_of_months(seconds: np.ndarray, calendar: str, where: str) -> np.ndarray:
    """Return the beginning of the month of each time; raises `InputError` if two have the same."""
    months = calendar_months(seconds, calendar)
    begins = month_begins(months, calendar)
    twice = np.flatnonzero(np.diff(months) == 0)
    if twice.size:
        first, second = (text(seconds[twice[0] + i], calendar) for i in (0, 1))
        raise bad_input(
            where, f"two times of one month, {first} and {second}", "one time for each month",
            "Remove `time: {restamp: month}`, which is for monthly data.",
        )  # fmt: skip
    return begins


def _dated(seconds: np.ndarray, calendar: str, step: str | float | None) -> np.ndarray:
    """Return calendar seconds as standard times; whole months keep their month."""
    is_long = step in MONTHS or (isinstance(step, float) and step * 3600 >= MONTH)
    return standard_times(seconds, calendar, by_month=is_long)


def _days(
    seconds: np.ndarray, calendar: str, step: str | float | None, axis: TimeAxis, where: str
) -> tuple[TimePlan, list[np.ndarray]]:
    """Return the plan of whole days from the steps that begin in them, and the gaps in the steps.

    Incomplete days at either end are dropped. Days are those of the file's calendar.
    """
    if not isinstance(step, float) or step >= 24 or 24 % step:
        found = "one time" if step is None else f"times {step} apart"
        raise bad_input(
            where, found.replace("daily", "a day"), "steps of which a whole number is a day",
            "Remove `time.daily`.",
        )  # fmt: skip
    shift = round(axis.day_starts * 3600)
    days, first, count = np.unique((seconds - shift) // DAY, return_index=True, return_counts=True)
    expected = round(24 / step)
    whole = np.flatnonzero(count == expected)
    if not whole.size:
        raise bad_input(where, "no whole day", f"{expected} steps per day")
    kept = slice(int(whole[0]), int(whole[-1]) + 1)
    enough = days[count >= axis.min_share * expected - 1e-9]
    runs = [
        run[~np.isin((run - shift) // DAY, enough)] for run in absent_runs(seconds, calendar, step)
    ]
    # If stamps shift by half a step, a day lacks a step although no two times are two steps apart.
    known = np.concatenate([enough, *((run - shift) // DAY for run in runs)])
    runs += [np.array([day * DAY + shift]) for day in np.setdiff1d(days[kept], known)]
    values = standard_times(days[kept] * DAY, calendar)
    plan = TimePlan(values, first[kept], count[kept], expected, calendar)
    return plan, [run for run in runs if run.size]


def _every(
    values: np.ndarray, runs: list[np.ndarray], calendar: str, step: str | float | None
) -> np.ndarray:
    """Return the times and those of missing steps, with the days that another calendar lacks."""
    if step == "daily" or (isinstance(step, float) and calendar != STANDARD):
        hours = 24.0 if step == "daily" else float(step)
        length = np.timedelta64(round(hours * 3600), "s")
        every = np.arange(values[0], values[-1] + length, length).astype("datetime64[ns]")
        if np.isin(values, every).all():
            return every
    absent = [_dated(run, calendar, step) for run in runs]
    return np.union1d(values, np.concatenate([values[:0], *absent]))


def _filled(plan: TimePlan, full: np.ndarray) -> TimePlan:
    """Return the plan with empty steps at the times `full` that no file has."""
    index = np.searchsorted(full, plan.values)
    first, count = np.zeros(full.size, dtype=np.int64), np.zeros(full.size, dtype=np.int64)
    first[index], count[index] = plan.first, plan.count
    return replace(plan, values=full, first=first, count=count)


__all__ = ["CLIMATOLOGY_YEAR", "InputError", "TimePlan", "month_plan", "time_plan"]
