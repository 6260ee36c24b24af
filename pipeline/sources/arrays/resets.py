"""Hours at which running totals start again, found in a bounded sample of a source's values.

The sample does not depend on the part of the source that is read, so that all tiles agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.core.formulas.angles import MOST, without_period
from pipeline.core.units import is_dimensionless, may_be_total
from pipeline.entries.source import Source, Variable
from pipeline.sources.arrays.aggregate import Decoded
from pipeline.sources.arrays.extra_dims import REDUCTIONS, Reduction, lead_times, selected
from pipeline.sources.axes import axes_of
from pipeline.sources.canonical import LARGEST, RESETS, decoding_of, in_order
from pipeline.sources.computed.read import read_source
from pipeline.sources.computed.tally import Tally
from pipeline.sources.decode import ACCUMULATED, stated_units
from pipeline.sources.tidy import tidied
from pipeline.sources.versions.unchanged import stamps_of
from pipeline.times.calendars import DAY, STANDARD, calendar_seconds
from pipeline.times.totals import NOISE, found_resets, odd_falls

SPANS = 4
"""Number of spans of time that are sampled."""
SPAN_DAYS = 3
SPAN_STEPS = 40
"""Least number of steps of a span, for series of days."""
BLOCK = 64
"""Rows and columns of a sampled block."""
MAX_TIMES = 2
"""Number of times of the day that a message lists."""
TRIES = 4
"""Blocks of a span that are read until one has values."""

Piece = tuple[np.ndarray, np.ndarray]


def opened(source: Source, tallies: Mapping[str, Tally] | None = None) -> xr.Dataset:
    """Return the files of a source at the positions that its entry selects, tidied; lazy."""
    return tidied(selected(read_source(source, tallies), source), source)


def prepared(source: Source, tallies: Mapping[str, Tally] | None = None) -> xr.Dataset:
    """Return an opened source whose running totals have the attributes `RESETS` and `LARGEST`.

    Raises `InputError` if the values do not show the resets that the entry does not name.
    """
    ds = opened(source, tallies)
    if not source.accumulated or source.time.reset_seconds is not None:
        return ds
    resets, largest = _found(source, tuple(stamps_of(source)))
    ds = ds.copy()
    for name, most in zip(source.accumulated, largest, strict=True):
        stored = source.opened_name(name)
        ds[stored].attrs = {**ds[stored].attrs, RESETS: resets, LARGEST: most}
    return ds


@lru_cache(maxsize=64)
def _found(
    source: Source, stamps: tuple[tuple[str, int, int], ...]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the resets and the largest total of each variable, cached until a file changes."""
    ds = opened(source)
    found: dict[str, tuple[int, ...]] = {}
    largest: list[float] = []
    for name in source.accumulated:
        pieces = list(sampled(ds, source, name))
        largest.append(max((float(np.nanmax(np.abs(v), initial=0)) for _, v in pieces), default=0))
        if source.variables[name].bucket:
            found[name] = ()
            continue
        da = ds[source.opened_name(name)]
        is_forecast = str(da.attrs.get("GRIB_stepType", "")) == "accum"
        resets = found_resets(pieces, daily_reset=is_forecast)
        if resets is not None:
            found[name] = resets
    if len(set(found.values())) != 1:
        texts = [f"{name} {described(resets)}" for name, resets in found.items()]
        raise bad_input(
            f'source "{source.name}", {source.files[0]}',
            f"running totals whose resets the values do not show ({', '.join(texts) or 'unclear'})",
            "the hours at which they start again",
            "Set `time: {resets: 0}` (ERA5-Land), such as `[0, 12]` or `never` (WRF). If values "
            "are the amounts of their own steps (ERA5), set `cell_method: sum`.",
        )  # fmt: skip
    return next(iter(found.values())), tuple(largest)


