"""declared_times(): the times of files that have none, by the entry."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd

from pipeline.core.errors import bad_input
from pipeline.times.axis import TimeAxis

FREQUENCIES = {"hourly": "h", "3-hourly": "3h", "6-hourly": "6h", "daily": "D"}
MONTHS = {"monthly": 1, "yearly": 12}


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
