"""`SourceGrid`: the grid of files without coordinates, known by its name or written out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.core.errors import InputError
from pipeline.core.settings import Frozen

OF_FILE = "file"
"""Value of `crs` for the CRS that each file declares."""
OWN = {"west", "north", "dx", "dy", "shape"}
"""Keys that a resolved grid has."""


class SourceGrid(Frozen):
    """A regular grid whose first row is the northernmost; sizes and edges in units of the CRS."""

    name: str
    crs: str
    west: float
    north: float
    dx: float
    dy: float
    shape: tuple[int, int]


def resolved_grid(value: Any) -> Any:
    """Return the settings of the grid that a name of `grids.yml`, or the keys of one there, mean.

    Raises `ValueError` for an unknown name and for keys that make no grid.
    """
    if not isinstance(value, str | Mapping) or (isinstance(value, Mapping) and {*value} >= OWN):
        return value
    from pipeline.core.packaged import catalog_path
    from pipeline.grid.named_grids import grids_of, named_grid, read_grids

    try:
        if isinstance(value, str):
            grid = named_grid(value)
        else:
            parents = read_grids(catalog_path("grids.yml")) if "window_of" in value else None
            grid = grids_of({"own": value}, "grid", parents)["own"]
    except InputError as error:
        raise ValueError("; ".join(str(fault) for fault in error.faults)) from None
    west, _, _, north = grid.bounds
    return {"name": grid.name, "crs": grid.crs, "west": west, "north": north, "dx": grid.dx,
            "dy": grid.dy, "shape": grid.shape}  # fmt: skip


def with_grid(entry: Any) -> Any:
    """Return an entry's settings with the CRS of its grid, if it names one.

    Raises `ValueError` as `resolved_grid` does, and for another CRS beside the grid.
    """
    if not isinstance(entry, Mapping) or entry.get("grid") is None:
        return entry
    grid = resolved_grid(entry["grid"])
    crs = grid["crs"] if isinstance(grid, Mapping) else getattr(grid, "crs", None)
    if entry.get("crs", crs) != crs:
        raise ValueError(f"crs {entry['crs']} beside a grid in {crs}. Remove `crs`")
    return {**entry, "grid": grid, "crs": crs}