def check_resets(ds: xr.Dataset, source: Source, name: str, variable: Variable) -> None:
    """Raise `InputError` for a running total under another method, or with other resets.

    A sample is read of series with several steps a day, unless the units in the file are not those
    of amounts. Maxima of days at whose beginning totals start again are their amounts, if times are
    the end of steps.
    """
    _check_leads(ds, source, name)
    _check_period(ds, source, name, variable)
    entry, axis = source.variables[name], source.time
    accumulates, declared = entry.cell_method == ACCUMULATED, axis.reset_seconds
    if axis.kind != "file" or source.classes or entry.bucket or (accumulates and declared is None):
        return
    if not accumulates and not may_be_total(stated_units(ds[source.opened_name(name)])):
        return
    if not accumulates and _step(_seconds(ds, source)) >= DAY:
        return
    pieces = list(sampled(ds, source, name))
    where = f'source "{source.name}", {source.files[0]}: {name}'
    resets = found_resets(pieces)
    if resets is None or np.median(np.diff(pieces[0][0])) >= DAY:
        if declared is not None and accumulates and (variable.valid_range or (-1.0,))[0] >= 0:
            _check_falls(pieces, declared, where)
        return
    if accumulates and set(resets) != set(declared or ()):
        raise bad_input(
            where, f"running totals that start again {described(resets)}",
            f"{described(declared or ())}, as in the entry", "Correct `time.resets`.",
        )  # fmt: skip
    is_amount = entry.cell_method == "maximum" and axis.stamp == "end"
    of_day = resets == (round(axis.day_starts * 3600) % DAY,)
    if accumulates or not resets or (is_amount and of_day) or not mostly_rises(pieces):
        return
    method = f"`cell_method: {entry.cell_method}`" if entry.cell_method else "no `cell_method`"
    hint = str(ds[source.opened_name(name)].attrs.get("GRIB_stepType", ""))
    raise bad_input(
        where,
        f"values that never fall but {described(resets)}, totals since then"
        f"{f' (GRIB_stepType {hint})' if hint else ''}, with {method}",
        "`cell_method: accumulated`, which takes their differences",
        "Set `cell_method: accumulated`; `units` are then those of the amounts, as in the file.",
    )  # fmt: skip


def _check_period(ds: xr.Dataset, source: Source, name: str, variable: Variable) -> None:
    """Raise `InputError` for cyclic values without units and period that may be hours or months."""
    if source.method != "circular_mean" or source.period or not is_dimensionless(variable.units):
        return
    da = ds[source.opened_name(name)]
    array = Decoded(in_order(da, axes_of(ds, source), source),
                    decoding_of(da, source, name, variable), None)  # fmt: skip
    most = -np.inf
    for number in range(TRIES * SPANS):
        block = _block(array.shape[-2:], number)
        first = (slice(0, SPAN_STEPS),) * (len(array.shape) - len(block))
        most = max(most, float(np.nanmax(array.read((*first, *block)), initial=-np.inf)))
        if most > MOST:
            return
    if np.isfinite(most):
        where = f'source "{source.name}", {source.files[0]}: {name}'
        raise without_period(where, f"cyclic values without units, of at most {most:g}")


def _check_leads(ds: xr.Dataset, source: Source, name: str) -> None:
    """Raise `InputError` for totals since a forecast's start that are added up or averaged."""
    da, axes = ds[source.opened_name(name)], axes_of(ds, source)
    rules: Mapping[str, Reduction] = da.attrs.get(REDUCTIONS, {})
    for dim, rule in rules.items():
        if rule.how not in ("sum", "mean") or lead_times(da, dim) is None or source.classes:
            continue
        plane = {} if axes is None else {axes.y: slice(BLOCK), axes.x: slice(BLOCK)}
        others = {d: 0 for d in da.dims if d not in {dim, *plane}}
        decoding = decoding_of(da, source, name, Variable(long_name=name, units="1"))
        values = decoding.values(da.isel({**others, **plane}).transpose(dim, ...).values)
        change, most = np.diff(values, axis=0), float(np.nanmax(np.abs(values), initial=0.0))
        rises, falls = ((sign * change > NOISE * most).any() for sign in (1, -1))
        if may_be_total(stated_units(da)) and rises and not falls:
            raise bad_input(
                f'source "{source.name}", {source.files[0]}: {name}',
                f"values that never fall along {dim}, totals since the forecast's start",
                f"one lead time, and not the {rule.how} of all",
                f"Set `select: {{{dim}: -1}}` for the total of the last, at its end.",
            )  # fmt: skip


