"""stefaland predict workflows/configs/quickstart.yml

Every land cell of the maps' grids through the ensemble, tile by tile, into prediction cubes. Tiles
are read ahead and written behind; their cells share the passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.core.provenance import provenance
from pipeline.cube.open import open_cube
from pipeline.cube.template import cube_template
from pipeline.cube.write import create_cube, write_tile
from pipeline.execution.executor import Task
from pipeline.execution.ledger import Ledger
from pipeline.execution.overlap import Overlapped
from pipeline.execution.run import run_stage
from pipeline.grid.tiles import Tile, land_cells
from stefaland.data.cell_data import CellData
from stefaland.distributed import best_device
from stefaland.model.quantiles import LEVELS, NAMES
from stefaland.prediction.member import Member
from stefaland.prediction.predict import predict_tables
from stefaland.prediction.predictions import MASKED
from stefaland.tasks import values_of
from workflows.fingerprints import stage_fingerprint
from workflows.inputs.cells import cell_data, land_mask, read_inputs
from workflows.inputs.folds import FoldFiles
from workflows.inputs.members import members
from workflows.products.map_layers import interval
from workflows.run import Run

NO_FLAG = 255
GPU_THREADS = 4
"""That read tiles for a GPU, and as many that write."""


def outputs(run: Run) -> list[Path]:
    """Prediction cubes and their tile markers."""
    return [
        run.folder / "predictions",
        *(run.ledger("predict", name) for name in run.config.predict.cubes),
    ]


def template_variables(run: Run) -> dict[str, dict[str, Any]]:
    """Variables of a prediction cube: each target and its spread, and the quality flag.

    Tasks other than regression have one value a place: their variables have no time.
    """
    has_time = values_of(run.config.finetune.task) == "quantity"
    dims = ("time", "y", "x") if has_time else ("y", "x")
    made: dict[str, dict[str, Any]] = {}
    for target in run.config.inputs.targets:
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
        made[target] = {"dims": dims, "dtype": "float32", "attrs": attrs}
        made[f"{target}_spread"] = {"dims": dims, "dtype": "float32", "attrs": spread}
        for level in interval(run.config.finetune.head):
            name = f"quantile {LEVELS[level]:g} of {variable.long_name}"
            of = {"long_name": name, "units": variable.units}
            made[f"{target}_{NAMES[level]}"] = {"dims": dims, "dtype": "float32", "attrs": of}
    flag = {
        "long_name": "quality flag",
        "flag_values": [0, 1, 2, 3],
        "flag_meanings": "predicted outside_training_range filled_input masked",
    }
    return made | {"quality_flag": {"dims": ("y", "x"), "dtype": "uint8", "attrs": flag}}


@dataclass(frozen=True)
class MapWork:
    """The prediction of a cube's tiles, in the three parts of a `Task`."""

    run: Run
    cube: str
    source: xr.Dataset
    """The cube, open: its metadata are read once, not with every tile."""
    ensemble: Sequence[Member]
    mask: np.ndarray
    """Land cells, dims (y, x)."""

    @property
    def task(self) -> Task:
        """Reading, prediction and writing of tiles."""
        return Task(self.read, self.predict, self.write)

    def read(self, tile: Tile) -> CellData:
        """The tile's land cells; none where it is all sea."""
        inputs = self.run.config.inputs
        table = read_inputs(self.source, inputs, land_cells(self.mask, tile)).load()
        return cell_data(table, inputs, self.ensemble[0].static_names)

    def predict(
        self, tables: Iterator[tuple[Tile, CellData]]
    ) -> Iterator[tuple[Tile, tuple[CellData, dict[str, np.ndarray]]]]:
        """Each tile's cells and what the ensemble says of them; tiles share the passes."""
        settings, device = self.run.config.predict, best_device()
        reduced = settings.precision == "bfloat16" or (
            settings.precision == "auto" and device.type == "cuda"
        )
        named = (((tile, data), data, None) for tile, data in tables)
        for (tile, data), predicted in predict_tables(
            self.ensemble,
            named,
            task=self.run.config.finetune.task,
            batch_size=settings.batch_size,
            device=device,
            dtype=torch.bfloat16 if reduced else torch.float32,
        ):
            yield tile, (data, predicted)

    def write(self, tile: Tile, found: tuple[CellData, dict[str, np.ndarray]]) -> Mapping[str, Any]:
        """Write a tile; gives counts and the range of each variable."""
        data, predicted = found
        ds = tile_maps(self.run, self.cube, tile, data, predicted)
        summary = write_tile(self.run.prediction(self.cube), tile, ds)
        masked = int((predicted["flag"] == MASKED).sum())
        return {**summary, "cells": len(data), "masked": masked}


