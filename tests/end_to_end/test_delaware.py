"""The daily case from hydrologic units and gauges to a map of streamflow, at reduced size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from pipeline.cube.open import open_cube
from tests.end_to_end.small import DELAWARE, stefaland

pytestmark = [pytest.mark.registry, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    done = stefaland(runs, "delaware", DELAWARE, "run")
    assert done.returncode == 0, done.stderr
    return runs / "delaware"


def test_units_and_basins_are_locations_and_points_fill_the_grid(run_folder: Path) -> None:
    units, basins, grid = (
        open_cube(run_folder / "cubes" / f"{name}.zarr") for name in ("units", "basins", "delaware")
    )
    assert units.sizes == {"time": 731, "cell": 677}
    assert basins.sizes["cell"] == 87
    assert np.isfinite(basins["streamflow"].values).all()
    valid = np.isfinite(grid["precipitation"].values).all(0)
    assert 350 < valid.sum() < 450
    mean = np.nansum(grid["precipitation"].values[:365], 0)[valid].mean()
    assert 1250 < mean < 1500


def test_no_unit_upstream_of_a_test_basin_trains(run_folder: Path) -> None:
    basins = open_cube(run_folder / "cubes" / "basins.zarr")
    units = open_cube(run_folder / "cubes" / "units.zarr")
    for path in (run_folder / "folds").glob("*.json"):
        fold = json.loads(path.read_text())
        wider = json.loads((run_folder / "folds" / "pretrain" / path.name).read_text())
        held = set(basins["group"].values[np.isin(basins["cell"].values, fold["test"])])
        train = np.isin(units["cell"].values, wider["train"])
        assert held
        assert train.sum() > 200
        assert not held & set(units["group"].values[train])


def test_the_map_is_daily_and_in_place(run_folder: Path) -> None:
    with rasterio.open(run_folder / "maps" / "streamflow_delaware.tif") as raster:
        # The 30 days of warm-up have no value and are not published.
        assert raster.count == 731 - 30
        assert raster.descriptions[0] == "1979-01-31"
        assert raster.units[0] == "mm/day"
        first, last = raster.read(1, masked=True), raster.read(raster.count, masked=True)
    assert first.count() == last.count() > 350
    holes = json.loads((run_folder / ".stages" / "mosaic.finished.json").read_text())
    assert holes["result"]["holes"]["delaware"]["missing"] == 0
    assert 0 <= last.min() <= last.max() < 1000


def test_scores_are_of_basins(run_folder: Path) -> None:
    card = json.loads((run_folder / "scorecard.json").read_text())
    assert card["sites"] == 87
    assert card["rank_by"] == {"metric": "NSE", "over": "sites", "examples": 4}
    assert {"FHV", "FLV"} <= set(card["models"]["stefaland"]["sites"])
    assert "1979" in (run_folder / "report.html").read_text()