def _check_falls(pieces: list[Piece], resets: tuple[int, ...], where: str) -> None:
    """Raise `InputError` for totals of what is never negative that fall beside their resets."""
    if odd := odd_falls(pieces, resets):
        shown = described(odd[:MAX_TIMES]) + " and other times" * (len(odd) > MAX_TIMES)
        raise bad_input(
            where, f"values that fall {shown}", f"totals that fall {described(resets)}",
            "Set `cell_method: sum` if values are the amounts of their own steps, `bucket` of the "
            "variable if totals start again at a size (WRF), or correct `time.resets`.",
        )  # fmt: skip


def mostly_rises(pieces: Sequence[Piece]) -> bool:
    """Whether values rise far more often than they fall, as totals of more than two steps do."""
    changes = [np.diff(values, axis=0) for _, values in pieces]
    rises, falls = (sum(int((sign * one > 0).sum()) for one in changes) for sign in (1, -1))
    return rises > 2 * falls


def described(resets: tuple[int, ...]) -> str:
    """Return the resets in words, such as "at 00:00"."""
    times = [f"{reset // 3600:02d}:{reset % 3600 // 60:02d}" for reset in resets]
    return f"at {' and '.join(times)}" if times else "never"


def sampled(ds: xr.Dataset, source: Source, name: str) -> Iterator[Piece]:
    """Yield calendar seconds [n] and values [n, …] in the file's units of spans of a variable."""
    axes = axes_of(ds, source)
    da = ds[source.opened_name(name)]
    stored = in_order(da, axes, source)
    seconds = _seconds(ds, source)
    step = _step(seconds)
    if not seconds.size or "time" not in stored.dims:
        return
    decoding = decoding_of(da, source, name, Variable(long_name=name, units="1"))
    array = Decoded(stored, decoding, None)
    length = min(seconds.size, max(SPAN_STEPS, SPAN_DAYS * DAY // step + 1))
    spans = np.unique(np.linspace(0, seconds.size - length, SPANS).astype(int))
    for number, first in enumerate(spans):
        part = slice(int(first), int(first) + length)
        for attempt in range(TRIES):
            block = _block(array.shape[1:], number * TRIES + attempt)
            values = array.read((part, *block), np.float64)
            if np.isfinite(values).any():
                yield seconds[part], values
                break


def _seconds(ds: xr.Dataset, source: Source) -> np.ndarray:
    """Return the times of an opened source as calendar seconds; none if it has no times."""
    axes = axes_of(ds, source)
    time = "time" if axes is None else axes.time
    times = np.atleast_1d(ds[time].values) if time in ds.coords else np.zeros(0)
    if times.dtype.kind == "M":
        return calendar_seconds(times, STANDARD)
    if not times.size or not hasattr(times[0], "calendar"):
        return np.zeros(0, np.int64)
    return calendar_seconds(times, str(times[0].calendar))


def _step(seconds: np.ndarray) -> int:
    """Return the median time step in seconds, at least 1; a day for fewer than two times."""
    return max(1, int(np.median(np.diff(seconds)))) if seconds.size > 1 else DAY


def _block(shape: tuple[int, ...], number: int) -> tuple[slice, ...]:
    """Return a block at positions that are spread evenly by a Kronecker sequence."""
    ratios = ((5**0.5 - 1) / 2, 2**0.5 - 1)
    first = [
        int((0.5 + number * ratio) % 1.0 * max(1, size - BLOCK + 1))
        for size, ratio in zip(shape, ratios, strict=False)
    ]
    return tuple(slice(begin, begin + BLOCK) for begin in first)
