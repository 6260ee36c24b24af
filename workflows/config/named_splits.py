"""Named folds of `catalogs/splits.yml`: `folds: {split: pub}` stands for what is written there.

Called from config.py before settings are checked: the resolved settings hold what the name stands
for, so that a run can be repeated when the catalog has changed.
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
    """The `folds` sections by name."""
    path = Path(catalogs.__file__).with_name("splits.yml")
    return read_entries(path, "folds")


def named_split(name: str | None, where: str) -> dict[str, Any]:
    """The `folds` settings that a name stands for; none without a name.

    Raises `InputError` for an unknown name.
    """
    if name is None:
        return {}
    splits = named_splits()
    if name not in splits:
        raise bad_input(
            f"{where}: folds.split", f'"{name}"', f"one of {', '.join(splits)}",
            nearest_name(str(name), splits),
        )  # fmt: skip
    return deepcopy(splits[name])
