"""Calendar, order and step of the times of a file, checked against the entry."""

from __future__ import annotations

import cftime
import numpy as np

from pipeline.core.errors import Faults, bad_input
from pipeline.times.axis import TimeAxis
from pipeline.times.calendars import JULIAN, STANDARD, YEARS, calendar_months, text
from pipeline.times.gaps import MONTH
from pipeline.times.stamps import HOURS


def calendar_of(times: np.ndarray, axis: TimeAxis, where: str) -> str:
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
    if calendar not in ("noleap", "365_day", "360_day", JULIAN):
        raise bad_input(where, f'the calendar "{calendar}"', "standard, noleap or 360_day")
    if axis.calendar == "refuse":
        effect = "days that this calendar lacks become missing"
        if calendar == JULIAN:
            effect = "dates keep their year, month and day"
        raise bad_input(
            where, f'the calendar "{calendar}"', "the standard calendar",
            f"Set `time: {{calendar: convert}}`: {effect}.",
        )  # fmt: skip
    return calendar


def check_order(seconds: np.ndarray, calendar: str, where: str, faults: Faults) -> None:
    """Add a fault for duplicate times, and one for times out of order."""
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


def step_of(seconds: np.ndarray, calendar: str) -> str | float | None:
    """Return the median time step: "daily", "monthly", "yearly" or hours; None for one time."""
    if seconds.size < 2:
        return None
    hours = float(np.median(np.diff(seconds))) / 3600
    if hours * 3600 < MONTH:
        return "daily" if hours == 24.0 else hours
    if np.gcd.reduce(np.diff(calendar_months(seconds, calendar))) % 12 == 0:
        return "yearly"
    return "monthly" if hours <= 31 * 24 else hours


def with_gaps(step: str | float | None, seconds: np.ndarray, axis: TimeAxis) -> str | float | None:
    """Return the declared step of a series that may lack some, if all times are on it.

    That are whole multiples of it between times, and it once at least; the median is of no use
    where every other day is missing. In all other cases the step is `step`.
    """
    hours = HOURS.get(axis.step or "")
    apart = np.diff(seconds)
    if axis.gaps != "missing" or hours is None or (apart % (hours * 3600)).any():
        return step
    if not (apart == hours * 3600).any():
        return step
    return "daily" if hours == 24 else float(hours)


def check_step(step: str | float | None, axis: TimeAxis, where: str, faults: Faults) -> None:
    """Add a fault for another step than the entry declares."""
    if axis.step is None or step is None:
        return
    wanted = HOURS.get(axis.step, axis.step)
    found = HOURS.get(step, step) if isinstance(step, str) else step
    if found != wanted:
        text = f"{found:g} hours apart" if isinstance(found, float) else str(found)
        faults.add(where, f"times {text}", f"{axis.step} times",
                   "Correct `time.step` of the entry.")  # fmt: skip
