"""regrid_tile(): the work on one tile of a cube, described by a `RegridTask`.

Every source is read in the tile's window, canonicalised, regridded and written in whole shards.
`pipeline.build` creates the cube and goes through its tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.climate.derived import NOTHING, Derived
from pipeline.core.files import version_of
from pipeline.cube.open import open_cube, read_store
from pipeline.cube.scratch import Scratch, ScratchLostError
from pipeline.cube.template import CubeVariable
from pipeline.cube.write import merged_summary, write_tile
from pipeline.entries.source import Source, Variable
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import Tile, padded_window
from pipeline.grid.window import source_window
from pipeline.regridding.fill import GapFilling, with_gaps_filled
from pipeline.regridding.merge import Part, domain_of, extent_of, merged
from pipeline.regridding.points import regrid_points
from pipeline.regridding.regrid import regrid
from pipeline.regridding.terrain import terrain
from pipeline.sources.canonical import LOAD_BYTES
from pipeline.sources.parts import (
    SourcePart,
    at_steps,
    canonical_parts,
    in_steps,
    is_whole,
    on_times,
    times_of,
)

TERRAIN_MARGIN = 2.0
"""Margin of the elevation window around a tile, in source cells, for slopes at the tile's edge."""
ALL = slice(0, None)


@dataclass(frozen=True)
class SitePoints:
    """A store of locations whose sites are interpolated onto a grid."""

    store: Path
    max_distance_km: float = 10.0


@dataclass(frozen=True)
class RegridTask:
    """Description of one cube from which a worker fills any tile; small enough for each task."""

    store: Path
    grid: TargetGrid
    sources: tuple[Source, ...]
    variables: Mapping[str, Variable]
    _: KW_ONLY
    terrain_from: str | None = None
    """Elevation source from which slope, aspect and curvature are derived before regridding."""
    points: SitePoints | None = None
    """Store of sites to interpolate instead of reading the sources."""
    filling: GapFilling | None = None
    site_variables: Mapping[str, CubeVariable] = field(default_factory=dict)
    """Further variables of the cube, filled from sites after all tiles are done."""
    derived: Derived = NOTHING
    """Variables that are derived from the forcings of each tile."""

    @property
    def is_whole(self) -> bool:
        """Whether all sources of a tile are needed at once."""
        return self.filling is not None or self.points is not None


def canonical_source(
    task: RegridTask, source: Source, grid: TargetGrid, load_bytes: int = LOAD_BYTES
) -> list[SourcePart]:
    """The parts of a source that `grid` needs, each in canonical form; lazy above `load_bytes`."""
    # Slopes at the edge of a tile need the elevation beyond it.
    margin = TERRAIN_MARGIN if source.name == task.terrain_from else None
    window = partial(source_window, grid)
    return canonical_parts(source, task.variables, window, margin, load_bytes)


def regrid_canonical(
    source: Source, ds: xr.Dataset, grid: TargetGrid, has_terrain: bool = False,
    min_coverage: float | None = None,
) -> xr.Dataset:  # fmt: skip
    """A canonical source on `grid`, dims (time, y, x) or (y, x), with its coverage."""
    least = source.min_coverage if min_coverage is None else min_coverage
    result = regrid(ds, grid, source.method, least, require_overlap=False, threads=1)
    if has_terrain:
        slopes = terrain(ds[next(iter(source.variables))])
        derived = regrid(slopes, grid, "mean", least, require_overlap=False, threads=1)
        result = result.merge(derived, compat="override", join="exact")
    return result


def regrid_parts(
    task: RegridTask, source: Source, parts: Sequence[SourcePart], grid: TargetGrid,
    steps: slice = ALL, extents: Callable[[int], np.ndarray] | None = None, fits: bool = False,
) -> xr.Dataset:  # fmt: skip
    """Some times of a source with these parts on `grid`; variables without time with the first.

    `extents` returns the `extent_of` of the part at a position, which all times share. What `fits`
    into memory is read at once where the method would read it twice.
    """
    known = extents or extents_of(parts, grid)
    times, has_terrain = times_of(source, parts), source.name == task.terrain_from
    if is_whole(parts, times):
        ds = in_steps(parts[0].ds, steps)
        if fits and parts[0].source.method == "circular_mean":
            ds = ds.compute()
        return regrid_canonical(parts[0].source, ds, grid, has_terrain)
    blocks = ((i, part, at_steps(part.ds, times, steps)) for i, part in enumerate(parts))
    return merged(
        Part(
            ds=on_times(regrid_canonical(one.source, ds, grid, has_terrain, 0.0), times, steps),
            extent=known(index),
            min_coverage=one.source.min_coverage,
            method=one.source.method,
            domain=domain_of(ds),
        )
        for index, one, ds in blocks
        if ds.data_vars
    )


def extents_of(parts: Sequence[SourcePart], grid: TargetGrid) -> Callable[[int], np.ndarray]:
    """The function that returns the `extent_of` of the part at a position, computed once."""
    return cache(lambda index: extent_of(parts[index].ds, grid, parts[index].source.method))


