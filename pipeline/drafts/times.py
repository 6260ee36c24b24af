"""How the values of a variable add up in time, from what a file states and what its values show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from pipeline.core.units import may_be_total
from pipeline.sources.arrays.resets import Piece, described, mostly_rises
from pipeline.sources.decode import stated_units
from pipeline.times.cell_methods import method_of_time
from pipeline.times.totals import found_resets

OF_STEP_TYPE = {
    "instant": "mean", "avg": "mean", "max": "maximum", "min": "minimum", "accum": "sum",
}  # fmt: skip
"""Method of days for each GRIB_stepType, as cfgrib and the stores of ECMWF write it."""
SAYS_TOTAL = ("accum", "since", "total of", "sum of")
"""Parts of a long name that say that values are totals."""
ENDS = ("accum", "avg", "max", "min")
"""GRIB step types whose times are the ends of the steps."""
DAY_HOURS = 24.0
BOTH = (
    "of each step (`cell_method: sum`), or running totals (`cell_method: accumulated` of the"
    " variable, with `stamp: end` and the hour of their reset, `resets: 0`, under `time`)"
)


@dataclass(frozen=True)
class Adding:
    """How values become days: `cell_method`, stamp of their times, hours of resets, and notes."""

    cell_method: str | None = None
    stamp: str | None = None
    resets: float | str | tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()


def adding_of(
    da: xr.DataArray,
    hours: float | None,
    pieces: Sequence[Piece],
    time: Iterable[str],
    is_rate: bool = True,
) -> Adding:
    """Return how the values of steps of some `hours` add up; `pieces` are a sample of them.

    Values that grow until the same hours of each day are running totals, whatever the file states.
    `is_rate` is whether the canonical variable is one, of which values may be amounts of steps.
    """
    attrs = da.attrs
    stated = method_of_time(str(attrs.get("cell_methods", "")), time)
    kind = str(attrs.get("GRIB_stepType", ""))
    stamp = "end" if kind in ENDS else None
    says = f" (GRIB_stepType {kind})" if kind else ""
    is_amount = is_rate and may_be_total(stated_units(da))
    name = str(attrs.get("long_name", "")).lower()
    if "daylight" in name:
        text = "values are means of the daylight, not of the day: multiply them by its share of it"
        return Adding("mean" if hours and hours < DAY_HOURS else None, stamp, None,
                      (f"decide: {text} (`expression`).",))  # fmt: skip
    if hours is None or hours >= DAY_HOURS:
        return _of_days(stated or OF_STEP_TYPE.get(kind), is_amount, hours, stamp, says)
    if is_amount and stated != "sum":
        return _of_amounts(da, pieces, kind, stated)
    if stated or kind in OF_STEP_TYPE:
        return Adding(stated or OF_STEP_TYPE[kind], stamp)
    if any(word in name for word in SAYS_TOTAL):
        text = (
            f'the file calls values "{attrs["long_name"]}", in units of no amount: are they means'
        )
        return Adding(None, None, None, (f"decide: {text} or amounts {BOTH}?",))
    return Adding("mean")


def _of_amounts(da: xr.DataArray, pieces: Sequence[Piece], kind: str, stated: str | None) -> Adding:
    """Return how amounts of steps shorter than a day add up: as totals, or each by itself."""
    says = f" (GRIB_stepType {kind})" if kind else ""
    resets = found_resets(list(pieces))
    if resets is not None and mostly_rises(pieces):
        text = f"values grow and start again {described(resets)}: totals since then{says}"
        return Adding("accumulated", "end", _hours(resets), (f"found: {text}.",))
    stamp = "end" if kind in ENDS else None
    if not _falls(pieces):
        text = f"the file does not state{says} whether values are amounts {BOTH}."
        return Adding(None, stamp, None, (f"decide: {text}",))
    if kind == "accum":
        return Adding("sum", stamp)
    text = "values are amounts of their steps; the file does not state whether times are the start"
    text += " or the end of steps (`stamp: end`)"
    called = stated or kind
    text += f", and calls amounts in {stated_units(da)} {called}" if called else ""
    return Adding("sum", None, None, (f"decide: {text}.",))


def _of_days(
    method: str | None, is_amount: bool, hours: float | None, stamp: str | None, says: str
) -> Adding:
    """Return how the values of days or longer steps add up; days are not added up themselves."""
    if hours is None or not is_amount:
        return Adding(None)
    if stamp:
        text = f"times are the ends of days{says}: the value of 00 UTC is that of the day before."
        return Adding(method, stamp, None, (f"decide: {text}",))
    if hours > DAY_HOURS and method is None:
        text = (
            "the file does not state whether values are totals of steps; `cell_method: sum` says so"
        )
        return Adding(None, None, None, (f"decide: {text}.",))
    return Adding(method if hours > DAY_HOURS else None)


def _falls(pieces: Sequence[Piece]) -> bool:
    """Whether values fall as often as amounts of single steps do, and not as totals."""
    changes = [np.diff(values, axis=0) for _, values in pieces]
    return bool(changes) and not mostly_rises(pieces) and any((one < 0).any() for one in changes)


def _hours(resets: tuple[int, ...]) -> float | str | tuple[float, ...]:
    """Return seconds of the day as hours, in the way in which entries state them."""
    hours = [int(s // 3600) if s % 3600 == 0 else s / 3600 for s in resets]
    return "never" if not hours else hours[0] if len(hours) == 1 else tuple(hours)
