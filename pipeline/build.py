"""Cubes of sources on a target grid: created whole, and filled tile by tile (`regrid_tile`).

`build_cube` does so without a run; the stage `regrid` calls `fill_cube`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.catalog.catalog import read_variables
from pipeline.climate.derived import NOTHING, Derived
from pipeline.core.errors import Faults, bad_input
from pipeline.core.plugins import plugin_digests
from pipeline.core.provenance import fingerprint, provenance
from pipeline.cube.cost import shard_bytes
from pipeline.cube.integrity import repeat_lost
from pipeline.cube.open import open_cube, stored_tile
from pipeline.cube.template import TIME_CHUNK, CubeTemplate, CubeVariable, cube_template
from pipeline.cube.write import create_cube
from pipeline.entries.source import Source, Variable
from pipeline.execution.executor import HERE, Executor
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import StageReport, part_of, run_stage
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import default_tile
from pipeline.readers.registry import driver_of
from pipeline.regrid_blocks import BLOCK_BYTES, blocks_of, regrid_block, remove_blocks
from pipeline.regrid_tile import (
    RegridTask,
    canonical_source,
    filled_window,
    regrid_parts,
    regrid_tile,
)
from pipeline.regridding.fill import GapFilling
from pipeline.sources.common_times import common_times, within
from pipeline.sources.distinct import check_distinct
from pipeline.sources.overlap import check_on_grids
from pipeline.sources.parts import SourcePart, times_of
from pipeline.sources.versions.contents import read_contents, record_contents, replaced
from pipeline.sources.versions.unchanged import stamps_of, unchanged

MERGED_COPIES = 5
"""Copies of a shard's values while parts are merged: one part, the result, and sums in float64."""
CONTENTS = "sources.json"
"""File beside the markers of a cube with the digests of its source files."""
DONE = "done"
"""Name of the folder of the markers of blocks."""
SHARD_BYTES = 1 << 28
"""Largest size of the values of one shard, unless the config sets `time_shard`."""


