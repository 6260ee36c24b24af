"""NetCDF and HDF5 files, single or a series, as lazy Datasets with unpacked values.

The driver is `netcdf`.
"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import xarray as xr

from pipeline.core.addresses import AnyPath, RemotePath
from pipeline.core.archives.unpacked_files import plain_copy
from pipeline.core.errors import LIBRARY_ERRORS
from pipeline.core.files import version_of
from pipeline.core.system.promises import check_axes
from pipeline.entries.source import Source
from pipeline.grid.healpix import GridOptions
from pipeline.readers.common.attributes import with_cf_attributes
from pipeline.readers.common.chosen import chosen
from pipeline.readers.common.files import open_files
from pipeline.readers.common.first_bytes import HDF5, NETCDF, PACKED, format_of
from pipeline.readers.common.packing import nodata_of, unpacked
from pipeline.readers.common.refusals import unreadable
from pipeline.readers.common.site_table import read_options
from pipeline.readers.driver import Driver, common_options
from pipeline.readers.guards.hdf5 import check_hdf5
from pipeline.readers.hdf.groups import grouped, is_complete
from pipeline.readers.hdf.store import ChunkStore
from pipeline.readers.long.alike import Opened

OPEN_FILES = 512
"""Number of files whose metadata a process caches; their values stay on disk."""


SMALL_FILE = 1 << 24
"""Bytes of a remote file below which it is copied whole."""


class NetcdfOptions(GridOptions):
    """Options of an entry of NetCDF or HDF5 files."""

    group: str | None = None
    """Group that holds the variables, such as Grid; by default the root, or else the only group
    with a variable of the name."""


def read_netcdf(source: Source, path: AnyPath) -> xr.Dataset:
    """Return the entry's variables of one file, lazy, with names and dims as in the file.

    Raises `InputError` for a file that cannot be read, and with all variables that are missing.
    """
    stamp, where = version_of(path), f'source "{source.name}", {path}'
    try:
        ds, _ = _opened(path, stamp, source, where)
    except LIBRARY_ERRORS as error:
        raise unreadable(where, path, error, "a whole netcdf file", *NETCDF, *PACKED) from None
    return chosen(ds, source, path)


def list_netcdf(source: Source, path: AnyPath) -> xr.Dataset:
    """Return all variables in the root of a file, lazy; raises errors of the library."""
    where = f'source "{source.name}", {path}'
    return _opened(path, version_of(path), source, where)[0]


def open_alike(source: Source, path: Path, time: str) -> Opened | None:
    """Return a file on disk to which others can be compared; None if it is not simple enough."""
    where = f'source "{source.name}", {path}'
    ds, store = _opened(path, version_of(path), source, where)
    if store is None:
        return None
    found = Opened(chosen(ds, source, path), store, time, common_options(source).trust)
    return found if found.is_simple else None


@lru_cache(maxsize=OPEN_FILES)
def _opened(
    path: AnyPath, stamp: tuple[int, ...], source: Source, where: str
) -> tuple[xr.Dataset, ChunkStore | None]:
    """Open a file, or return it from the cache of the process if `stamp` has not changed.

    The store is that of variables in the root of a file on disk, else None.
    """
    nodata, group = nodata_of(source, library=True), read_options(source, NetcdfOptions).group
    is_ranged = _is_ranged(path)
    stored = {name.rpartition("/")[2]: False for name in nodata}
    stores: dict[str, ChunkStore | None] = {"": None}

    def file() -> Any:
        return path.open("rb") if is_ranged else plain_copy(path)

    def open_group(name: str) -> xr.Dataset:
        settings: dict[str, Any] = {"decode_times": source.time.kind == "file",
                                    "mask_and_scale": stored, "cache": False}  # fmt: skip
        if is_ranged:
            # Dimensions without a name are then numbered as by the NetCDF library.
            settings |= {"group": name or None, "engine": "h5netcdf", "phony_dims": "sort"}
            return xr.open_dataset(file(), **settings)
        store = stores[name] = ChunkStore.open(file(), group=name or None)
        lengths = {name: dim.size for name, dim in store.ds.dimensions.items()}
        check_axes(where, lengths, store.ds.variables)
        return xr.open_dataset(store, **settings)

    check_hdf5(file(), where, common_options(source).trust)
    ds = open_group("")
    names = list(nodata)
    if group or (not is_complete(ds, names) and _is_hdf5(file())):
        ds, stores[""] = grouped(file(), open_group, names, group, source, where), None
    return unpacked(with_cf_attributes(ds, names), nodata, where), stores[""]


def _is_hdf5(file: Any) -> bool:
    """Whether a path, or a file at a remote address of which parts are read, is HDF5."""
    return not isinstance(file, Path) or format_of(file) == HDF5


def _is_ranged(path: AnyPath) -> bool:
    """Whether only the parts of a file are fetched that are read, as of a large HDF5 file.

    Parts of classic NetCDF files cannot be read by the library, and all of a small file takes less
    time than its parts.
    """
    if not isinstance(path, RemotePath) or path.stat().st_size < SMALL_FILE:
        return False
    if not path.head().has_ranges:
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x89HDF"


DRIVER = Driver(
    name="netcdf", open=partial(open_files, read=read_netcdf, alike=open_alike), is_series=True,
    options=NetcdfOptions,
)  # fmt: skip
