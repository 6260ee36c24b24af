"""Steps that a series of times lacks: found by its own pace, and described for messages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.core.errors import bad_input
from pipeline.times.calendars import (
    DAY,
    calendar_months,
    month_begins,
    text,
)

MONTHS = {"monthly": 1, "yearly": 12}


MONTH = 28 * DAY
"""Seconds of the shortest month."""


MAX_STEPS = 10_000_000
"""Number of steps between the first and the last time: a thousand years of hours."""


def check_span(seconds: np.ndarray, step: str | float | None, where: str) -> None:
    """Raise `InputError` for times so far apart that there are too many steps between them."""
    if step is None or seconds.size < 2:
        return
    hours = {"daily": 24.0, "monthly": 672.0, "yearly": 8760.0}.get(str(step), step)
    length = float(hours) * 3600 if isinstance(hours, float) else float(np.median(np.diff(seconds)))
    count = (int(seconds[-1]) - int(seconds[0])) / max(length, 1.0)
    if count > MAX_STEPS:
        raise bad_input(where, f"times that are {count:,.0f} steps apart", f"at most {MAX_STEPS:,}",
                        "Correct the times or their units.")  # fmt: skip


def absent_runs(
    seconds: np.ndarray, calendar: str, step: str | float | None
) -> list[np.ndarray]:  # fmt: skip
    """Return the calendar seconds of missing steps between times [N], one array per gap.

    Months are counted as months, other steps by their length; a series in which most steps have no
    common length has no gaps.
    """
    if step is None or seconds.size < 3:
        return []
    apart = np.diff(seconds)
    hours = 24.0 if step == "daily" else step
    length = round(hours * 3600) if isinstance(hours, float) else int(np.median(apart))
    if length >= MONTH:
        months = calendar_months(seconds, calendar)
        each = MONTHS.get(str(step), int(np.median(np.diff(months))))
        # Steps such as 40 days are mostly a month apart: only multiples of months are counted.
        counted = step in MONTHS or each > 1
        if counted and (np.diff(months) > 0).all() and not (np.diff(months) % each).any():
            return _absent_months(seconds, months, calendar, each)
    has_length = 2 * np.count_nonzero(2 * np.abs(apart - length) <= length) > apart.size
    if not has_length and (apart % length).any():
        return []
    return [
        seconds[index] + np.arange(length, apart[index] - length // 2, length)
        for index in np.flatnonzero(2 * apart > 3 * length)
    ]


def _absent_months(
    seconds: np.ndarray, months: np.ndarray, calendar: str, step: int
) -> list[np.ndarray]:
    """Return missing months, stamped as far from the month's beginning as the first time.

    In shorter months the stamp is in the last second.
    """
    offset = seconds[0] - month_begins(months[:1], calendar)[0]
    runs = []
    for index in np.flatnonzero(np.diff(months) > step):
        absent = np.arange(months[index] + step, months[index + 1], step)
        begins = month_begins(absent, calendar)
        lengths = month_begins(absent + 1, calendar) - begins
        runs.append(begins + np.minimum(offset, lengths - 1))
    return runs


def described(runs: Sequence[np.ndarray], calendar: str) -> str:
    """Return a text with the number of missing steps and the first three gaps."""
    texts = [
        text(run[0], calendar)
        if run.size == 1
        else f"{text(run[0], calendar)} to {text(run[-1], calendar)}"
        for run in runs[:3]
    ]
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    count = sum(run.size for run in runs)
    return f"{count} step{'s' if count > 1 else ''} without data: {', '.join(texts)}{more}"
