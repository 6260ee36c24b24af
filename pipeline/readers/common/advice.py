"""advice(): what to do with a file that is of another format than its reader reads."""

from __future__ import annotations

import re
from itertools import islice

from pipeline.core.addresses import AnyPath
from pipeline.readers.common.first_bytes import (
    CLASSIC,
    GRIB,
    GZIP,
    HDF4,
    HDF5,
    ITEM,
    JSON,
    NPY,
    NPZ,
    OFFICE,
    PAGE,
    PARQUET,
    REFERENCES,
    SQLITE,
    STORE,
    TABLE,
    TAR,
    TIFF,
    XML,
    ZEROS,
    ZIP,
    first_bytes,
    format_of,
    is_array,
)  # fmt: skip

DRIVERS = {
    HDF5: "netcdf", CLASSIC: "netcdf", GRIB: "grib", TIFF: "raster",
    "a JPEG 2000 picture": "raster", "an ESRI ASCII grid": "raster", "a VRT of GDAL": "raster",
    PARQUET: "table", TABLE: "table", NPZ: "npz", STORE: "zarr",
    "a shapefile": "vector", "a FlatGeobuf": "vector", SQLITE: "vector",
    "a GeoJSON file": "vector", "a KML file": "vector", "a GML file": "vector",
}  # fmt: skip
"""Drivers that read a format."""
_PICTURE = "It has colours instead of values: download the data themselves."
_OF_SERVER = "Correct its address, or sign in if needed, and download it again."
_UNPACK = "Unpack it, and name the files that were in it."
ADVICE = {
    "a Git LFS pointer": "Run `git lfs pull` in its repository: only a reference is here.",
    PAGE: "A server sent a page of its own, such as a login or an error: download the "
    "file again, signed in if its provider requires it.",
    XML: "A server may have sent an error instead of the file: download it again.",
    HDF4: "Use `driver: raster` where GDAL has HDF4 (as from conda-forge; the wheels of rasterio "
    "have not), or convert it: `gdal_translate` to GeoTIFF, or `h4toh5`.",
    "a BUFR file": "Convert it to NetCDF or a table, with `bufr_dump` of eccodes.",
    OFFICE: "Save the sheet as CSV and name that file.",
    "an Access database": "Save its table as CSV (`mdb-export` of mdbtools) and name that file.",
    "a MATLAB file": "Save its arrays as NetCDF or HDF5.",
    "a PDF": "Download the data instead of their description.",
    "a PNG picture": _PICTURE, "a JPEG picture": _PICTURE, "a GIF picture": _PICTURE,
    "a Feather table": "Save it as Parquet: `pandas.read_feather(…).to_parquet(…)`.",
    NPY: "Save it with its latitudes and longitudes, `numpy.savez(…)`, and set `driver: npz`.",
    JSON: "A server may have sent a message instead of the file: download it again, or name the "
    "data file that it describes.",
    ITEM: "Name one of its assets: `options: {asset: …}`.",
    REFERENCES: "Set `driver: zarr`, and let its name end with .json.",
    ZIP: "Unpack it, or name the file in it: `uri: NAME.zip!/FILE`.",
    GZIP: "Unpack it with `gunzip`, or keep `.gz` at the end of its name.",
    TAR: "Unpack it, or name the file in it: `uri: NAME.tar!/FILE`.",
    "a bzip2 archive": _UNPACK, "an xz archive": _UNPACK, "a Zstandard archive": _UNPACK,
    "a 7-Zip archive": _UNPACK, "a RAR archive": _UNPACK, "a compress archive (.Z)": _UNPACK,
    ZEROS: "Its download may have been interrupted: download it again.",
}  # fmt: skip
"""Advice for formats that no driver reads as they are."""


def advice(path: AnyPath, formats: tuple[str, ...] = (), what: str = "It") -> str:
    """Return what the first bytes of a file or the contents of a folder advise; empty for nothing.

    `formats` are those that the reader of the file reads, and `what` the subject of the sentence.
    """
    found = format_of(path)
    if found is None and path.is_dir():
        return _of_folder(path)
    if found is None or found in formats:
        return ""
    if found == XML and (code := re.search(rb"<Code>\s*(\w+)", first_bytes(path))):
        return f"{what} is {found}, a server's error {code[1].decode()}. {_OF_SERVER}"
    if found in ADVICE:
        return f"{what} is {found}. {ADVICE[found]}"
    if found in DRIVERS:
        return f"{what} begins like {found}: set `driver: {DRIVERS[found]}`, or correct `uri`."
    return f"{what} begins like {found}: correct `uri` or `driver` of the entry."


def _of_folder(path: AnyPath) -> str:
    """Return the advice for a folder that is no Zarr store."""
    every: list[AnyPath] = list(islice(path.iterdir(), 1000))
    listed = sorted((one for one in every if not one.name.startswith(".")), key=lambda p: p.name)
    if not listed:
        return "It is an empty folder: correct `uri` of the entry."
    if any(is_array(one) for one in listed[:100]):
        return (
            "It is a part of a Zarr store, without zarr.json (or .zgroup) at its root: copy all"
            " files of the store, those too whose names begin with a point, or correct `uri`."
        )
    driver = DRIVERS.get(str(format_of(listed[0])))
    setting = f", with `driver: {driver}`" if driver else ""
    names = f"`uri: {path}/*`{setting}"
    return f"It is a folder, of files such as {listed[0].name}: name its files, {names}."
