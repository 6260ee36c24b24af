"""Running totals: amounts since a reset, as intervals of time whose amounts are wanted.

ERA5-Land starts again at 00 UTC (its value at 00 is the total of the day before), forecasts at each
initialisation, WRF never.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from pipeline.times.calendars import DAY

NEVER = np.iinfo(np.int64).min // 2
"""Calendar second before all times."""


@dataclass(frozen=True)
class Totals:
    """Intervals of canonical steps [T] and the times [N] of running totals; calendar seconds.

    Amounts are those after `begins` up to and including `ends`, which are equal where no file has
    data. `restarts` [N] are the last resets before each time, `NEVER` where there are none.
    """

    times: np.ndarray
    restarts: np.ndarray
    begins: np.ndarray
    ends: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """Position [T] of the first time that an interval needs: that of its begin, if any."""
        return np.searchsorted(self.times, self.begins, "left")

    @property
    def count(self) -> np.ndarray:
        """Number [T] of times that an interval needs; 0 where no file has data."""
        stop = np.searchsorted(self.times, self.ends, "right")
        return np.where(self.begins < self.ends, stop - self.first, 0)

    def covered(self) -> np.ndarray:
        """Return the seconds [T] of each interval whose amount the files' times can show."""
        present = np.flatnonzero(self.count)
        seconds = np.zeros(self.begins.size)
        if present.size:
            amounts = np.zeros((self.times.size, 0))
            seconds[present] = _sums(amounts, self.times, self.restarts, self.begins[present],
                                     self.ends[present])[1]  # fmt: skip
        return seconds


