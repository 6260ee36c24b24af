"""Folds in time from a run's settings to its scores: alone, and with sites held out as well."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from stefaland.data.normalise import fit_scaling
from stefaland.folds.fold import Fold
from workflows.config.load import load_config
from workflows.inputs.carried_folds import carried_fold
from workflows.inputs.folds import FoldFiles, WindowSteps, run_folds, with_target
from workflows.products.report_text import held_out_sentence
from workflows.run import Run
from workflows.stages import finetune, pretrain, regrid, score, stats

PERIODS = (
    "folds.train_period=[1979-01-01, 1979-10-31]",
    "folds.validation_period=[1979-11-01, 1980-03-15]",
    "folds.test_period=[1980-04-15, 1980-12-31]",
)
SHORT = ("pretrain.window=90", "finetune.window=90", "finetune.warmup_steps=30")
IN_TIME = ("folds.kind=time", *PERIODS, *SHORT)
DAYS = np.arange("1979-01-01", "1981-01-01", dtype="datetime64[D]").astype("datetime64[ns]")


def run_of(*overrides: str) -> Run:
    return Run(load_config("delaware", overrides))


def table(n: int = 60) -> xr.Dataset:
    rng = np.random.default_rng(0)
    lonlat = {"lon": rng.uniform(-76, -74, n), "lat": rng.uniform(39, 42, n)}
    labels = {"group": np.arange(n) // 2, "region": np.full(n, "all")}
    coords = {name: ("cell", values) for name, values in {**lonlat, **labels}.items()}
    return xr.Dataset(coords={"cell": np.arange(n) + 10, "time": DAYS, **coords})


def folds_of(run: Run) -> list[Fold]:
    config = run.config
    windows = WindowSteps(
        config.pretrain.window, config.finetune.window, config.finetune.warmup_steps
    )
    return run_folds(table(), config.folds, windows)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("folds.kind=time",), "train_period is not set; validation_period is not set; test_per"),
        (("folds.test_period=[1980-01-01, 1980-12-31]",), "train_period is not set"),
        ((*IN_TIME, "folds.test_period=[1980-03-15, 1980-12-31]"), "share days"),
        ((*IN_TIME, "folds.test_period=[1980-12-31, 1980-05-01]"), "ends .* before it begins"),
        ((*IN_TIME, "folds.test_period=[1980-13-01, 1980-12-31]"), "test_period"),
        (
            (*IN_TIME, "folds.test_period=[soon, later]"),
            "test_period.0: found .soon., which is not a date",
        ),
        ((*IN_TIME, "finetune.cyclic=true"), "a periodic time axis"),
    ],
)
def test_periods_that_cannot_be_are_refused_by_the_config(
    overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_of(*overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("folds.test_period=[1980-04-14, 1980-12-31]", "Start test_period on 1980-04-15 or later"),
        ("folds.test_period=[1985-01-01, 1985-12-31]", "dates within 1979-01-01 to 1980-12-31"),
        ("folds.validation_period=[1979-11-01, 1979-12-15]", "found 45 time steps; expected at le"),
        ("folds.test_period=[1980-11-02, 1980-12-31]", ""),
        ("folds.test_period=[1980-11-03, 1980-12-31]", "found 89 time steps"),
    ],
)
def test_periods_must_fit_the_time_axis_and_the_windows(override: str, message: str) -> None:
    run = run_of(*IN_TIME, override)
    if message:
        with pytest.raises(InputError, match=message):
            folds_of(run)
    else:
        assert folds_of(run)[0].warmup_days == 30


def test_a_fold_in_time_holds_out_days_of_every_site() -> None:
    (fold,) = folds_of(run_of(*IN_TIME))
    assert (fold.name, fold.kind) == ("time", "time")
    assert len(fold.train) == len(fold.validation) == len(fold.test) == 60
    wider = carried_fold(fold, table(), table(90))
    assert len(wider.train) == len(wider.test) == 90
    assert wider.train_period == ("1979-01-01", "1979-10-31")
    known = {"train": np.array([10, 11]), "validation": np.array([10]), "test": np.array([12])}
    narrow = with_target(fold, known)
    assert [p.tolist() for p in (narrow.train, narrow.validation, narrow.test)] == [
        [10, 11], [10], [12],
    ]  # fmt: skip


def test_sites_and_days_are_held_out_together() -> None:
    run = run_of(*PERIODS, *SHORT, "folds.min_cells=5")
    folds = folds_of(run)
    assert len(folds) == 3
    for fold in folds:
        assert not np.intersect1d(fold.train, fold.test).size
        assert fold.test_period == ("1980-04-15", "1980-12-31")
    assert "locations and days from 1980-04-15" in held_out_sentence(run.config.folds)
    assert "trained on other days" in held_out_sentence(run_of(*IN_TIME).config.folds)


@pytest.mark.slow
@pytest.mark.registry
@pytest.mark.parametrize("kind", ["time", "groups"])
def test_a_run_trains_on_its_period_and_is_scored_on_another(kind: str, tmp_path: Path) -> None:
    small = (
        "pretrain.epochs=1", "finetune.epochs=1", "finetune.steps_per_epoch=2", "folds.k=2",
        "finetune.baselines=[climatology, ridge]", "predict.cubes=[]", "publish.products=[]",
    )  # fmt: skip
    run = run_of(*PERIODS, *SHORT, *small, f"folds.kind={kind}", f"roots.runs={tmp_path}", "name=t")
    for stage in (regrid, stats, pretrain, finetune, score):
        stage.main(run)
    held = xr.open_zarr(run.folder / "heldout.zarr", consolidated=False).load()
    assert str(held["time"].values[0])[:10] == "1980-04-15"
    assert str(held["time"].values[-1])[:10] == "1980-12-31"
    assert held["observed"].notnull().any()
    for model in held["model"].values:
        known = held["predicted"].sel(model=model).notnull().any("site")
        assert known.all(), f"{model} has no prediction of some test days"
    card = json.loads((run.folder / "scorecard.json").read_text())
    assert card["fold_kind"] == kind
    name = "time" if kind == "time" else "group0"
    fold = Fold.load(FoldFiles(run.folder).cells(name))
    stored = json.loads(FoldFiles(run.folder).statistics(name).read_text())["precipitation"]
    units = xr.open_zarr(run.cube("units"), consolidated=False)["precipitation"]
    wider = Fold.load(FoldFiles(run.folder).cells(f"pretrain/{name}"))
    early = units.sel(time=slice(*fold.train_period)).load()
    early = early.isel(cell=np.isin(units["cell"].values, wider.train))
    expected = fit_scaling(early.values, stored["transform"])
    assert stored["mean"] == pytest.approx(expected.mean, rel=1e-6)
    all_days = units.isel(cell=np.isin(units["cell"].values, wider.train)).values
    assert (
        abs(fit_scaling(all_days, stored["transform"]).mean - expected.mean) > 1e-3 * expected.std
    )
