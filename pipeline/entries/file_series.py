"""Names of the files of a series, from a `uri` with `{year}`, `{month}` and `{day}`."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

KEYS = ("year", "month", "day")
Step = tuple[int, ...]
"""Year, month and day, or the year and month, or the year; the month alone in a climatology."""
Period = tuple[date, date]


def pattern_keys(uri: str) -> tuple[str, ...]:
    """Return the keys of `KEYS` that the uri contains.

    Raises `ValueError` for other keys and for combinations that do not exist: a day needs a month
    and a year; a month without a year is one of a climatology.
    """
    names = set(re.findall(r"\{(\w+)", uri))
    unknown = sorted(names - set(KEYS))
    if unknown:
        raise ValueError(
            f"{{{unknown[0]}}} in the uri, which accepts {{year}}, {{month}} and {{day}}"
        )
    if "day" in names and len(names) < len(KEYS):
        raise ValueError("{day} in the uri without {year} and {month}")
    keys = tuple(key for key in KEYS if key in names)
    try:
        uri.format(**dict.fromkeys(keys, 1)) if keys else uri
    except (ValueError, LookupError) as error:
        raise ValueError(f"a uri that cannot be filled in ({error})") from None
    return keys


@lru_cache(maxsize=512)
def series_files(
    uri: str, years: tuple[int, int] | None, period: Period | None, spare: int
) -> dict[Step, Path]:
    """Return the path of each step in order, existing or not; the key is () for a single file.

    Files whose days are all more than `spare` days outside the `period` are left out.
    """
    keys = pattern_keys(uri)
    if not keys or ("year" in keys and years is None):
        return {(): Path(uri)}
    steps = list(_steps(keys, years))
    if period and "year" in keys:
        early, late = period[0] - timedelta(spare), period[1] + timedelta(spare)
        steps = [s for s in steps if _last(s) >= early and date(*_whole(s)) <= late] or steps
    return {step: Path(uri.format(**dict(zip(keys, step, strict=True)))) for step in steps}


def _steps(keys: tuple[str, ...], years: tuple[int, int] | None) -> list[Step]:
    first, last = years if years and "year" in keys else (0, 0)
    steps: list[Step] = [(year,) for year in range(first, last + 1)] if "year" in keys else [()]
    if "month" in keys:
        steps = [(*step, month) for step in steps for month in range(1, 13)]
    if "day" in keys:
        steps = [(*s, day) for s in steps for day in range(1, monthrange(*s)[1] + 1)]
    return steps


def _whole(step: Step) -> tuple[int, int, int]:
    """Return the year, month and day at which a step begins."""
    year, month, day = (*step, 1, 1)[:3]
    return year, month, day


def _last(step: Step) -> date:
    """Return the last day of a step."""
    if len(step) == len(KEYS):
        return date(*_whole(step))
    year, month = (*step, 12)[:2]
    return date(year, month, monthrange(year, month)[1])


def step_date(step: Step) -> str:
    """Return the ISO date at which a step begins."""
    return date(*_whole(step)).isoformat()
