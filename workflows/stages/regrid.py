"""stefaland regrid workflows/configs/quickstart.yml

Sources onto the target grids, as cubes.

Every tile reads, canonicalises and regrids its own window and writes one shard of each variable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.build import fill_cube, template_of
from pipeline.climate.evapotranspiration import NAME as PET
from pipeline.climate.statics import note_of
from pipeline.core.errors import Faults, bad_input
from pipeline.core.provenance import provenance
from pipeline.cube.locations import write_locations
from pipeline.cube.open import open_cube
from pipeline.cube.template import CubeTemplate, CubeVariable
from pipeline.entries.source import Source, Variable
from pipeline.execution.cluster import connect
from pipeline.execution.ledger import Ledger
from pipeline.grid.target_grid import TargetGrid
from pipeline.regrid_tile import RegridTask, SitePoints
from pipeline.regridding.fill import GapFilling
from pipeline.sources.distinct import check_distinct
from pipeline.sources.locations import read_locations_source
from pipeline.sources.versions.contents import read_contents
from pipeline.sources.versions.unchanged import unchanged
from workflows.console import CONSOLE
from workflows.fingerprints import stage_fingerprint
from workflows.inputs.memory import block_limit, require_memory
from workflows.run import Run, source_entries, used_sources


def outputs(run: Run) -> list[Path]:
    """The cubes and their tile markers."""
    names = run.config.cubes
    return [*map(run.cube, names), *(run.ledger("regrid", name) for name in names)]


def stores(run: Run) -> dict[Path, Ledger]:
    """The gridded cubes, with the ledgers of their tiles."""
    made_by = stage_fingerprint(run, "regrid")
    return {
        run.cube(name): Ledger(run.ledger("regrid", name), made_by)
        for name, spec in run.config.cubes.items()
        if spec.grid
    }


def main(run: Run) -> dict[str, Any]:
    """Fill every cube of the run; returns the number of tiles of each gridded cube."""
    tiles, ledgers = {}, stores(run)
    known = read_contents(run.source_contents)
    with unchanged(used_sources(run), known, run.config.roots.data):
        for name, spec in run.config.cubes.items():
            if spec.locations and not run.cube(name).exists():
                ds = read_locations_source(run.catalog[spec.locations], run.variables)
                ds = run.derived.added(ds, (ds["lon"].values, ds["lat"].values), name)
                write_locations(
                    run.cube(name), ds.assign_attrs({**ds.attrs, **_attributes(run, {})})
                )
        tasks = {n: regrid_task(run, n) for n, spec in run.config.cubes.items() if spec.grid}
        templates = _templates(run, tasks)
        attrs = _attributes(run, {name: template.tile for name, template in templates.items()})
        with connect(run.config.cluster, run.folder) as executor:
            for name, task in tasks.items():
                report = fill_cube(
                    task,
                    templates[name],
                    ledgers[run.cube(name)],
                    attrs=attrs,
                    executor=executor,
                    part=run.part,
                    task_seconds=run.config.cluster.task_seconds,
                    block_bytes=block_limit(run.config.cluster),
                )
                tiles[name] = len(report.done) + len(report.skipped)
    if run.climate is not None:
        for name in run.config.cubes:
            note = note_of(open_cube(run.cube(name)), run.climate)
            CONSOLE.print(f"   regrid  {name}: {note}", soft_wrap=True)
    return {"tiles": tiles}


def _templates(run: Run, tasks: Mapping[str, RegridTask]) -> dict[str, CubeTemplate]:
    """The templates of all gridded cubes.

    Raises `InputError` for points outside the grid, and for all cubes whose tiles need more memory
    than a worker has.
    """
    faults, templates = Faults(), {}
    for name, task in tasks.items():
        spec = run.config.cubes[name]
        with faults.collecting():
            if spec.points_from:
                points = run.cube(spec.points_from)
                check_points(f"cubes.{name}.points_from", points, run.grid(name))
            templates[name] = template_of(task, spec.tile, spec.time_shard)
            if not spec.points_from:
                require_memory(name, task, templates[name], run.config.cluster)
    faults.raise_if_any()
    return templates


def _attributes(run: Run, tiles: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Root attributes of the cubes: the settings that made them, with the `tiles` of each."""
    written = run.config.written()
    cubes = {
        name: {**spec, "tile": [*tiles[name]]} if name in tiles else spec
        for name, spec in written["cubes"].items()
    }
    settings = {"cubes": cubes, "terrain_from": written["inputs"]["terrain_from"]}
    if run.derived.evapotranspiration:
        settings[PET] = run.derived.evapotranspiration
    if run.derived.location:
        settings["location"] = True
    if run.climate is not None:
        settings |= {"climate_statics": written["inputs"]["climate_statics"],
                     "train_period": run.climate.period}  # fmt: skip
    return provenance(settings, source_entries(run))


def regrid_task(run: Run, cube: str) -> RegridTask:
    """The task that fills a gridded cube of the run.

    `InputError` for sources of which two have the same variable.
    """
    spec, inputs, faults = run.config.cubes[cube], run.config.inputs, Faults()
    sources = tuple(run.catalog[name] for name in inputs.sources)
    check_distinct(sources, faults, inputs.terrain_from, inputs.of_sites)
    faults.raise_if_any()
    points, filling, from_sites = None, None, {}
    if spec.points_from:
        points = SitePoints(run.cube(spec.points_from).resolve(), spec.max_distance_km)
    if inputs.fill_distance:
        filling = GapFilling(
            distance=inputs.fill_distance,
            land_fraction=inputs.land_fraction,
            min_land_fraction=inputs.min_land_fraction,
            never=(inputs.target, *inputs.further_targets),
        )
    if inputs.target_sites and cube == run.config.finetune.cube:
        sites = run.catalog[inputs.target_sites]
        from_sites = site_variables(sites, inputs.targets, run.variables)
    return RegridTask(
        run.cube(cube).resolve(),
        run.grid(cube),
        sources,
        run.variables,
        terrain_from=inputs.terrain_from,
        points=points,
        filling=filling,
        site_variables=from_sites,
        derived=run.derived,
    )


def site_variables(
    source: Source, targets: Sequence[str], variables: Mapping[str, Variable]
) -> dict[str, CubeVariable]:
    """The variables of a cube that are filled later from a source of sites (`site_targets`)."""
    sites = read_locations_source(source, variables)
    missing = [name for name in targets if name not in sites]
    if missing:
        raise bad_input(
            f'source "{source.name}"', f"no {', '.join(missing)}",
            "every target of the run among its variables",
        )  # fmt: skip
    cube_variables = {}
    for name in targets:
        dims = ("time", "y", "x") if "time" in sites[name].dims else ("y", "x")
        attrs = {"units": variables[name].units, "long_name": variables[name].long_name}
        cube_variables[name] = CubeVariable(dims, "float32", attrs)
    return cube_variables


def check_points(where: str, points: Path, grid: TargetGrid) -> None:
    """Raise `InputError` where no point of a store lies on the grid; no tile could notice it."""
    sites = open_cube(points)
    rows, _ = grid.index_of(sites["lon"].values, sites["lat"].values)
    if (rows < 0).all():
        raise bad_input(
            where, f"none of the {rows.size} points of {points.stem} on the grid",
            "points on the grid", "Compare the grid's bounds with the points' coordinates.",
        )  # fmt: skip
