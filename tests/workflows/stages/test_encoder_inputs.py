"""An encoder of a union of inputs serves runs that lack some, and is kept from held-out cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.core.errors import Faults, InputError
from pipeline.cube.locations import write_locations
from stefaland.checkpoints.checkpoint import save_checkpoint
from stefaland.config import ModelConfig
from stefaland.folds.fold import Fold
from stefaland.model.mae import StefaLand
from stefaland.prediction.ensemble import load
from tests.stored import FORCINGS, STATICS, write_sites_store
from tests.workflows.stages.test_further_cubes import ALSO, MONTHS, STATIONS
from tests.workflows.stages.test_stage_leaks import (
    UNIT_LONLAT,
    UNIT_OUTLETS,
    refused,
    streamflow,
)
from workflows.inputs.checked_folds import fold_identity
from workflows.inputs.folds import FoldFiles
from workflows.inputs.given_encoder import caveats, check_given_encoder
from workflows.inputs.pretraining_cells import KEY, check_seen, record, records
from workflows.run import Run
from workflows.stages import finetune, pretrain, stats
from workflows.stages.unpack import encoder_requirements

UNION = (*ALSO, "pretrain.also_forcings=[snow_amount]", "pretrain.also_statics=[cl*]",
         "finetune.baselines=[scratch]")  # fmt: skip


def write_stations(run: Run) -> None:
    """Monthly rain and snow of stations with clay, of which the other cubes have rain alone."""
    rng, n = np.random.default_rng(0), len(STATIONS)
    fields: dict[str, Any] = {
        name: (("time", "cell"), scale * rng.random((len(MONTHS), n), np.float32))
        for name, scale in (("precipitation", 1.0), ("snow_amount", 40.0))
    }
    fields["clay"] = (("cell",), rng.random(n, np.float32))
    coords = {"cell": np.arange(n), "time": MONTHS, "lon": ("cell", STATIONS[:, 0]),
              "lat": ("cell", STATIONS[:, 1])}  # fmt: skip
    write_locations(run.cube("stations"), xr.Dataset(fields, coords))


@pytest.fixture(scope="module")
def union(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose encoder knows snow and clay, which only the stations have, finetuned."""
    run = streamflow(tmp_path_factory.mktemp("union"), *UNION)
    write_stations(run)
    for stage in (stats, pretrain, finetune):
        stage.main(run)
    return run


def given(folder: Path, union: Run, *overrides: str) -> Run:
    run = streamflow(folder, f"pretrain.from_checkpoint={union.encoders}", *overrides)
    stats.main(run)
    return run


def test_what_only_further_cubes_have_is_known_to_the_encoder_alone(union: Run) -> None:
    data = json.loads((union.pretrained("group0") / "data.json").read_text())
    assert data["forcings"][-1] == "snow_amount"
    assert data["statics"][-1] == "clay"
    assert {"snow_amount", "clay", "air_temperature_max"} <= {*data["lacking"]}
    assert "precipitation" not in data["lacking"]
    scaling = data["normaliser"]["snow_amount"]
    assert 0 < scaling["minimum"] < scaling["mean"] < scaling["maximum"] <= 40
    assert np.isfinite(list(data["training"]["best"].values())).all()
    (member,) = load(union.finetuned("stefaland", "group0")).members
    assert member.hidden_names == ("snow_amount", "clay")
    (scratch,) = load(union.finetuned("scratch", "group0")).members
    assert "snow_amount" not in scratch.forcing_names
    found = xr.open_zarr(union.finetuned("stefaland", "group0") / "heldout.zarr")
    assert bool(found["mean"].notnull().any())


def test_a_name_that_no_cube_has_is_refused(union: Run, tmp_path: Path) -> None:
    run = streamflow(tmp_path, *ALSO, "pretrain.also_forcings=[snow_amont]",
                     "pretrain.also_statics=[sand]")  # fmt: skip
    write_stations(run)
    message = refused(stats, run)
    assert "pretrain.also_forcings: snow_amont: found no such forcing" in message
    assert 'Did you mean "snow_amount"?' in message
    assert "pretrain.also_statics: sand" in message


def test_an_encoder_serves_a_run_that_lacks_some_of_its_inputs(union: Run, tmp_path: Path) -> None:
    run = given(tmp_path, union, "inputs.forcings=[precipitation]", "inputs.statics=[elevation]")
    faults, required = Faults(), encoder_requirements(run, ["elevation"])
    (note,) = check_given_encoder(union.encoders, run.encoders, required, faults)
    assert faults.faults == []
    assert note.endswith("hidden from it: air_temperature_max, snow_amount, slope, clay")
    pretrain.main(run)
    finetune.main(run)
    (member,) = load(run.finetuned("stefaland", "group0")).members
    assert member.hidden_names == ("air_temperature_max", "snow_amount", "slope", "clay")
    first, *others = caveats(union.encoders.name, run.encoders)
    assert "None of the cells that pretrained it" in first, "the folds are the same"
    assert "inputs that this run lacks" in others[0]
    required = encoder_requirements(run, ["elevation", "soil_depth"])
    check_given_encoder(union.encoders, run.encoders, required, faults)
    assert "trained without ['soil_depth']" in str(faults.faults[0])
    assert "An encoder cannot read variables" in str(faults.faults[0])


