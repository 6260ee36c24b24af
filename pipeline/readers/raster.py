"""Bands of GeoTIFFs and other rasters that GDAL reads, lazy and as stored (driver `raster`).

`sources.canonical` applies the scale, offset and nodata that each band declares.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rioxarray
import xarray as xr
from rasterio.enums import MaskFlags

from pipeline.core.addresses import AnyPath
from pipeline.core.errors import LIBRARY_ERRORS, bad_input, listed, nearest_name
from pipeline.core.files import version_of
from pipeline.core.system.promises import require_room
from pipeline.entries.source import Source
from pipeline.readers.common.files import open_files
from pipeline.readers.common.first_bytes import GEOREFERENCED, RASTERS
from pipeline.readers.common.packing import nodata_of, unpacked
from pipeline.readers.common.refusals import content_advice, unreadable
from pipeline.readers.driver import Driver, NoOptions, Outline, common_options
from pipeline.readers.guards.outside import trustable
from pipeline.readers.guards.rasters import WrittenError, check_raster, reference_of
from pipeline.readers.remote.gdal_names import gdal_name
from pipeline.times.declared import DESCRIBED

PACKING = ("_FillValue", "scale_factor", "add_offset")
_DATE = re.compile(r"(?<!\d)([12]\d{3})([-_./]?)(\d{2})\2(\d{2})(?!\d)")
DESCRIPTION = "description"
"""Key in the encoding of a band and of a file: the description or those of all bands."""
OF_BANDS = (*PACKING, "scales", "offsets", "units")
"""Attributes that rioxarray takes from the first band, or as a tuple from all bands."""


def evenly_packed(rasters: Sequence[xr.Dataset], source: Source) -> list[xr.Dataset]:
    """Return the files of a series as stored or, if they are packed differently, each unpacked."""
    _check_order(rasters, source)
    if all(_packing(ds) == _packing(rasters[0]) for ds in rasters):
        return list(rasters)
    nodata = nodata_of(source)
    return [
        unpacked(ds, nodata, f'source "{source.name}", {path}')
        for ds, path in zip(rasters, source.opened_files, strict=True)
    ]


def _check_order(rasters: Sequence[xr.Dataset], source: Source) -> None:
    """Raise `InputError` for bands that are in another order than in the first file.

    That is seen where a band with a number has the description of another one in the first file.
    """
    texts = [{name: str(da.encoding.get(DESCRIPTION, "")) for name, da in ds.items()}
             for ds in rasters]  # fmt: skip
    every = [ds.encoding.get(DESCRIPTION, ()) for ds in rasters]
    for own, known, path in zip(texts, every, source.opened_files, strict=True):
        for name, text in own.items():
            first = texts[0][name]
            if text != first and first and (first in known or text in every[0]):
                raise bad_input(
                    f'source "{source.name}", {path}: {name}', f'the band "{text}"',
                    f'"{first}", as in {source.opened_files[0]}',
                    f"Name the band by its description, such as `name: {first}`.",
                )  # fmt: skip


def _packing(ds: xr.Dataset) -> list[tuple[str, ...]]:
    """Return the packing that the bands declare, as texts so that NaN equals NaN."""
    return [tuple(str(da.attrs.get(key)) for key in PACKING) for da in ds.data_vars.values()]


def read_raster(source: Source, path: AnyPath) -> xr.Dataset:
    """Return the entry's bands, dims (time?, y, x), as stored; NaN where a mask marks them.

    Raises `InputError` for a file that GDAL cannot read, and for a band that does not exist.
    """
    where = f'source "{source.name}", {path}'
    try:
        return _bands(source, path, where)
    except LIBRARY_ERRORS as error:
        refusal = unreadable(where, path, error, "a whole raster file", *RASTERS)
        raise trustable(refusal) if isinstance(error, WrittenError) else refusal from None


def _bands(source: Source, path: AnyPath, where: str) -> xr.Dataset:
    names = [variable.name for variable in source.variables.values()]
    name = gdal_name(path)
    check_raster(name if isinstance(name, Path) else path, common_options(source).trust, where)
    stamp = version_of(path)
    parts = {} if any(_numbers(name)[0] for name in names) else _parts(path, stamp)
    if parts:
        unique = dict.fromkeys(names)
        return xr.merge([_part(source, name, parts, stamp, where) for name in unique])
    return _of_file(source, names, name, stamp, where)


def _part(
    source: Source, name: str, parts: Mapping[str, str], stamp: tuple[int, ...], where: str
) -> xr.Dataset:  # fmt: skip
    """Return a subdataset, such as one of an HDF4 file, under its name."""
    if name not in parts:
        raise bad_input(
            where, f"subdatasets {', '.join(parts)}", f'"{name}" among them',
            nearest_name(name, parts),
        )  # fmt: skip
    one = _of_file(source, ["band_1"], parts[name], stamp, f"{where}: {name}")
    return one.rename(band_1=name)


@lru_cache(maxsize=4096)
def _parts(path: AnyPath, stamp: tuple[int, ...]) -> dict[str, str]:
    """Return GDAL's name of each subdataset of a file, by the last part of that name."""
    with rasterio.open(gdal_name(path)) as file:
        return {re.split("[:/]", name)[-1].strip('"'): name for name in file.subdatasets}


