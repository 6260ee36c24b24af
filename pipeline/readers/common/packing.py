"""unpacked(): stored numbers as values, by the attributes of the file, NaN where missing.

xarray does the unpacking (CF section 8.1). Added here is what it does not handle: values outside
of a valid range, default fill values of the NetCDF library that no attribute declares, and the
`nodata` of a catalog entry.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from pipeline.core.errors import bad_input
from pipeline.entries.nodata import codes_of, ranges_of
from pipeline.entries.source import Source
from pipeline.entries.source_variable import SourceVariable

LIMITS = ("valid_range", "valid_min", "valid_max")
HINT = "Correct the file, or set `wrong_in_file: [nodata]` and `nodata` in the entry."


def numbers(attrs: Mapping[Any, Any], key: str, where: str) -> np.ndarray:
    """Return the numbers [n] of an attribute in its type; raises `InputError` for other values."""
    values = np.ravel(attrs[key])
    if values.dtype.kind not in "iuf" or not values.size:
        raise bad_input(where, f'{key} "{attrs[key]}"', "numbers", HINT)
    return values


def packing_number(attrs: Mapping[Any, Any], key: str, where: str) -> Any:
    """Return the scale or offset of an attribute, as a float if it is a whole number.

    Raises `InputError` for one with which no value can be computed.
    """
    number = numbers(attrs, key, where)[0]
    if not np.isfinite(number) or (key == "scale_factor" and number == 0):
        raise bad_input(
            where, f"{key} {number:g} in the file", "a scale and an offset of packed values",
            "Correct the file, or set `as_stored: true` of the variable, with the right `scale` and"
            " `offset`.",
        )  # fmt: skip
    # With an integer scale factor xarray would unpack to integers.
    return float(number) if number.dtype.kind in "iu" else number


def valid_limits(
    attrs: Mapping[Any, Any], dtype: np.dtype[Any], where: str
) -> tuple[float, float]:  # fmt: skip
    """Return (lowest, highest) valid unpacked value; infinite if the attributes set no limit.

    Limits have the type of the stored numbers, `dtype`; limits that are floats although packed
    values are integers refer to unpacked values (NetCDF User Guide, attribute conventions).
    """
    found = [numbers(attrs, key, where)[0] if key in attrs else None for key in LIMITS[1:]]
    if "valid_range" in attrs:
        ends = numbers(attrs, "valid_range", where)
        if ends.size != 2:
            raise bad_input(where, f"valid_range {attrs['valid_range']}", "two numbers", HINT)
        found = list(ends)
    low, high = (
        sign * np.inf if limit is None or np.isnan(limit) else _as_meant(limit, dtype)
        for limit, sign in zip(found, (-1, 1), strict=True)
    )
    if low > high:
        raise bad_input(where, f"valid values from {low:g} to {high:g}", "the lower first", HINT)
    if "scale_factor" not in attrs and "add_offset" not in attrs:
        return low, high
    scale, offset = float(attrs.get("scale_factor", 1)), float(attrs.get("add_offset", 0))
    if dtype.kind in "iu" and any(v is not None and v.dtype.kind == "f" for v in found):
        # Rounding errors of unpacking are far smaller than a step of the packed numbers.
        slack = abs(scale) / 10
        return low - slack, high + slack
    slack = 0.5 if dtype.kind in "iu" else 0.0
    low, high = sorted(((low - slack) * scale + offset, (high + slack) * scale + offset))
    if dtype.kind == "f":
        return low - 1e-6 * abs(low), high + 1e-6 * abs(high)
    return low, high


def _as_meant(limit: Any, dtype: np.dtype[Any]) -> float:
    """Return a limit as a value of the data's type; unsigned limits may be stored as signed."""
    if dtype.kind == "f":
        return float(dtype.type(limit))
    if dtype.kind == "u" and limit < 0 and limit.dtype.kind == "i":
        return float(np.array(limit, f"i{dtype.itemsize}").view(dtype))
    return float(limit)


PACKING = ("scale_factor", "add_offset")
UNPACKED = "unpacked"
"""Key in the encoding of a variable whose missing values are already NaN."""


