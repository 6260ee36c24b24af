"""`Decoding`: a source's stored numbers as canonical values: missing, packing, classes and units.

`pipeline.sources.arrays.aggregate` applies it to blocks when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input, listed
from pipeline.core.units import convert
from pipeline.entries.nodata import codes_of, ranges_of
from pipeline.entries.source import Source
from pipeline.entries.source_variable import SourceVariable
from pipeline.readers.common.packing import UNPACKED, packing_number, stored_value
from pipeline.sources.arrays.extra_dims import Reduction
from pipeline.sources.computed.tally import Tally
from pipeline.sources.computed.undeclared import HUGE, number_text

COMPUTED = "computed"
"""Key in the encoding of a variable whose values need no unpacking: missing ones are NaN."""
TINY = 1e-4
"""Fraction of a valid range beyond it at which a value may be a rounding error of packing."""
PIECE = 1 << 15
"""Number of codes looked up at once, whose 8-byte indices fit into the CPU cache."""
LookUp = Callable[[np.ndarray, np.ndarray], None]


def class_indices(raw: np.ndarray, classes: Mapping[Any, int]) -> np.ndarray:
    """Return the index of each code's class, float32, NaN for codes without one; dims of `raw`.

    `classes` maps codes in the type of `raw` to indices.
    """
    raw = np.ascontiguousarray(raw)
    out = np.empty(raw.shape, np.float32)
    if raw.dtype.kind in "iu" and raw.dtype.itemsize <= 2:
        look_up = _by_table(raw.dtype, classes)
    elif all(0 <= code < 1 << 16 for code in classes):
        look_up = _by_small_table(classes)
    else:
        look_up = _by_search(raw.dtype, classes)
    codes, indices = raw.reshape(-1), out.reshape(-1)
    for begin in range(0, codes.size, PIECE):
        part = slice(begin, begin + PIECE)
        look_up(codes[part], indices[part])
    return out


def _by_table(dtype: np.dtype[Any], classes: Mapping[Any, int]) -> LookUp:
    """Return the lookup for 8 and 16 bits: a table of all numbers, signed ones as unsigned bits."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    table = np.full(1 << 8 * dtype.itemsize, np.nan, np.float32)
    for code, index in classes.items():
        table[np.asarray(code, dtype).view(unsigned)] = index

    def look_up(codes: np.ndarray, out: np.ndarray) -> None:
        native = codes.astype(dtype.newbyteorder("="), copy=False)
        np.take(table, native.view(unsigned), out=out, mode="clip")

    return look_up


def _by_small_table(classes: Mapping[Any, int]) -> LookUp:
    """Return the lookup for wider types with 16-bit codes: the table of converted values."""
    narrow = np.dtype(np.uint16)
    by_table = _by_table(narrow, {int(code): index for code, index in classes.items()})

    def look_up(values: np.ndarray, out: np.ndarray) -> None:
        with np.errstate(invalid="ignore"):
            codes = values.astype(narrow)
        by_table(codes, out)
        out[codes != values] = np.nan

    return look_up


def _by_search(dtype: np.dtype[Any], classes: Mapping[Any, int]) -> LookUp:
    """Return the lookup for other types: a binary search for an equal code."""
    codes = np.array(sorted(classes), dtype)
    # The additional element is for values greater than all codes.
    indices = np.array([*(classes[code] for code in codes), np.nan], np.float32)

    def look_up(values: np.ndarray, out: np.ndarray) -> None:
        at = np.searchsorted(codes, values)
        is_known = np.zeros(values.shape, bool)
        if codes.size:
            is_known = codes[np.minimum(at, codes.size - 1)] == values
        np.copyto(out, np.where(is_known, indices[at], np.float32(np.nan)))

    return look_up


