"""read_raster(): bands of a GeoTIFF or of what else GDAL reads; lazy.

Upstream: catalog entries with the driver `raster`. Downstream: canonical.py, which applies the
scale, offset and nodata that each band declares.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rioxarray
import xarray as xr
from rasterio.enums import MaskFlags

from pipeline.core.errors import bad_input
from pipeline.entries.source import Source
from pipeline.readers.common.files import open_files
from pipeline.readers.common.packing import nodata_of, unpacked
from pipeline.readers.common.refusals import SIGNATURES, unreadable
from pipeline.readers.driver import Driver

PACKING = ("_FillValue", "scale_factor", "add_offset")
OF_BANDS = (*PACKING, "scales", "offsets", "units")
"""Attributes that rioxarray takes from the first band, or from all as a tuple."""


def evenly_packed(rasters: Sequence[xr.Dataset], source: Source) -> list[xr.Dataset]:
    """The files of a series as stored or, where they are packed differently, each unpacked by its
    own scale, offset and nodata.
    """
    if all(_packing(ds) == _packing(rasters[0]) for ds in rasters):
        return list(rasters)
    nodata = nodata_of(source)
    return [
        unpacked(ds, nodata, f'source "{source.name}", {path}')
        for ds, path in zip(rasters, source.opened.values(), strict=True)
    ]


def _packing(ds: xr.Dataset) -> list[tuple[str, ...]]:
    """What the bands declare, as texts, in which NaN is NaN."""
    return [tuple(str(da.attrs.get(key)) for key in PACKING) for da in ds.data_vars.values()]


def read_raster(source: Source, path: Path) -> xr.Dataset:
    """The entry's bands, dims (y, x), as stored; NaN where a mask inside the file marks them.

    `InputError` for a file that GDAL cannot read, and for a band that it lacks.
    """
    where = f'source "{source.name}", {path}'
    try:
        return _bands(source, path, where)
    except rasterio.RasterioIOError as error:
        formats = SIGNATURES.values()  # GDAL reads most of them
        raise unreadable(where, path, error, "a whole raster file", *formats) from None


def _bands(source: Source, path: Path, where: str) -> xr.Dataset:
    stat = path.stat()
    declared = _declared(path, (stat.st_mtime_ns, stat.st_size))
    is_masked = any(band.is_masked for band in declared) and not source.overrides("nodata")
    with warnings.catch_warnings():
        # What it says of bands that differ is told of each band here.
        warnings.filterwarnings("ignore", message="(Scales|Offsets) differ across bands")
        da = rioxarray.open_rasterio(path, cache=False, masked=is_masked)
    assert isinstance(da, xr.DataArray)
    bands = {}
    for variable in source.variables.values():
        number = variable.name.removeprefix("band_")
        if not number.isdigit() or int(number) not in da["band"].values:
            raise bad_input(
                where, f"{da.sizes['band']} bands", f'"{variable.name}" among them',
                "Bands are named band_1, band_2, …",
            )  # fmt: skip
        band = da.sel(band=int(number), drop=True)
        band.attrs = {key: value for key, value in band.attrs.items() if key not in OF_BANDS}
        band.attrs |= declared[int(number) - 1].attrs
        bands[variable.name] = band
    return xr.Dataset(bands)


@dataclass(frozen=True)
class Band:
    """What a file says of one band, under the names of CF, and whether a mask goes with it."""

    attrs: dict[str, Any]
    is_masked: bool


@lru_cache(maxsize=4096)
def _declared(path: Path, stamp: tuple[int, int]) -> tuple[Band, ...]:
    with rasterio.open(path) as file:
        return tuple(_band(file, number) for number in file.indexes)


def _band(file: Any, number: int) -> Band:
    place = number - 1
    attrs = {"scale_factor": file.scales[place], "add_offset": file.offsets[place]}
    if file.nodatavals[place] is not None:
        # rasterio gives none that the type of the data cannot hold.
        attrs["_FillValue"] = np.dtype(file.dtypes[place]).type(file.nodatavals[place])
    units = file.units[place] or {**file.tags(), **file.tags(number)}.get("units")
    if units:
        attrs["units"] = units
    return Band(attrs, MaskFlags.per_dataset in file.mask_flag_enums[place])


DRIVER = Driver(
    "raster",
    partial(open_files, read=read_raster, even=evenly_packed, names_crs=True),
    is_series=True,
    names_crs=True,
)
