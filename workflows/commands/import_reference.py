"""Import of a published checkpoint: `stefaland import-reference checkpoint.pt FOLDER`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import bad_input
from pipeline.core.untrusted.safe_json import parse_json
from stefaland.checkpoints.import_published import ImportReport, import_reference


def import_checkpoint(
    checkpoint: Path,
    folder: Path,
    statistics: Path | None = None,
    forcings: Sequence[str] = (),
    statics: Sequence[str] = (),
    heads: int | None = None,
    units: Path | None = None,
) -> ImportReport:
    """Write a published checkpoint as a checkpoint folder of this package.

    Returns the report of what was mapped. Raises `InputError` for unreadable files.
    """
    if folder.exists():
        raise bad_input(str(folder), "something is there already", "a new folder")
    settings: dict[str, Any] = {}
    for key, names in (("forcings", forcings), ("statics", statics)):
        if names:
            settings[key] = tuple(names)
    if heads is not None:
        settings["n_heads"] = heads
    known = None if statistics is None else _object(statistics, "{mean, std, transform}")
    units_by_name = None if units is None else _object(units, "unit")
    return import_reference(checkpoint, folder, statistics=known, units=units_by_name, **settings)


def _object(path: Path, value: str) -> dict[str, Any]:
    try:
        found = parse_json(path.read_text())
    except (OSError, ValueError) as error:
        raise bad_input(str(path), f"a file that cannot be read ({error})", "JSON") from None
    if not isinstance(found, dict):
        raise bad_input(str(path), type(found).__name__, f"{{variable: {value}}}")
    return found