def test_an_encoder_that_never_lacked_a_forcing_is_used_without_it_on_request_alone(
    tmp_path: Path,
) -> None:
    network = ModelConfig(forcings=FORCINGS, statics=STATICS, d_model=8, d_embed=4,
                          d_feedforward=8, n_heads=2)  # fmt: skip
    names = (*FORCINGS, *STATICS)
    stored = {"normaliser": {name: {"mean": 0.0, "std": 1.0} for name in names}}
    encoder = save_checkpoint(tmp_path / "encoder", StefaLand(network), stored)
    for request in (False, True):
        run = streamflow(
            tmp_path / str(request),
            f"pretrain.from_checkpoint={encoder}",
            "inputs.forcings=[precipitation]",
            f"pretrain.hide_absent={request}",
        )
        faults, required = Faults(), encoder_requirements(run, ["elevation"])
        check_given_encoder(encoder, run.encoders, required, faults)
        assert [fault.hint.startswith("The encoder was never") for fault in faults.faults] == [
            True
        ] * (not request)


def test_held_out_cells_that_pretrained_a_given_encoder_are_refused(
    union: Run, tmp_path: Path
) -> None:
    run = given(tmp_path, union, "folds.seed=8")
    message = refused(pretrain, run)
    assert "cells of units for fold group0: found" in message
    assert "that pretrain are nearer to a test cell than to any other" in message
    assert "pretrain.seen_cells: warn" in message
    assert not run.pretrained("group0").exists()
    warned = given(tmp_path / "warned", union, "folds.seed=8", "pretrain.seen_cells=warn")
    pretrain.main(warned)
    assert "has seen held-out ground (" in caveats(union.encoders.name, warned.encoders)[0]


def test_cells_of_the_same_ids_at_other_places_are_other_cells(union: Run, tmp_path: Path) -> None:
    run = streamflow(tmp_path, f"pretrain.from_checkpoint={union.encoders}")
    write_sites_store(run, "units", UNIT_LONLAT[::-1], {}, UNIT_OUTLETS, first=1000)
    stats.main(run)
    folds = [FoldFiles(one.folder).pretraining_fold("group0") for one in (union, run)]
    assert fold_identity(folds[0]) == fold_identity(folds[1])
    assert "cells of units for fold group0: found" in refused(pretrain, run)


GRID = {"grid_name": "g", "grid": {"crs": "EPSG:4326", "dx": 1.0, "dy": 1.0, "west": -80.0,
                                   "north": 44.0, "shape": [6, 8], "offset": [0, 0]}}  # fmt: skip
IDS = np.array([9, 10, 11, 30])


def recorded(**changes: Any) -> dict[str, Any]:
    """The record of four cells of a grid, of which one validates."""
    time = np.arange("2001-01-01", "2001-01-11", dtype="datetime64[D]")
    index = xr.Dataset(coords={"cell": IDS, "time": time}, attrs={"cube": GRID})
    fold = Fold(name="f", kind="groups", train=IDS[1:], validation=IDS[:1], test=IDS[:0])
    return {**record("globe", index, fold), **changes}


def test_cells_of_a_grid_are_recorded_as_runs_and_compared_by_ground_and_days() -> None:
    assert recorded()["runs"] == [[9, 3], [30, 1]]
    (seen,) = records({KEY: [recorded()]}, "data.json")
    table = seen.table()
    assert table["cell"].values.tolist() == IDS.tolist()
    assert (table["lon"].values[0], table["lat"].values[0]) == (-78.5, 42.5)
    sites = xr.Dataset(
        coords={"cell": [0, 1], "lon": ("cell", [-78.3, -60.0]), "lat": ("cell", [42.7, 10.0]),
                "group": ("cell", [0, 1], {"of": "sites"})}
    )  # fmt: skip
    ids = np.array([0, 1])
    for test, leaks in ((ids[:1], True), (ids[1:], False)):
        fold = Fold(name="f", kind="groups", train=ids[:0], validation=ids[:0], test=test)
        if leaks:
            with pytest.raises(InputError, match="x: cells of globe for fold f: found 1 cells"):
                check_seen("x", fold, sites, [seen])
        else:
            check_seen("x", fold, sites, [seen])
    for period, leaks in (
        (("2001-01-10", "2001-02-01"), True),
        (("2001-01-11", "2002-01-01"), False),
    ):
        fold = Fold(
            name="time", kind="time", train=ids, validation=ids, test=ids, test_period=period
        )
        if leaks:
            with pytest.raises(InputError, match="with test days at the same ground"):
                check_seen("x", fold, sites, [seen])
        else:
            check_seen("x", fold, sites, [seen])


def test_a_record_that_is_none_is_refused() -> None:
    assert records({}, "data.json") == []
    for wrong in ({"cube": "g"}, recorded(grid={}), recorded(runs=[[40, 20]]), recorded(lon=["a"])):
        with pytest.raises(InputError, match=r"data.json: pretraining_cells\.0"):
            records({KEY: [wrong]}, "data.json")
