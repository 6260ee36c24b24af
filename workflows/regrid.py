"""stefaland regrid workflows/configs/quickstart.yml

Sources → cubes: every tile reads, canonicalises and regrids its own window and writes one shard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.canonical import canonicalise
from pipeline.catalog import Source, Variable
from pipeline.cluster import connect
from pipeline.cube import open_cube, write_tile
from pipeline.grid import TargetGrid
from pipeline.points import regrid_points
from pipeline.provenance import file_stamp, provenance
from pipeline.regrid import regrid, source_window
from pipeline.sources import open_source
from pipeline.terrain import terrain
from pipeline.tiles import Tile
from workflows.context import Run


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


def depends(run: Run) -> Any:
    """Cubes, sources, grids and the stamps (size, modification time) of the source files."""
    config = run.config
    sources = _sources(run)
    return {
        "cubes": {name: spec.model_dump(mode="json") for name, spec in config.cubes.items()},
        "grids": {name: grid.fingerprint for name, grid in run.grids.items()},
        "terrain_from": config.inputs.terrain_from,
        "sources": [source.model_dump(mode="json") for source in sources],
        "files": {source.name: file_stamp(source) for source in sources},
    }


def outputs(run: Run) -> list[Path]:
    """The cubes and their tile markers."""
    return [run.folder / "cubes", *(run.ledger("regrid", name) for name in run.config.cubes)]


def _sources(run: Run) -> list[Source]:
    names = [*run.config.inputs.sources]
    names += [spec.locations for spec in run.config.cubes.values() if spec.locations]
    return [run.catalog[name] for name in names]


def regrid_source(task: RegridTask, source: Source, grid: TargetGrid) -> xr.Dataset:
    """One source on `grid`, dims (time, y, x) or (y, x), with its coverage."""
    window = source_window(grid, source)
    ds = canonicalise(open_source(source, window), source, task.variables)
    result = regrid(ds, grid, source.method, source.min_coverage)
    if source.name == task.terrain_from:
        derived = regrid(terrain(ds[next(iter(ds.data_vars))]), grid, "mean", source.min_coverage)
        result = result.merge(derived)
    return result


def regrid_window(task: RegridTask, grid: TargetGrid) -> xr.Dataset:
    """Every source on `grid`."""
    if task.points is not None:
        points = open_cube(task.points).load()
        return regrid_points(points, grid, max_distance_km=task.max_distance_km)
    parts = [regrid_source(task, source, grid) for source in task.sources]
    return xr.merge(parts, compat="override", join="exact", combine_attrs="drop")


def regrid_tile(task: RegridTask, tile: Tile) -> dict[str, Any]:
    """Fill one tile of the cube; gives its count of valid cells, minimum and maximum."""
    ds = regrid_window(task, task.grid.window(tile.rows, tile.cols))
    write_tile(task.store, tile, ds)
    return _summary(ds)


def _summary(ds: xr.Dataset) -> dict[str, Any]:
    summary = {}
    for name, da in ds.data_vars.items():
        if str(name).endswith("_coverage"):
            continue
        valid = da.values[np.isfinite(da.values)]
        if valid.size:
            low, high = float(valid.min()), float(valid.max())
            summary[str(name)] = {"valid": int(valid.size), "min": low, "max": high}
    return summary


def main(run: Run) -> dict[str, Any]:
    """Fill every cube of the run."""
    with connect(run.config.cluster) as client:
        for name, spec in run.config.cubes.items():
            if spec.locations:
                _write_locations(run, name)
        tiles = {
            name: _fill_grid(run, name, client)
            for name, spec in run.config.cubes.items()
            if spec.grid
        }
    return {"tiles": tiles}


def _attributes(run: Run) -> dict[str, Any]:
    sources = {source.name: source.model_dump(mode="json") for source in _sources(run)}
    return provenance(run.config.model_dump(mode="json"), sources)
