"""NetCDF files as lazy Datasets, one alone or many as a series; values come unpacked.

Upstream: catalog entries with the driver `netcdf`. Downstream: `sources`; nothing is renamed here.
"""

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
"""Files whose metadata a process remembers; the bytes stay on disk."""


def read_netcdf(source: Source, path: Path) -> xr.Dataset:
    """The entry's variables of one file, dims as in the file, lazy.

    `InputError` for a file that cannot be read, and with all variables that it lacks.
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
    """A file opened, remembered by the process until it changes."""
    stored = {name: False for name, _ in nodata}
    ds = xr.open_dataset(path, decode_times=has_times, mask_and_scale=stored, cache=False)
    return unpacked(ds, dict(nodata), where)


DRIVER = Driver("netcdf", partial(open_files, read=read_netcdf), is_series=True)
