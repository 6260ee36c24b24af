"""Own target grids, added to the `grids.yml` beside a config: `stefaland grid add`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.core.errors import Faults, InputError, bad_input
from pipeline.drafts.text import flow, plain
from pipeline.grid.around import checked_crs, grid_around
from pipeline.grid.crs import is_geographic_crs
from pipeline.grid.target_grid import TargetGrid
from workflows.commands.data.own_files import add_entries
from workflows.console import OUTPUT

Bounds = tuple[float, float, float, float]
HEAD = (
    "# Target grids of the configs in this folder: bounds are west, south, east and north in units"
    " of the CRS.\n"
)
MOST_DEGREES = 360.0


def new_grid(
    name: str,
    crs: str | None,
    bounds: Bounds | None,
    resolution: float | None,
    like: Path | None,
    degrees: bool,
) -> TargetGrid:
    """The grid that the options describe; `InputError` with all that is missing or contradicts."""
    if like is not None:
        if crs or bounds or resolution:
            raise bad_input("--like", "together with --crs, --bounds or --resolution",
                            "the grid of the file alone")  # fmt: skip
        return TargetGrid.like(like, name)
    faults = Faults()
    for option, value in (("--crs", crs), ("--bounds", bounds), ("--resolution", resolution)):
        if value is None:
            faults.add(
                option,
                "nothing",
                "a value, as in `--crs EPSG:3035 --bounds 4400000 2600000"
                " 4500000 2700000 --resolution 1000`",
                "Or name a file: `--like FILE`.",
            )
    faults.raise_if_any()
    assert crs is not None
    assert bounds is not None
    assert resolution is not None
    checked_crs(crs, f'grid "{name}"')
    if degrees:
        return grid_around(name, crs, bounds, resolution)
    if not is_geographic_crs(crs) and max(map(abs, bounds)) <= MOST_DEGREES:
        raise bad_input(
            "--bounds",
            "{:g} {:g} {:g} {:g}".format(*bounds),
            f"coordinates of {crs}",
            "If these are degrees, add `--degrees`.",
        )
    return TargetGrid.from_bounds(name, crs, bounds, resolution)


def grid_text(grid: TargetGrid) -> str:
    """A grid as an entry of `grids.yml`."""
    west, south, east, north = (plain(edge) for edge in grid.bounds)
    size = plain(grid.dx) if grid.dx == grid.dy else [plain(grid.dx), plain(grid.dy)]
    entry: dict[str, Any] = {"crs": grid.crs, "bounds": [west, south, east, north],
                             "resolution": size}  # fmt: skip
    try:
        TargetGrid.from_bounds(grid.name, grid.crs, grid.bounds, (grid.dx, grid.dy))
    except InputError:
        entry = {"crs": grid.crs, "origin": [west, north], "shape": list(grid.shape),
                 "resolution": size}  # fmt: skip
    return f"{flow(grid.name)}: {flow(entry)}\n"


def add_grid(grid: TargetGrid, file: Path) -> dict[str, Any]:
    """Add a grid to a file; returns what was added. `InputError` where the file has its name."""
    add_entries(file, {grid.name: grid_text(grid)}, "grids", HEAD)
    return grid_document(grid, file)


def grid_document(grid: TargetGrid, file: Path) -> dict[str, Any]:
    """A grid as plain values; docs/json.md describes every key."""
    return {
        "file": str(file),
        "name": grid.name,
        "crs": grid.crs,
        "bounds": [float(edge) for edge in grid.bounds],
        "resolution": [float(grid.dx), float(grid.dy)],
        "shape": [int(side) for side in grid.shape],
    }


def print_grid(document: dict[str, Any]) -> None:
    """Print the result of `add_grid`, and how a config names the grid."""
    rows, cols = document["shape"]
    bounds = "{:g} to {:g} and {:g} to {:g}".format(*[document["bounds"][i] for i in (0, 2, 1, 3)])
    OUTPUT.plain(f"{document['file']}: {document['name']}, {rows} by {cols} cells, {bounds} in "
                 f"{document['crs']}")  # fmt: skip
    OUTPUT.plain(
        f"a config in that folder names it: `cubes: {{map: {{grid: {document['name']}}}}}`"
    )
