"""Zarr stores, single or a series, as lazy Datasets with unpacked values (driver `zarr`)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import xarray as xr

from pipeline.entries.source import Source
from pipeline.readers.common.chosen import chosen
from pipeline.readers.common.files import open_files
from pipeline.readers.common.packing import nodata_of, unpacked
from pipeline.readers.common.refusals import unreadable
from pipeline.readers.driver import Driver


def read_zarr(source: Source, path: Path) -> xr.Dataset:
    """Return the entry's variables of one store, lazy, with names and dims as in the store.

    Raises `InputError` for a store that cannot be read, and with all variables that are missing.
    """
    nodata, where = nodata_of(source), f'source "{source.name}", {path}'
    try:
        ds = xr.open_zarr(
            path, chunks=None, decode_times=source.time.kind == "file",
            mask_and_scale=dict.fromkeys(nodata, False),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise unreadable(where, path, error, "a whole zarr file") from None
    return chosen(unpacked(ds, nodata, where), source, path)


DRIVER = Driver(name="zarr", open=partial(open_files, read=read_zarr), is_series=True)
