"""Named folds of `catalogs/splits.yml`, or of that name beside a config: `folds: {split: pub}`.

The name is replaced by the entry there.

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

FILE = "splits.yml"


@cache
def named_splits() -> dict[str, dict[str, Any]]:
    """The `folds` sections of the catalog by name."""
    return read_entries(_packaged(), "folds")


def _packaged() -> Path:
    return Path(catalogs.__file__).with_name(FILE)


def own_splits(folder: Path) -> dict[str, dict[str, Any]]:
    """The named folds in `splits.yml` of a config's folder; none where that is the packaged one."""
    path = folder / FILE
    is_own = path.is_file() and path.resolve() != _packaged().resolve()
    return read_entries(path, "folds") if is_own else {}


def named_split(name: Any, config: Path) -> dict[str, Any]:
    """The `folds` settings of a named split, also of `splits.yml` beside the config; {} for None.

    Raises `InputError` for an unknown name.
    """
    if name is None:
        return {}
    splits = {**named_splits(), **own_splits(config.parent)}
    if not isinstance(name, str) or name not in splits:
        hint = (
            f"{nearest_name(str(name), splits)} Write your own in {config.parent / FILE}, as `mine:"
            " {kind: blocks, k: 3, block_deg: 2}`, or its keys under `folds` of the config."
        )
        raise bad_input(
            f"{config}: folds.split", f'"{name}"', f"one of {', '.join(splits)}", hint.strip()
        )
    return deepcopy(splits[name])
