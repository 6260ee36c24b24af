"""The plan of a run and its cost: `stefaland plan CONFIG`.

Lists stages, tiles, bytes, memory and time, and refuses what does not fit this machine.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline.build import template_of
from pipeline.core.errors import Fault, InputError
from pipeline.cube.cost import Plan, check_plans, plan_cube, plan_table, probe
from pipeline.cube.open import stored_tile
from pipeline.cube.template import CubeTemplate, cube_template
from pipeline.execution.cluster import worker_count, worker_memory
from pipeline.grid.tiles import default_tile
from pipeline.grid.window import source_window
from pipeline.regrid_blocks import BLOCK_BYTES, SourceBlocks, sources_in_blocks
from pipeline.regrid_tile import RegridTask, filled_window
from pipeline.sources.open import read_bytes
from workflows.console import REPORT, faults_document
from workflows.fingerprints import NEEDS, stages_after
from workflows.inputs.memory import block_limit, memory_needs, middle_tile
from workflows.products.predicted_maps import QUALITY_FLAG
from workflows.run import Run
from workflows.stages import check
from workflows.stages.order import stage_module, stage_state
from workflows.stages.regrid import regrid_task

PIECE = 4
"""Divisor of a tile's rows and columns: that piece is timed and scaled up to the whole tile."""

TIMED_SECONDS, MOST_TIMED = 0.5, 32
"""Time in which, about, the steps of a series could be read one by one that are timed at once."""


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """The stages of a run, the cost of its cubes, and the faults where it exceeds this machine."""

    name: str
    stages: tuple[tuple[str, str], ...]
    """Each stage and its planned state: it would run, or be skipped."""
    cubes: tuple[Plan, ...]
    memory: int
    """Bytes that one worker may use."""
    disk: int
    """Free bytes of the run folder's disk."""
    faults: tuple[Fault, ...]


def plan_run(run: Run, first: str, last: str) -> RunPlan:
    """The plan of a run's stages from `first` to `last`; `InputError` where its input is bad."""
    for name in (first, last):
        stage_module(name)
    check.main(run)
    names = list(NEEDS)
    folder, cluster = _existing(run.folder), run.config.cluster
    chosen = names[names.index(first) : names.index(last) + 1]
    states, plans = check.within_limit(run, "plan", lambda: (
        planned_states(run, chosen),
        cube_plans(gridded_cubes(run), worker_count(cluster), folder, block_limit(cluster)),
    ))  # fmt: skip
    memory, disk = worker_memory(cluster), shutil.disk_usage(folder).free
    faults: tuple[Fault, ...] = ()
    try:
        check_plans(plans, memory, disk)
    except InputError as error:
        faults = error.faults
    cubes = tuple(plan for plan, _ in plans)
    return RunPlan(
        name=run.config.name,
        stages=tuple(states),
        cubes=cubes,
        memory=memory,
        disk=disk,
        faults=faults,
    )


GriddedCube = tuple[str, CubeTemplate, RegridTask | None]
"""Name, template and regridding task of a cube; no task where points are interpolated."""


def gridded_cubes(run: Run) -> Iterator[GriddedCube]:
    """Every gridded cube that the regrid stage fills."""
    for cube, spec in run.config.cubes.items():
        if not spec.grid:
            continue
        if spec.points_from:
            names = {run.config.inputs.target: QUALITY_FLAG}
            grid = run.grid(cube)
            tile = spec.tile or stored_tile(run.cube(cube), grid) or default_tile(grid.shape)
            yield cube, cube_template(grid, None, names, tile), None
        else:
            task = regrid_task(run, cube)
            yield cube, template_of(task, spec.tile, spec.time_shard), task


def cube_plans(
    cubes: Iterable[GriddedCube], workers: int, folder: Path, most: int = BLOCK_BYTES
) -> list[tuple[Plan, CubeTemplate]]:
    """The plan of every cube, with its template; `folder` lies on the disk that is written to.

    Times and memory are estimated from the source windows and a part of the middle tile; those of
    sources that are read in blocks, of at most `most` bytes, from what they decode.
    """
    plans = []
    rates = None
    for cube, template, task in cubes:
        seconds, size, decoded = None, 0, 0
        needs: dict[str, Any] = {}
        if task is not None:
            blocks = sources_in_blocks(task, template, template.tiles, most)
            size = files_bytes(task, template, [one.source for one in blocks])
            decoded = sum(one.decoded_bytes for one in blocks)
            seconds = tile_seconds(read_by_tiles(task, blocks), template)
            needs = memory_needs(task, template, most)
        # The chunks of one cube suffice to measure the rates of this machine, in under a second.
        rates = rates or probe(template, folder)
        plan = plan_cube(
            cube, template, size, workers, rates,
            tile_seconds=seconds, decoded_bytes=decoded, **needs,
        )  # fmt: skip
        plans.append((plan, template))
    return plans


