"""The common time axis of the sources of a cube: cut to a period and compared."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import combinations

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults, bad_input
from pipeline.entries.source import Source
from pipeline.times.axis import TimeAxis
from pipeline.times.plan import time_plan


def within(source: Source, period: tuple[date | str, date | str] | None) -> Source:
    """Return the source limited to the days of a period; a climatology of months is unchanged.

    Raises `InputError` if the period is not a first and a last day.
    """
    if period is None or source.time.kind == "months":
        return source
    try:
        # Not from a dump, in which the default of `stamp` looks like a choice.
        time = TimeAxis.model_validate({**dict(source.time), "period": period})
    except ValueError:
        raise bad_input(
            "time", repr(period), "a first and a last day", 'Such as ("2001-01-01", "2010-12-31").'
        ) from None
    return source.model_copy(update={"time": time})


def common_times(sources: Sequence[Source], opened: Sequence[xr.Dataset]) -> xr.DataArray | None:
    """Return the time axis of all sources that have one; `InputError` with all that differ."""
    series = [
        (source, ds["time"])
        for source, ds in zip(sources, opened, strict=True)
        if "time" in ds.dims
    ]
    if not series:
        return None
    (first, time), faults = series[0], Faults()
    for source, other in series[1:]:
        if not np.array_equal(other.values, time.values):
            found, expected, hint = _difference(other.values, time.values)
            faults.add(
                f'source "{source.name}", {source.files[0]}: time', found,
                f'the times of source "{first.name}": {expected}', hint,
            )  # fmt: skip
    faults.raise_if_any()
    return time


def merged_times(source: Source, axes: Sequence[np.ndarray]) -> np.ndarray:
    """Return the times of all parts of a source together, cut to the period of its entry.

    Parts may cover different periods, and must have the same steps in those that they share, unless
    the entry accepts gaps.
    Raises `InputError` for other steps and for gaps between the parts.
    """
    where = f'source "{source.name}", {source.address}: time'
    every = np.unique(np.concatenate(axes))
    has_gaps = source.time.gaps == "missing" and _are_steps(every, axes)
    for one, other in () if has_gaps else combinations(axes, 2):
        begin, end = max(one[0], other[0]), min(one[-1], other[-1])
        odd = np.setxor1d(one, other)
        if ((odd >= begin) & (odd <= end)).any():
            found, expected, hint = _difference(other, one)
            raise bad_input(where, found, f"the times of an earlier part: {expected}", hint)
    if source.time.kind == "months" or np.isnat(every).any():
        return every
    months = every.astype("datetime64[M]")
    of_each = [np.unique(axis.astype("datetime64[M]")).size == axis.size for axis in axes]
    if (
        all(of_each)
        and max(axis.size for axis in axes) > 1
        and np.unique(months).size < months.size
    ):
        at = np.flatnonzero(np.diff(months).astype(int) == 0)[0]
        raise bad_input(
            where, f"two times of one month, {_text(every[at])} and {_text(every[at + 1])}",
            "months stamped on the same day by all parts",
            "Set `time: {restamp: month}` in the parts that are not stamped on the first.",
        )  # fmt: skip
    axis = TimeAxis(gaps=source.time.gaps, period=source.time.period)
    return time_plan(every, axis, where).values


def _are_steps(every: np.ndarray, axes: Sequence[np.ndarray]) -> bool:
    """Whether all axes have the shortest step of all times; two times may have a gap between."""
    step = _shortest(every)
    # Months and years differ in length, and a step that is half of another is another step.
    return all(0.7 * _shortest(axis) < step for axis in axes if axis.size > 2) and any(
        0.7 * _shortest(axis) < step for axis in axes
    )


def _shortest(times: np.ndarray) -> float:
    """Return the shortest step in ns; 0 for a single time."""
    return float(np.diff(times).astype(np.int64).min()) if times.size > 1 else 0.0


def _difference(times: np.ndarray, other: np.ndarray) -> tuple[str, str, str]:
    """Return two time axes in words, with the first step that only one has, and a hint."""
    begin, end = max(times[0], other[0]), min(times[-1], other[-1])
    odd = np.setxor1d(times, other)
    inside = odd[(odd >= begin) & (odd <= end)]
    if begin <= end and not inside.size:
        hint = "Cut the longer one with `time: {period: [first day, last day]}` in its entry."
        return _span(times), _span(other), hint
    step = inside[0] if inside.size else odd[0]
    here, there = ("with", "without") if step in times else ("without", "with")
    return (
        f"{_span(times)}, {here} {_text(step)}", f"{_span(other)}, {there} {_text(step)}",
        _hint(times, other),
    )  # fmt: skip


def _hint(times: np.ndarray, other: np.ndarray) -> str:
    """Return the hint for two axes that differ within the period that both have."""
    months, others = (t.astype("datetime64[M]") for t in (times, other))
    once = all(np.unique(m).size == m.size for m in (months, others))
    if once and np.intersect1d(months, others).size:
        return (
            "Both need the same steps, and months must be stamped on the same day: set `time:"
            " {restamp: month}` in the entries that are not stamped on the first of the month."
        )
    return "Both need the same steps: see `time: {stamp, daily, gaps}` of both entries."


def _span(times: np.ndarray) -> str:
    return f"{times.size} steps from {_text(times[0])} to {_text(times[-1])}"


def _text(time: np.datetime64) -> str:
    return str(time.astype("datetime64[m]")).removesuffix("T00:00")