@dataclass(frozen=True)
class Nodata:
    """Information on missing values that the attributes of a file do not contain."""

    values: tuple[float, ...] = ()
    """Stored values that mean missing, in addition to those of the file."""
    ranges: tuple[tuple[float, float], ...] = ()
    """Lowest and highest of stored values that mean missing."""
    trusted: bool = True
    """Whether the missing values that the file declares are right."""
    library: bool = True
    """Whether the NetCDF library wrote the file: it fills values that were never written."""
    as_stored: bool = False
    """Whether the stored numbers are wanted, without scale, offset and missing values."""
    codes: bool = False
    """Whether values are class codes, for which only the file's fill value is used: codes without a
    class become missing later."""


def nodata_of(source: Source, library: bool = False) -> dict[str, Nodata]:
    """Return the entry's information on missing values, by the name of each variable in the file.

    `library` states whether the NetCDF library wrote the files.
    """

    def described(entry: SourceVariable) -> Nodata:
        nodata = None if source.classes else entry.nodata
        return Nodata(
            codes_of(nodata), ranges_of(nodata), not source.overrides("nodata"),
            library=library, as_stored=entry.as_stored, codes=bool(source.classes),
        )  # fmt: skip

    return {
        name: described(entry)
        for entry in source.variables.values()
        for name in (entry.name, *entry.records)
    }


def unpacked(ds: xr.Dataset, nodata: Mapping[str, Nodata], where: str) -> xr.Dataset:
    """Return `ds` with the variables in `nodata` unpacked, NaN where missing; lazy.

    Types are those of xarray: float32 or float64, or as stored if nothing is packed or missing.
    Such variables have `UNPACKED` in their encoding; those wanted as stored stay as they are, but
    for unsigned numbers in a signed type. Raises `InputError` for attributes that are not numbers.
    """
    return ds.assign(
        {
            name: _unpacked(name, ds.variables[name], nodata[name], f"{where}: {name}")
            for name in nodata
            if name in ds.variables and ds.variables[name].dtype.kind in "iuf"
        }
    )


def meant_type(dtype: np.dtype[Any], attrs: Mapping[Any, Any]) -> np.dtype[Any]:
    """Return the intended type of stored numbers: classic files store unsigned ones as signed."""
    sign = {"true": "u", "false": "i"}.get(str(attrs.get("_Unsigned", "")).lower())
    return np.dtype(f"{sign}{dtype.itemsize}") if sign and dtype.kind in "iu" else dtype


