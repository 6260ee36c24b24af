"""open_files(): the file of a source, or its many files joined to one lazy time series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults, bad_input
from pipeline.core.files import version_of
from pipeline.core.system.time_limit import reading
from pipeline.entries.file_series import step_date
from pipeline.entries.source import Source
from pipeline.readers.common.dims import USUAL
from pipeline.readers.common.series import joined

Read = Callable[[Source, Path], xr.Dataset]
Even = Callable[[Sequence[xr.Dataset], Source], list[xr.Dataset]]


def open_files(
    source: Source, read: Read, even: Even | None = None, names_crs: bool = False
) -> xr.Dataset:
    """Open the source's files with `read` and join them in time if there are several; lazy.

    Datasets without a time axis are one step each. Files of a glob or a list are put in the order
    of their times. `even` harmonises the files, such as their packing, before they are compared;
    with `names_crs`, each must declare the same CRS. The encoding of each dataset has its path
    under `source`, as have its variables. Raises `InputError` with all files that cannot be read,
    and for files that do not match.
    """
    if len(source.files) == 1:
        with reading(source.files[0]):
            return _named(read(source, source.files[0]), source.files[0])
    stamps = tuple(map(version_of, source.opened_files))
    return _series(source, tuple(source.opened_files), stamps, read, even, names_crs).copy()


@lru_cache(maxsize=64)
def _series(
    source: Source, paths: tuple[Path, ...], stamps: tuple[tuple[int, ...], ...], read: Read,
    even: Even | None, names_crs: bool,
) -> xr.Dataset:  # fmt: skip
    """Return the joined files, cached until one changes, because there may be thousands."""
    datasets, faults = [], Faults()
    for path in paths:
        with faults.collecting(), reading(path):
            datasets.append(_named(read(source, path), path))
    faults.raise_if_any()
    if even is not None:
        datasets = [_named(*pair) for pair in zip(even(datasets, source), paths, strict=True)]
    time = _time_name(source, datasets[0])
    steps = source.opened
    if len(steps) < len(paths):
        datasets = _in_time_order(datasets, time, source)
    ds = joined(datasets, time, source, names_crs)
    is_dated = "year" in source.uri_keys or "asset" in source.options
    if is_dated and time not in ds.coords and ds.sizes[time] == len(steps):
        dates = [step_date(step) for step in steps]
        ds = ds.assign_coords({time: np.array(dates, "datetime64[ns]")})
    return ds


def _named(ds: xr.Dataset, path: Path) -> xr.Dataset:
    """Return the dataset with its path in the encodings, for messages on its values."""
    for encoding in (ds.encoding, *(variable.encoding for variable in ds.variables.values())):
        encoding["source"] = str(path)
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
    spans = [(values.min(), values.max()) for ds in datasets
             for values in (np.atleast_1d(ds[time].values),)]  # fmt: skip
    order = sorted(range(len(spans)), key=lambda index: spans[index])
    for one, two in pairwise(order):
        if spans[two][0] <= spans[one][1]:
            first, second = (
                f"{_span(spans[i])} in {datasets[i].encoding['source']}" for i in (one, two)
            )
            raise bad_input(
                f"{where}: {time}", f"{first} and {second}", "times that no two files share",
                "Name only one of the two in this entry.",
            )  # fmt: skip
    return [datasets[index] for index in order]


def _span(span: tuple[Any, Any]) -> str:
    first, last = (str(time).removesuffix("00:00:00.000000000").rstrip("T") for time in span)
    return first if first == last else f"{first} to {last}"


def _time_name(source: Source, ds: xr.Dataset) -> str:
    """Return the name of the time axis, or of the time coordinate of a file without an axis."""
    named = source.dims.get("time")
    usual = (name for names in (ds.dims, ds.coords) for name in USUAL["time"] if name in names)
    return named or next(usual, "time")
