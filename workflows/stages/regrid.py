"""stefaland regrid workflows/configs/quickstart.yml

Sources → cubes: every tile reads, canonicalises and regrids its own window and writes one shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.build import RegridTask, regrid_tile, template_of
from pipeline.core.errors import Faults, bad_input
from pipeline.core.provenance import file_stamp, provenance
from pipeline.cube.locations import write_locations
from pipeline.cube.open import open_cube
from pipeline.cube.template import CubeVariable
from pipeline.cube.write import create_cube
from pipeline.execution.cluster import connect
from pipeline.execution.executor import Executor
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import run_stage
from pipeline.readers.registry import files_of
from pipeline.sources.locations import read_locations_source
from workflows.fingerprints import stage_fingerprint
from workflows.run import Run, source_entries, used_sources


def outputs(run: Run) -> list[Path]:
    """The cubes and their tile markers."""
    return [run.folder / "cubes", *(run.ledger("regrid", name) for name in run.config.cubes)]


def regrid_task(run: Run, cube: str) -> RegridTask:
    """What fills a gridded cube of the run."""
    spec = run.config.cubes[cube]
    return RegridTask(
        run.cube(cube).resolve(),
        run.grid(cube),
        tuple(run.catalog[name] for name in run.config.inputs.sources),
        run.variables,
        run.config.inputs.terrain_from,
        run.cube(spec.points_from).resolve() if spec.points_from else None,
        spec.max_distance_km,
        run.config.inputs.fill_distance,
        run.config.inputs.land_fraction,
        run.config.inputs.min_land_fraction,
        run.config.inputs.target,
        site_variables(run) if cube == run.config.finetune.cube else {},
    )


def site_variables(run: Run) -> dict[str, CubeVariable]:
    """The variables that sites fill later (`site_targets`), where the run has such a target."""
    inputs = run.config.inputs
    if not inputs.target_sites:
        return {}
    sites = read_locations_source(run.catalog[inputs.target_sites], run.variables)
    missing = [name for name in inputs.targets if name not in sites]
    if missing:
        raise bad_input(
            f'source "{inputs.target_sites}"', f"no {', '.join(missing)}",
            "every target of the run among its variables",
        )  # fmt: skip
    made = {}
    for name in inputs.targets:
        dims = ("time", "y", "x") if "time" in sites[name].dims else ("y", "x")
        about = {"units": run.variables[name].units, "long_name": run.variables[name].long_name}
        made[name] = CubeVariable(dims, "float32", about)
    return made


def _fill_grid(run: Run, cube: str, executor: Executor) -> int:
    task = regrid_task(run, cube)
    spec = run.config.cubes[cube]
    if spec.points_from:
        _check_points(run, cube, spec.points_from)
    template = template_of(task, spec.tile, spec.time_shard)
    create_cube(task.store, template, _attributes(run))
    ledger = Ledger(run.ledger("regrid", cube), stage_fingerprint(run, "regrid"))
    report = run_stage(
        f"regrid {cube}",
        template.tiles,
        partial(regrid_tile, task),
        ledger,
        executor,
        part=run.part,
    )
    return len(report.done) + len(report.skipped)


def _check_points(run: Run, cube: str, points: str) -> None:
    """`InputError` where no point lies on the grid, which no tile could know."""
    places = open_cube(run.cube(points))
    rows, _ = run.grid(cube).index_of(places["lon"].values, places["lat"].values)
    if (rows < 0).all():
        raise bad_input(
            f"cubes.{cube}.points_from", f"none of the {rows.size} points of {points} on the grid",
            "points on the grid", "Compare the grid's bounds with the places.",
        )  # fmt: skip


def _write_locations(run: Run, cube: str) -> None:
    if run.cube(cube).exists():
        return
    source = run.catalog[str(run.config.cubes[cube].locations)]
    ds = read_locations_source(source, run.variables)
    write_locations(run.cube(cube), ds.assign_attrs({**ds.attrs, **_attributes(run)}))


def _attributes(run: Run) -> dict[str, Any]:
    settings = {
        "cubes": {name: spec.model_dump(mode="json") for name, spec in run.config.cubes.items()},
        "terrain_from": run.config.inputs.terrain_from,
    }
    return provenance(settings, source_entries(run))


@contextmanager
def unchanged_sources(run: Run) -> Iterator[None]:
    """`InputError` at the end where a source file is not the one that was there at the start."""

    def stamps() -> dict[str, dict[str, tuple[int, int]]]:
        return {
            source.name: {name: (size, time) for name, size, time in file_stamp(f)}
            for source in used_sources(run)
            for f in files_of(source)
        }

    before = stamps()
    yield
    faults = Faults()
    for name, files in stamps().items():
        for file in sorted({*files, *before[name]}):
            if files.get(file) != before[name].get(file):
                faults.add(
                    f"source {name}", f"{file} changed while it was read",
                    "files that stay as they are during a run",
                    "Run again: cubes made of two versions are thrown away.",
                )  # fmt: skip
    faults.raise_if_any()


def main(run: Run) -> dict[str, Any]:
    """Fill every cube of the run; gives the number of tiles of each grid."""
    with unchanged_sources(run):
        return _fill_cubes(run)


def _fill_cubes(run: Run) -> dict[str, Any]:
    for name, spec in run.config.cubes.items():
        if spec.locations:
            _write_locations(run, name)
    with connect(run.config.cluster) as executor:
        return {
            "tiles": {
                name: _fill_grid(run, name, executor)
                for name, spec in run.config.cubes.items()
                if spec.grid
            }
        }
