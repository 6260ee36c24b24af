"""format_of(): the format of a file by its first bytes."""

from __future__ import annotations

import re

from pipeline.core.addresses import AnyPath

HEAD = 600
"""Bytes that are read: those of a tar archive say what it is at its 257th byte."""
HDF5 = "a NetCDF-4 or HDF5 file"
CLASSIC = "a classic NetCDF file"
NETCDF = (HDF5, CLASSIC)
GRIB, TIFF, HDF4 = "a GRIB file", "a TIFF", "an HDF4 file"
ZIP, GZIP, TAR = "a ZIP archive", "a gzip archive", "a tar archive"
NPZ, NPY = "a NumPy archive", "a NumPy array"
OFFICE = "an Excel workbook or other Office document"
PARQUET, SQLITE = "a Parquet table", "a GeoPackage or other SQLite database"
TABLE, TEXT = "a table of text", "a text file"
PAGE, XML, JSON = "an HTML page", "an XML file", "a JSON file"
STORE, REFERENCES, ITEM = "a Zarr store", "a JSON file of Zarr references", "a STAC document"
ZEROS = "a file that begins with zeros"
SIGNATURES = {
    b"\x89HDF": HDF5, b"CDF\x01": CLASSIC, b"CDF\x02": CLASSIC, b"CDF\x05": CLASSIC,
    b"\x0e\x03\x13\x01": HDF4, b"GRIB": GRIB, b"BUFR": "a BUFR file",
    b"PK\x03\x04": ZIP, b"PK\x05\x06": ZIP, b"\x1f\x8b": GZIP, b"BZh": "a bzip2 archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive", b"\xfd7zXZ\x00": "an xz archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive", b"Rar!": "a RAR archive",
    b"\x1f\x9d": "a compress archive (.Z)",
    b"II*\x00": TIFF, b"MM\x00*": TIFF, b"II+\x00": TIFF, b"MM\x00+": TIFF,
    b"PAR1": PARQUET, b"ARROW1": "a Feather table", b"SQLite format 3": SQLITE,
    b"\x00\x00\x27\x0a": "a shapefile", b"fgb\x03fgb": "a FlatGeobuf", b"\x93NUMPY": NPY,
    b"\xd0\xcf\x11\xe0": OFFICE, b"\x00\x01\x00\x00Standard": "an Access database",
    b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"GIF8": "a GIF picture",
    b"\x00\x00\x00\x0cjP": "a JPEG 2000 picture", b"MATLAB": "a MATLAB file",
    b"%PDF": "a PDF", b"version https://git-lfs": "a Git LFS pointer",
}  # fmt: skip
"""First bytes of file formats."""
PACKED = (ZIP, GZIP, "a bzip2 archive", "an xz archive", TAR)
"""Archives that readers of grids and stations unpack."""
GEOREFERENCED = (TIFF, GRIB, "a JPEG 2000 picture", "an ESRI ASCII grid", "a VRT of GDAL", *PACKED)
"""Rasters that have, or may have, a CRS."""
RASTERS = (*GEOREFERENCED, *NETCDF, "a PNG picture", "a JPEG picture", "a GIF picture")
"""Formats that GDAL reads in the wheels of rasterio."""
VECTORS = (
    "a shapefile", "a FlatGeobuf", SQLITE, "a GeoJSON file", "a KML file", "a GML file", ZIP, GZIP,
)  # fmt: skip
"""Formats of polygons and points that GDAL reads in the wheels of pyogrio."""
ROWS = (TABLE, TEXT, GZIP)
"""Formats of tables of text, packed or not."""
TEXTS = {
    r"NCOLS\s+\d|NROWS\s+\d": "an ESRI ASCII grid",
    r"<!DOCTYPE HTML|<HTML|<HEAD|<TITLE": PAGE,
    r"<VRTDATASET": "a VRT of GDAL", r"<KML": "a KML file",
    r"<(\w+:)?FEATURECOLLECTION": "a GML file", r"<": XML,
    r"\{(?s:.*)\"STAC_VERSION\"": ITEM,
    r"\{(?s:.*)\"TYPE\"\s*:\s*\"(FEATURE|GEOMETRYCOLLECTION|TOPOLOGY)": "a GeoJSON file",
    r"\{(?s:.*)\"(REFS\"|(\w+/)*\.Z(GROUP|METADATA|ARRAY)\")": REFERENCES,
    r"[\[{]\s*[\"{\[\]}\d-]": JSON,
}  # fmt: skip
"""Beginnings of texts, as expressions of their capitals; the first that matches decides."""
ZARR_METADATA = ("zarr.json", ".zgroup", ".zmetadata", ".zarray")
_CHUNK = re.compile(r"c|\d+([./]\d+)*")


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
        return STORE if is_store else None
    return format_of_bytes(first_bytes(path)) if path.is_file() else None


def format_of_bytes(head: bytes) -> str | None:
    """Return the format of a file that begins with `head`; None if unknown."""
    signed = next((name for magic, name in SIGNATURES.items() if _begins(head, magic)), None)
    if signed == ZIP:
        if head[30:].startswith(b"[Content_Types].xml"):
            return OFFICE
        member = head[30 : 30 + int.from_bytes(head[26:28], "little")]
        return NPZ if member.endswith(b".npy") else ZIP
    if signed in (PARQUET, GRIB, "a BUFR file") and _text_format(head) == TABLE:
        return TABLE  # whose first column is called PAR1, for instance
    if signed is None and head[257:262] == b"ustar":
        return TAR
    if len(head) > 4 and not head.strip(b"\x00"):
        return ZEROS
    return signed or _text_format(head)


def _begins(head: bytes, magic: bytes) -> bool:
    """Whether a file begins with a signature, or ends within it."""
    return head.startswith(magic) or (len(head) >= 4 and magic.startswith(head))


def first_bytes(path: AnyPath) -> bytes:
    """Return the first `HEAD` bytes of a file, fewer of a short one."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    assert isinstance(head, bytes)
    return head


def _text_format(head: bytes) -> str | None:
    """Return the format of a text; None for bytes that are none."""
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    if not head.strip() or (b"\x00" in head and not wide):
        return None
    text = head.decode("utf-16" if wide else "latin-1", "ignore")
    text = text.lstrip("\ufeffï»¿ \t\r\n").upper()
    text = re.sub(r"^<\?XML[^>]*>\s*(<!--.*?-->\s*)*", "", text, flags=re.DOTALL) or "<"
    if known := next((name for form, name in TEXTS.items() if re.match(form, text)), None):
        return known
    if re.search(r"[^\s\x20-\xff]|[\x7f-\x9f]", text) and not wide:
        return None
    lines = [line for line in text.splitlines()[:-1] if line and line[0] not in "#;%"]
    return TABLE if lines and any(mark in lines[-1] for mark in ",;\t|") else TEXT


def is_array(folder: AnyPath) -> bool:
    """Whether a folder is an array of a Zarr store, with metadata of its own or chunks alone."""
    if not folder.is_dir():
        return False
    if (folder / ".zarray").is_file():
        return True
    if (folder / "zarr.json").is_file():
        return b'"array"' in (folder / "zarr.json").read_bytes()
    names = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    return bool(names) and all(_CHUNK.fullmatch(name) for name in names)
