"""Runs whose cubes hold random values, so that stages after regridding run in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.cube.locations import write_locations
from pipeline.cube.write import create_cube, cube_template, write_tile
from workflows.config.load import load_config
from workflows.run import Run

TINY = (
    "model.settings={d_model: 16, d_embed: 8, d_feedforward: 16, n_heads: 2}",
    "pretrain.epochs=1", "pretrain.steps_per_epoch=1", "pretrain.batch_size=8",
    "finetune.epochs=1", "finetune.steps_per_epoch=1", "finetune.batch_size=8",
    "finetune.baselines=[climatology]", "predict.cubes=[]", "publish.products=[]",
    "folds.k=2", "folds.min_cells=2", "folds.validation_share=0.3", "cluster.kind=none",
)  # fmt: skip
DAYS = np.arange("1979-01-01", "1979-03-02", dtype="datetime64[D]").astype("datetime64[ns]")
FORCINGS = ("precipitation", "air_temperature_max")
STATICS = ("elevation", "slope")


def run_of(config: str, folder: Path, *overrides: str) -> Run:
    """A run of a packaged config with two forcings and two statics, and a tiny network."""
    settings = (*TINY, "inputs.statics=[elevation, slope]", "name=run", f"roots.runs={folder}")
    return Run(load_config(config, [*settings, *overrides]))


def write_sites_store(
    run: Run, cube: str, lonlat: np.ndarray, targets: Mapping[str, np.ndarray],
    group: np.ndarray | None = None, first: int = 0,
) -> None:  # fmt: skip
    """A store of locations with ids from `first` on; targets have dims (time, cell) or (cell,)."""
    rng = np.random.default_rng(first)
    n = len(lonlat)
    fields: dict[str, Any] = {
        name: (("time", "cell"), rng.random((DAYS.size, n), np.float32))
        for name in run.config.inputs.forcings
    }
    fields |= {name: (("cell",), rng.random(n, np.float32)) for name in STATICS}
    fields |= {
        name: (("time", "cell")[2 - values.ndim :], values.astype(np.float32))
        for name, values in targets.items()
    }
    coords: dict[str, Any] = {
        "cell": np.arange(n) + first, "time": DAYS,
        "lon": ("cell", lonlat[:, 0]), "lat": ("cell", lonlat[:, 1]),
    }  # fmt: skip
    if group is not None:
        coords["group"] = ("cell", group)
    write_locations(run.cube(cube), xr.Dataset(fields, coords))


def write_grid_store(run: Run, cube: str, targets: Mapping[str, np.ndarray]) -> None:
    """A cube of 12 months, all of it land; `targets` have dims (y, x) or (time, y, x)."""
    grid = run.grid(cube)
    rng = np.random.default_rng(grid.shape[0])
    months = np.arange("2001-01", "2002-01", dtype="datetime64[M]").astype("datetime64[ns]")
    fields = {
        name: rng.random((12, *grid.shape), np.float32) for name in run.config.inputs.forcings
    }
    fields |= {name: rng.random(grid.shape, np.float32) for name in STATICS}
    fields |= {run.config.inputs.land_fraction: np.ones(grid.shape, np.float32), **targets}
    dims = {name: ("time", "y", "x")[3 - values.ndim :] for name, values in fields.items()}
    variables = {name: {"dims": dims[name]} for name in fields}
    template = cube_template(grid, months, variables, grid.shape)
    create_cube(run.cube(cube), template, {})
    ds = xr.Dataset(
        {name: (dims[name], values.astype(np.float32)) for name, values in fields.items()},
        {"time": months, "y": grid.y, "x": grid.x},
    )
    write_tile(run.cube(cube), template.tiles[0], ds)
