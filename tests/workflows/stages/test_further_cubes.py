"""Cells of further cubes pretrain the encoder, away from what is held out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.cube.locations import write_locations
from stefaland.folds.fold import Fold
from tests.stored import DAYS, write_sites_store
from tests.workflows.stages.test_stage_leaks import (
    BASIN_LONLAT,
    UNIT_LONLAT,
    UNIT_OUTLETS,
    UNITS,
    fold_of,
    refused,
    streamflow,
)
from workflows.inputs.folds import FoldFiles
from workflows.run import Run
from workflows.stages import finetune, pretrain, stats

RNG = np.random.default_rng(5)
STATIONS = RNG.uniform((-80, 36), (-70, 45), (60, 2))
MONTHS = np.arange("1979-01", "1979-07", dtype="datetime64[M]").astype("datetime64[ns]")
ALSO = (
    "cubes={units: {locations: drb_units}, basins: {locations: drb_basins},"
    " stations: {locations: drb_units}}",
    "pretrain.also={stations: {weight: 3, window: 4, cyclic: true}}", "pretrain.steps_per_epoch=4",
)  # fmt: skip


def write_stations(run: Run, time: np.ndarray = MONTHS, rain: float = 1.0) -> None:
    """Monthly rain and elevation of stations, which have no other forcing and no slope."""
    n = len(STATIONS)
    rng = np.random.default_rng(0)
    fields = {"precipitation": (("time", "cell"), rain * rng.random((len(time), n), np.float32)),
              "elevation": (("cell",), rng.random(n, np.float32))}  # fmt: skip
    coords = {"cell": np.arange(n), "time": time, "lon": ("cell", STATIONS[:, 0]),
              "lat": ("cell", STATIONS[:, 1])}  # fmt: skip
    write_locations(run.cube("stations"), xr.Dataset(fields, coords))


def pretrained(run: Run) -> bytes:
    stats.main(run)
    pretrain.main(run)
    return (run.pretrained("group0") / "model.safetensors").read_bytes()


def test_cells_of_another_cube_with_other_steps_and_fewer_variables_pretrain(
    tmp_path: Path,
) -> None:
    weights = []
    for name, rain in (("one", 1.0), ("two", 1.0), ("other", 0.5)):
        run = streamflow(tmp_path / name, *ALSO)
        write_stations(run, rain=rain)
        weights.append(pretrained(run))
    assert weights[0] == weights[1] != weights[2]
    data = json.loads((run.pretrained("group0") / "data.json").read_text())
    fold, wider = fold_of(run), Fold.load(FoldFiles(run.folder).cells("pretrain/stations/group0"))
    assert data["training"]["cells"] == len(wider.train) + len(
        fold_of(run, "pretrain/group0").train
    )
    assert np.isfinite(list(data["training"]["best"].values())).all()
    finetune.training_inputs(run)
    # No station whose nearest basin is held out trains, although none shares its ground.
    seen = np.union1d(wider.train, wider.validation)
    scale = np.cos(np.deg2rad(41))
    gaps = (STATIONS[seen, None] - BASIN_LONLAT[None]) * [scale, 1]
    nearest = np.square(gaps).sum(-1).argmin(1)
    assert np.isin(nearest, fold.test).mean() < 0.05
    assert len(wider.dropped) > 5


def test_a_planted_leak_and_an_encoder_of_other_cells_are_found(tmp_path: Path) -> None:
    run = streamflow(tmp_path, *ALSO)
    write_stations(run)
    pretrained(run)
    path = FoldFiles(run.folder).cells("pretrain/stations/group0")
    wider = Fold.load(path)
    replace(
        wider, train=np.union1d(wider.train, wider.dropped[:3]), dropped=wider.dropped[3:]
    ).save(path)
    message = refused(pretrain, run)
    assert f"{path}: pretraining: found 3 cells" in message
    assert "nearer to a test cell than to any other" in message
    replace(wider, train=wider.train[1:]).save(path)
    assert "an encoder pretrained on other cells" in refused(finetune, run)


@pytest.mark.parametrize("wrong", ["days", "name"])
def test_a_cube_without_days_of_training_and_an_unknown_one_are_refused(
    tmp_path: Path, wrong: str
) -> None:
    periods = ("folds.train_period=[1979-01-01, 1979-01-20]",
               "folds.test_period=[1979-02-10, 1979-03-01]")  # fmt: skip
    if wrong == "name":
        with pytest.raises(InputError, match=r'no cube "station"\. Did you mean "stations"'):
            streamflow(tmp_path, ALSO[0], "pretrain.also={station: {}}")
        return
    run = streamflow(tmp_path, ALSO[0], "pretrain.also={stations: {window: 5}}", *periods)
    write_stations(run, DAYS[20:])
    message = refused(stats, run)
    assert "pretrain.also.stations: found a cube of 1979-01-21 to 1979-03-01" in message


def test_series_that_are_no_inputs_are_predicted_in_pretraining_alone(tmp_path: Path) -> None:
    settings = "pretrain.also_predict=[soil_water, simulated_runoff]"
    forcings = "inputs.forcings=[precipitation, air_temperature]"
    run = streamflow(tmp_path, forcings, settings)
    write_sites_store(run, "units", UNIT_LONLAT, {"soil_water": RNG.random((DAYS.size, UNITS))},
                      UNIT_OUTLETS, first=1000)  # fmt: skip
    stats.main(run)
    pretrain.main(run)
    data = json.loads((run.pretrained("group0") / "data.json").read_text())
    assert np.isfinite(data["training"]["best"]["validation_pretext_skill"])
    assert data["forcings"] == ["precipitation", "air_temperature"]
    finetune.main(run)
    with pytest.raises(InputError, match="streamflow are inputs or targets"):
        streamflow(tmp_path / "other", "pretrain.also_predict=[streamflow]")
