"""time_plan(): canonical times of a source, and the steps of its files for each of them.

Calendars, order, spacing and gaps of the files' times are checked here;
`pipeline.sources.arrays.aggregate` reads the values by the plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.core.errors import Faults, InputError, bad_input
from pipeline.times.axis import TimeAxis
from pipeline.times.calendars import (
    DAY,
    JULIAN,
    STANDARD,
    calendar_months,
    calendar_seconds,
    month_begins,
    month_days,
    named_dates,
    standard_times,
    text,
)
from pipeline.times.gaps import MONTH, MONTHS, absent_runs, check_span, described
from pipeline.times.lengths import step_days
from pipeline.times.stamps import HOURS, step_begins
from pipeline.times.steps import calendar_of, check_order, check_step, step_of, with_gaps
from pipeline.times.totals import Totals, restarts

CLIMATOLOGY_YEAR = 2001
"""Nominal year of the months of a climatology, without a leap day."""

AT_ENDS = (
    "The times are the ends of their steps: `stamp: end` reads the file after the period too. "
)
END_OF_TOTALS = "Running totals also need the time at the end of the last step. "


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
    totals: Totals | None = None
    """Intervals of the steps, for variables that are totals since a reset."""

    @property
    def is_identity(self) -> bool:
        """Whether canonical steps are consecutive steps of the files, without a gap."""
        return self.expected == 1 and bool(
            (self.count == 1).all() and (np.diff(self.first) == 1).all()
        )

    def cut(self, inside: np.ndarray | slice) -> TimePlan:
        """Return the plan of some of its steps."""
        totals = self.totals and replace(
            self.totals, begins=self.totals.begins[inside], ends=self.totals.ends[inside]
        )
        return replace(
            self, values=self.values[inside], first=self.first[inside], count=self.count[inside],
            totals=totals,
        )  # fmt: skip

    @property
    def days(self) -> np.ndarray:
        """Days [T] of the month of each time; the mean length in a climatology."""
        return month_days(self.values, self.calendar)

    @property
    def lengths(self) -> np.ndarray:
        """Lengths [T] in days of the files' steps of each time; NaN if unknown."""
        return step_days(self.values, self.step, self.days, self.calendar) / self.expected


