"""`PathName`: names that become parts of paths, which stay in their folder on every system."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from pipeline.core.errors import bad_input
from pipeline.core.plugins import NOT_REGISTERED

LONGEST = 100
EXPECTED = f"letters, digits, _, - and . (at most {LONGEST}), with a letter, digit or _ first"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PORTS = [f"{port}{number}" for port in ("com", "lpt") for number in range(10)]
_RESERVED = {"con", "prn", "aux", "nul", *_PORTS}


def name_fault(name: str, longest: int = LONGEST) -> str:
    """Return what is wrong with a name of a file or folder; empty if nothing is.

    >>> name_fault("conus_1deg"), name_fault("../../evil")
    ('', 'is no plain name')
    """
    if name.split(".")[0].lower() in _RESERVED:
        return "is a device of Windows"
    if len(name) > longest:
        return f"has {len(name)} characters"
    if not _NAME.fullmatch(name) or ".." in name or name.endswith("."):
        return "is no plain name"
    return ""


def checked_name(where: str, name: str, hint: str = "", longest: int = LONGEST) -> str:
    """Return the name of a file or folder; raises `InputError` for one that may leave its folder.

    >>> checked_name("--name", "conus")
    'conus'
    """
    if fault := name_fault(name, longest):
        raise bad_input(where, f"{name[:80]!r}, which {fault}", EXPECTED, hint)
    return name


def _setting(name: str) -> str:
    if fault := name_fault(name):
        texts = {"found": f"{name[:80]!r}, which {fault}", "expected": EXPECTED,
                 "hint": "It is a part of paths in the run folder."}  # fmt: skip
        raise PydanticCustomError(NOT_REGISTERED, "Input should be {expected}. {hint}", texts)
    return name


PathName = Annotated[str, AfterValidator(_setting)]
"""A setting that becomes the name of a file or folder."""


def checked_below(where: str, folder: Path, path: Path) -> Path:
    """Return a path; raises `InputError` if it is not below `folder`, or cannot be written.

    Names from listings of servers, archives and catalogs of others are checked with it.
    """
    parts = path.relative_to(folder).parts if path.is_relative_to(folder) else ()
    if not parts or any(part in ("..", ".") or _UNSAFE.search(part) for part in parts):
        raise bad_input(
            where, f"a file {str(path)[:200]!r}", f"files below {folder}",
            "Do not use this source, or download its files by hand.",
        )  # fmt: skip
    return path


_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]|^.{250}")