ACCUMULATED = "accumulated"


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Conversion of stored numbers to float32 in canonical units; errors are located at `where`."""

    where: str
    nodata: tuple[float, ...] = ()
    nodata_ranges: tuple[tuple[float, float], ...] = ()
    """Lowest and highest of the stored numbers that mean missing."""
    above_is_missing: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    units: str = "1"
    canonical_units: str = "1"
    valid_range: tuple[float, float] | None = None
    cell_method: str | None = None
    bucket: float | None = None
    """Size in the file's units after which running totals start again."""
    fall: float | None = None
    """Fall in the file's units beyond which a running total must have started again."""
    reductions: Mapping[str, Reduction] = field(default_factory=dict)
    """Reduction of each dimension that is not time, y and x."""
    min_share: float = 1.0
    clip: float = 0.0
    """Distance from the valid range within which values are set to its limit."""
    tally: Tally | None = field(default=None, compare=False)
    """Counts of clipped values, if they are wanted."""
    codes: dict[int, int] | None = None
    """Codes of a class map → index of the class of each."""
    is_sum: bool = False
    """Whether the values are declared to be sums over their time steps."""
    is_slope: bool = False
    """Whether it is the slope of the terrain, for which percent is a ratio of lengths."""
    sites: tuple[str, ...] = ()
    """Names of sites along the last axis, for error messages."""

    def values(self, raw: np.ndarray, dtype: Any = np.float32) -> np.ndarray:
        """Return values in the file's units, or indices of classes; NaN if missing.

        `dtype` is that of values, by default float32; indices are float32.
        """
        if raw.dtype == bool:
            raw = raw.astype(np.uint8)
        if self.codes is not None:
            return class_indices(raw, self._classes(raw.dtype))
        marked = [raw == value for value in self.nodata if not np.isnan(value)]
        marked += [(raw >= low) & (raw <= high) for low, high in self.nodata_ranges]
        if self.above_is_missing is not None:
            marked.append(raw > self.above_is_missing)
        # NaN stays NaN; nothing is copied if it has the type and no other value means missing.
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            values = raw.astype(dtype, copy=bool(marked))
        for missing in marked:
            values[missing] = np.nan
        if self.tally is not None:
            self.tally.stored.add(values)
        if (self.scale, self.offset) != (1.0, 0.0):
            values = values * values.dtype.type(self.scale) + values.dtype.type(self.offset)
        return values

    def _classes(self, dtype: np.dtype[Any]) -> dict[Any, int]:
        """Return the class index of each code that the data type can hold and is not missing."""
        known = (self.codes or {}).items()
        held = [(stored_value(code, dtype), index) for code, index in known]
        missing = {stored_value(value, dtype) for value in self.nodata}
        missing |= {
            code for code, _ in held for low, high in self.nodata_ranges
            if code is not None and low <= code <= high
        }  # fmt: skip
        return {code: index for code, index in held if code is not None and code not in missing}

    def finish(
        self, values: np.ndarray, days: np.ndarray | None, lengths: np.ndarray | None = None
    ) -> np.ndarray:
        """Return values in canonical units, float32; raises `InputError` if any is out of range.

        `days` [T] are the days of the month of each step, `lengths` [T] those of the files' steps.
        """
        if self.codes is not None:
            return values
        by_day = self.cell_method in ("sum", ACCUMULATED)
        units = f"{self.units}/day" if by_day else self.units
        values = convert(
            values, units, self.canonical_units, self.where, days,
            lengths=lengths, is_sum=self.is_sum, is_slope=self.is_slope,
        )  # fmt: skip
        return self._within_range(values).astype(np.float32, copy=False)

    def _outside(self, values: np.ndarray) -> str:
        """Return a text on the sites with values out of range; empty for grids and some sites."""
        if self.valid_range is None or len(self.sites) != values.shape[-1]:
            return ""
        low, high = self.valid_range
        bad = ((values < low) | (values > high)).reshape(-1, len(self.sites))
        names = listed(self.sites[site] for site in np.flatnonzero(bad.any(0)))
        return f", {int(bad.sum())} of them outside at sites, {names}"

    def _check_size(self, values: np.ndarray) -> None:
        """Raise `InputError` for numbers of a size that no quantity has."""
        lowest, highest = np.fmin.reduce(values, None), np.fmax.reduce(values, None)
        if lowest > -HUGE and highest < HUGE:
            return
        count, valid = (
            int(np.count_nonzero(v)) for v in (np.abs(values) >= HUGE, values == values)
        )
        if count:
            number = number_text(float(highest if highest >= HUGE else lowest))
            share = f"{100 * count / valid:.3g} %"
            raise bad_input(
                self.where, f"{share} of the values beyond {HUGE:g}, such as {number}",
                "values without undeclared missing ones",
                f"List that number of the file as `nodata` of the variable, such as {number}"
                " (of 64 bits often -1.7976931348623157e+308).",
            )  # fmt: skip

    def _within_range(self, values: np.ndarray) -> np.ndarray:
        """Return values clipped to the valid range where they are near it; raises for others.

        Steps are clipped after their aggregation, in which rounding errors of either sign cancel.
        """
        if not values.size:
            return values
        if self.valid_range is None:
            self._check_size(values)
            return values
        low, high = self.valid_range
        lowest, highest = np.fmin.reduce(values, None), np.fmax.reduce(values, None)
        if not (lowest < low or highest > high):
            return values
        distance = max(low - lowest, highest - high)
        if distance > self.clip:
            found = f"values from {lowest:g} to {highest:g} {self.canonical_units}"
            raise bad_input(
                self.where, f"{found}{self._outside(values)}",
                f"{low:g} to {high:g}",
                _range_hint(float(distance), high - low, bool(lowest > high)),
            )  # fmt: skip
        if self.tally is not None:
            outside = (values < low) | (values > high)
            self.tally.add_clipped(np.where(outside, np.fmax(low - values, values - high), np.nan))
        return np.clip(values, low, high)


