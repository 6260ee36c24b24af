"""unpacked(): stored numbers as values by a file's own attributes, NaN where they are missing.

Upstream: readers that open variables as stored. Downstream: `series` and `decode`. xarray does
the unpacking (CF section 8.1); what it does not know is added: values outside a valid range, the
fill values of the NetCDF library that no attribute names, and the `nodata` of a catalog entry.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from pipeline.core.errors import bad_input
from pipeline.entries.source import Source

LIMITS = ("valid_range", "valid_min", "valid_max")
HINT = "Correct the file, or say `wrong_in_file: [nodata]` and give `nodata` in the entry."


def numbers(attrs: Mapping[Any, Any], key: str, where: str) -> np.ndarray:
    """[n] the numbers of an attribute in its own type; `InputError` for anything else."""
    values = np.ravel(attrs[key])
    if values.dtype.kind not in "iuf" or not values.size:
        raise bad_input(where, f'{key} "{attrs[key]}"', "numbers", HINT)
    return values


def valid_limits(
    attrs: Mapping[Any, Any], dtype: np.dtype[Any], where: str
) -> tuple[float, float]:  # fmt: skip
    """(least, greatest) of the unpacked values; infinite where nothing is said.

    `dtype` is that of the stored numbers, in which limits are given; floats for packed integers are
    of unpacked values (NetCDF User Guide, attribute conventions).
    """
    found = [numbers(attrs, key, where)[0] if key in attrs else None for key in LIMITS[1:]]
    if "valid_range" in attrs:
        given = numbers(attrs, "valid_range", where)
        if given.size != 2:
            raise bad_input(where, f"valid_range {attrs['valid_range']}", "two numbers", HINT)
        found = list(given)
    low, high = (
        sign * np.inf if limit is None or np.isnan(limit) else _as_meant(limit, dtype)
        for limit, sign in zip(found, (-1, 1), strict=True)
    )
    if low > high:
        raise bad_input(where, f"valid values from {low:g} to {high:g}", "the least first", HINT)
    if "scale_factor" not in attrs and "add_offset" not in attrs:
        return low, high
    scale, offset = float(attrs.get("scale_factor", 1)), float(attrs.get("add_offset", 0))
    if dtype.kind in "iu" and any(v is not None and v.dtype.kind == "f" for v in found):
        # Unpacking rounds by far less than a step of the packed numbers.
        slack = abs(scale) / 10
        return low - slack, high + slack
    slack = 0.5 if dtype.kind in "iu" else 0.0
    ends = sorted(((low - slack) * scale + offset, (high + slack) * scale + offset))
    if dtype.kind == "f":
        ends = [ends[0] - 1e-6 * abs(ends[0]), ends[1] + 1e-6 * abs(ends[1])]
    return ends[0], ends[1]


def _as_meant(limit: Any, dtype: np.dtype[Any]) -> float:
    """A limit as the data's type holds it; unsigned ones may be stored as signed."""
    if dtype.kind == "f":
        return float(dtype.type(limit))
    if dtype.kind == "u" and limit < 0 and limit.dtype.kind == "i":
        return float(np.array(limit, f"i{dtype.itemsize}").view(dtype))
    return float(limit)


PACKING = ("scale_factor", "add_offset")
UNPACKED = "unpacked"
"""In the encoding of a variable whose missing values are NaN already."""


@dataclass(frozen=True)
class Nodata:
    """What is missing beside what a file's attributes say."""

    value: float | None = None
    """A stored value that is missing too."""
    trusted: bool = True
    """False: what the file itself says of missing values is wrong."""
    library: bool = True
    """Whether the NetCDF library wrote the file: it fills what is never written."""
    codes: bool = False
    """Of class codes, those of no class are missing anyway: only the file's fill value counts."""


