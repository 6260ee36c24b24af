"""What a tile takes at its peak, measured in a process of its own, against its plan."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

SIDE = 3000
CODE = """
import sys
from pathlib import Path
import workflows.stages.check  # as in a run without a cluster
from pipeline.catalog.catalog import read_variables
from pipeline.entries.source import Source
from pipeline.cube.write import create_cube
from pipeline.grid.target_grid import TargetGrid
from pipeline.cube.cost import plan_cube
from pipeline.execution.executor import peak_memory
from workflows.inputs.memory import memory_needs
from pipeline.build import template_of
from pipeline.regrid_tile import RegridTask, regrid_tile

folder, kind = Path(sys.argv[1]), sys.argv[2]
entry = {"name": "dem", "uri": str(folder / "dem.tif"), "driver": "raster", "method": "mean",
         "variables": {"elevation": {"name": "band_1", "units": "m"}}}
bounds = ("EPSG:4326", (-110, 35, -100, 45), 0.25)
if kind == "warp":
    bounds = ("EPSG:5070", (-1000000, 1500000, -200000, 2300000), 20000)
grid = TargetGrid.from_bounds("g", *bounds)
terrain = "dem" if kind == "terrain" else None
task = RegridTask(folder / f"{kind}.zarr", grid, (Source.model_validate(entry),),
                  read_variables(), terrain_from=terrain)
template = template_of(task, grid.shape)
create_cube(task.store, template, {})
regrid_tile(task, template.tiles[0])
peak = peak_memory()
print(peak, plan_cube("c", template, **memory_needs(task, template)).memory)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("dem")
    transform = rasterio.transform.from_origin(-110, 45, 10 / SIDE, 10 / SIDE)
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 1, "dtype": "float32"}
    with rasterio.open(made / "dem.tif", "w", crs="EPSG:4326", transform=transform, tiled=True,
                       **profile) as file:  # fmt: skip
        file.write(np.random.default_rng(0).random((SIDE, SIDE), np.float32) * 1000, 1)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mean", "terrain", "warp"])
def test_a_plans_memory_is_no_less_than_a_tile_takes_and_not_far_more(
    folder: Path, kind: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(folder), kind], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    peak, plan = map(int, done.stdout.split())
    assert peak < plan < 2.5 * peak
