"""declared_times(): the times of files that have none, by the entry."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline.core.errors import bad_input
from pipeline.times.axis import TimeAxis

FREQUENCIES = {"hourly": "h", "3-hourly": "3h", "6-hourly": "6h", "daily": "D"}
MONTHS = {"monthly": 1, "yearly": 12}
DESCRIBED = "described"
"""Attribute of times that are the dates in descriptions of bands, which have no time of day."""
UNITS: dict[str, Literal["M", "Y"]] = {"monthly": "M", "yearly": "Y"}


def declared_times(axis: TimeAxis, count: int, where: str) -> np.ndarray | None:
    """Return the times [count] that an entry declares, datetime64[ns]; None if it declares none.

    Raises `InputError` if it declares another number of them.
    """
    if axis.dates:
        if len(axis.dates) != count:
            raise bad_input(
                where, f"{count} steps", f"{len(axis.dates)}, as `time.dates` has",
                "Name a date for each step.",
            )  # fmt: skip
        return np.array([datetime.fromisoformat(text) for text in axis.dates], "datetime64[ns]")
    if axis.start is None:
        return None
    start = pd.Timestamp(axis.start)
    if months := MONTHS.get(str(axis.step)):
        steps = [start + pd.DateOffset(months=months * step) for step in range(count)]
        return np.asarray(pd.DatetimeIndex(steps).values, "datetime64[ns]")
    frequency = FREQUENCIES[str(axis.step)]
    times = pd.date_range(start, periods=count, freq=frequency)
    return np.asarray(times.values, "datetime64[ns]")


def check_undated(declared: np.ndarray, found: Any, axis: TimeAxis, where: str) -> None:
    """Raise `InputError` for times (a coordinate of datetimes) in files whose entry declares them.

    Dates in descriptions of bands only need to agree with those of the entry.
    """
    if not found.attrs.get(DESCRIBED):
        raise bad_input(
            where, "times in the files", "files without times, as the entry declares their times",
            "Remove `time.start` and `time.dates` of the entry.",
        )  # fmt: skip
    unit = UNITS.get(str(axis.step), "D") if axis.start else "D"
    one, two = (times.astype(f"datetime64[{unit}]") for times in (declared, found.values))
    if (odd := one != two).any():
        first = int(odd.argmax())
        raise bad_input(
            where, f"{found.values[first].astype('datetime64[D]')} in the description of band "
            f"{first + 1} of the series", f"{one[first]}, as the entry declares",
            "Remove `time.start` and `time.dates` to have the dates of the descriptions, or "
            "correct them.",
        )  # fmt: skip


def check_start(axis: TimeAxis, first: str, where: str) -> None:
    """Raise `InputError` if the year of `start` is not that of the `first` file, an ISO date."""
    if axis.start and axis.start[:4] != first[:4]:
        raise bad_input(
            where, f"`time.start` {axis.start}, although the first file that is read is of "
            f"{first[:4]}", "the time of its first step",
            "Set `time: {years: [...], start: ...}` to the files of the period that is built.",
        )  # fmt: skip
