"""stefaland plan workflows/configs/quickstart.yml

What would run and what it costs: stages, tiles, bytes, memory; refused where it does not fit.
"""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path

from rich.table import Table

from pipeline.cluster import worker_count, worker_memory
from pipeline.plan import Plan, check_plans, plan_cube, plan_table, probe
from pipeline.sources import open_source
from pipeline.template import CubeTemplate, cube_template
from pipeline.tiles import Tile
from pipeline.window import source_window
from stefaland.errors import InputError
from workflows import check
from workflows.context import CONSOLE, Run
from workflows.predict import template_variables
from workflows.regrid import regrid_task, used_sources
from workflows.regrid_tile import RegridTask, filled_window, held_bytes, template_of
from workflows.stages import NEEDS, stage_module, stage_state

PIECE = 4
"""A quarter of a tile's rows and columns tells how long the whole takes."""


def cube_plans(run: Run) -> list[tuple[Plan, CubeTemplate]]:
    """The plan of every gridded cube that the regrid stage fills, with its template.

    Times and memory follow from the windows and the regridding of a part of the middle tile.
    """
    size = sum(f.stat().st_size for s in used_sources(run) for f in s.files if f.is_file())
    workers = worker_count(run.config.cluster)
    plans = []
    rates = None
    for cube, spec in run.config.cubes.items():
        if not spec.grid:
            continue
        task = regrid_task(run, cube)
        window = seconds = held = None
        if spec.points_from:
            names = {str(run.config.inputs.target): template_variables(run)["quality_flag"]}
            template = cube_template(run.grid(cube), None, names, spec.tile)
        else:
            template = template_of(task, spec.tile, spec.time_shard)
            window, seconds = window_bytes(task, template), tile_seconds(task, template)
            held = held_bytes(task, template)
        # One cube's chunks tell the machine's rates; measuring takes less than a second.
        rates = rates or probe(template, _existing(run.folder))
        plan = plan_cube(
            cube,
            template,
            size,
            workers,
            rates,
            window_bytes=window,
            tile_seconds=seconds,
            held_bytes=held,
        )
        plans.append((plan, template))
    return plans


def _middle(template: CubeTemplate) -> Tile:
    return template.tiles[len(template.tiles) // 2]


def window_bytes(task: RegridTask, template: CubeTemplate) -> int:
    """Decoded bytes of the largest source's window of the middle tile."""
    tile = _middle(template)
    grid = task.grid.window(tile.rows, tile.cols)
    sizes = []
    for source in task.sources:
        ds = open_source(source, partial(source_window, grid))
        sizes.append(sum(4 * ds[entry.name].size for entry in source.variables.values()))
    return max(sizes, default=0)


def tile_seconds(task: RegridTask, template: CubeTemplate) -> float:
    """Seconds to regrid a tile: what opening takes, and a piece of the middle tile scaled up."""
    tile = _middle(template)
    height, width = (max(1, size // PIECE) for size in tile.shape)

    def took(rows: int, cols: int) -> float:
        top, left = tile.rows.start, tile.cols.start
        grid = task.grid.window(slice(top, top + rows), slice(left, left + cols))
        began = time.perf_counter()
        filled_window(task, grid)
        return time.perf_counter() - began

    took(height, width)  # compiles
    opening, piece = took(1, 1), took(height, width)
    share = tile.shape[0] * tile.shape[1] / (height * width)
    return opening + max(0.0, piece - opening) * share


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in (folder, *folder.resolve().parents) if path.is_dir())


def print_plan(run: Run, first: str, last: str) -> None:
    """Print stages and cubes of a run; `InputError` where a plan does not fit this machine."""
    for name in (first, last):
        stage_module(name)
    check.main(run)
    names = list(NEEDS)
    table = Table("stage", "state", title=f"{run.config.name}: what would run")
    for name in names[names.index(first) : names.index(last) + 1]:
        if name == "check":
            state = "always runs"
        else:
            state = "finished, skipped" if stage_state(run, name).is_finished else "would run"
        table.add_row(name, state)
    CONSOLE.print(table)
    plans = cube_plans(run)
    CONSOLE.print(plan_table([plan for plan, _ in plans]))
    try:
        check_plans(
            plans, worker_memory(run.config.cluster), shutil.disk_usage(_existing(run.folder)).free
        )
    except InputError:
        CONSOLE.print("this plan does not fit here")
        raise
