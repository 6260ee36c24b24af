"""Begins of the steps of a file: from its times, and where in their steps these times lie.

The entry states that (`stamp`), or the CF bounds of the time coordinate do (CF 1.11, section 7.1).
"""

from __future__ import annotations

import numpy as np

from pipeline.core.errors import bad_input
from pipeline.times.axis import TimeAxis
from pipeline.times.calendars import (
    DAY,
    calendar_months,
    calendar_seconds,
    month_begins,
    text,
)
from pipeline.times.gaps import MONTH, MONTHS
from pipeline.times.lengths import parts_of_month

HOURS = {"hourly": 1.0, "3-hourly": 3.0, "6-hourly": 6.0, "daily": 24.0}
Step = str | float | None
"""Time step: "daily", "monthly", "yearly" or hours; None for one time."""
AT = {"start": "the start of their steps", "middle": "the middle", "end": "the end"}


def step_begins(
    seconds: np.ndarray,
    bounds: np.ndarray | None,
    calendar: str,
    step: Step,
    axis: TimeAxis,
    where: str,
    of_grib: bool = False,
) -> np.ndarray:
    """Return the calendar seconds [N] at which the steps begin; `seconds` if no times move.

    `bounds` [N, 2] are those of the file. Times move by the entry's stamp; where it has none they
    move only if bounds show that all are the end of their step, or (`of_grib`) if they are the
    valid times of time ranges of GRIB below a month. Raises `InputError` for bounds that disagree
    with the stamp, and for steps whose length is not known.
    """
    ends = _bound_seconds(bounds, calendar)
    found = None if ends is None else _stamp_by_bounds(seconds, ends)
    if ends is not None and axis.stamp and found not in (None, axis.stamp):
        _refuse(seconds, ends, calendar, str(found), axis.stamp, where)
    is_short = step is not None and step not in MONTHS and (
        isinstance(step, str) or step * 3600 < MONTH
    )  # fmt: skip
    ends_there = found == "end" or (of_grib and ends is None and is_short)
    stamp = axis.stamp or ("end" if ends_there else "start")
    if stamp == "start":
        return seconds
    if ends is not None and found and (np.diff(ends[:, 0]) > 0).all():
        return ends[:, 0]
    if step is None:
        step = HOURS.get(str(axis.step), axis.step)
    if step is None:
        raise bad_input(
            where, "one time", f"steps of known length, as the times are {AT[stamp]} of them",
            "Set `time.step` of the entry, such as daily.",
        )  # fmt: skip
    if step in MONTHS or (isinstance(step, float) and step * 3600 >= MONTH):
        moved = _months_begin(seconds, calendar, step, stamp, where)
        if moved is not None:
            return moved
    if isinstance(step, float) and (parts := _parts_begin(seconds, calendar, stamp)) is not None:
        return parts
    length = round((24.0 if step == "daily" else float(step)) * 3600)
    return seconds - (length if stamp == "end" else length // 2)


def _bound_seconds(bounds: np.ndarray | None, calendar: str) -> np.ndarray | None:
    """Return the bounds as calendar seconds [N, 2], ascending; None if any is missing."""
    if bounds is None or bounds.ndim != 2 or bounds.shape[1] != 2:
        return None
    if np.issubdtype(bounds.dtype, np.datetime64):
        if np.isnat(bounds).any():
            return None
    elif bounds.dtype != object or not all(hasattr(b, "calendar") for b in bounds.flat):
        return None
    seconds = calendar_seconds(bounds.reshape(-1), calendar).reshape(-1, 2)
    return np.sort(seconds, axis=1)


def _stamp_by_bounds(seconds: np.ndarray, ends: np.ndarray) -> str | None:
    """Return where in their bounds the times lie; "mixed" if they differ, None if bounds are empty.

    Empty bounds are those of an instant.
    """
    low, high = ends.T
    kinds = np.where(seconds <= low, "start", np.where(seconds >= high, "end", "middle"))
    found = np.unique(kinds[high > low])
    if not found.size:
        return None
    return str(found[0]) if found.size == 1 else "mixed"


def _refuse(
    seconds: np.ndarray, ends: np.ndarray, calendar: str, found: str, stamp: str, where: str
) -> None:
    index = int(np.argmax(ends[:, 1] > ends[:, 0]))
    begin, time, end = (text(s, calendar) for s in (ends[index, 0], seconds[index], ends[index, 1]))
    at = AT.get(found, "neither all the start nor all the end")
    raise bad_input(
        where, f"times that are {at} by their bounds ({time} in {begin} to {end})",
        f"`stamp: {stamp}`, as in the entry",
        "Correct or remove `time.stamp`, or set `wrong_in_file: [bounds]` if the bounds are wrong.",
    )  # fmt: skip


def _months_begin(
    seconds: np.ndarray, calendar: str, step: Step, stamp: str, where: str
) -> np.ndarray | None:
    """Return the begins of steps of whole months, None if steps are not whole months."""
    months = calendar_months(seconds, calendar)
    each = MONTHS.get(str(step)) or int(np.median(np.diff(months)))
    if each < 1 or (np.diff(months) % each).any():
        return None
    if stamp == "middle":
        # The middle of an even number of months is nearly the beginning of one of them.
        nearest = calendar_months(seconds + MONTH // 2, calendar)
        return month_begins((months if each % 2 else nearest) - each // 2, calendar)
    last = calendar_months(seconds - 1, calendar)
    left = month_begins(last + 1, calendar) - seconds
    if (left > DAY).any():
        bad = text(seconds[int((left > DAY).argmax())], calendar)
        raise bad_input(
            where, f"{bad} as the end of a month", "its last day or the first of the next",
            "Correct `time.stamp`: the middle of months is `stamp: middle`.",
        )  # fmt: skip
    return month_begins(last + 1 - each, calendar)


def _parts_begin(seconds: np.ndarray, calendar: str, stamp: str) -> np.ndarray | None:
    """Return the begins of dekads or pentads, None for other steps.

    Their end may be their last day or midnight after it.
    """
    for ends in (seconds, seconds - 1):
        months = calendar_months(ends, calendar)
        begin = month_begins(months, calendar)
        of_months = (month_begins(months + 1, calendar) - begin) // DAY
        day = (ends - begin) // DAY + 1
        parts = parts_of_month(day, of_months)
        if parts is None or (stamp == "end" and (day != parts[0] + parts[1] - 1).any()):
            continue
        return np.asarray(begin + (parts[0] - 1) * DAY)
    return None


__all__ = ["HOURS", "Step", "step_begins"]
