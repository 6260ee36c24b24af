"""GRIB files as Datasets with one axis of valid times (driver `grib`).

Needs the package cfgrib (extra `grib`). cfgrib only logs a message that it cannot read and skips
it, so that a day would be missing unnoticed: all messages are therefore checked beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import xarray as xr
from pydantic import Field

from pipeline.core.archives.unpacked_files import plain_copy
from pipeline.core.errors import LIBRARY_ERRORS, Faults
from pipeline.core.files import version_of
from pipeline.core.system.promises import shown_bytes
from pipeline.entries.source import Source
from pipeline.grid.healpix import GridOptions
from pipeline.readers.common.chosen import chosen
from pipeline.readers.common.files import open_files
from pipeline.readers.common.first_bytes import PACKED
from pipeline.readers.common.refusals import unreadable
from pipeline.readers.driver import Driver
from pipeline.readers.guards.grib_sections import check_sections

OPEN_FILES = 512
"""Number of files whose metadata a process caches; their values stay on disk."""
COUNTS = (
    "edition", "offset", "totalLength", "Ni", "Nj", "numberOfDataPoints", "numberOfValues",
    "numberOfCodedValues", "bitsPerValue", "bitmapPresent",
)  # fmt: skip
NONE = (1 << 31) - 1
"""Number by which ecCodes marks a count that a message does not have."""
VALUE_BYTES = 8
PADDING = 32
"""Bits at the end of the values of edition 1 that may be of none."""
PLACE = ("paramId", "typeOfLevel", "level:float", "number", "valid_time")
"""Keys by which cfgrib places a message in a variable."""
PLANE = {"latitude", "longitude", "y", "x", "values"}
"""Dimensions of the values of one message."""
TELLING = (
    "dataType", "experimentVersionNumber", "stream", "class", "dataDate", "dataTime", "stepRange",
    "stepType",
)  # fmt: skip
"""Keys in which messages of one place usually differ."""


class GribOptions(GridOptions):
    """Options of an entry of GRIB files."""

    filter_by_keys: dict[str, int | float | str] = Field(default_factory=dict)
    """Keys of the messages to read, such as `{typeOfLevel: surface, stepType: instant}`."""


def read_grib(source: Source, path: Path) -> xr.Dataset:
    """Return the entry's variables of one file, dims (valid_time, …), lazy.

    `filter_by_keys` of the entry's `options` is passed to cfgrib. Raises `InputError` for a file
    that cannot be read, with the damaged message, with all variables that are missing, and for
    several messages of one time, of which cfgrib would use the last in the file.
    """
    stamp, where = version_of(path), f'source "{source.name}", {path}'
    keys = tuple(sorted(source.options.get("filter_by_keys", {}).items()))
    try:
        copy = plain_copy(path)
        _check_single(source, path, _repeated(copy, stamp, keys))
        ds = _opened(copy, stamp, keys)
    except _errors() as error:
        raise unreadable(where, path, error, "a whole grib file", "a GRIB file", *PACKED) from None
    return chosen(ds, source, path)


def _errors() -> tuple[type[Exception], ...]:
    import eccodes

    return (*LIBRARY_ERRORS, eccodes.CodesInternalError)


@lru_cache(maxsize=OPEN_FILES)
def _opened(path: Path, stamp: tuple[int, ...], keys: tuple[Any, ...]) -> xr.Dataset:
    """Open a file whose messages were checked, or return it from the cache."""
    # No index files: the folder may be read-only, and an existing index may be outdated. One axis
    # of valid times replaces reference times and steps.
    options = {"indexpath": "", "time_dims": ("valid_time",), "filter_by_keys": dict(keys)}
    ds = xr.open_dataset(path, engine="cfgrib", backend_kwargs=options, cache=False)
    if "valid_time" in ds.coords and "valid_time" not in ds.dims:
        ds = ds.expand_dims("valid_time")
    for da in ds.data_vars.values():
        # The library decodes a message whole, of which one cell is read.
        da.encoding["preferred_chunks"] = {dim: ds.sizes[dim] for dim in da.dims if dim in PLANE}
    return _true_longitudes(ds)


def _check_messages(path: Path) -> None:
    """Raise `ValueError` for a message that lacks bytes or whose header is damaged."""
    import eccodes

    with path.open("rb") as file:
        file.seek(-min(4, path.stat().st_size), 2)
        if file.read() != b"7777":
            raise ValueError("its last message has no end")
    check_sections(path)
    end = number = 0
    with path.open("rb") as file, path.open("rb") as beside:
        while True:
            number += 1
            damaged = ValueError(f"message {number}, from byte {end} on, is damaged")
            try:
                message = eccodes.codes_grib_new_from_file(file, headers_only=True)
            except eccodes.CodesInternalError as error:
                raise ValueError(f"{damaged}: {error}") from None
            if message is None:
                return
            keys = {key: _integer(message, key) for key in COUNTS}
            is_plain = eccodes.codes_get(message, "packingType", str) == "grid_simple"
            eccodes.codes_release(message)
            if wrong := _wrong_counts(keys, is_plain):
                raise ValueError(f"message {number} has {wrong}")
            begin, length = keys["offset"], keys["totalLength"]
            # Other bytes (bulletin headers) may lie between messages, but "7777", the end of a
            # message, there means that its beginning was not recognised.
            beside.seek(end)
            if b"7777" in beside.read(begin - end):
                raise damaged
            end = begin + length


def _integer(message: Any, key: str) -> int:
    """Return a count of a message; `NONE` where it has none, as of columns of a reduced grid."""
    import eccodes

    try:
        return int(eccodes.codes_get(message, key, int))
    except eccodes.KeyValueNotFoundError:
        return NONE


def _wrong_counts(keys: Mapping[str, int], is_plain: bool) -> str | None:
    """Return what is impossible in the counts of a message, for which ecCodes would take memory."""
    points, columns, rows = keys["numberOfDataPoints"], keys["Ni"], keys["Nj"]
    if points == NONE:
        return None
    if NONE not in (columns, rows) and columns * rows != points:
        return f"{columns:,} x {rows:,} points, but the number of points {points:,}"
    free = psutil.virtual_memory().available
    if points * VALUE_BYTES > free:
        size = shown_bytes(points * VALUE_BYTES)
        return f"{points:,} points, which take {size}, and {shown_bytes(free)} of memory are free"
    # Edition 1 has no number of values; that of coded ones follows from its bytes and padding.
    stored, spare = keys["numberOfValues"], 0
    if keys["edition"] == 1:
        stored, spare = keys["numberOfCodedValues"], PADDING // max(1, keys["bitsPerValue"])
    counted = is_plain and keys["bitsPerValue"] and not keys["bitmapPresent"]
    if counted and not points <= stored <= points + spare:
        return f"{stored:,} values of {points:,} points, without a bitmap of those that are missing"
    return None


@dataclass(frozen=True)
class Repeated:
    """Messages of one variable, level, member and time, and the keys in which they differ."""

    names: tuple[str, ...]
    """Names of the variable in cfgrib and in GRIB."""
    time: str
    count: int
    differing: Mapping[str, tuple[str, ...]]


def _check_single(source: Source, path: Path, repeated: Sequence[Repeated]) -> None:
    """Raise `InputError` with the variables of the entry that have several messages of one time."""
    faults = Faults()
    for name, entry in source.variables.items():
        found = [one for one in repeated if entry.name in one.names]
        if not found:
            continue
        first = found[0]
        keys = "; ".join(f"{key}: {', '.join(values)}" for key, values in first.differing.items())
        more = f", and of {len(found) - 1} more times" if len(found) > 1 else ""
        differ = f", which differ in {keys}" if keys else ", which have the same keys"
        hint = "Drop all but one of them from the file."
        if first.differing:
            key, values = next(iter(first.differing.items()))
            hint = (
                f"Name one, as in `options: {{filter_by_keys: {{{key}: {values[0]}}}}}`, or make an"
                " entry of each and join them in order of preference with `merge`."
            )
        faults.add(
            f'source "{source.name}", {path}: {name}',
            f"{first.count} messages of {entry.name} at {first.time}{more}{differ}",
            "one message of each time", hint,
        )  # fmt: skip
    faults.raise_if_any()


@lru_cache(maxsize=OPEN_FILES)
def _repeated(path: Path, stamp: tuple[int, ...], keys: tuple[Any, ...]) -> tuple[Repeated, ...]:
    """Return the messages of which cfgrib would use only the last, of those that the keys leave.

    Raises `ValueError` if a message is damaged.
    """
    _check_messages(path)
    from cfgrib.dataset import open_fileindex
    from cfgrib.messages import FileStream

    index_keys = ("cfVarName", "shortName", *PLACE, *TELLING)
    index = open_fileindex(
        FileStream(str(path)), indexpath="", index_keys=index_keys, filter_by_keys=dict(keys)
    )
    messages: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for header, ids in index.field_ids_index:
        values = dict(zip(index.index_keys, header, strict=True))
        at = tuple(values[key] for key in PLACE)
        messages.setdefault(at, []).extend([values] * len(ids))
    return tuple(
        Repeated(
            (str(several[0]["cfVarName"]), str(several[0]["shortName"])),
            str(np.datetime64(int(several[0]["valid_time"]), "s").astype("datetime64[m]")),
            len(several),
            _differing(several),
        )
        for several in messages.values()
        if len(several) > 1
    )


def _differing(messages: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    found = {key: tuple(dict.fromkeys(_text(one[key]) for one in messages)) for key in TELLING}
    return {key: values for key, values in found.items() if len(values) > 1}


def _text(value: Any) -> str:
    """Return a key's value as in an entry: texts of digits, such as "0001", need quotes."""
    return f'"{value}"' if isinstance(value, str) and value.isdigit() else str(value)


def _true_longitudes(ds: xr.Dataset) -> xr.Dataset:
    """Restore the order of longitudes, which cfgrib sorts in fields that cross Greenwich."""
    for da in ds.data_vars.values():
        attrs = da.attrs
        first, step = (
            attrs.get(f"GRIB_{key}InDegrees")
            for key in ("longitudeOfFirstGridPoint", "iDirectionIncrement")
        )
        regular = attrs.get("GRIB_gridType") in ("regular_ll", "regular_gg")
        if regular and first is not None and step and "longitude" in ds.dims:
            turned = -step if attrs.get("GRIB_iScansNegatively") else step
            return ds.assign_coords(longitude=first + turned * np.arange(ds.sizes["longitude"]))
    return ds


DRIVER = Driver(
    name="grib",
    open=partial(open_files, read=read_grib),
    is_series=True,
    requires={"cfgrib": "stefaland[grib]"},
    options=GribOptions,
)
