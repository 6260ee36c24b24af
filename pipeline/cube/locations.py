"""Stores of locations (basins, stations), dims (time, cell) and (cell,), written as a whole."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec

from pipeline.core.errors import Faults
from pipeline.core.files import new_folder, remove_stale_partials, writing
from pipeline.cube.template import compressor, encoded_time, plain

CHUNK_BYTES = 1 << 20
"""Approximate size of the values of a chunk."""


def write_locations(path: str | Path, ds: xr.Dataset) -> None:
    """Write `ds`, dims (time, cell) and (cell,), with its coordinates; replaces an earlier store.

    The store appears whole or not at all, and equal values produce equal bytes. The coordinates
    cell, lat and lon are required; text coordinates are allowed. `InputError` lists all faults.
    """
    path = Path(path)
    _check(path, ds)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_partials(path.parent, f"{path.name}.*")
        with new_folder(path) as folder, warnings.catch_warnings():
            # Text and consolidated metadata have no final Zarr v3 specification yet.
            warnings.simplefilter("ignore")
            _write(folder, ds)


def _check(path: Path, ds: xr.Dataset) -> None:
    faults = Faults()
    for name in ("cell", "lat", "lon"):
        if name not in ds.coords:
            faults.add(f"{path}, coordinate {name}", "none", "one with dims (cell,)")
    for variable, da in ds.data_vars.items():
        if da.dims not in (("time", "cell"), ("cell",)):
            faults.add(f"{path}, variable {variable}", f"dims {da.dims}", "(time, cell) or (cell,)")
    faults.raise_if_any()


def _write(folder: Path, ds: xr.Dataset) -> None:
    root = {"Conventions": "CF-1.11", "featureType": "timeSeries", **plain(ds.attrs)}
    group = zarr.create_group(str(folder), zarr_format=3, attributes=root, overwrite=True)
    others = " ".join(sorted(str(name) for name in ds.coords if name not in ds.dims))
    for name in sorted(map(str, ds.variables)):
        da = ds[name]
        attrs = {**plain(da.attrs)}
        if name in ds.data_vars and others:
            attrs["coordinates"] = others
        values = np.asarray(da.values)
        if np.issubdtype(values.dtype, np.datetime64):
            values, time_attrs = encoded_time(da)
            attrs |= time_attrs
        _add(group, name, values, da.dims, attrs)
    zarr.consolidate_metadata(str(folder))


def _add(group: zarr.Group, name: str, values: np.ndarray, dims: Any, attrs: Any) -> None:
    if values.dtype.kind in "OUST":
        values = values.astype(np.dtypes.StringDType())
    is_text = values.dtype.kind == "T"
    numeric = () if is_text or values.ndim == 0 else (compressor(str(values.dtype)),)
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=_chunks(values),
        dtype=values.dtype,
        dimension_names=dims,
        attributes=attrs,
        compressors=(*numeric, Crc32cCodec()),
        fill_value=math.nan if values.dtype.kind == "f" else None,
        config={"write_empty_chunks": False},
    )
    array[...] = values


def _chunks(values: np.ndarray) -> tuple[int, ...]:
    """Chunk shape: the whole time axis, and as many locations as make about a megabyte."""
    if values.ndim < 2:
        return values.shape
    column = values.shape[0] * values.dtype.itemsize
    return values.shape[0], max(1, min(values.shape[1], CHUNK_BYTES // max(1, column)))
