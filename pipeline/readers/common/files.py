"""open_files(): the one file of a source, or its many as one lazy series in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults, InputError
from pipeline.entries.file_series import pattern_keys, step_date
from pipeline.entries.source import Source
from pipeline.readers.common.dims import USUAL
from pipeline.readers.common.series import joined

Read = Callable[[Source, Path], xr.Dataset]
Even = Callable[[Sequence[xr.Dataset], Source], list[xr.Dataset]]


def open_files(
    source: Source, read: Read, even: Even | None = None, names_crs: bool = False
) -> xr.Dataset:
    """What `read` makes of the source's files, joined in time where there are several; lazy.

    Datasets without an axis of times are one step each. `even` makes files alike that may differ,
    before they are compared; where `names_crs`, their CRS must be named and the same.
    Raises `InputError` with all files that cannot be read, and for such as do not fit together.
    """
    if len(source.series) == 1:
        return read(source, source.files[0])
    stamps = tuple(path.stat().st_mtime_ns for path in source.opened.values())
    return _series(source, stamps, read, even, names_crs).copy()


@lru_cache(maxsize=64)
def _series(
    source: Source, stamps: tuple[int, ...], read: Read, even: Even | None, names_crs: bool
) -> xr.Dataset:
    """The files joined; remembered by the process until one changes, for there may be thousands."""
    files, datasets, faults = source.opened, [], Faults()
    for path in files.values():
        try:
            datasets.append(read(source, path))
        except InputError as error:
            faults.faults += error.faults
    faults.raise_if_any()
    time = _time_name(source, datasets[0])
    if even is not None:
        datasets = even(datasets, source)
    ds = joined(datasets, time, source, names_crs)
    dated = "year" in pattern_keys(source.uri) and time not in ds.coords
    if dated and ds.sizes[time] == len(files):
        dates = [step_date(step) for step in files]
        ds = ds.assign_coords({time: np.array(dates, "datetime64[ns]")})
    return ds


def _time_name(source: Source, ds: xr.Dataset) -> str:
    """The axis of times, or the one time of a file without such an axis."""
    named = source.dims.get("time")
    usual = (name for names in (ds.dims, ds.coords) for name in USUAL["time"] if name in names)
    return named or next(usual, "time")