def unpacking_of(
    da: xr.DataArray, entry: SourceVariable, source: Source, where: str
) -> Decoding:  # fmt: skip
    """Return the conversion of the stored numbers of a variable to values in its own units.

    It is that of the entry and of the file: the packing of a TIFF is still in the attributes, while
    other readers have applied and removed it. Values that are `COMPUTED` need none.
    """
    units = entry.units or stated_units(da)
    if COMPUTED in da.encoding:
        return Decoding(where=where, units=units)
    scale, offset = (
        none if entry.as_stored or key not in da.attrs
        else float(packing_number(da.attrs, key, where))
        for key, none in (("scale_factor", 1.0), ("add_offset", 0.0))
    )  # fmt: skip
    nodata, ranges = _nodata(da, entry, source)
    return Decoding(
        where=where,
        nodata=nodata,
        nodata_ranges=ranges,
        above_is_missing=entry.above_is_missing,
        scale=scale * entry.scale,
        offset=offset * entry.scale + entry.offset,
        units=units,
    )


def stated_units(da: xr.DataArray) -> str:
    """Return the units that a file states; "-" for a blank text, as some write for 1."""
    return str(da.attrs.get("units", "")).strip() or ("-" if "units" in da.attrs else "")


def _nodata(
    da: xr.DataArray, entry: SourceVariable, source: Source
) -> tuple[tuple[float, ...], tuple[tuple[float, float], ...]]:
    """Return the stored numbers and ranges that mean missing, by the entry or else by the file."""
    if UNPACKED in da.encoding and not source.classes:
        return (), ()
    if entry.nodata is not None:
        return codes_of(entry.nodata), ranges_of(entry.nodata)
    if source.overrides("nodata") or da.dtype == bool:
        return (), ()
    declared = [da.attrs[key] for key in ("_FillValue", "missing_value") if key in da.attrs]
    return tuple(float(value) for value in np.ravel(declared) if np.isfinite(float(value))), ()


def _range_hint(distance: float, width: float, above: bool) -> str:
    """Return a hint for values at a distance from a valid range of a width, or all `above` it."""
    hint = "Check units, scale, offset and nodata of the entry."
    if above:
        hint += " If they are ids of a table, set `transform: {lookup: …}` of the variable."
    if distance > TINY * width:
        return hint
    digits = 10.0 ** np.floor(np.log10(distance))
    clip = np.ceil(distance / digits) * digits
    return f"{hint} If this is a rounding error of packing, set `clip: {clip:.1e}` of the variable."
