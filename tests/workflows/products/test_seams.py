"""Seams of published series are faults that name the boundaries of the windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.cube.template import CubeVariable, cube_template
from pipeline.cube.write import create_cube, write_tile
from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.mosaic import create_map, fill_map_tile
from pipeline.maps.seams import BOUNDARIES
from workflows.config.publish import Product, PublishSettings
from workflows.config.schema import Inputs
from workflows.products.map_layers import ProductStore, layers
from workflows.products.seams import seam_faults

GRID = TargetGrid.from_bounds("g", "EPSG:4326", (0, 0, 4, 4), 2.0)
DAYS = np.arange("2001-01-01", "2001-07-01", dtype="datetime64[D]").astype("datetime64[ns]")


@pytest.mark.parametrize(("jump", "aggregate", "faults"), [
    (0.0, "none", 0), (0.5, "none", 1), (0.5, "monthly", 0),
])  # fmt: skip
def test_a_series_that_jumps_between_windows_is_a_fault(
    tmp_path: Path, jump: float, aggregate: str, faults: int
) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 0.01, (len(DAYS), 2, 2)).cumsum(0)
    values[90:] += jump
    time = xr.DataArray(DAYS, {"time": DAYS}, ("time",))
    names = ("soil_moisture", "soil_moisture_spread")
    variables = {name: CubeVariable(("time", "y", "x"), "float32") for name in names}
    variables["quality_flag"] = CubeVariable(("y", "x"), "uint8")
    template = cube_template(GRID, time, variables, 2)
    create_cube(tmp_path / "predicted.zarr", template, {BOUNDARIES: [str(DAYS[90])]})
    maps = {name: (("time", "y", "x"), values.astype(np.float32)) for name in names}
    maps["quality_flag"] = (("y", "x"), np.zeros((2, 2), np.uint8))
    coords = {"time": DAYS, "y": GRID.y, "x": GRID.x}
    write_tile(tmp_path / "predicted.zarr", template.tiles[0], xr.Dataset(maps, coords))
    task = create_map(tmp_path / "predicted.zarr", GRID, tmp_path / "map.zarr", aggregate=aggregate)
    fill_map_tile(task, template.tiles[0])
    product = Product(cube="land", suffix="land", aggregate=aggregate)
    store = ProductStore(product, task.store, GRID, tmp_path, names[0])
    inputs = Inputs(forcings=(), statics=(), target=names[0])
    settings = PublishSettings(legend="soil_moisture", spread_legend="soil_moisture_spread")
    found = seam_faults(layers(store, inputs, settings, "gaussian"))
    assert len(found) == faults
    if found:
        assert "2001-04-01" in found[0].found
        assert "at most 3 times" in found[0].expected
