"""open_files(): the file of a source, or its many files joined to one lazy time series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults
from pipeline.entries.file_series import pattern_keys, step_date
from pipeline.entries.source import Source
from pipeline.readers.common.dims import USUAL
from pipeline.readers.common.series import joined

Read = Callable[[Source, Path], xr.Dataset]
Even = Callable[[Sequence[xr.Dataset], Source], list[xr.Dataset]]


def open_files(
    source: Source, read: Read, even: Even | None = None, names_crs: bool = False
) -> xr.Dataset:
    """Open the source's files with `read` and join them in time if there are several; lazy.

    Datasets without a time axis are one step each. `even` harmonises the files, such as their
    packing, before they are compared; with `names_crs`, each must declare the same CRS.
    Raises `InputError` with all files that cannot be read, and for files that do not match.
    """
    if len(source.series) == 1:
        return read(source, source.files[0])
    stamps = tuple(path.stat().st_mtime_ns for path in source.opened.values())
    return _series(source, stamps, read, even, names_crs).copy()


@lru_cache(maxsize=64)
def _series(
    source: Source, stamps: tuple[int, ...], read: Read, even: Even | None, names_crs: bool
) -> xr.Dataset:
    """Return the joined files, cached until one changes, because there may be thousands."""
    files, datasets, faults = source.opened, [], Faults()
    for path in files.values():
        with faults.collecting():
            datasets.append(read(source, path))
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
    """Return the name of the time axis, or of the time coordinate of a file without an axis."""
    named = source.dims.get("time")
    usual = (name for names in (ds.dims, ds.coords) for name in USUAL["time"] if name in names)
    return named or next(usual, "time")
