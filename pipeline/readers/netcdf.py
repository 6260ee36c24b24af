"""NetCDF files, single or a series, as lazy Datasets with unpacked values (driver `netcdf`)."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path

import xarray as xr

from pipeline.entries.source import Source
from pipeline.readers.common.chosen import chosen
from pipeline.readers.common.files import open_files
from pipeline.readers.common.packing import Nodata, nodata_of, unpacked
from pipeline.readers.common.refusals import NETCDF, unreadable
from pipeline.readers.driver import Driver

OPEN_FILES = 512
"""Number of files whose metadata a process caches; their values stay on disk."""


def read_netcdf(source: Source, path: Path) -> xr.Dataset:
    """Return the entry's variables of one file, lazy, with names and dims as in the file.

    Raises `InputError` for a file that cannot be read, and with all variables that are missing.
    """
    stat, where = path.stat(), f'source "{source.name}", {path}'
    nodata = tuple(nodata_of(source, library=True).items())
    try:
        ds = _opened(
            path, (stat.st_mtime_ns, stat.st_size), source.time.kind == "file", nodata, where
        )
    except (OSError, ValueError, RuntimeError, EOFError) as error:
        raise unreadable(where, path, error, "a whole netcdf file", *NETCDF) from None
    return chosen(ds, source, path)


@lru_cache(maxsize=OPEN_FILES)
def _opened(
    path: Path, stamp: tuple[int, int], has_times: bool, nodata: tuple[tuple[str, Nodata], ...],
    where: str,
) -> xr.Dataset:  # fmt: skip
    """Open a file, or return it from the cache of the process if `stamp` has not changed."""
    stored = {name: False for name, _ in nodata}
    ds = xr.open_dataset(path, decode_times=has_times, mask_and_scale=stored, cache=False)
    return unpacked(ds, dict(nodata), where)


DRIVER = Driver(name="netcdf", open=partial(open_files, read=read_netcdf), is_series=True)
