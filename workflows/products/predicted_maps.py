"""Prediction cubes: their variables, and the reading, prediction and writing of their tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.cube.template import CubeVariable
from pipeline.cube.write import write_tile
from pipeline.entries.source import Source, Variable
from pipeline.execution.executor import Task
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import Tile, cells_within, land_cells
from stefaland.data.cell_data import CellData
from stefaland.model.quantiles import LEVELS, NAMES
from stefaland.prediction.predictions import MASKED
from workflows.config.schema import Inputs
from workflows.inputs.cells import cell_data, read_inputs

NO_FLAG = 255
QUALITY_FLAG = CubeVariable(
    ("y", "x"),
    "uint8",
    {
        "long_name": "quality flag",
        "flag_values": [0, 1, 2, 3],
        "flag_meanings": "predicted outside_training_range filled_input masked",
    },
)

Predicted = Mapping[str, np.ndarray]
"""`mean`, `spread`, `quantiles` and `flag` of cells, as `predict_cells` returns them."""


@dataclass(frozen=True)
class PredictionLayers:
    """The variables of a prediction cube: each target, its spread and quantiles, and the flag.

    A composition or a probability is static: its variables have no time.
    """

    targets: Mapping[str, Variable]
    has_time: bool
    levels: tuple[int, ...] = ()
    """Positions in `LEVELS` of the quantiles that are stored."""

    @property
    def variables(self) -> dict[str, CubeVariable]:
        """The variables for the template of a cube."""
        dims = ("time", "y", "x") if self.has_time else ("y", "x")
        cube_variables: dict[str, CubeVariable] = {}
        for target, variable in self.targets.items():
            attrs = {
                "standard_name": variable.standard_name,
                "long_name": variable.long_name,
                "units": variable.units,
                "ancillary_variables": f"{target}_spread quality_flag",
            }
            cube_variables[target] = CubeVariable(dims, attrs={k: v for k, v in attrs.items() if v})
            long_names = {f"{target}_spread": f"standard deviation of {variable.long_name}"}
            for level in self.levels:
                name = f"{target}_{NAMES[level]}"
                long_names[name] = f"quantile {LEVELS[level]:g} of {variable.long_name}"
            for name, text in long_names.items():
                cube_variables[name] = CubeVariable(
                    dims, attrs={"long_name": text, "units": variable.units}
                )
        return cube_variables | {"quality_flag": QUALITY_FLAG}

    def maps(
        self, grid: TargetGrid, tile: Tile, cells: CellData, predicted: Predicted
    ) -> xr.Dataset:
        """The predictions of a tile's cells as maps, dims (time, y, x) or (y, x)."""
        window = grid.window(tile.rows, tile.cols)
        rows, cols = cells_within(tile, cells.cell.numpy(), grid.shape[1])
        maps: dict[str, xr.Variable] = {}
        for i, target in enumerate(self.targets):
            fields = {
                target: predicted["mean"][..., i],
                f"{target}_spread": predicted["spread"][..., i],
            }
            for level in self.levels:
                fields[f"{target}_{NAMES[level]}"] = predicted["quantiles"][..., i, level]
            for name, values in fields.items():
                steps = values.T
                field = np.full((*steps.shape[:-1], *window.shape), np.nan, np.float32)
                field[..., rows, cols] = steps
                maps[name] = xr.Variable(("time", "y", "x")[3 - field.ndim :], field)
        flag = np.full(window.shape, NO_FLAG, np.uint8)
        flag[rows, cols] = predicted["flag"]
        maps["quality_flag"] = xr.Variable(("y", "x"), flag)
        coords: dict[str, Any] = {"y": window.y, "x": window.x}
        if self.has_time:
            coords["time"] = cells.time
        return xr.Dataset(maps, coords)


def read_tile(
    ds: xr.Dataset, inputs: Inputs, mask: np.ndarray, statics: Sequence[str], tile: Tile
) -> CellData:
    """The cells of a tile of an open cube where `mask` (y, x) is True, with these `statics`."""
    table = read_inputs(ds, inputs, land_cells(mask, tile)).load()
    return cell_data(table, inputs, statics)


@dataclass(frozen=True)
class TilePrediction:
    """The prediction of a cube's tiles as a `Task` of three parts: read, compute and write."""

    store: Path
    grid: TargetGrid
    layers: PredictionLayers
    read: Callable[[Tile], CellData]
    """Reader of the cells of a tile that are predicted; empty where the tile is all sea."""
    predict: Callable[
        [Iterable[tuple[tuple[Tile, CellData], CellData, None]]],
        Iterator[tuple[tuple[Tile, CellData], Predicted]],
    ]
    """Function that predicts keyed cells, such as `predict_tables` of an ensemble."""

    @property
    def task(self) -> Task:
        """The task that reads, predicts and writes tiles."""
        return Task(self.read, self.compute, self.write)

    def compute(
        self, tables: Iterator[tuple[Tile, CellData]]
    ) -> Iterator[tuple[Tile, tuple[CellData, Predicted]]]:
        """The cells of each tile with their predictions; tiles share forward passes."""
        named = (((tile, cells), cells, None) for tile, cells in tables)
        for (tile, cells), predicted in self.predict(named):
            yield tile, (cells, predicted)

    def write(self, tile: Tile, found: tuple[CellData, Predicted]) -> Mapping[str, Any]:
        """Write a tile; returns counts of cells and the range of each variable."""
        cells, predicted = found
        summary = write_tile(self.store, tile, self.layers.maps(self.grid, tile, cells, predicted))
        masked = int((predicted["flag"] == MASKED).sum())
        return {**summary, "cells": len(cells), "masked": masked}


def series_time(
    time: xr.DataArray, sources: Iterable[Source], targets: Sequence[str]
) -> xr.DataArray:
    """The time axis, for a climatology with the years in the catalog entry of the target."""
    periods = [
        s.time.period for s in sources if s.time.kind == "months" and {*targets} & {*s.variables}
    ]
    if not periods or periods[0] is None:
        return time
    return time.assign_attrs(climatology_period="/".join(day.isoformat() for day in periods[0]))