def restarts(times: np.ndarray, resets: tuple[int, ...]) -> np.ndarray:
    """Return the last reset [N] before each time, for `resets` in seconds of each day."""
    last = np.full(times.size, NEVER)
    for reset in resets:
        last = np.maximum(last, (times - 1 - reset) // DAY * DAY + reset)
    return last


def daily_rates(
    values: np.ndarray,
    times: np.ndarray,
    last_resets: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
    *,
    min_share: float = 1.0,
    bucket: float | None = None,
    fall: float | None = None,
) -> np.ndarray:
    """Return amounts per day [T, …] in ascending intervals, from running totals [N, …] at `times`.

    A missing total does not matter where a later one shows the amount; NaN where less than
    `min_share` of the interval is known. Where totals fall they start again at once if they have a
    `bucket` size; else the amount is unknown if they fall by more than `fall`.
    """
    is_known = np.isfinite(values)
    fixed = bool((is_known.all(0) | ~is_known.any(0)).all())
    sums = None
    if fixed:
        # The same cells are missing at all times, mostly the sea: times are the same for all cells.
        sums = _sums(values, times, last_resets, begins, ends, None, bucket, fall)
    if sums is None:
        sums = _sums(values, times, last_resets, begins, ends, is_known, bucket, fall)
    assert sums is not None
    amount, covered = sums
    shape = (-1, *[1] * (values.ndim - 1))
    lengths = (ends - begins).reshape(shape)
    covered = covered.reshape(shape) if covered.ndim == 1 else covered
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = amount / covered * DAY
    return np.where(covered >= np.maximum(min_share * lengths - 1e-6, 1), rate, np.nan)


def _sums(
    values: np.ndarray,
    times: np.ndarray,
    last_resets: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
    is_known: np.ndarray | None = None,
    bucket: float | None = None,
    fall: float | None = None,
) -> Any:
    """Return the amounts [T, …] of intervals and the seconds [T] or [T, …] of them that are known.

    Without `is_known`, the same cells are missing at all times, and the result is None if any
    total falls by more than `fall`.
    """
    cells = values.shape[1:]
    amount = np.zeros((begins.size, *cells))
    covered = np.zeros(begins.size if is_known is None else amount.shape)
    last = np.full(cells, np.nan)
    since: Any = np.float64(NEVER) if is_known is None else np.full(cells, float(NEVER))
    interval = np.searchsorted(ends, times, "left")
    for index, time in enumerate(times):
        if last_resets[index] > NEVER and (
            index == 0 or last_resets[index] >= times[index - 1]
        ):  # fmt: skip
            last, since = np.zeros(cells), np.full_like(since, last_resets[index])
        known: Any = True if is_known is None else is_known[index]
        k = interval[index]
        if k < begins.size and begins[k] < time:
            gain = values[index] - last
            if bucket:
                gain = np.where(gain < -bucket / 2, gain + bucket, gain)
            ok = known & (since >= begins[k])
            if fall is not None and not bucket and (falls := gain < -fall).any():
                if is_known is None:
                    return None
                ok = ok & ~falls
            amount[k] += np.where(ok, gain, 0.0)
            covered[k] += np.where(ok, time - since, 0.0)
        last = np.where(known, values[index], last)
        since = np.where(known, float(time), since)
    return amount, covered


def found_resets(
    pieces: list[tuple[np.ndarray, np.ndarray]], daily_reset: bool = False
) -> tuple[int, ...] | None:
    """Return the seconds of the day at which totals start again: () for never, None if unclear.

    `pieces` are times [n] and values [n, …] of a sample, of either sign. Totals fall after a reset
    and never else. Days that do not fall in a short sample are unclear, unless `daily_reset`.
    """
    pieces = [(times, values.reshape(times.size, -1)) for times, values in pieces]
    largest = max((float(np.nanmax(np.abs(v), initial=0.0)) for _, v in pieces), default=0.0)
    steps = np.concatenate([np.diff(times) for times, _ in pieces] or [np.zeros(0)])
    if not largest > 0 or not steps.size:
        return None
    step, noise = int(np.median(steps)), NOISE * largest
    sign = np.sign(sum(float(np.nansum(values)) for _, values in pieces)) or 1.0
    loaded: dict[int, int] = {}
    falls: dict[int, int] = {}
    rises: dict[int, int] = {}
    for times, values in pieces:
        before, after = sign * values[:-1], sign * values[1:]
        for index in np.flatnonzero(np.diff(times) == step):
            at = int(times[index] % DAY)
            change = after[index] - before[index]
            full = before[index] > noise
            loaded[at] = loaded.get(at, 0) + int(full.sum())
            falls[at] = falls.get(at, 0) + int((full & (change < -noise)).sum())
            rises[at] = rises.get(at, 0) + int((change > noise).sum())
    if step >= DAY:
        return _resets_of_days(loaded, falls, rises, daily_reset)
    resets = tuple(sorted(at for at in loaded if falls[at] > 0.5 * loaded[at]))
    calm = all(falls[at] <= 0.01 * loaded[at] for at in loaded if at not in resets)
    rising = sum(rises[at] for at in loaded if at not in resets)
    seen = len(loaded) >= DAY // step and _explained(loaded, resets, step)
    between = any(-at % (DAY // 4) < step and at % (DAY // 4) for at in resets)
    # Values that fall for hours, such as temperature after noon, do not start again.
    falling = any((at + step) % DAY in resets for at in resets)
    return resets if calm and rising and seen and not between and not falling else None


def _explained(loaded: dict[int, int], resets: tuple[int, ...], step: int) -> bool:
    """Whether all times of the day have totals, except after resets in equal intervals.

    Radiation since midnight is zero until the sun rises.
    """
    empty = {at for at, count in loaded.items() if not count}
    for reset in resets:
        at = (reset + step) % DAY
        while at in empty:
            empty.remove(at)
            at = (at + step) % DAY
    apart = {(later - reset) % DAY for reset, later in pairwise((*resets, *resets[:1]))}
    return not empty and (all(loaded.values()) or len(apart) == 1)


def odd_falls(
    pieces: list[tuple[np.ndarray, np.ndarray]], resets: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the seconds of the day at which totals fall beside their `resets`; () if none do.

    `pieces` are as for `found_resets`. Falls below `LARGE` of the largest total, and single ones
    among thousands of totals, do not count.
    """
    largest = max((float(np.nanmax(np.abs(v), initial=0.0)) for _, v in pieces), default=0.0)
    sign = np.sign(sum(float(np.nansum(values)) for _, values in pieces)) or 1.0
    falls: dict[int, int] = {}
    count = 0
    for times, values in pieces:
        change = np.diff(sign * values.reshape(times.size, -1), axis=0)
        for index in np.flatnonzero(restarts(times, resets)[1:] < times[:-1]):
            at = int(times[index] % DAY)
            count += change[index].size
            falls[at] = falls.get(at, 0) + int((change[index] < -LARGE * largest).sum())
    many = sum(falls.values()) > SELDOM * count
    return tuple(sorted(at for at in falls if falls[at])) if many else ()


LARGE = 0.1
"""Fraction of the largest total by which totals fall only if they start again."""
SELDOM = 5e-4
"""Fraction of totals that may fall by errors in the data."""
NOISE = 1e-3
"""Fraction of the largest total below which changes may come from the packing of the file."""


def _resets_of_days(
    loaded: dict[int, int], falls: dict[int, int], rises: dict[int, int], daily_reset: bool
) -> tuple[int, ...] | None:
    """Return the resets of totals that the files have once a day or less often."""
    total = sum(loaded.values())
    if len(loaded) != 1 or not total:
        return None
    (at,) = loaded
    if falls[at] > 0.02 * total or daily_reset:
        return (at,)
    return () if rises[at] and not falls[at] and total >= MANY else None


MANY = 1000
"""Pairs of totals without a fall after which totals of days count as never reset."""

__all__ = ["NOISE", "Totals", "daily_rates", "found_resets", "odd_falls", "restarts"]
