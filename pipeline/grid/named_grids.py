"""named_grid() and read_grids(): target grids by name from a YAML file, such as `grids.yml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.core.errors import LIBRARY_ERRORS, Faults, bad_input, nearest_name
from pipeline.core.packaged import catalog_path
from pipeline.core.settings import read_entries
from pipeline.grid.target_grid import TargetGrid

_KEYS = {
    "crs", "bounds", "origin", "shape", "resolution", "window_of", "rows", "cols", "like", "comment"
}  # fmt: skip


def named_grid(name: str, path: str | Path = "grids.yml") -> TargetGrid:
    """Return the target grid of that name in a file of grids, by default the packaged one.

    Raises `InputError` with the nearest name if it is unknown.

    >>> named_grid("conus_0p25deg").shape
    (104, 234)
    """
    grids = read_grids(catalog_path(path))
    if name not in grids:
        expected = f"one of {', '.join(sorted(grids))}"
        raise bad_input("grid", f'"{name}"', expected, nearest_name(name, grids))
    return grids[name]


def read_grids(path: str | Path) -> dict[str, TargetGrid]:
    """Return all grids of a YAML file by name; raises `InputError` with all faults of the file."""
    return grids_of(read_entries(Path(path), "grids"), Path(path).name)


def grids_of(
    entries: Mapping[str, Mapping[str, Any]],
    where: str,
    known: Mapping[str, TargetGrid] | None = None,
) -> dict[str, TargetGrid]:
    """Return the grids that entries define, by name; windows may be of those in `known`.

    Raises `InputError` with all faults.

    >>> alps = {"crs": "EPSG:4326", "bounds": [5, 43, 17, 49], "resolution": 1}
    >>> grids_of({"alps": alps}, "my.yml")["alps"].shape
    (6, 12)
    """
    grids = dict(known or {})
    faults = Faults()
    for name, entry in entries.items():
        with faults.collecting():
            grids[name] = _grid_of_entry(name, entry, grids, where)
    faults.raise_if_any()
    return {name: grids[name] for name in entries}


def _number(value: Any) -> float:
    """Return a YAML number, or a fraction such as `1/24`, as float."""
    numerator, _, denominator = str(value).partition("/")
    return float(numerator) / float(denominator or 1)


def _grid_of_entry(
    name: str, entry: Mapping[str, Any], known: Mapping[str, TargetGrid], file: str
) -> TargetGrid:
    where = f'{file}: grid "{name}"'
    for key in entry:
        if key not in _KEYS:
            raise bad_input(where, f'key "{key}"', "a known key", nearest_name(str(key), _KEYS))
    try:
        if "like" in entry:
            return TargetGrid.like(Path(str(entry["like"])).expanduser(), name)
        if "window_of" in entry:
            parent = known[entry["window_of"]]
            window = parent.window(slice(*entry["rows"]), slice(*entry["cols"]))
            return replace(window, name=name)
        size = entry["resolution"]
        resolution = tuple(map(_number, size)) if isinstance(size, list) else (_number(size),) * 2
        if "bounds" in entry:
            bounds = tuple(map(_number, entry["bounds"]))
            return TargetGrid.from_bounds(name, entry["crs"], bounds, resolution)  # type: ignore[arg-type]
        west, north = map(_number, entry["origin"])
        rows, cols = map(int, entry["shape"])
        dx, dy = resolution
        return TargetGrid(
            name=name, crs=entry["crs"], west=west, north=north, dx=dx, dy=dy, shape=(rows, cols)
        )
    except LIBRARY_ERRORS as error:
        raise bad_input(
            where,
            f"an incomplete or unreadable entry ({type(error).__name__}: {error})",
            "crs, resolution and either bounds or origin + shape; or window_of, rows and cols;"
            " or like, a file with the wanted grid",
        ) from error
