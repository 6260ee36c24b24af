"""Steps that are absent from a series of times, counted in the calendar of its files.

Upstream: `times`, which knows the step. A run is what lies between two neighbouring times.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.calendars import DAY, month_begins, own_months, text

MONTHS = {"monthly": 1, "yearly": 12}
MONTH = 28 * DAY
"""Seconds of the shortest month."""


def absent_runs(
    seconds: np.ndarray, calendar: str, step: str | float | None
) -> list[np.ndarray]:  # fmt: skip
    """Own seconds of the steps that should lie between neighbouring times [N]; one array a run.

    Months are counted as months, anything else by the length that most steps have; a series of
    which most steps have no common length has no gaps.
    """
    if step is None or seconds.size < 3:
        return []
    apart = np.diff(seconds)
    length = int(np.median(apart))
    if length >= MONTH:
        months = own_months(seconds, calendar)
        each = MONTHS.get(str(step), int(np.median(np.diff(months))))
        # Periods such as 40 days are a month apart mostly: only seasons and the like count in it.
        counted = step in MONTHS or each > 1
        if counted and (np.diff(months) > 0).all() and not (np.diff(months) % each).any():
            return _absent_months(seconds, months, calendar, each)
    if 2 * np.count_nonzero(2 * np.abs(apart - length) <= length) <= apart.size:
        return []
    return [
        seconds[place] + np.arange(length, apart[place] - length // 2, length)
        for place in np.flatnonzero(2 * apart > 3 * length)
    ]


def _absent_months(
    seconds: np.ndarray, months: np.ndarray, calendar: str, step: int
) -> list[np.ndarray]:
    """Stamped as far from the month's beginning as the first, or on its last day."""
    offset = seconds[0] - month_begins(months[:1], calendar)[0]
    runs = []
    for place in np.flatnonzero(np.diff(months) > step):
        absent = np.arange(months[place] + step, months[place + 1], step)
        begins = month_begins(absent, calendar)
        lengths = month_begins(absent + 1, calendar) - begins
        runs.append(begins + np.minimum(offset, lengths - 1))
    return runs


def described(runs: Sequence[np.ndarray], calendar: str) -> str:
    """How many steps are absent, and the first three runs of them."""
    texts = [
        text(run[0], calendar)
        if run.size == 1
        else f"{text(run[0], calendar)} to {text(run[-1], calendar)}"
        for run in runs[:3]
    ]
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    count = sum(run.size for run in runs)
    return f"{count} step{'s' if count > 1 else ''} without data: {', '.join(texts)}{more}"
