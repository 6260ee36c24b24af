"""check_overlap(): whether a source covers any part of a target grid."""

from __future__ import annotations

from pipeline.core.errors import Faults
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.window import source_window
from pipeline.sources.check_metadata import SourceInfo
from pipeline.sources.crop import Window


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
