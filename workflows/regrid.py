"""stefaland regrid workflows/configs/quickstart.yml

Sources → cubes: every tile reads, canonicalises and regrids its own window and writes one shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from distributed import Client

from pipeline.basins import read_locations_source
from pipeline.canonical import canonicalise
from pipeline.catalog import Source, Variable
from pipeline.cluster import connect
from pipeline.cube import create_cube, write_tile
from pipeline.fill import fill_gaps
from pipeline.grid import TargetGrid
from pipeline.ledger import Ledger
from pipeline.locations import write_locations
from pipeline.points import regrid_points
from pipeline.provenance import file_stamp, provenance
from pipeline.regrid import regrid
from pipeline.run import run_stage
from pipeline.sources import open_source
from pipeline.store import open_cube
from pipeline.template import CubeTemplate, CubeVariable, cube_template
from pipeline.terrain import terrain
from pipeline.tiles import Tile, padded_window
from pipeline.window import source_window
from stefaland.errors import Faults
from workflows.context import Run
from workflows.stages import stage_fingerprint

TERRAIN_MARGIN = 2.0


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


def used_sources(run: Run) -> list[Source]:
    """Every catalog entry that the run reads into cubes."""
    names = [*run.config.inputs.sources]
    names += [spec.locations for spec in run.config.cubes.values() if spec.locations]
    return [run.catalog[name] for name in names]


def depends(run: Run) -> Any:
    """Cubes, sources, grids and the stamps (size, modification time) of the source files."""
    sources = used_sources(run)
    return {
        "cubes": {name: spec.model_dump(mode="json") for name, spec in run.config.cubes.items()},
        "grids": {name: grid.fingerprint for name, grid in run.grids.items()},
        "terrain_from": run.config.inputs.terrain_from,
        "fill": _fill_settings(run),
        "sources": [source.model_dump(mode="json") for source in sources],
        "files": {source.name: [file_stamp(f) for f in source.files] for source in sources},
        "variables": {
            name: variable.model_dump(mode="json")
            for name, variable in run.variables.items()
            if any(name in source.variables for source in sources)
        },
    }


def _fill_settings(run: Run) -> list[Any]:
    """What decides which gaps are filled; nothing where none are."""
    inputs = run.config.inputs
    if not inputs.fill_distance:
        return []
    return [inputs.fill_distance, inputs.land_fraction, inputs.min_land_fraction, inputs.target]


def outputs(run: Run) -> list[Path]:
    """The cubes and their tile markers."""
    return [run.folder / "cubes", *(run.ledger("regrid", name) for name in run.config.cubes)]


def regrid_source(task: RegridTask, source: Source, grid: TargetGrid) -> xr.Dataset:
    """One source on `grid`, dims (time, y, x) or (y, x), with its coverage."""
    window = source_window(grid, source.crs)
    # Slopes at the edge of a tile need the elevation beyond it.
    margin = TERRAIN_MARGIN if source.name == task.terrain_from else None
    ds = canonicalise(open_source(source, window, margin), source, task.variables)
    result = regrid(ds, grid, source.method, source.min_coverage, require_overlap=False, threads=1)
    if source.name == task.terrain_from:
        slopes = terrain(ds[next(iter(source.variables))])
        derived = regrid(
            slopes, grid, "mean", source.min_coverage, require_overlap=False, threads=1
        )
        result = result.merge(derived, compat="override", join="exact")
    return result


def regrid_window(task: RegridTask, grid: TargetGrid) -> xr.Dataset:
    """Every source on `grid`."""
    if task.points is not None:
        points = open_cube(task.points).load()
        return regrid_points(points, grid, max_distance_km=task.max_distance_km)
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
    """Fill one tile of the cube; gives valid cells, minimum and maximum of each variable."""
    grid, core = padded_window(task.grid, tile, task.fill_distance)
    ds = filled_window(task, grid).isel(y=core.rows, x=core.cols)
    own = task.grid.window(tile.rows, tile.cols)
    # The tile's own coordinates: those of a halo across the seam are a turn away.
    return write_tile(task.store, tile, ds.assign_coords(y=own.y, x=own.x))


def template_of(task: RegridTask, tile: tuple[int, int]) -> CubeTemplate:
    """The cube's template: what regridding gives for one cell says names, dims and attributes."""
    rows, cols = (slice(size // 2, size // 2 + 1) for size in task.grid.shape)
    probe = filled_window(task, task.grid.window(rows, cols))
    variables = {
        str(name): CubeVariable(
            tuple(str(dim) for dim in da.dims),
            "uint8" if da.dtype == np.uint8 else "float32",
            {key: value for key, value in da.attrs.items() if key != "grid_mapping"},
        )
        for name, da in probe.data_vars.items()
    }
    time = probe["time"] if "time" in probe.coords else None
    return cube_template(task.grid, time, variables, tile)


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
    )


def _fill_grid(run: Run, cube: str, client: Client | None) -> int:
    task = regrid_task(run, cube)
    template = template_of(task, run.config.cubes[cube].tile)
    create_cube(task.store, template, _attributes(run))
    ledger = Ledger(run.ledger("regrid", cube), stage_fingerprint(run, "regrid"))
    report = run_stage(
        f"regrid {cube}", template.tiles, partial(regrid_tile, task), ledger, client, part=run.part
    )
    return len(report.done) + len(report.skipped)


def _write_locations(run: Run, cube: str) -> None:
    if run.cube(cube).exists():
        return
    source = run.catalog[str(run.config.cubes[cube].locations)]
    ds = read_locations_source(source, run.variables)
    write_locations(run.cube(cube), ds.assign_attrs({**ds.attrs, **_attributes(run)}))


def _attributes(run: Run) -> dict[str, Any]:
    sources = {source.name: source.model_dump(mode="json") for source in used_sources(run)}
    settings = {
        "cubes": {name: spec.model_dump(mode="json") for name, spec in run.config.cubes.items()},
        "terrain_from": run.config.inputs.terrain_from,
    }
    return provenance(settings, sources)


@contextmanager
def unchanged_sources(run: Run) -> Iterator[None]:
    """`InputError` at the end where a source file is not the one that was there at the start."""

    def stamps() -> dict[str, dict[str, tuple[int, int]]]:
        return {
            source.name: {name: (size, time) for name, size, time in file_stamp(f)}
            for source in used_sources(run)
            for f in source.files
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
    with connect(run.config.cluster) as client:
        return {
            "tiles": {
                name: _fill_grid(run, name, client)
                for name, spec in run.config.cubes.items()
                if spec.grid
            }
        }