def read_by_tiles(task: RegridTask, blocks: Sequence[SourceBlocks]) -> RegridTask:
    """The task with only the sources that each tile reads itself."""
    if not blocks:
        return task
    known = {one.source for one in blocks}
    left = tuple(source for i, source in enumerate(task.sources) if i not in known)
    return replace(task, sources=left, filling=None)


def files_bytes(task: RegridTask, template: CubeTemplate, in_blocks: Sequence[int] = ()) -> int:
    """Estimated bytes of source files that all tiles read, and the blocks of some sources."""
    window = partial(source_window, task.grid)
    return sum(
        read_bytes(source, window, (1, 1) if index in in_blocks else template.counts)
        for index, source in enumerate(task.sources)
    )


def tile_seconds(task: RegridTask, template: CubeTemplate) -> float:
    """Seconds to regrid a tile: opening the sources, and a piece of the middle tile scaled up.

    Of long series the first steps are timed, by their number as the time of one step allows. None
    are needed where all sources are read in blocks.
    """
    if not task.sources:
        return 0.0
    tile = middle_tile(template)
    height, width = (max(1, size // PIECE) for size in tile.shape)

    def seconds_for(rows: int, cols: int, steps: int) -> float:
        top, left = tile.rows.start, tile.cols.start
        grid = task.grid.window(slice(top, top + rows), slice(left, left + cols))
        began = time.perf_counter()
        filled_window(task, grid, steps)
        return time.perf_counter() - began

    every = 1 if template.time is None else template.time.size
    seconds_for(height, width, 1)  # The first call compiles and is not timed.
    opening = seconds_for(1, 1, 1)
    steps = min(every, MOST_TIMED, max(2, int(TIMED_SECONDS / max(opening, 1e-3))))
    reading, piece = seconds_for(1, 1, steps), seconds_for(height, width, steps)
    share = tile.shape[0] * tile.shape[1] / (height * width)
    seconds = opening + max(0.0, reading - opening) * (every - 1) / max(1, steps - 1)
    return seconds + max(0.0, piece - reading) * share * every / steps


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    return next(path for path in (folder, *folder.resolve().parents) if path.is_dir())


def planned_states(run: Run, names: Sequence[str]) -> list[tuple[str, str]]:
    """Each stage and its planned state; the stages after one that would run would run too."""
    again: set[str] = set()
    states = []
    for name in names:
        skipped = run.resume and name not in again and stage_state(run, name).is_finished
        if name != "check" and not skipped:
            again.update(stages_after(name))
        words = "finished, skipped" if skipped else "would run"
        states.append((name, "always runs" if name == "check" else words))
    return states


def plan_document(plan: RunPlan) -> dict[str, Any]:
    """A plan as plain values; docs/json.md describes every key."""
    return {
        "run": plan.name,
        "stages": [{"name": name, "state": state} for name, state in plan.stages],
        "cubes": [_cube(cube) for cube in plan.cubes],
        "worker_memory_bytes": plan.memory,
        "disk_free_bytes": plan.disk,
        **faults_document(InputError(plan.faults)),
    }


def _cube(plan: Plan) -> dict[str, Any]:
    return {
        "name": plan.name,
        "tiles": plan.tiles,
        "tasks": plan.tasks,
        "read_bytes": plan.bytes_read,
        "value_bytes": plan.bytes_values,
        "stored_bytes": plan.bytes_stored,
        "files": plan.inodes,
        "largest_file_bytes": plan.largest_shard,
        "worker_memory_bytes": plan.memory,
        "seconds": plan.seconds,
    }


def print_plan(plan: RunPlan) -> None:
    """Print the stages and cubes of a plan as tables."""
    table = Table("stage", "state", title=f"{plan.name}: what would run")
    for name, state in plan.stages:
        table.add_row(name, state)
    REPORT.print(table)
    REPORT.print(plan_table(plan.cubes))
    if plan.faults:
        REPORT.print("this plan does not fit this machine")
