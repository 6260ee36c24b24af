"""check_on_grids(): whether a source is as its entry says where target grids need it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from pipeline.core.errors import Faults
from pipeline.entries.source import Source, Variable
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.window import source_window
from pipeline.sources.check_metadata import SourceInfo
from pipeline.sources.crop import Window
from pipeline.sources.open import check_source


def check_on_grids(
    source: Source,
    grids: Mapping[str, TargetGrid],
    variables: Mapping[str, Variable],
    faults: Faults,
    *,
    values: bool = True,
) -> SourceInfo | None:
    """Compare a source with its entry within the target grids, as `check_source` does.

    Adds a fault too for each grid without any area of the source. Its text begins with the key of
    the grid.
    """
    before = len(faults.faults)
    info = check_source(source, faults, variables, partial(_windows, grids), values=values)
    # A CRS in doubt is one fault, not one more a grid.
    if info is not None and not any(f.where.endswith(": crs") for f in faults.faults[before:]):
        for label, grid in grids.items():
            where = f'{label}source "{source.name}", {source.address}'
            check_overlap(grid, info, faults, where)
    return info


def _windows(grids: Mapping[str, TargetGrid], crs: str) -> list[Window]:
    """Return the windows of a source in `crs` that the grids need."""
    return [source_window(grid, crs) for grid in grids.values()]


def check_overlap(grid: TargetGrid, info: SourceInfo, faults: Faults, where: str) -> None:
    """Add a fault if the source and the grid have no area in common: all its cells were missing."""
    needed = source_window(grid, info.crs)
    if not _meet(needed, info.bounds):
        faults.add(
            where, f"a grid of {_listed(needed)} outside the source's {_listed(info.bounds)}",
            "a grid that the source covers at least in part",
            f"Choose another grid or another source, or correct `crs` ({info.crs}): its units "
            "are those of the source's coordinates.",
        )  # fmt: skip


def _meet(needed: Window, covered: Window) -> bool:
    west, south, east, north = needed
    if north <= covered[1] or south >= covered[3]:
        return False
    turns = (-360.0, 0.0, 360.0) if covered[2] - covered[0] <= 360.0 else (0.0,)
    return any(west + turn < covered[2] and east + turn > covered[0] for turn in turns)


def _listed(bounds: Window) -> str:
    return "({:g}, {:g}, {:g}, {:g})".format(*bounds)