def regrid_source(
    task: RegridTask, source: Source, grid: TargetGrid, steps: int | None = None
) -> xr.Dataset:
    """One source on `grid`, dims (time, y, x) or (y, x), with its coverage.

    Only the first `steps` times are read if they are given.
    """
    if steps is None:
        return regrid_parts(task, source, canonical_source(task, source, grid), grid)
    parts = canonical_source(task, source, grid, load_bytes=0)
    return regrid_parts(task, source, parts, grid, slice(0, steps))


def source_blocks(
    task: RegridTask, source: Source, grid: TargetGrid, steps: int, scratch: Scratch | None = None
) -> Iterator[xr.Dataset]:
    """One source on `grid`, in blocks of `steps` times; variables without time are in the first.

    What `scratch` has is not read from the source again.
    """

    @cache
    def opened() -> tuple[list[SourcePart], xr.DataArray | None, Callable[[int], np.ndarray]]:
        parts = canonical_source(task, source, grid)
        return parts, times_of(source, parts), extents_of(parts, grid)

    has_times = None if scratch is None else scratch.has_times(task.sources.index(source))
    times = opened()[1] if has_times is None else cube_times(task) if has_times else None
    for start in range(0, 1 if times is None else times.size, steps):
        block = slice(start, start + steps)
        found = from_scratch(task, source, grid, block, scratch)
        if found is None:
            parts, _, extents = opened()
            found = regrid_parts(task, source, parts, grid, block, extents)
        # What is no longer needed is not held while the next block is read.
        yield found
        del found


def cube_times(task: RegridTask) -> xr.DataArray | None:
    """The times of the task's cube, None without."""
    return _cube_times(task.store, version_of(task.store / "zarr.json"))


@lru_cache(maxsize=4)
def _cube_times(store: Path, stamp: tuple[int, ...]) -> xr.DataArray | None:
    ds = open_cube(store)
    return ds["time"].load() if "time" in ds.coords else None


def from_scratch(
    task: RegridTask, source: Source, grid: TargetGrid, steps: slice, scratch: Scratch | None
) -> xr.Dataset | None:
    """Some times of a source on `grid` from its blocks; None where they are not there or lost."""
    if scratch is None or not scratch.blocks:
        return None
    try:
        return scratch.read(task.sources.index(source), grid, steps, cube_times(task))
    except ScratchLostError:
        return None


def regrid_window(
    task: RegridTask, grid: TargetGrid, steps: int | None = None, scratch: Scratch | None = None
) -> xr.Dataset:
    """Every source on `grid`, of which only the first `steps` times are read if they are given."""
    if task.points is not None:
        points, reach = open_cube(task.points.store).load(), task.points.max_distance_km
        # The cells have the climate of their own forcings, not a mean of that of sites.
        points = points.drop_vars(task.derived.names, errors="ignore")
        return regrid_points(points, grid, max_distance_km=reach, require_overlap=False)
    results = [
        regrid_source(task, source, grid, steps) if found is None else found
        for source in task.sources
        for found in (from_scratch(task, source, grid, ALL, scratch),)
    ]
    return xr.merge(results, compat="override", join="exact", combine_attrs="override")


def filled_window(
    task: RegridTask, grid: TargetGrid, steps: int | None = None, scratch: Scratch | None = None
) -> xr.Dataset:
    """Every source on `grid` with small gaps on land filled, and the mask `input_is_filled`.

    Only the first `steps` times are read if they are given.
    """
    ds = regrid_window(task, grid, steps, scratch)
    if task.filling is None or task.points is not None:
        return ds
    return with_gaps_filled(ds, task.filling)


def regrid_tile(task: RegridTask, tile: Tile, scratch: Scratch | None = None) -> dict[str, Any]:
    """Fill one tile of the cube; returns the summary of each variable (see `write_tile`).

    Sources and shards of times are processed one by one, so that memory does not grow with their
    number; only filling of gaps, which needs all of them, holds everything at once. What is
    derived comes last, from the forcings as the tile has them. Sources of which `scratch` has
    blocks are not read.
    """
    window = task.grid.window(tile.rows, tile.cols)
    if task.is_whole:
        halo = task.filling.distance if task.filling else 0
        grid, core = padded_window(task.grid, tile, halo)
        ds = filled_window(task, grid, scratch=scratch).isel(y=core.rows, x=core.cols)
        ds = task.derived.added(ds, window.lonlat(), task.store.stem)
        # The coordinates of the tile: those of a halo across the seam differ by 360 degrees.
        return write_tile(task.store, tile, ds.assign_coords(y=window.y, x=window.x))
    steps = read_store(task.store).time_shard
    summary: dict[str, dict[str, Any]] = {}
    for source in task.sources:
        for block in source_blocks(task, source, window, steps, scratch):
            for name, part in write_tile(task.store, tile, block).items():
                summary[name] = merged_summary(summary[name], part) if name in summary else part
    if task.derived:
        own = open_cube(task.store).isel(y=tile.rows, x=tile.cols)
        for block in task.derived.blocks(own, window.lonlat(), task.store.stem, steps):
            at = block.assign_coords(y=window.y, x=window.x)
            for name, part in write_tile(task.store, tile, at).items():
                summary[name] = merged_summary(summary[name], part) if name in summary else part
    return summary
