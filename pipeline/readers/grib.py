"""GRIB files as Datasets with one axis of valid times (driver `grib`).

Needs the package cfgrib (extra `grib`). cfgrib only logs a message that it cannot read and skips
it, so that a day would be missing unnoticed: all messages are therefore checked beforehand.
"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.entries.source import Source
from pipeline.readers.common.chosen import chosen
from pipeline.readers.common.files import open_files
from pipeline.readers.common.refusals import unreadable
from pipeline.readers.driver import Driver

OPEN_FILES = 512
"""Number of files whose metadata a process caches; their values stay on disk."""


def read_grib(source: Source, path: Path) -> xr.Dataset:
    """Return the entry's variables of one file, dims (valid_time, …), lazy.

    `filter_by_keys` of the entry's `options` is passed to cfgrib. Raises `InputError` for a file
    that cannot be read, with the damaged message, and with all variables that are missing.
    """
    stat = path.stat()
    keys = tuple(sorted(source.options.get("filter_by_keys", {}).items()))
    try:
        ds = _opened(path, (stat.st_mtime_ns, stat.st_size), keys)
    except (OSError, ValueError, RuntimeError, EOFError) as error:
        where = f'source "{source.name}", {path}'
        raise unreadable(where, path, error, "a whole grib file", "a GRIB file") from None
    return chosen(ds, source, path)


@lru_cache(maxsize=OPEN_FILES)
def _opened(path: Path, stamp: tuple[int, int], keys: tuple[Any, ...]) -> xr.Dataset:
    """Open a file, or return it from the cache; raises `ValueError` if a message is damaged."""
    _check_messages(path)
    # No index files: the folder may be read-only, and an existing index may be outdated. One axis
    # of valid times replaces reference times and steps.
    options = {"indexpath": "", "time_dims": ("valid_time",), "filter_by_keys": dict(keys)}
    ds = xr.open_dataset(path, engine="cfgrib", backend_kwargs=options, cache=False)
    if "valid_time" in ds.coords and "valid_time" not in ds.dims:
        ds = ds.expand_dims("valid_time")
    return _true_longitudes(ds)


def _check_messages(path: Path) -> None:
    """Raise `ValueError` for a message that lacks bytes or whose beginning is damaged."""
    import eccodes

    with path.open("rb") as file:
        file.seek(-min(4, path.stat().st_size), 2)
        if file.read() != b"7777":
            raise ValueError("its last message has no end")
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
            begin, length = (
                eccodes.codes_get(message, key, int) for key in ("offset", "totalLength")
            )
            eccodes.codes_release(message)
            # Other bytes (bulletin headers) may lie between messages, but "7777", the end of a
            # message, there means that its beginning was not recognised.
            beside.seek(end)
            if b"7777" in beside.read(begin - end):
                raise damaged
            end = begin + length


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
)
