"""stefaland predict workflows/configs/quickstart.yml

Every land cell of the maps' grids through the ensemble, tile by tile, into prediction cubes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.cube import create_cube, write_tile
from pipeline.ledger import Ledger
from pipeline.provenance import provenance
from pipeline.run import run_stage
from pipeline.store import open_cube
from pipeline.template import cube_template
from pipeline.tiles import Tile, land_cells
from stefaland.errors import bad_input
from stefaland.predict import MASKED, Member, predict_cells
from workflows.cells import cell_data, land_mask, open_cells
from workflows.context import Run
from workflows.device import best_device
from workflows.members import members
from workflows.stages import stage_fingerprint

NO_FLAG = 255


def depends(run: Run) -> Any:
    """Which cubes; the batch size does not change the result."""
    return {"cubes": run.config.predict.cubes}


def outputs(run: Run) -> list[Path]:
    """Prediction cubes and their tile markers."""
    return [
        run.folder / "predictions",
        *(run.ledger("predict", name) for name in run.config.predict.cubes),
    ]


def template_variables(run: Run) -> dict[str, dict[str, Any]]:
    """Variables of a prediction cube: target, its spread, and the quality flag."""
    target = run.config.inputs.target
    variable = run.variables[target]
    attrs = {
        "standard_name": variable.standard_name,
        "long_name": variable.long_name,
        "units": variable.units,
        "ancillary_variables": f"{target}_spread quality_flag",
    }
    attrs = {name: value for name, value in attrs.items() if value}
    spread = {
        "long_name": f"standard deviation of {variable.long_name}",
        "units": variable.units,
    }
    flag = {
        "long_name": "quality flag",
        "flag_values": [0, 1, 2, 3],
        "flag_meanings": "predicted outside_training_range filled_input masked",
    }
    dims = ("time", "y", "x")
    return {
        target: {"dims": dims, "dtype": "float32", "attrs": attrs},
        f"{target}_spread": {"dims": dims, "dtype": "float32", "attrs": spread},
        "quality_flag": {"dims": ("y", "x"), "dtype": "uint8", "attrs": flag},
    }


def predict_tile(
    run: Run, cube: str, ensemble: Sequence[Member], mask: np.ndarray, tile: Tile
) -> dict[str, Any]:
    """Predict one tile's land cells and write them; gives counts and the range of the mean."""
    grid = run.grid(cube)
    cells = land_cells(mask, tile)
    shape = grid.shape
    time = open_cube(run.cube(cube))["time"].values
    maps = {
        "mean": np.full((time.size, *shape_of(tile)), np.nan, np.float32),
        "spread": np.full((time.size, *shape_of(tile)), np.nan, np.float32),
    }
    flag = np.full(shape_of(tile), NO_FLAG, np.uint8)
    if cells.size:
        table = open_cells(run, cube, cells).load()
        data = cell_data(run, table, ensemble[0].static_names)
        predicted = predict_cells(
            ensemble, data, batch_size=run.config.predict.batch_size, device=best_device()
        )
        rows, cols = np.divmod(cells, shape[1])
        rows, cols = rows - tile.rows.start, cols - tile.cols.start
        for name, field in maps.items():
            field[:, rows, cols] = predicted[name][..., 0].T
        flag[rows, cols] = predicted["flag"]
    target = run.config.inputs.target
    window = grid.window(tile.rows, tile.cols)
    ds = xr.Dataset(
        {
            target: (("time", "y", "x"), maps["mean"]),
            f"{target}_spread": (("time", "y", "x"), maps["spread"]),
            "quality_flag": (("y", "x"), flag),
        },
        coords={"time": time, "y": window.y, "x": window.x},
    )
    summary: dict[str, Any] = dict(write_tile(run.prediction(cube), tile, ds))
    return summary | {"cells": int(cells.size), "masked": int((flag == MASKED).sum())}


def shape_of(tile: Tile) -> tuple[int, int]:
    """Cells of the tile's core, (y, x)."""
    return tile.rows.stop - tile.rows.start, tile.cols.stop - tile.cols.start


def _predict_cube(run: Run, cube: str, ensemble: Sequence[Member]) -> dict[str, Any]:
    source = open_cube(run.cube(cube))
    template = cube_template(
        run.grid(cube), source["time"], template_variables(run), run.config.cubes[cube].tile
    )
    create_cube(run.prediction(cube), template, _attributes(run))
    mask = land_mask(run, source)
    if not mask.any():
        raise bad_input(f"cube {cube}", "no land cell", "at least one cell to predict")
    ledger = Ledger(run.ledger("predict", cube), stage_fingerprint(run, "predict"))
    step = partial(predict_tile, run, cube, ensemble, mask)
    report = run_stage(f"predict {cube}", template.tiles, step, ledger, part=run.part)
    return {"tiles": len(report.done) + len(report.skipped), "cells": int(mask.sum())}


def _attributes(run: Run) -> dict[str, Any]:
    settings = {
        name: getattr(run.config, name).model_dump(mode="json")
        for name in ("inputs", "folds", "model", "pretrain", "finetune")
    }
    sources = {
        name: run.catalog[name].model_dump(mode="json") for name in run.config.inputs.sources
    }
    return provenance(settings, sources)


def main(run: Run) -> dict[str, Any]:
    """Predict every configured cube."""
    ensemble = members(run)
    return {cube: _predict_cube(run, cube, ensemble) for cube in run.config.predict.cubes}
