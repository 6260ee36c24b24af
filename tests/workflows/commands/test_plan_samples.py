"""Check and plan decode a bounded sample, however long a series is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import pipeline.sources.check_values
import workflows.commands.plan
from benchmarks.inflated import counting
from pipeline.build import template_of
from pipeline.core.errors import Faults
from pipeline.entries.source import Source, Variable
from pipeline.grid.target_grid import TargetGrid
from pipeline.regrid_tile import RegridTask
from pipeline.sources.overlap import check_on_grids
from workflows.commands.plan import cube_plans

MAPS = 150
"""Number of maps that check and plan may decode together: 16 blocks of four steps, and trials."""


@pytest.mark.parametrize("days", [400, 1600])
def test_check_and_plan_decode_a_bounded_number_of_maps(
    days: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.sources.check_values, "WHOLE_BYTES", 1 << 16)
    # The plan times as many steps as take this long to read, two at least.
    monkeypatch.setattr(workflows.commands.plan, "TIMED_SECONDS", 0.0)
    coords = {
        "time": np.datetime64("2001-01-01", "ns") + np.arange(days) * np.timedelta64(1, "D"),
        "lat": 85.0 - 10 * np.arange(18.0), "lon": -175.0 + 10 * np.arange(36.0),
    }  # fmt: skip
    values = np.random.default_rng(0).random((days, 18, 36), np.float32)
    da = xr.DataArray(values, coords, tuple(coords), "rain", {"units": "1"})
    how = {"zlib": True, "chunksizes": (1, 18, 36)}
    da.to_netcdf(tmp_path / "rain.nc", encoding={"rain": how})
    source = Source.model_validate(
        {"name": "rain", "uri": str(tmp_path / "rain.nc"), "driver": "netcdf",
         "variables": {"rain": {"name": "rain"}}}
    )  # fmt: skip
    grid = TargetGrid.from_bounds("globe", "EPSG:4326", (-180, -90, 180, 90), 5.0)
    variables, faults = {"rain": Variable(long_name="rain", units="1")}, Faults()
    task = RegridTask(tmp_path / "a.zarr", grid, (source,), variables)
    with counting() as decoded:
        check_on_grids(source, {"globe": grid}, variables, faults)
        assert 0 < decoded["rain"] < MAPS * values[0].nbytes
        cube_plans([("a", template_of(task, (9, 18)), task)], 1, tmp_path)
    assert decoded["rain"] < MAPS * values[0].nbytes
    faults.raise_if_any()