def _of_file(
    source: Source, names: Sequence[str], file: str | Path, stamp: tuple[int, ...], where: str
) -> xr.Dataset:  # fmt: skip
    declared = _declared(file, stamp)
    is_located = _is_located(file, stamp, where)
    if not is_located and source.grid is None:
        other = content_advice(file, *GEOREFERENCED) if isinstance(file, Path) else ""
        raise bad_input(
            where, "a raster that does not state where it lies", "a georeference",
            f"{other} ".lstrip() + "Name its grid in the entry, such as `grid: EASE2_M09` or"
            " `grid: {crs: …, bounds: […], resolution: …}`, or add a"
            " georeference: `gdal_edit.py -a_ullr … -a_srs …`.",
        )  # fmt: skip
    is_masked = any(band.is_masked for band in declared) and not source.overrides("nodata")
    with warnings.catch_warnings():
        # The attributes of bands that differ are set per band below.
        warnings.filterwarnings("ignore", message="(Scales|Offsets) differ across bands")
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        da = rioxarray.open_rasterio(file, cache=False, masked=is_masked)
    if not isinstance(da, xr.DataArray) or "band" not in da.dims:
        raise bad_input(where, "variables along dimensions of their own", "a raster of bands",
                        "Set `driver: netcdf`, with the names of the variables.")  # fmt: skip
    if not is_located:
        da = da.drop_vars(["y", "x"])
    bands = {}
    for name in names:
        numbers, several = _numbers(name)
        described = [i for i, band in enumerate(declared, 1) if band.description == name]
        if not numbers and len(described) == 1:
            numbers = range(described[0], described[0] + 1)
        if not numbers or not {numbers[0], numbers[-1]} <= {*da["band"].values.tolist()}:
            texts = [band.description for band in declared if band.description]
            shown = f", described as {listed(texts)}" if texts else ""
            raise bad_input(
                where, f"{da.sizes['band']} bands{shown}", f'"{name}" among them',
                nearest_name(name, texts)
                or 'Bands are called band_1, band_2, … or by their descriptions; "band_[1-12]" are'
                " the steps of a series.",
            )  # fmt: skip
        of_band, block = declared[numbers[0] - 1].attrs, declared[numbers[0] - 1].block
        require_room(f"{where}: {name}", block, da.dtype.itemsize, "a block")
        _check_alike([declared[number - 1].attrs for number in numbers], name, where)
        band = da.isel(band=slice(numbers[0] - 1, numbers[-1]) if several else numbers[0] - 1)
        band = band.drop_vars("band")
        if several:
            time = source.dims.get("time", "time")
            band = band.rename(band=time)
            dates = described_dates([declared[number - 1].description for number in numbers])
            if dates is not None and source.time.kind == "file":
                band = band.assign_coords({time: (time, dates, {DESCRIBED: True})})
        band.attrs = {key: value for key, value in band.attrs.items() if key not in OF_BANDS}
        band.attrs |= of_band
        band.encoding[DESCRIPTION] = declared[numbers[0] - 1].description
        bands[name] = band
    ds = xr.Dataset(bands)
    ds.encoding[DESCRIPTION] = tuple(band.description for band in declared)
    return ds


