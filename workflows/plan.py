"""stefaland run workflows/configs/quickstart.yml --dry-run

What would run and what it costs: stages, tiles, bytes, memory; refused where it does not fit.
"""

from __future__ import annotations

import os
import shutil

import psutil
from rich.table import Table

from pipeline.plan import Plan, check_plans, plan_cube, plan_table
from pipeline.template import CubeTemplate
from stefaland.errors import InputError
from workflows import check
from workflows.context import CONSOLE, Run
from workflows.predict import template_variables
from workflows.regrid import template_of, used_sources
from workflows.stages import NEEDS, stage_module, stage_state


def cube_plans(run: Run) -> list[tuple[Plan, CubeTemplate]]:
    """The plan of every gridded cube that the regrid stage fills, with its template."""
    from pipeline.template import cube_template
    from workflows.regrid import regrid_task

    size = sum(f.stat().st_size for s in used_sources(run) for f in s.files if f.is_file())
    workers = run.config.cluster.workers or len(os.sched_getaffinity(0))
    plans = []
    for cube, spec in run.config.cubes.items():
        if not spec.grid:
            continue
        if spec.points_from:
            names = {str(run.config.inputs.target): template_variables(run)["quality_flag"]}
            template = cube_template(run.grid(cube), None, names, spec.tile)
        else:
            template = template_of(regrid_task(run, cube), spec.tile)
        plans.append((plan_cube(cube, template, size, workers), template))
    return plans


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
    memory = psutil.virtual_memory().available // (run.config.cluster.workers or 1)
    try:
        check_plans(plans, memory, shutil.disk_usage(run.config.roots.runs.parent).free)
    except InputError:
        CONSOLE.print("this plan does not fit here")
        raise