def month_plan(months: np.ndarray | None = None) -> TimePlan:
    """Return the plan of a climatology: the middles of twelve months of a nominal year.

    `months` [12] are those of the files' steps, by default January to December.
    """
    order = np.arange(12) if months is None else np.argsort(months)
    first = pd.date_range(f"{CLIMATOLOGY_YEAR}-01-01", periods=12, freq="MS")
    middle = first + pd.to_timedelta(first.days_in_month // 2, unit="D")
    return TimePlan(
        middle.values.astype("datetime64[ns]"), order, np.ones(12, dtype=np.int64),
        calendar="", step="monthly",
    )  # fmt: skip


def time_plan(
    times: np.ndarray,
    axis: TimeAxis,
    where: str,
    bounds: np.ndarray | None = None,
    totals: Literal["none", "some", "all"] = "none",
    resets: tuple[int, ...] = (),
    of_grib: bool = False,
) -> TimePlan:
    """Return the canonical times for the times [N] (datetime64 or cftime) of the files.

    Times are the begins of steps (`step_begins`, by the entry or the `bounds` [N, 2] of the
    times); days and longer steps are stamped with their day. Where some or all variables are
    running totals with `resets` (seconds of the day), steps at either end whose amounts are not
    known are dropped; if all are, times are the end of their steps.

    Raises `InputError` with all of: a calendar that the entry refuses, times that are missing,
    duplicates or out of order, a step other than the declared one, bounds that disagree with the
    entry, and gaps.
    """
    faults = Faults()
    calendar = calendar_of(times, axis, where)
    if calendar == JULIAN:
        calendar, times = STANDARD, named_dates(times)
        bounds = None if bounds is None else named_dates(bounds)
    seconds = calendar_seconds(times, calendar)
    check_order(seconds, calendar, where, faults)
    faults.raise_if_any()
    step = with_gaps(step_of(seconds, calendar), seconds, axis)
    check_step(step, axis, where, faults)
    check_span(seconds, step, where)
    if totals == "all":
        if axis.stamp in ("start", "middle"):
            raise bad_input(
                where, f"`stamp: {axis.stamp}`", "`end`: running totals are up to their time",
                "Remove `time.stamp` of the entry.",
            )  # fmt: skip
        axis = axis.model_copy(update={"stamp": "end"})
    begins = step_begins(seconds, bounds, calendar, step, axis, where, of_grib)
    if axis.daily:
        by_total = totals == "all" and axis.gaps == "missing"
        plan, runs = _days(begins, calendar, step, axis, where, by_total)
    else:
        stamps = _stamps(begins, step)
        if axis.restamp:
            stamps = _first_of_months(stamps, calendar, where)
        check_order(stamps, calendar, where, faults)
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
    if totals != "none":
        plan = _with_totals(plan, seconds, begins, resets, axis)
    plan = _filled(plan, _every(plan.values, runs, calendar, "daily" if axis.daily else step))
    if plan.totals is not None:
        plan = _known_totals(plan, axis, where)
    if axis.period is None:
        return plan
    are_ends = axis.stamp is None and begins is not seconds
    return _within(plan, axis.period, where, AT_ENDS if are_ends else "")


def _within(plan: TimePlan, period: tuple[date, date], where: str, note: str) -> TimePlan:
    """Return the plan for the days of `period`, all of which must exist."""
    first, last = (np.datetime64(day, "D") for day in period)
    days = plan.values.astype("datetime64[D]")
    if first > last or days[0] > first or _last_day(plan) < last:
        raise bad_input(
            where, f"times from {days[0]} to {days[-1]}", f"the period {first} to {last}",
            f"{END_OF_TOTALS if plan.totals else note}Change `time: {{period: [...]}}`.",
        )  # fmt: skip
    return plan.cut((days >= first) & (days <= last))


def _last_day(plan: TimePlan) -> np.datetime64:
    """Return the last day of the last step: that of its month or year, or of its hours."""
    day = plan.values[-1].astype("datetime64[D]")
    if plan.step in MONTHS:
        unit = "datetime64[M]" if plan.step == "monthly" else "datetime64[Y]"
        return (day.astype(unit) + 1).astype("datetime64[D]") - np.timedelta64(1, "D")
    hours = plan.step if isinstance(plan.step, float | int) else 24
    return day + np.timedelta64(max(0, int(hours // 24) - 1), "D")


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
    seconds: np.ndarray, calendar: str, step: str | float | None, axis: TimeAxis, where: str,
    by_total: bool,
) -> tuple[TimePlan, list[np.ndarray]]:  # fmt: skip
    """Return the plan of whole days from the steps that begin in them, and the gaps in the steps.

    Incomplete days at either end are dropped, unless running totals show which are known
    (`by_total`). Days are those of the file's calendar.
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
    whole = np.flatnonzero((count == expected) | by_total)
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

    def placed(known: np.ndarray) -> np.ndarray:
        every = np.zeros(full.size, dtype=np.int64)
        every[index] = known
        return every

    totals = plan.totals and replace(
        plan.totals, begins=placed(plan.totals.begins), ends=placed(plan.totals.ends)
    )
    return replace(
        plan, values=full, first=placed(plan.first), count=placed(plan.count), totals=totals
    )


def _with_totals(
    plan: TimePlan, seconds: np.ndarray, begins: np.ndarray, resets: tuple[int, ...], axis: TimeAxis
) -> TimePlan:
    """Return the plan with the intervals of its steps, which begin at `begins` [N] in the files."""
    if axis.daily:
        shift = round(axis.day_starts * 3600)
        firsts = (begins[plan.first] - shift) // DAY * DAY + shift
        ends = firsts + DAY
    else:
        firsts = begins
        lengths = np.diff(begins, append=begins[-1])
        length = int(np.median(lengths[:-1])) if lengths.size > 1 else int((seconds - begins)[0])
        # Months differ in length, gaps are longer than a step.
        lengths[-1], gaps = length, 2 * lengths > 3 * length
        ends = begins + np.where(gaps, length, lengths)
    return replace(plan, totals=Totals(seconds, restarts(seconds, resets), firsts, ends))


def _known_totals(plan: TimePlan, axis: TimeAxis, where: str) -> TimePlan:
    """Return the plan from its first to its last step whose amounts the files' times can show."""
    assert plan.totals is not None
    length = plan.totals.ends - plan.totals.begins
    covered = plan.totals.covered()
    known = np.flatnonzero(covered >= np.maximum(axis.min_share * length - 1e-6, 1))
    if not known.size:
        raise bad_input(
            where, "running totals that show the amount of no whole step",
            "times at the begin and the end of a step", "Download more times.",
        )  # fmt: skip
    return plan.cut(slice(int(known[0]), int(known[-1]) + 1))


__all__ = ["CLIMATOLOGY_YEAR", "InputError", "TimePlan", "month_plan", "time_plan"]