def _numbers(name: str) -> tuple[range, bool]:
    """Return the numbers of the bands that a name stands for, and whether they are steps."""
    found = re.fullmatch(r"(?:band_)?(?:(\d{1,9})|\[(\d{1,9})-(\d{1,9})\])", name)
    if found is None:
        return range(0), False
    first, last = (found[1], found[1]) if found[1] else (found[2], found[3])
    return range(int(first), int(last) + 1), not found[1]


def described_dates(texts: Sequence[str]) -> np.ndarray | None:
    """Return the dates in descriptions of bands; None unless each has one of its own."""
    found = [_DATE.findall(text) for text in texts]
    if any(len(dates) != 1 for dates in found):
        return None
    plain = [f"{year}-{month}-{day}" for ((year, _, month, day),) in found]
    try:
        dates = np.array(plain, "datetime64[ns]")
    except ValueError:
        return None
    return dates if len(set(plain)) == len(plain) else None


def _check_alike(attrs: Sequence[dict[str, Any]], name: str, where: str) -> None:
    """Raise `InputError` for bands of one series that differ in packing or units."""
    texts = [{key: str(value) for key, value in one.items()} for one in attrs]
    odd = next((i for i, one in enumerate(texts) if one != texts[0]), None)
    if odd is not None:
        raise bad_input(
            f"{where}: {name}", f"{texts[odd]} of the band at position {odd + 1}",
            f"{texts[0]}, as of the first", "Bands of a series have the same packing and units.",
        )  # fmt: skip


@dataclass(frozen=True)
class Band:
    """Metadata of one band under CF names, and whether the file has a mask for it."""

    attrs: dict[str, Any]
    is_masked: bool
    block: tuple[int, int]
    """Rows and columns that are read at once at least."""
    description: str = ""


@lru_cache(maxsize=4096)
def _is_located(name: str | Path, stamp: tuple[int, ...], where: str) -> bool:
    """Whether a raster states where its cells lie.

    Raises `InputError` for rows that do not run from west to east.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(name) as file:
            transform, points = file.transform, file.gcps[0]
    if points and transform.is_identity:
        found = f"{len(points)} ground control points instead of a grid"
    elif transform.b or transform.d:
        found = "rows that are turned or sheared"
    else:
        return not transform.is_identity
    raise bad_input(
        where, found, "rows that run from west to east",
        "Warp it first: `gdalwarp -t_srs EPSG:4326 IN.tif OUT.tif` (or another CRS).",
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _declared(name: str | Path, stamp: tuple[int, ...]) -> tuple[Band, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(name) as file:
            return tuple(_band(file, number) for number in file.indexes)


def _band(file: Any, number: int) -> Band:
    index = number - 1
    attrs = {"scale_factor": file.scales[index], "add_offset": file.offsets[index]}
    if file.nodatavals[index] is not None:
        # rasterio returns only nodata values that the data type can hold.
        attrs["_FillValue"] = np.dtype(file.dtypes[index]).type(file.nodatavals[index])
    units = file.units[index] or {**file.tags(), **file.tags(number)}.get("units")
    if units:
        attrs["units"] = units
    is_masked = MaskFlags.per_dataset in file.mask_flag_enums[index]
    description = str(file.descriptions[index] or "").strip()
    return Band(attrs, is_masked, file.block_shapes[index], description)


def outline(path: AnyPath) -> Outline | None:
    """Return where the cells of a raster lie.

    It is None if its rows do not run from west to east, and for one that `open` may refuse.
    """
    name = gdal_name(path)
    if reference_of(name if isinstance(name, Path) else path):
        return None
    with rasterio.open(name) as file:
        dx, turned, west, sheared, dy, north = tuple(file.transform)[:6]
        if turned or sheared or dx <= 0 or dy >= 0:
            return None
        return Outline(
            crs=file.crs.to_wkt() if file.crs else "",
            bounds=(west, north + dy * file.height, west + dx * file.width, north),
            cell=(dx, -dy),
            shape=(file.height, file.width),
        )


DRIVER = Driver(
    name="raster",
    open=partial(open_files, read=read_raster, even=evenly_packed, names_crs=True),
    is_series=True,
    options=NoOptions,
    names_crs=True,
    outline=outline,
)
