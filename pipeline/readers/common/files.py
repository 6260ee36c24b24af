"""open_files(): the file of a source, or its many files joined to one lazy time series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults, bad_input
from pipeline.core.files import version_of
from pipeline.core.system.time_limit import reading
from pipeline.entries.file_series import step_date
from pipeline.entries.source import Source
from pipeline.readers.common.series import joined
from pipeline.readers.long.sample import is_long, note
from pipeline.readers.long.series import LongSeries, Open, long_series
from pipeline.readers.long.time_order import named, time_name, time_order

Read = Callable[[Source, Path], xr.Dataset]
Even = Callable[[Sequence[xr.Dataset], Source], list[xr.Dataset]]


def open_files(
    source: Source, read: Read, even: Even | None = None, names_crs: bool = False,
    alike: Open | None = None,
) -> xr.Dataset:  # fmt: skip
    """Open the source's files with `read` and join them in time if there are several; lazy.

    Datasets without a time axis are one step each. Files of a glob or a list are put in the order
    of their times. `even` harmonises the files, such as their packing, before they are compared;
    with `names_crs`, each must declare the same CRS. With `alike`, which opens a file to which the
    others are compared, only a sample of a long series is looked at before it is read. The encoding
    of each dataset has its path under `source`, as have its variables. Raises `InputError` with all
    files that cannot be read, and for files that do not match.
    """
    if len(source.files) == 1:
        with reading(source.files[0]):
            return named(read(source, source.files[0]), source.files[0])
    paths = tuple(source.opened_files)
    on_disk = all(isinstance(path, Path) for path in paths)
    chosen = alike if on_disk and is_long(len(paths)) else None
    stamps = tuple(map(version_of, paths))
    ds, long = _series(source, paths, stamps, read, even, names_crs, chosen)
    if long is not None:
        note(long)
    return ds.copy()


@lru_cache(maxsize=64)
def _series(
    source: Source, paths: tuple[Path, ...], stamps: tuple[tuple[int, ...], ...], read: Read,
    even: Even | None, names_crs: bool, alike: Open | None,
) -> tuple[xr.Dataset, LongSeries | None]:  # fmt: skip
    """Return the joined files, cached until one changes, because there may be thousands."""
    by_times = len(source.opened) < len(paths)
    if alike is not None:
        sizes = [size for _, size, *_ in stamps]
        found = long_series(source, paths, sizes, read, alike, names_crs, by_times)
        if found is not None:
            return _dated(found[0], source, found[1].time), found[1]
    datasets, faults = [], Faults()
    for path in paths:
        with faults.collecting(), reading(path):
            datasets.append(named(read(source, path), path))
    faults.raise_if_any()
    if even is not None:
        datasets = [named(*pair) for pair in zip(even(datasets, source), paths, strict=True)]
    time = time_name(source, datasets[0])
    if by_times:
        datasets = _in_time_order(datasets, time, source)
    return _dated(joined(datasets, time, source, names_crs), source, time), None


def _dated(ds: xr.Dataset, source: Source, time: str) -> xr.Dataset:
    """Return a series whose files have no times with those of their names."""
    steps = source.opened
    is_dated = "year" in source.uri_keys or "asset" in source.options
    if is_dated and time not in ds.coords and ds.sizes[time] == len(steps):
        dates = [step_date(step) for step in steps]
        ds = ds.assign_coords({time: np.array(dates, "datetime64[ns]")})
    return ds


def _in_time_order(
    datasets: Sequence[xr.Dataset], time: str, source: Source
) -> list[xr.Dataset]:  # fmt: skip
    """Return the files by their times; `InputError` for no times and for times that overlap."""
    where = f'source "{source.name}", {source.address}'
    without = [ds.encoding["source"] for ds in datasets if time not in ds.coords]
    if without:
        raise bad_input(
            where, f"{len(without)} files without times, such as {without[0]}",
            "files with times, which are joined in their order",
            "Write the part of their names that is a time with keys, as in {year}{month:02d}.",
        )  # fmt: skip
    paths = [ds.encoding["source"] for ds in datasets]
    order = time_order([ds[time].values for ds in datasets], paths, f"{where}: {time}")
    return [datasets[index] for index in order]
