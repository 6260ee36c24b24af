"""A tile of a cube: every source read in its window, canonicalised, regridded, written in shards.

Upstream: a run's sources and target grid. Downstream: regrid.py runs it on all tiles of a cube.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults
from pipeline.cube.cost import shard_bytes
from pipeline.cube.open import open_cube, read_store
from pipeline.cube.template import TIME_CHUNK, CubeTemplate, CubeVariable, cube_template
from pipeline.cube.write import merged_summary, write_tile
from pipeline.entries.source import Source, Variable
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import Tile, padded_window
from pipeline.grid.window import source_window
from pipeline.regrid.fill import fill_gaps
from pipeline.regrid.points import regrid_points
from pipeline.regrid.regrid import regrid
from pipeline.regrid.terrain import terrain
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import open_source

TERRAIN_MARGIN = 2.0
SHARD_BYTES = 1 << 28
"""Of values in one shard, at most, unless a config says otherwise."""


@dataclass(frozen=True)
class RegridTask:
    """What a worker needs to fill any tile of one cube; small enough to travel with each task."""

    store: Path
    grid: TargetGrid
    sources: tuple[Source, ...]
    variables: Mapping[str, Variable]
    terrain_from: str | None = None
    points: Path | None = None
    max_distance_km: float = 10.0
    fill_distance: int = 0
    """Cells; gaps of inputs up to this wide are filled where there is land."""
    land_fraction: str | None = None
    min_land_fraction: float = 0.5
    target: str = ""
    """Never filled: a model must not be judged by what was made up."""
    site_variables: Mapping[str, CubeVariable] = field(default_factory=dict)
    """Of the cube too, but filled from sites when all tiles are there."""

    @property
    def is_whole(self) -> bool:
        """Whether all sources of a tile have to be there at once."""
        return bool(self.fill_distance) or self.points is not None


def canonical_source(task: RegridTask, source: Source, grid: TargetGrid) -> xr.Dataset:
    """What of a source `grid` needs, in canonical form."""
    # Slopes at the edge of a tile need the elevation beyond it.
    margin = TERRAIN_MARGIN if source.name == task.terrain_from else None
    ds = open_source(source, partial(source_window, grid), margin)
    return canonicalise(ds, source, task.variables)


def regrid_canonical(
    task: RegridTask, source: Source, ds: xr.Dataset, grid: TargetGrid
) -> xr.Dataset:
    """A canonical source on `grid`, dims (time, y, x) or (y, x), with its coverage."""
    result = regrid(ds, grid, source.method, source.min_coverage, require_overlap=False, threads=1)
    if source.name == task.terrain_from:
        slopes = terrain(ds[next(iter(source.variables))])
        derived = regrid(
            slopes, grid, "mean", source.min_coverage, require_overlap=False, threads=1
        )
        result = result.merge(derived, compat="override", join="exact")
    return result


def regrid_source(task: RegridTask, source: Source, grid: TargetGrid) -> xr.Dataset:
    """One source on `grid`, dims (time, y, x) or (y, x), with its coverage."""
    return regrid_canonical(task, source, canonical_source(task, source, grid), grid)


def source_blocks(
    task: RegridTask, source: Source, grid: TargetGrid, steps: int
) -> Iterator[xr.Dataset]:
    """One source on `grid`, `steps` times after another; what has no time is in the first."""
    ds = canonical_source(task, source, grid)
    fixed = [name for name, da in ds.data_vars.items() if "time" not in da.dims]
    for start in range(0, ds.sizes.get("time", 1), steps):
        part = ds.isel(time=slice(start, start + steps)) if "time" in ds.dims else ds
        yield regrid_canonical(task, source, part.drop_vars(fixed) if start else part, grid)


def regrid_window(task: RegridTask, grid: TargetGrid) -> xr.Dataset:
    """Every source on `grid`."""
    if task.points is not None:
        points = open_cube(task.points).load()
        return regrid_points(
            points, grid, max_distance_km=task.max_distance_km, require_overlap=False
        )
    parts = [regrid_source(task, source, grid) for source in task.sources]
    return xr.merge(parts, compat="override", join="exact", combine_attrs="override")


def filled_window(task: RegridTask, grid: TargetGrid) -> xr.Dataset:
    """Every source on `grid`, small gaps of inputs on land filled; `input_is_filled` says where."""
    ds = regrid_window(task, grid)
    if not task.fill_distance or task.points is not None:
        return ds
    land = np.ones(grid.shape, bool)
    if task.land_fraction:
        land = ds[task.land_fraction].values >= task.min_land_fraction
    inputs = ds.drop_vars([task.target], errors="ignore")
    filled, masks = fill_gaps(inputs, land, task.fill_distance)
    flag = np.zeros(grid.shape, np.uint8)
    for mask in masks.data_vars.values():
        flag |= mask.values.reshape(-1, *grid.shape).any(0).astype(np.uint8)
    about = {"long_name": "an input was missing and took the nearest value", "flag_values": [0, 1],
             "flag_meanings": "no yes"}  # fmt: skip
    kept = [name for name in ds.data_vars if name not in filled]
    return filled.merge(ds[kept]).assign(input_is_filled=(("y", "x"), flag, about))


def regrid_tile(task: RegridTask, tile: Tile) -> dict[str, Any]:
    """Fill one tile of the cube; gives valid cells, minimum and maximum of each variable.

    Source by source and shard by shard in time, so that memory does not grow with either; only
    where gaps are filled, which looks at all of them, everything is held at once.
    """
    own = task.grid.window(tile.rows, tile.cols)
    if task.is_whole:
        grid, core = padded_window(task.grid, tile, task.fill_distance)
        ds = filled_window(task, grid).isel(y=core.rows, x=core.cols)
        # The tile's own coordinates: those of a halo across the seam are a turn away.
        return write_tile(task.store, tile, ds.assign_coords(y=own.y, x=own.x))
    steps = read_store(task.store).time_shard
    summary: dict[str, dict[str, Any]] = {}
    for source in task.sources:
        for block in source_blocks(task, source, own, steps):
            for name, part in write_tile(task.store, tile, block).items():
                summary[name] = merged_summary(summary[name], part) if name in summary else part
    return summary


def template_of(
    task: RegridTask, tile: tuple[int, int], time_shard: int | None = None
) -> CubeTemplate:
    """The cube's template: what regridding gives for one cell says names, dims and attributes.

    Where sources are taken one by one, a first time step is enough. Shards are cut in time at
    `time_shard` steps, by default where they reach `SHARD_BYTES`. `InputError` where sources
    differ in their times.
    """
    cell = middle_cell(task.grid)
    if task.is_whole:
        probe = filled_window(task, cell)
        time = probe["time"] if "time" in probe.coords else None
    else:
        opened = [canonical_source(task, source, cell) for source in task.sources]
        time = common_times(task.sources, opened)
        first = first_steps(task, opened, cell)
        probe = xr.merge(first, compat="override", join="exact", combine_attrs="override")
    variables = {
        str(name): CubeVariable(
            tuple(str(dim) for dim in da.dims),
            "uint8" if da.dtype == np.uint8 else "float32",
            {key: value for key, value in da.attrs.items() if key != "grid_mapping"},
        )
        for name, da in probe.data_vars.items()
    } | dict(task.site_variables)
    if time_shard is None and not task.is_whole:
        time_shard = max(1, SHARD_BYTES // (4 * tile[0] * tile[1] * TIME_CHUNK)) * TIME_CHUNK
    return cube_template(task.grid, time, variables, tile, time_shard=time_shard)


def middle_cell(grid: TargetGrid) -> TargetGrid:
    """One cell, which tells what any other would."""
    rows, cols = (slice(size // 2, size // 2 + 1) for size in grid.shape)
    return grid.window(rows, cols)


def first_steps(
    task: RegridTask, opened: Sequence[xr.Dataset], cell: TargetGrid
) -> list[xr.Dataset]:
    """Each canonical source on one cell, at its first time."""
    return [
        regrid_canonical(task, source, ds.isel(time=[0]) if "time" in ds.dims else ds, cell)
        for source, ds in zip(task.sources, opened, strict=True)
    ]


def held_bytes(task: RegridTask, template: CubeTemplate) -> int | None:
    """Most bytes of regridded values that a tile holds at once: a shard of every variable of one
    source; None where it holds everything.
    """
    if task.is_whole:
        return None
    cell = middle_cell(task.grid)
    opened = [canonical_source(task, source, cell) for source in task.sources]
    return max(
        sum(shard_bytes(template, str(name)) for name in ds.data_vars)
        for ds in first_steps(task, opened, cell)
    )


def common_times(sources: Sequence[Source], opened: Sequence[xr.Dataset]) -> xr.DataArray | None:
    """The one time axis of all sources that have one; `InputError` naming those that differ."""
    series = [
        (source, ds["time"])
        for source, ds in zip(sources, opened, strict=True)
        if "time" in ds.dims
    ]
    if not series:
        return None
    (first, time), faults = series[0], Faults()
    for source, own in series[1:]:
        if not np.array_equal(own.values, time.values):
            found, expected, cure = _difference(own.values, time.values)
            faults.add(
                f'source "{source.name}", {source.files[0]}: time', found,
                f'the times of source "{first.name}": {expected}', cure,
            )  # fmt: skip
    faults.raise_if_any()
    return time


def _difference(own: np.ndarray, other: np.ndarray) -> tuple[str, str, str]:
    """Two time axes in words, with the first step that only one has, and what to do."""
    begin, end = max(own[0], other[0]), min(own[-1], other[-1])
    odd = np.setxor1d(own, other)
    inside = odd[(odd >= begin) & (odd <= end)]
    if begin <= end and not inside.size:
        cure = "Cut the longer one with `time: {period: [first day, last day]}` in its entry."
        return _span(own), _span(other), cure
    step = inside[0] if inside.size else odd[0]
    here, there = ("with", "without") if step in own else ("without", "with")
    return (
        f"{_span(own)}, {here} {_text(step)}", f"{_span(other)}, {there} {_text(step)}",
        "Give both the same steps; months must be stamped on the same day.",
    )  # fmt: skip


def _span(times: np.ndarray) -> str:
    return f"{times.size} steps from {_text(times[0])} to {_text(times[-1])}"


def _text(time: np.datetime64) -> str:
    return str(time.astype("datetime64[m]")).removesuffix("T00:00")