def build_cube(
    path: str | Path,
    grid: TargetGrid,
    sources: Sequence[Source],
    *,
    time: tuple[date | str, date | str] | None = None,
    variables: Mapping[str, Variable] | None = None,
    tile: tuple[int, int] | None = None,
    time_shard: int | None = None,
    terrain_from: str | None = None,
    filling: GapFilling | None = None,
    derived: Derived = NOTHING,
    attrs: Mapping[str, Any] | None = None,
    executor: Executor = HERE,
) -> xr.Dataset:
    """The cube of `sources` on `grid` at `path`, dims (time, y, x) and (y, x), opened lazily.

    Every source is regridded by the method of its entry. `time` is the first and the last day of
    each series to use; it does not apply to climatologies. Slopes are derived from the source
    `terrain_from`. `variables` are the canonical variables, by default those of the packaged
    `variables.yml`; `derived` is what is derived of the forcings; `attrs` replace the root
    attributes, by default the provenance. Shards are tiles of `tile` (rows, cols), by default as
    `default_tile` chooses, and `time_shard` steps.

    Finished tiles are recorded in the folder `NAME.ledger` beside the cube: the same call again
    does the remaining tiles, and produces the same bytes. `InputError` for bad sources, whose files
    contradict their entries (`check_source` compares their values too), for sources of different
    times, and where `path` holds a cube of another grid, time or of other variables.

    >>> from tempfile import mkdtemp
    >>> folder, at = Path(mkdtemp()), np.arange(0.5, 4)
    >>> rain = xr.DataArray(np.ones((4, 4)), {"lat": at, "lon": at}, ("lat", "lon"), "rain")
    >>> rain.to_netcdf(folder / "rain.nc")
    >>> entry = {"name": "gauges", "uri": str(folder / "rain.nc"), "driver": "netcdf",
    ...          "variables": {"precipitation": {"name": "rain", "units": "mm/day"}}}
    >>> grid = TargetGrid.from_bounds("two", "EPSG:4326", (0, 0, 4, 4), 2.0)
    >>> cube = build_cube(folder / "cube.zarr", grid, [Source.model_validate(entry)])
    >>> cube["precipitation"].values.tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    path, faults = Path(path).resolve(), Faults()
    if not sources:
        faults.add("sources", "none", "at least one")
    check_distinct(sources, faults, terrain_from)
    _check_gridded(sources, faults)
    faults.raise_if_any()
    known = read_variables() if variables is None else variables
    used = tuple(within(source, time) for source in sources)
    for source in used:
        check_on_grids(source, {"": grid}, known, faults, values=False)
    faults.raise_if_any()
    task = RegridTask(
        path, grid, used, known, terrain_from=terrain_from, filling=filling, derived=derived
    )
    folder = path.with_suffix(".ledger")
    record_contents(folder / CONTENTS, task.sources)
    contents = read_contents(folder / CONTENTS)
    with unchanged(task.sources, contents):
        template = template_of(task, tile, time_shard)
        settings = {"tile": template.tile, "time_shard": time_shard, "terrain_from": terrain_from,
                    "filling": filling, **({"derived": derived} if derived else {})}  # fmt: skip
        if attrs is None:
            attrs = provenance(settings, {source.name: source for source in task.sources})
        ledger = Ledger(folder, _fingerprint(task, settings, replaced(contents)))
        fill_cube(task, template, ledger, attrs=attrs, executor=executor)
    return open_cube(path)


def _check_gridded(sources: Sequence[Source], faults: Faults) -> None:
    """Add a fault for each source of sites, which are no cells of a grid."""
    for source in sources:
        for part in source.parts:
            with faults.collecting():
                if driver_of(part).returns in ("sites", "network"):
                    raise bad_input(
                        f'source "{part.name}"', f"sites, as the driver {part.driver} reads",
                        "a source of a grid or of polygons",
                        "A run has them as `locations` of a cube or as `inputs.target_sites`.",
                    )  # fmt: skip


def _fingerprint(task: RegridTask, settings: Mapping[str, Any], contents: Mapping[str, str]) -> str:
    """Hash of all that determines the values of a cube of `build_cube`.

    `contents` are the digests of files that changed while their stamps stayed the same.
    """
    used = {name for source in task.sources for name in source.variables}
    return fingerprint(
        {
            "version": metadata.version("stefaland"),
            "plugins": plugin_digests(),
            "grid": task.grid.fingerprint,
            "sources": task.sources,
            "files": {source.name: stamps_of(source) for source in task.sources},
            "variables": {name: task.variables[name] for name in used & {*task.variables}},
            "settings": settings,
            **({"contents": contents} if contents else {}),
        }
    )


def fill_cube(
    task: RegridTask,
    template: CubeTemplate,
    ledger: Ledger,
    *,
    attrs: Mapping[str, Any],
    executor: Executor = HERE,
    part: tuple[int, int] = (1, 1),
    task_seconds: float | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> StageReport:
    """Create the task's cube where there is none, and fill its unfinished tiles (of `part`).

    Each may take `task_seconds`, as `run_stage` describes. The cube is as the `template`
    (`template_of`), with the root attributes `attrs`. Raises `StageError` with the faults of
    all tiles that failed, and `InputError` where the store holds a different cube.
    """
    create_cube(task.store, template, attrs)
    repeat_lost(task.store, ledger)
    name, done = f"regrid {task.store.stem}", ledger.open().names_done()
    left = [one for one in part_of(template.tiles, part) if one.name not in done]
    folder = f"{ledger.fingerprint}-{part[0]}of{part[1]}"
    with blocks_of(task, template, left, folder, block_bytes) as scratch:
        read = StageReport(0.0, 0)
        if scratch.blocks:
            # A tile whose block failed reads the source itself, and reports what is wrong with it.
            work = partial(regrid_block, task, scratch)
            read = run_stage(
                f"{name}, sources", scratch.blocks, work, Ledger(scratch.folder, DONE), executor,
                strict=False, task_seconds=task_seconds,
            )  # fmt: skip
        report = run_stage(
            name, template.tiles, partial(regrid_tile, task, scratch=scratch), ledger, executor,
            part=part, task_seconds=task_seconds,
        )  # fmt: skip
    names = {one.name for one in template.tiles}
    remove_blocks(task.store, lambda: names <= ledger.names_done())
    peak = max(read.peak_memory, report.peak_memory)
    return replace(report, seconds=read.seconds + report.seconds, peak_memory=peak)


def template_of(
    task: RegridTask, tile: tuple[int, int] | None, time_shard: int | None = None
) -> CubeTemplate:
    """The cube's template, with the names, dims and attributes of one regridded cell.

    Where sources are processed one by one, the first time step suffices. Without `tile`, tiles are
    those of the cube if there is one, so that it can be resumed, or else of `default_tile`. Shards
    have `time_shard` steps, by default as many as `SHARD_BYTES` allow. `InputError` where sources
    differ in their times.
    """
    cell = middle_cell(task.grid)
    if task.is_whole:
        probe = filled_window(task, cell)
        time = probe["time"] if "time" in probe.coords else None
    else:
        opened = [canonical_source(task, source, cell, 0) for source in task.sources]
        axes = map(times_of, task.sources, opened)
        time = common_times(
            task.sources, [xr.Dataset({} if t is None else {"time": t}) for t in axes]
        )
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
    dims = {name: variable.dims for name, variable in variables.items()}
    forcings, statics = task.derived.arrays(dims, time, task.store.stem)
    variables |= {n: CubeVariable(("time", "y", "x"), attrs=attrs) for n, attrs in forcings.items()}
    variables |= {n: CubeVariable(("y", "x"), attrs=attrs) for n, attrs in statics.items()}
    if tile is None:
        steps = 1 if time is None else time.size
        tile = stored_tile(task.store, task.grid) or default_tile(task.grid.shape, steps)
    if time_shard is None and not task.is_whole:
        time_shard = max(1, SHARD_BYTES // (4 * tile[0] * tile[1] * TIME_CHUNK)) * TIME_CHUNK
    return cube_template(task.grid, time, variables, tile, time_shard=time_shard)


def middle_cell(grid: TargetGrid) -> TargetGrid:
    """The middle cell of the grid, which stands for any other in a trial."""
    rows, cols = (slice(size // 2, size // 2 + 1) for size in grid.shape)
    return grid.window(rows, cols)


def first_steps(
    task: RegridTask, opened: Sequence[Sequence[SourcePart]], cell: TargetGrid
) -> list[xr.Dataset]:
    """Each source, of which these are the parts, regridded to one cell at its first time."""
    return [
        regrid_parts(task, source, parts, cell, slice(0, 1))
        for source, parts in zip(task.sources, opened, strict=True)
    ]


def held_bytes(task: RegridTask, template: CubeTemplate) -> int | None:
    """Largest size of the regridded values that a tile holds at once: a shard of each variable of
    one source; None where it holds everything.
    """
    if task.is_whole:
        return None
    cell = middle_cell(task.grid)
    opened = [canonical_source(task, source, cell, 0) for source in task.sources]
    return max(
        sum(shard_bytes(template, str(name)) for name in ds.data_vars)
        * (MERGED_COPIES if source.merge or len(parts) > 1 else 1)
        for source, parts, ds in zip(
            task.sources, opened, first_steps(task, opened, cell), strict=True
        )
    )