def stored_value(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return the number in the type of the data, None if no stored number can equal it."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return dtype.type(value)
    if value != np.floor(value):
        return None
    signed = np.dtype(f"i{dtype.itemsize}")
    for held in (dtype, signed):
        if np.iinfo(held).min <= value <= np.iinfo(held).max:
            return np.array(int(value), held).view(dtype)[()]
    return None


def _unpacked(name: str, raw: xr.Variable, nodata: Nodata, where: str) -> xr.Variable:
    dtype = meant_type(raw.dtype, raw.attrs)
    if nodata.as_stored:
        return _as_meant_type(name, raw)
    attrs = _trusted(raw.attrs, nodata)
    for key in PACKING:
        if key in attrs:
            attrs[key] = packing_number(attrs, key, where)
    is_packed = any(key in attrs for key in PACKING)
    default = _library_fill(dtype, attrs, nodata)
    # xarray compares every value with a fill value; stored floats rarely contain the default one,
    # so `_Within` compares the largest value of a block first.
    seldom = default if dtype.kind == "f" and not is_packed else None
    ranges = [ends for pair in nodata.ranges if (ends := _held_range(pair, dtype)) is not None]
    more = [*nodata.values, *(low for low, _ in ranges), None if seldom is not None else default]
    _complete(attrs, dtype, more, where)
    limits = valid_limits(attrs, dtype, where)
    data: Any = raw._data
    if ranges:
        data = indexing.LazilyIndexedArray(_OneCode(raw, dtype, ranges))
    plain = xr.Variable(raw.dims, data, attrs, raw.encoding, fastpath=True)
    decoded = _decoded(name, plain)
    if seldom is not None or np.isfinite(limits).any():
        data = indexing.LazilyIndexedArray(_Within(decoded, limits, seldom))
        decoded = xr.Variable(decoded.dims, data, decoded.attrs, decoded.encoding, fastpath=True)
    decoded.encoding[UNPACKED] = True
    return decoded


def _decoded(name: str, variable: xr.Variable) -> xr.Variable:
    """Return a variable as xarray decodes its numbers by its attributes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xr.SerializationWarning)
        return xr.decode_cf(
            xr.Dataset({name: variable}), concat_characters=False, decode_times=False,
            decode_coords=False,
        ).variables[name]  # fmt: skip


def _as_meant_type(name: str, raw: xr.Variable) -> xr.Variable:
    """Return stored numbers in their intended type, with all of their attributes."""
    sign = {"_Unsigned": raw.attrs["_Unsigned"]} if "_Unsigned" in raw.attrs else {}
    plain = xr.Variable(raw.dims, raw._data, sign, raw.encoding, fastpath=True)
    variable = _decoded(name, plain)
    variable.attrs = {**raw.attrs}
    return variable


def _trusted(attrs: Mapping[Any, Any], nodata: Nodata) -> dict[Any, Any]:
    dropped = set() if nodata.trusted else {"_FillValue", "missing_value", *LIMITS}
    dropped |= set(LIMITS) if nodata.codes else set()
    return {key: value for key, value in attrs.items() if key not in dropped}


def _library_fill(dtype: np.dtype[Any], attrs: Mapping[Any, Any], nodata: Nodata) -> Any:
    """Return the value with which the NetCDF library fills unwritten parts without `_FillValue`."""
    # Every value of a byte may be valid, so bytes have no default fill value, as is customary.
    if not nodata.library or nodata.codes or "_FillValue" in attrs or dtype.itemsize == 1:
        return None
    default = netCDF4.default_fillvals.get(dtype.str[1:])
    return None if default is None else dtype.type(default)


def _complete(attrs: dict[Any, Any], dtype: np.dtype[Any], more: list[Any], where: str) -> None:
    """Add the missing values `more` to the attribute `missing_value`, in the type of the data.

    xarray compares in the type of the attribute: 1e20 as a double does not equal 1e20 as float32.
    """
    known: list[Any] = []
    odd = False
    for key in ("_FillValue", "missing_value"):
        for value in numbers(attrs, key, where) if key in attrs else ():
            if not np.isnan(value):
                held = stored_value(value, dtype)
                odd |= key == "missing_value" and held != value
                known.append(held)
    added = [stored_value(value, dtype) for value in more if value is not None]
    if odd or any(value is not None and value not in known for value in added):
        attrs["missing_value"] = np.array(
            [value for value in [*known, *added] if value is not None], dtype
        )


def _held_range(ends: tuple[float, float], dtype: np.dtype[Any]) -> tuple[Any, Any] | None:
    """Return the lowest and highest number of a range in the type of the data; None if it holds no
    such number.
    """
    if dtype.kind == "f":
        return dtype.type(ends[0]), dtype.type(ends[1])
    limits = np.iinfo(dtype)
    low, high = max(float(limits.min), ends[0]), min(float(limits.max), ends[1])
    low, high = np.ceil(low), np.floor(high)
    return (dtype.type(int(low)), dtype.type(int(high))) if low <= high else None


class _OneCode(BackendArray):
    """Stored numbers, of which those in a range that means missing are its lowest number.

    xarray compares with single missing values, of which there may not be thousands.
    """

    def __init__(
        self, raw: xr.Variable, meant: np.dtype[Any], ranges: Sequence[tuple[Any, Any]]
    ) -> None:
        self.raw = raw
        self.meant = meant
        self.ranges = ranges
        self.shape = raw.shape
        self.dtype = raw.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        stored = np.array(self.raw[key].values)
        values = stored.view(self.meant.newbyteorder(stored.dtype.byteorder))
        for low, high in self.ranges:
            values[(values >= low) & (values <= high)] = low
        return stored


class _Within(BackendArray):
    """Lazy values with NaN where they are outside of `limits` or equal the library's `fill`."""

    def __init__(self, values: xr.Variable, limits: tuple[float, float], fill: Any) -> None:
        self.values = values
        self.limits = limits
        self.fill = fill
        self.shape = values.shape
        promoted = np.float32 if values.dtype.itemsize <= 2 else np.float64
        self.dtype = values.dtype if values.dtype.kind == "f" else np.dtype(promoted)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        values = np.asarray(self.values[key].values)
        low, high = self.limits
        highest = high if self.fill is None else min(high, np.nextafter(self.fill, 0))
        if not values.size:
            return values.astype(self.dtype)
        above = np.isfinite(highest) and np.fmax.reduce(values, None) > highest
        if above or (np.isfinite(low) and np.fmin.reduce(values, None) < low):
            missing = (values < low) | (values > high)
            if self.fill is not None:
                missing |= values == self.fill
            values = np.where(missing, np.nan, values)
        return values.astype(self.dtype, copy=False)
