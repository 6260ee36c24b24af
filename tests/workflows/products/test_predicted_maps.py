"""Prediction cubes: their variables, and tiles whose cells lie where they belong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.cube.open import open_cube
from pipeline.cube.template import cube_template
from pipeline.cube.write import create_cube
from pipeline.entries.source import Variable
from pipeline.execution.executor import HERE, Executor
from pipeline.execution.ledger import Ledger
from pipeline.execution.overlap import Overlapped
from pipeline.execution.run import run_stage
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import Tile, land_cells
from stefaland.data.cell_data import CellData
from workflows.products.predicted_maps import NO_FLAG, PredictionLayers, TilePrediction

GRID = TargetGrid.from_bounds("g", "EPSG:4326", (0, 0, 7, 5), 1.0)
DAYS = np.arange("2001-01-01", "2001-01-04", dtype="datetime64[D]").astype("datetime64[ns]")
TARGETS = {
    "sand": Variable(long_name="sand content", units="1"),
    "clay": Variable(long_name="clay content", units="1", standard_name="clay"),
}
LAND = np.random.default_rng(0).random(GRID.shape) < 0.6
LAND[:2, :4] = False


def cells_of(tile: Tile) -> CellData:
    cells = land_cells(LAND, tile)
    return CellData(
        forcings=torch.zeros(len(cells), len(DAYS), 1), statics=torch.zeros(len(cells), 0),
        cell=torch.from_numpy(cells), lonlat=torch.zeros(len(cells), 2), time=DAYS,
        forcing_names=("rain",), static_names=(),
    )  # fmt: skip


def predict(tables: Iterable[tuple[Any, CellData, None]], steps: bool) -> Iterator[tuple[Any, Any]]:
    """The cell's number, 1000 more for the second target, and a tenth for each day."""
    for key, cells, _ in tables:
        mean = cells.cell.numpy()[:, None] + np.array([0.0, 1000.0])
        if steps:
            mean = mean[:, None] + np.arange(len(DAYS))[:, None] / 10
        quantiles = mean[..., None] + np.arange(7)
        flag = np.where(cells.cell.numpy() % 2, 3, 0).astype(np.uint8)
        yield key, {"mean": mean, "spread": mean / 2, "quantiles": quantiles, "flag": flag}


@pytest.mark.parametrize("executor", [HERE, Overlapped(threads=2)])
@pytest.mark.parametrize(("has_time", "levels"), [(True, (0, 6)), (False, ())])
def test_every_land_cell_gets_its_own_prediction_and_the_sea_none(
    tmp_path: Path, executor: Executor, has_time: bool, levels: tuple[int, ...]
) -> None:
    layers = PredictionLayers(TARGETS, has_time, levels)
    template = cube_template(GRID, DAYS if has_time else None, layers.variables, (2, 4))
    create_cube(tmp_path / "a.zarr", template, {})
    work = TilePrediction(
        tmp_path / "a.zarr", GRID, layers, cells_of, lambda tables: predict(tables, has_time)
    )
    ledger = Ledger(tmp_path / "ledger", "f")
    run_stage("predict", template.tiles, work.task, ledger, executor)
    ds = open_cube(tmp_path / "a.zarr")
    number = np.where(LAND, np.arange(LAND.size).reshape(LAND.shape), np.nan)
    days = np.arange(3)[:, None, None] / 10 if has_time else 0
    for name, more in (("sand", 0), ("clay", 1000)):
        np.testing.assert_allclose(ds[name], number + more + days, rtol=1e-6)
        np.testing.assert_allclose(ds[f"{name}_spread"], (number + more + days) / 2, rtol=1e-6)
        if levels:
            np.testing.assert_allclose(ds[f"{name}_p95"], number + more + days + 6, rtol=1e-6)
    flag = np.where(LAND, np.where(np.nan_to_num(number) % 2, 3, 0), NO_FLAG)
    np.testing.assert_array_equal(ds["quality_flag"], flag)
    counts = ledger.summaries().values()
    assert sum(tile["cells"] for tile in counts) == LAND.sum()
    assert sum(tile["masked"] for tile in counts) == (flag == 3).sum()


def test_variables_name_their_targets_and_what_belongs_to_them() -> None:
    made = PredictionLayers(TARGETS, True, (0, 6)).variables
    assert list(made) == [
        "sand", "sand_spread", "sand_p05", "sand_p95",
        "clay", "clay_spread", "clay_p05", "clay_p95", "quality_flag",
    ]  # fmt: skip
    assert made["clay"].attrs["standard_name"] == "clay"
    assert "standard_name" not in made["sand"].attrs
    assert made["sand"].attrs["ancillary_variables"] == "sand_spread quality_flag"
    assert made["clay_p05"].attrs["long_name"] == "quantile 0.05 of clay content"
    assert made["clay_spread"].attrs["long_name"] == "standard deviation of clay content"
    assert made["sand"].dims == ("time", "y", "x")
    assert PredictionLayers(TARGETS, False).variables["sand"].dims == ("y", "x")
