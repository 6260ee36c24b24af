"""Time axes: calendars, order, gaps, and the steps of the files that make each canonical step.

Upstream: the coordinate of an opened source. Downstream: `decoded` reads by the plan made here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

import cftime
import numpy as np
import pandas as pd

from pipeline.catalog import TimeAxis
from stefaland.errors import Faults, InputError, bad_input

CLIMATOLOGY_YEAR = 2001
"""Nominal, without a leap day: the months of a climatology belong to no year."""
HOURS = {"hourly": 1.0, "3-hourly": 3.0, "6-hourly": 6.0, "daily": 24.0}
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class TimePlan:
    """Canonical times [T] (datetime64[ns]) and which of the files' steps make each of them."""

    values: np.ndarray
    first: np.ndarray
    """[T] position of the first step in the files."""
    count: np.ndarray
    """[T] number of steps: 1, those of a day, or 0 where no file has any."""
    expected: int = 1
    """Steps that make a whole canonical step."""

    @property
    def is_identity(self) -> bool:
        """Whether canonical steps are steps of the files, one by one without a gap."""
        return self.expected == 1 and bool(
            (self.count == 1).all() and (np.diff(self.first) == 1).all()
        )

    @property
    def months(self) -> np.ndarray:
        """[T] 1 to 12."""
        return np.asarray(pd.DatetimeIndex(self.values).month)