def nodata_of(source: Source, library: bool = False) -> dict[str, Nodata]:
    """What the entry says of missing values, by the file's name of each variable.

    `library` tells whether the NetCDF library wrote the files.
    """
    return {
        name: Nodata(
            None if source.classes else entry.nodata, not source.overrides("nodata"),
            library=library, codes=bool(source.classes),
        )
        for entry in source.variables.values()
        for name in (entry.name, *entry.records)
    }  # fmt: skip


def unpacked(ds: xr.Dataset, nodata: Mapping[str, Nodata], where: str) -> xr.Dataset:
    """`ds` with its stored variables named in `nodata` as values, NaN where missing; lazy.

    Types are xarray's: float32 or float64, or as stored where nothing is packed or missing. Marked
    in `encoding` by `UNPACKED`. `InputError` for attributes that are no numbers.
    """
    return ds.assign(
        {
            name: _unpacked(name, ds.variables[name], nodata[name], f"{where}: {name}")
            for name in nodata
            if name in ds.variables and ds.variables[name].dtype.kind in "iuf"
        }
    )


def meant_type(dtype: np.dtype[Any], attrs: Mapping[Any, Any]) -> np.dtype[Any]:
    """The type that stored numbers mean: classic files keep unsigned ones in signed types."""
    sign = {"true": "u", "false": "i"}.get(str(attrs.get("_Unsigned", "")).lower())
    return np.dtype(f"{sign}{dtype.itemsize}") if sign and dtype.kind in "iu" else dtype


def stored_value(value: Any, dtype: np.dtype[Any]) -> Any:
    """The number in the type of the data, None where no stored number can equal it."""
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
    attrs = _trusted(raw.attrs, nodata)
    for key in PACKING:
        if key in attrs:
            # xarray would unpack into integers by a scale that is written as one.
            number = numbers(attrs, key, where)[0]
            attrs[key] = float(number) if number.dtype.kind in "iu" else number
    is_packed = any(key in attrs for key in PACKING)
    default = _library_fill(dtype, attrs, nodata)
    # xarray's mask costs a look at each value; a stored float32 is seldom filled at all.
    seldom = default if dtype.kind == "f" and not is_packed else None
    _complete(attrs, dtype, [nodata.value, None if seldom is not None else default], where)
    limits = valid_limits(attrs, dtype, where)
    plain = xr.Variable(raw.dims, raw._data, attrs, raw.encoding, fastpath=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xr.SerializationWarning)
        decoded = xr.decode_cf(
            xr.Dataset({name: plain}), concat_characters=False, decode_times=False,
            decode_coords=False,
        ).variables[name]  # fmt: skip
    if seldom is not None or np.isfinite(limits).any():
        data = indexing.LazilyIndexedArray(_Within(decoded, limits, seldom))
        decoded = xr.Variable(decoded.dims, data, decoded.attrs, decoded.encoding, fastpath=True)
    decoded.encoding[UNPACKED] = True
    return decoded


def _trusted(attrs: Mapping[Any, Any], nodata: Nodata) -> dict[Any, Any]:
    dropped = set() if nodata.trusted else {"_FillValue", "missing_value", *LIMITS}
    dropped |= set(LIMITS) if nodata.codes else set()
    return {key: value for key, value in attrs.items() if key not in dropped}


def _library_fill(dtype: np.dtype[Any], attrs: Mapping[Any, Any], nodata: Nodata) -> Any:
    """What the NetCDF library puts where nothing is written and no attribute says otherwise."""
    # Of bytes every value may be meant; the library's users leave them alone likewise.
    if not nodata.library or nodata.codes or "_FillValue" in attrs or dtype.itemsize == 1:
        return None
    default = netCDF4.default_fillvals.get(dtype.str[1:])
    return None if default is None else dtype.type(default)


def _complete(attrs: dict[Any, Any], dtype: np.dtype[Any], more: list[Any], where: str) -> None:
    """Put into `missing_value` what is missing besides, and all in the type of the data.

    xarray compares as the attribute is typed: a double 1e20 is no float32 one.
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


class _Within(BackendArray):
    """Values with NaN for those outside `limits` and for the library's `fill`."""

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
