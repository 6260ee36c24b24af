"""format_of(): the format of a file by its first bytes; advice(): what to do with such a file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

from pipeline.core.addresses import AnyPath

HEAD = 600
"""Bytes that are read: those of a tar archive say what it is at its 257th byte."""
HDF5 = "a NetCDF-4 or HDF5 file"
CLASSIC = "a classic NetCDF file"
NETCDF = (HDF5, CLASSIC)
ZIP, GZIP, TAR = "a ZIP archive", "a gzip archive", "a tar archive"
HDF4 = "an HDF4 file"
TABLE = "a table of text"
SIGNATURES = {
    b"\x89HDF": HDF5, b"CDF\x01": CLASSIC, b"CDF\x02": CLASSIC, b"CDF\x05": CLASSIC,
    b"\x0e\x03\x13\x01": HDF4, b"GRIB": "a GRIB file", b"BUFR": "a BUFR file",
    b"PK\x03\x04": ZIP, b"PK\x05\x06": ZIP, b"\x1f\x8b": GZIP, b"BZh": "a bzip2 archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive", b"\xfd7zXZ\x00": "an xz archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive", b"Rar!": "a RAR archive",
    b"II*\x00": "a TIFF", b"MM\x00*": "a TIFF", b"II+\x00": "a TIFF", b"MM\x00+": "a TIFF",
    b"PAR1": "a Parquet table", b"ARROW1": "a Feather table",
    b"SQLite format 3": "a GeoPackage or other SQLite database",
    b"\x00\x00\x27\x0a": "a shapefile", b"\x93NUMPY": "a NumPy array",
    b"\xd0\xcf\x11\xe0": "an Excel workbook or other Office document",
    b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture",
    b"\x00\x00\x00\x0cjP": "a JPEG 2000 picture", b"MATLAB": "a MATLAB file",
    b"%PDF": "a PDF", b"version https://git-lfs": "a Git LFS pointer",
}  # fmt: skip
"""First bytes of file formats."""
PACKED = (ZIP, GZIP, "a bzip2 archive", "an xz archive")
"""Archives that readers of grids and stations unpack."""
RASTERS = (
    "a TIFF", *NETCDF, "a GRIB file", "a JPEG 2000 picture", "a PNG picture", "a JPEG picture",
    *PACKED,
)  # fmt: skip
"""Formats that GDAL reads in the wheels of rasterio."""
DRIVERS = {
    HDF5: "netcdf", CLASSIC: "netcdf", "a GRIB file": "grib", "a TIFF": "raster",
    "a JPEG 2000 picture": "raster", "a Parquet table": "table", TABLE: "table",
    "a shapefile": "vector", "a GeoPackage or other SQLite database": "vector",
    "a Zarr store": "zarr",
}  # fmt: skip
"""Drivers that read a format."""
ADVICE = {
    "a Git LFS pointer": "Run `git lfs pull` in its repository: only a reference is here.",
    "an HTML page": "A server sent a page of its own, such as a login or an error: download the "
    "file again, signed in if its provider requires it.",
    "an XML file": "A server may have sent an error instead of the file: download it again.",
    HDF4: "Use `driver: raster` where GDAL has HDF4 (as from conda-forge; the wheels of rasterio "
    "have not), or convert it: `gdal_translate` to GeoTIFF, or `h4toh5`.",
    "a BUFR file": "Convert it to NetCDF or a table, with `bufr_dump` of eccodes.",
    "an Excel workbook or other Office document": "Save the sheet as CSV and name that file.",
    "a MATLAB file": "Save its arrays as NetCDF or HDF5.",
    "a PDF": "Download the data instead of their description.",
    "a JSON file": "Name the data file: only references of Zarr are read from JSON. Of a STAC "
    "item, name the asset: `options: {asset: …}`.",
    ZIP: "Unpack it, or name the file in it: `uri: NAME.zip!/FILE`.",
    GZIP: "Unpack it with `gunzip`, or keep `.gz` at the end of its name.",
    TAR: "Unpack it, or name the file in it: `uri: NAME.tar!/FILE`.",
}
"""Advice for formats that no driver reads as they are."""
ZARR_METADATA = ("zarr.json", ".zgroup", ".zmetadata", ".zarray")


def format_of(path: AnyPath) -> str | None:
    """Return the format that the first bytes of a file show; None if unknown or for no file.

    >>> from tempfile import mkdtemp
    >>> from pathlib import Path
    >>> path = Path(mkdtemp()) / "rain.nc"
    >>> _ = path.write_bytes(b"<!DOCTYPE html><title>Sign in</title>")
    >>> format_of(path)
    'an HTML page'
    """
    if path.is_dir():
        is_store = any((path / name).is_file() for name in ZARR_METADATA)
        return "a Zarr store" if is_store else None
    if not path.is_file():
        return None
    head = first_bytes(path)
    signed = next((name for magic, name in SIGNATURES.items() if head.startswith(magic)), None)
    if signed == ZIP and head[30:].startswith(b"[Content_Types].xml"):
        return "an Excel workbook or other Office document"
    if signed is None and head[257:262] == b"ustar":
        return TAR
    return signed or _text_format(head)


def first_bytes(path: AnyPath) -> bytes:
    """Return the first `HEAD` bytes of a file, fewer of a short one."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    assert isinstance(head, bytes)
    return head


def _text_format(head: bytes) -> str | None:
    """Return the format of a text; None for bytes that are none."""
    if not head.strip() or b"\x00" in head:
        return None
    text = head.decode("latin-1").lstrip("\ufeffï»¿ \t\r\n").upper()
    if re.match(r"<!DOCTYPE HTML|<HTML|<HEAD", text):
        return "an HTML page"
    if text.startswith("<"):
        return "an XML file"
    if re.match(r"[\[{]\s*[\"{\[\]}\d-]", text):
        return "a JSON file"
    if re.search(r"[^\s\x20-\xff]|[\x7f-\x9f]", text):
        return None
    lines = [line for line in text.splitlines()[:-1] if line and line[0] not in "#;%"]
    return TABLE if lines and any(mark in lines[-1] for mark in ",;\t|") else "a text file"


def advice(path: AnyPath, formats: tuple[str, ...] = ()) -> str:
    """Return what the first bytes of a file or the contents of a folder advise; empty for nothing.

    `formats` are those that the reader of the file reads.
    """
    if path.is_dir() and format_of(path) is None:
        listed: Iterable[AnyPath] = islice(path.iterdir(), 1000)
        names = [file.name for file in listed if not file.name.startswith(".")]
        if not names:
            return "It is an empty folder: correct `uri` of the entry."
        return f"It is a folder, of files such as {min(names)}: name its files, `uri: {path}/*`."
    found = format_of(path)
    if found is None or found in formats:
        return ""
    if found in ADVICE:
        return f"It is {found}. {ADVICE[found]}"
    if found in DRIVERS:
        return f"It begins like {found}: set `driver: {DRIVERS[found]}`, or correct `uri`."
    return f"It begins like {found}: correct `uri` or `driver` of the entry."