def month_plan() -> TimePlan:
    """The middles of twelve months of a nominal year, made of twelve steps."""
    first = pd.date_range(f"{CLIMATOLOGY_YEAR}-01-01", periods=12, freq="MS")
    middle = first + pd.to_timedelta(first.days_in_month // 2, unit="D")
    return TimePlan(
        middle.values.astype("datetime64[ns]"), np.arange(12), np.ones(12, dtype=np.int64)
    )


def time_plan(times: np.ndarray, axis: TimeAxis, where: str) -> TimePlan:
    """How canonical times come of a file's times [N] (datetime64 or cftime).

    Raises `InputError` with all of: a calendar that is to be refused, times that are missing,
    repeated or out of order, a step unlike the declared one, and gaps.
    """
    faults = Faults()
    standard = _standard(times, axis, where)
    if np.isnat(standard).any():
        raise bad_input(where, "times that are missing", "a time for every step")
    _check_order(standard, where, faults)
    faults.raise_if_any()
    foreign = times.dtype == object
    step = _step(standard)
    _check_step(step, axis, where, faults)
    plan = _days(standard, step, axis, where) if axis.daily else _one_by_one(standard)
    full = _full_axis(plan.values, "daily" if axis.daily else step)
    absent = full[~np.isin(full, plan.values)] if full is not None else plan.values[:0]
    if foreign:
        absent = _foreign_gaps(times)
    spans = _spans(absent, full) if absent.size else ""
    if absent.size and axis.gaps == "refuse":
        faults.add(
            where, f"{absent.size} steps without data: {spans}",
            "a time axis without gaps",
            "Fetch what is missing, or say `time: {gaps: missing}` to have NaN there.",
        )  # fmt: skip
    faults.raise_if_any()
    plan = plan if full is None or full.size == plan.values.size else _filled(plan, full)
    return plan if axis.period is None else _within(plan, axis.period, where)


def _within(plan: TimePlan, period: tuple[date, date], where: str) -> TimePlan:
    """The steps of the days from the first of `period` to its last, all of which must be there."""
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


def _standard(times: np.ndarray, axis: TimeAxis, where: str) -> np.ndarray:
    """The times as datetime64[ns] in the standard calendar."""
    if np.issubdtype(times.dtype, np.datetime64):
        return times.astype("datetime64[ns]")
    if times.dtype != object or not times.size or not isinstance(times[0], cftime.datetime):
        raise bad_input(
            where, f"times of type {times.dtype} without units", "CF times",
            'Give the time variable units such as "days since 1980-01-01".',
        )  # fmt: skip
    calendar = times[0].calendar
    if calendar not in ("noleap", "365_day", "360_day"):
        raise bad_input(where, f'the calendar "{calendar}"', "standard, noleap or 360_day")
    if axis.calendar == "refuse":
        raise bad_input(
            where, f'the calendar "{calendar}"', "the standard calendar",
            "Say `time: {calendar: convert}`: days that this calendar lacks become missing.",
        )  # fmt: skip
    convert = _of_360_day if calendar == "360_day" else _of_noleap
    return np.array([convert(time) for time in times], "datetime64[ns]")


def _foreign_gaps(times: np.ndarray) -> np.ndarray:
    """Dates after which steps are absent in the calendar's own count."""
    days = np.diff(times) / np.timedelta64(1, "D")
    if days.size < 2 or np.median(days) > 1:
        return times[:0].astype("datetime64[ns]")
    after = times[:-1][days > 1.5 * np.median(days)]
    return np.array([_of_noleap(time) for time in after if time.day < 29], "datetime64[ns]")


def _clock(time: cftime.datetime) -> np.timedelta64:
    return np.timedelta64(time.hour * 3600 + time.minute * 60 + time.second, "s")


def _of_noleap(time: cftime.datetime) -> np.datetime64:
    day = np.datetime64(f"{time.year:04d}-{time.month:02d}-{time.day:02d}", "s")
    return day + _clock(time)


def _of_360_day(time: cftime.datetime) -> np.datetime64:
    """The date at the same share of the year, so that seasons stay where they are."""
    year = np.datetime64(f"{time.year:04d}", "Y")
    length = int(((year + 1).astype("datetime64[D]") - year.astype("datetime64[D]")) / _DAY)
    day = round((30 * (time.month - 1) + time.day - 0.5) * length / 360 - 0.5)
    return year.astype("datetime64[s]") + np.timedelta64(day, "D") + _clock(time)


def _check_order(times: np.ndarray, where: str, faults: Faults) -> None:
    values, counts = np.unique(times, return_counts=True)
    if (counts > 1).any():
        twice = values[counts > 1]
        faults.add(
            where, f"{twice.size} times more than once, the first {_text(twice[0])}",
            "every time once", "Drop the repeated steps, or the file that repeats them.",
        )  # fmt: skip
    back = np.flatnonzero(np.diff(times) < np.timedelta64(0))
    if back.size:
        faults.add(
            where,
            f"times out of order: {_text(times[back[0] + 1])} after {_text(times[back[0]])}",
            "times that ascend", "Sort the files by time.",
        )  # fmt: skip


def _step(times: np.ndarray) -> str | float | None:
    """What most times are apart: "monthly", "yearly" or hours; None of fewer than two."""
    if times.size < 2:
        return None
    months = np.unique(np.diff(times.astype("datetime64[M]").astype(int)))
    hours = float(np.median(np.diff(times) / np.timedelta64(1, "s"))) / 3600
    if hours < 28 * 24:
        return "daily" if hours == 24.0 else hours
    if np.gcd.reduce(months) % 12 == 0:
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


def _one_by_one(times: np.ndarray) -> TimePlan:
    return TimePlan(times, np.arange(times.size), np.ones(times.size, dtype=np.int64))


def _days(times: np.ndarray, step: str | float | None, axis: TimeAxis, where: str) -> TimePlan:
    """Whole days of the steps that begin in them; a day without all its ends is dropped."""
    if not isinstance(step, float) or step >= 24 or 24 % step:
        found = "one time" if step is None else f"times {step} apart"
        raise bad_input(
            where, found.replace("daily", "a day"), "steps of which a whole number makes a day",
            "Leave `time.daily` out.",
        )  # fmt: skip
    length = np.timedelta64(round(step * 3600), "s")
    begins = times - length if axis.stamp == "end" else times
    shifted = begins - np.timedelta64(round(axis.day_starts * 3600), "s")
    days, first, count = np.unique(
        shifted.astype("datetime64[D]"), return_index=True, return_counts=True
    )
    expected = round(24 / step)
    whole = np.flatnonzero(count == expected)
    if not whole.size:
        raise bad_input(where, "no whole day", f"{expected} steps a day")
    kept = slice(int(whole[0]), int(whole[-1]) + 1)
    return TimePlan(days[kept].astype("datetime64[ns]"), first[kept], count[kept], expected)


def _full_axis(times: np.ndarray, step: str | float | None) -> np.ndarray | None:
    """Every time there should be between the first and the last; None where steps are irregular."""
    if times.size < 3 or step is None:
        return None
    if isinstance(step, str) and step in ("monthly", "yearly"):
        months = times.astype("datetime64[M]")
        if np.unique(months).size < months.size:
            return None
        every = np.arange(months[0], months[-1] + 1, 1 if step == "monthly" else 12)
        known = dict(zip(months.tolist(), times, strict=True))
        offset = times[0] - months[0].astype("datetime64[ns]")
        return np.array(
            [known.get(m, np.datetime64(m, "ns") + offset) for m in every.tolist()],
            "datetime64[ns]",
        )
    length = np.timedelta64(round((HOURS["daily"] if step == "daily" else float(step)) * 3600), "s")
    every = np.arange(times[0], times[-1] + length, length).astype("datetime64[ns]")
    return every if np.isin(times, every).all() else None


def _filled(plan: TimePlan, full: np.ndarray) -> TimePlan:
    """The plan with steps of nothing where none of the files has any."""
    place = np.searchsorted(full, plan.values)
    first, count = np.zeros(full.size, dtype=np.int64), np.zeros(full.size, dtype=np.int64)
    first[place], count[place] = plan.first, plan.count
    return TimePlan(full, first, count, plan.expected)


def _spans(absent: np.ndarray, full: np.ndarray | None) -> str:
    """Runs of absent times, the first three."""
    assert full is not None
    place = np.searchsorted(full, absent)
    runs = np.split(absent, np.flatnonzero(np.diff(place) > 1) + 1)
    texts = [
        _text(run[0]) if run.size == 1 else f"{_text(run[0])} to {_text(run[-1])}" for run in runs
    ]
    more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
    return ", ".join(texts[:3]) + more


def _text(time: np.datetime64) -> str:
    text = str(time.astype("datetime64[m]"))
    return text.removesuffix("T00:00")


__all__ = ["CLIMATOLOGY_YEAR", "InputError", "TimePlan", "month_plan", "time_plan"]
