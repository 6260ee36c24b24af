"""Named folds of `catalogs/splits.yml`: `folds: {split: pub}` is replaced by the entry there.

The resolved settings hold the entry and not its name, so that a run can be repeated after the
catalog has changed.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import catalogs
from pipeline.core.errors import bad_input, nearest_name
from pipeline.core.settings import read_entries


@cache
def named_splits() -> dict[str, dict[str, Any]]:
    """The `folds` sections of the catalog by name."""
    path = Path(catalogs.__file__).with_name("splits.yml")
    return read_entries(path, "folds")


def named_split(name: Any, where: str) -> dict[str, Any]:
    """The `folds` settings of a named split; empty without a name.

    Raises `InputError` for an unknown name.
    """
    if name is None:
        return {}
    splits = named_splits()
    if not isinstance(name, str) or name not in splits:
        raise bad_input(
            f"{where}: folds.split", f'"{name}"', f"one of {', '.join(splits)}",
            nearest_name(str(name), splits),
        )  # fmt: skip
    return deepcopy(splits[name])
