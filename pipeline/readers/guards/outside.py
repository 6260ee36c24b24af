"""refused(): the error for a file that refers to other files than those of its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.core.errors import InputError, bad_input

TRUST = "Set `options: {trust: true}` if you trust whoever made the file."


def is_within(reference: str, folder: Path, base: Path | None = None) -> bool:
    """Whether a path, relative to `base` or the folder, leads to a file within the folder.

    Symbolic links are followed.

    >>> is_within("tiles/a.tif", Path("data")), is_within("../b.tif", Path("data"))
    (True, False)
    """
    if "\x00" in reference:
        return False
    target = ((base or folder) / reference).resolve()
    return target.is_relative_to(folder.resolve())


def refused(where: str, found: str) -> InputError:
    """Return the error; `found` is what the file refers to."""
    return bad_input(where, found, "a file that refers to files in its own folder alone", TRUST)


def trustable(error: InputError) -> InputError:
    """Return an error whose hints also name the option `trust`."""
    return InputError(replace(fault, hint=f"{fault.hint} {TRUST}") for fault in error.faults)
