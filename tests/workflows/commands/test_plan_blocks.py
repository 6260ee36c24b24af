"""The plan of a cube whose sources are read in blocks: each file once, and a block's memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import pipeline.regrid_blocks
from pipeline.build import template_of
from pipeline.entries.source import Source, Variable
from pipeline.grid.target_grid import TargetGrid
from pipeline.regrid_blocks import sources_in_blocks
from pipeline.regrid_tile import RegridTask
from workflows.commands.plan import cube_plans, read_by_tiles
from workflows.inputs.memory import memory_needs

DAYS = 5


def rain_task(folder: Path, days: int, degrees: float) -> RegridTask:
    """Regridding of a daily global series in chunks of one map onto cells of 5 degrees."""
    rows, cols = round(180 / degrees), round(360 / degrees)
    coords = {
        "time": np.datetime64("2001-01-01", "ns") + np.arange(days) * np.timedelta64(1, "D"),
        "lat": 90 - degrees * (0.5 + np.arange(rows)),
        "lon": degrees * (0.5 + np.arange(cols)) - 180,
    }  # fmt: skip
    values = np.random.default_rng(0).random((days, rows, cols), np.float32)
    da = xr.DataArray(values, coords, tuple(coords), "rain", {"units": "1"})
    how = {"zlib": True, "chunksizes": (1, rows, cols)}
    da.to_netcdf(folder / "rain.nc", encoding={"rain": how})
    source = Source.model_validate(
        {"name": "rain", "uri": str(folder / "rain.nc"), "driver": "netcdf", "method": "mean",
         "variables": {"rain": {"name": "rain"}}}
    )  # fmt: skip
    grid = TargetGrid.from_bounds("globe", "EPSG:4326", (-180, -90, 180, 90), 5.0)
    variables = {"rain": Variable(long_name="rain", units="1")}
    return RegridTask(folder / "a.zarr", grid, (source,), variables)


@pytest.fixture
def task(tmp_path: Path) -> RegridTask:
    return rain_task(tmp_path, DAYS, 1.0)


def test_a_plan_counts_what_blocks_read_and_hold(
    task: RegridTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = template_of(task, (9, 18))
    size = (tmp_path / "rain.nc").stat().st_size
    ((by_tiles, _),) = cube_plans([("a", template, task)], 1, tmp_path)
    assert by_tiles.bytes_read > 10 * size
    monkeypatch.setattr(pipeline.regrid_blocks, "LEAST_GAIN", 0)
    (blocks,) = sources_in_blocks(task, template, template.tiles)
    assert blocks.decoded_bytes == 4 * DAYS * 180 * 360
    assert blocks.scratch_bytes == 2 * 4 * DAYS * 36 * 72
    assert not read_by_tiles(task, [blocks]).sources
    needs = memory_needs(task, template)
    assert (needs["window_bytes"], needs["held_bytes"]) == (4 * 180 * 360, 2 * 4 * 36 * 72)
    ((in_blocks, _),) = cube_plans([("a", template, task)], 1, tmp_path)
    assert in_blocks.bytes_read == size


def test_chunks_that_reach_beyond_the_grid_are_counted_whole(
    task: RegridTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = TargetGrid.from_bounds("part", "EPSG:4326", (-120, 20, -60, 50), 5.0)
    part = replace(task, grid=grid)
    template = template_of(part, (3, 4))
    # What the tiles would decode beyond one reading of all chunks, which is worth their blocks.
    spared = (len(template.tiles) - 1) * 4 * DAYS * 180 * 360
    monkeypatch.setattr(pipeline.regrid_blocks, "LEAST_GAIN", spared - 1)
    (blocks,) = sources_in_blocks(part, template, template.tiles)
    assert blocks.decoded_bytes == 4 * DAYS * 180 * 360
    monkeypatch.setattr(pipeline.regrid_blocks, "LEAST_GAIN", spared)
    assert not sources_in_blocks(part, template, template.tiles)
