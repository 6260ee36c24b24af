"""Zarr stores, single or a series, as lazy Datasets with unpacked values (driver `zarr`)."""

from __future__ import annotations

from functools import partial
from typing import Any

import xarray as xr
from xarray.backends import ZarrStore

from pipeline.core.addresses import AnyPath
from pipeline.core.errors import LIBRARY_ERRORS
from pipeline.core.system.promises import check_axes
from pipeline.entries.source import Source
from pipeline.readers.common.attributes import with_cf_attributes
from pipeline.readers.common.chosen import chosen
from pipeline.readers.common.files import open_files
from pipeline.readers.common.first_bytes import STORE
from pipeline.readers.common.packing import nodata_of, unpacked
from pipeline.readers.common.refusals import unreadable
from pipeline.readers.common.zarr_fill import with_missing_values
from pipeline.readers.driver import Driver
from pipeline.readers.guards.zarr_stores import check_codecs
from pipeline.readers.remote.icechunk_store import ZarrOptions
from pipeline.readers.remote.stores import zarr_store


def read_zarr(source: Source, path: AnyPath) -> xr.Dataset:
    """Return the entry's variables of one store, lazy, with names and dims as in the store.

    Raises `InputError` for a store that cannot be read, and with all variables that are missing.
    """
    nodata, where = nodata_of(source), f'source "{source.name}", {path}'
    stored: Any = dict.fromkeys(nodata, False)
    try:
        store = ZarrStore.open_group(
            zarr_store(source, path), mode="r", use_zarr_fill_value_as_mask=True
        )
        check_codecs(store.members, where)
        check_axes(where, store.get_dimensions(), store.members)
        ds = with_missing_values(xr.open_dataset(store, decode_cf=False), store.members)
        ds = xr.decode_cf(ds, decode_times=source.time.kind == "file", mask_and_scale=stored)
    except LIBRARY_ERRORS as error:
        raise unreadable(where, path, error, "a whole Zarr store", STORE) from None
    ds = with_cf_attributes(ds, nodata)
    return chosen(unpacked(ds, nodata, where), source, path)


DRIVER = Driver(
    name="zarr", open=partial(open_files, read=read_zarr), is_series=True, options=ZarrOptions
)