def tile_maps(
    run: Run, cube: str, tile: Tile, data: CellData, predicted: Mapping[str, np.ndarray]
) -> xr.Dataset:
    """What was predicted of a tile's land cells as maps, dims (time, y, x) or (y, x)."""
    grid = run.grid(cube)
    window = grid.window(tile.rows, tile.cols)
    rows, cols = np.divmod(data.cell.numpy(), grid.shape[1])
    rows, cols = rows - tile.rows.start, cols - tile.cols.start
    maps: dict[str, xr.Variable] = {}
    for i, target in enumerate(run.config.inputs.targets):
        fields = {
            target: predicted["mean"][..., i],
            f"{target}_spread": predicted["spread"][..., i],
        }
        for level in interval(run.config.finetune.head):
            fields[f"{target}_{NAMES[level]}"] = predicted["quantiles"][..., i, level]
        for name, values in fields.items():
            of = values.T
            field = np.full((*of.shape[:-1], *window.shape), np.nan, np.float32)
            field[..., rows, cols] = of
            maps[name] = xr.Variable(("time", "y", "x")[3 - field.ndim :], field)
    flag = np.full(window.shape, NO_FLAG, np.uint8)
    flag[rows, cols] = predicted["flag"]
    maps["quality_flag"] = xr.Variable(("y", "x"), flag)
    coords: dict[str, Any] = {"y": window.y, "x": window.x}
    if values_of(run.config.finetune.task) == "quantity":
        coords["time"] = data.time
    return xr.Dataset(maps, coords)


def series_time(run: Run, time: xr.DataArray) -> xr.DataArray:
    """The time axis; a climatology's with its years, where the target's entry tells them."""
    targets = set(run.config.inputs.targets)
    sources = (run.catalog[name] for name in run.config.inputs.sources)
    of = [s.time.period for s in sources if s.time.kind == "months" and targets & set(s.variables)]
    if not of or of[0] is None:
        return time
    return time.assign_attrs(climatology_period="/".join(day.isoformat() for day in of[0]))


def predict_cube(run: Run, cube: str, ensemble: Sequence[Member]) -> dict[str, Any]:
    """Predict every land cell of a cube; gives its tiles and cells."""
    source = open_cube(run.cube(cube))
    variables = template_variables(run)
    has_time = any("time" in variable["dims"] for variable in variables.values())
    template = cube_template(
        run.grid(cube), series_time(run, source["time"]) if has_time else None, variables,
        run.config.cubes[cube].tile,
    )  # fmt: skip
    create_cube(run.prediction(cube), template, _attributes(run))
    mask = land_mask(source, run.config.inputs)
    if not mask.any():
        raise bad_input(f"cube {cube}", "no land cell", "at least one cell to predict")
    ledger = Ledger(run.ledger("predict", cube), stage_fingerprint(run, "predict"))
    task = MapWork(run, cube, source, ensemble, mask).task
    executor = Overlapped(1 if best_device().type == "cpu" else GPU_THREADS)
    report = run_stage(f"predict {cube}", template.tiles, task, ledger, executor, part=run.part)
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
    folders = [run.finetuned("stefaland", name) for name in FoldFiles(run.folder).names()]
    ensemble = members(folders, run.config.finetune.ensemble)
    return {cube: predict_cube(run, cube, ensemble) for cube in run.config.predict.cubes}
