"""Leaks planted in the files of a run: the stages that train or score stop and name the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import InputError
from stefaland.folds.fold import Fold, near
from tests.conftest import REGISTRY
from tests.stored import DAYS, run_of, write_grid_store, write_sites_store
from workflows.inputs.folds import FoldFiles
from workflows.run import Run
from workflows.stages import finetune, pretrain, score, stats

BASINS, UNITS = 40, 90
RNG = np.random.default_rng(1)
OUTLETS = np.array([f"outlet {i // 2}" for i in range(BASINS)])
BASIN_LONLAT = RNG.uniform((-78, 38), (-72, 43), (BASINS, 2))
UNIT_LONLAT = RNG.uniform((-78, 38), (-72, 43), (UNITS, 2))
UNIT_OUTLETS = np.array([f"outlet {i % 25}" for i in range(UNITS)])
SITES = ("inputs.forcings=[precipitation, air_temperature_max]", "pretrain.window=10",
         "finetune.window=10", "finetune.warmup_steps=2")  # fmt: skip
PERIODS = ("folds.train_period=[1979-01-01, 1979-01-20]",
           "folds.validation_period=[1979-01-21, 1979-02-04]",
           "folds.test_period=[1979-02-10, 1979-03-01]")  # fmt: skip


def streamflow(folder: Path, *overrides: str, labels: bool = True) -> Run:
    """Units pretrain and basins finetune; `labels` number the outlet that each drains to."""
    run = run_of("delaware", folder, *SITES, *overrides)
    flow = RNG.random((DAYS.size, BASINS))
    write_sites_store(
        run, "basins", BASIN_LONLAT, {"streamflow": flow}, OUTLETS if labels else None
    )
    write_sites_store(run, "units", UNIT_LONLAT, {}, UNIT_OUTLETS if labels else None, first=1000)
    return run


def texture(folder: Path) -> Run:
    run = run_of("conus_texture", folder, "inputs.forcings=[precipitation]", *SITES[1:])
    shares = RNG.dirichlet((1, 1, 1), BASINS).astype(np.float32)
    parts = dict(zip(("sand", "silt", "clay"), shares.T, strict=True))
    write_sites_store(run, "pixels", BASIN_LONLAT, parts)
    return run


def landslides(folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> Run:
    """Events at cells of 1 degree; cells of 2 degrees over the globe pretrain."""
    monkeypatch.setattr(stats, "_match_sites", lambda run: None)
    run = run_of(
        "landslide", folder, "inputs.forcings=[precipitation]", "pretrain.cube=global",
        "cubes={conus: {grid: conus_1deg, tile: [26, 59]}, global: {grid: global_2deg,"
        " tile: [72, 180]}}", *overrides,
    )  # fmt: skip
    events = np.where(RNG.random((26, 59)) < 0.2, RNG.integers(0, 2, (26, 59)), np.nan)
    write_grid_store(run, "conus", {"landslide": events})
    write_grid_store(run, "global", {"landslide": np.full((72, 180), np.nan)})
    return run


def refused(stage: Any, run: Run) -> str:
    with pytest.raises(InputError) as caught:
        stage.main(run)
    return str(caught.value)


def fold_of(run: Run, name: str = "group0") -> Fold:
    return Fold.load(FoldFiles(run.folder).cells(name))


def statistics(run: Run) -> Path:
    return FoldFiles(run.folder).statistics("group0")


def change(run: Run, name: str, **parts: Any) -> Path:
    return replace(fold_of(run, name), **parts).save(FoldFiles(run.folder).cells(name))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a run that passes every check, trained."""
    run = streamflow(tmp_path_factory.mktemp("runs"))
    for stage in (stats, pretrain, finetune, score):
        stage.main(run)
    return run.folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Run:
    shutil.copytree(finished, tmp_path / "run")
    return run_of("delaware", tmp_path, *SITES)


@pytest.mark.parametrize("stage", [pretrain, finetune, score])
def test_a_test_site_that_validates_is_found_by_every_stage(run: Run, stage: Any) -> None:
    fold = fold_of(run)
    path = change(run, "group0", validation=np.append(fold.validation, fold.test))
    message = refused(stage, run)
    ids = ", ".join(map(str, fold.test[:5]))
    assert f"{path}: validation and test: found {len(fold.test)} shared cells ({ids}, …)" in message
    assert "stats CONFIG --restart" in message


def test_a_basin_of_a_tested_outlet_is_found(run: Run) -> None:
    fold = fold_of(run)
    path = change(run, "group0", test=fold.test[1:], train=np.append(fold.train, fold.test[0]))
    message = refused(finetune, run)
    assert f"{path}: train and test: found 1 shared groups ({OUTLETS[fold.test[0]]})" in message
    assert f"{statistics(run)}: found statistics that were changed, or are of other" in message


@pytest.mark.parametrize("stage", [pretrain, finetune, score])
def test_a_unit_upstream_of_a_test_basin_that_pretrains_is_found(run: Run, stage: Any) -> None:
    wider = fold_of(run, "pretrain/group1")
    path = change(
        run, "pretrain/group1", train=np.append(wider.train, wider.test[:3]), test=wider.test[3:]
    )
    message = refused(stage, run)
    ids = ", ".join(map(str, wider.test[:3]))
    assert f"{path}: pretraining: found 3 cells ({ids}) that pretrain share a group" in message


@pytest.mark.parametrize("stage", [pretrain, finetune, score])
@pytest.mark.parametrize("leak", ["shifted", "of all cells"])
def test_statistics_that_are_not_of_the_training_cells_are_found(
    run: Run, stage: Any, leak: str
) -> None:
    if leak == "shifted":
        scalings = json.loads(statistics(run).read_text())
        scalings["precipitation"]["mean"] += 0.5 * scalings["precipitation"]["std"]
        statistics(run).write_text(json.dumps(scalings))
    else:
        wider = fold_of(run, "pretrain/group0")
        change(
            run, "pretrain/group0", train=np.append(wider.train, wider.test), test=wider.test[:0]
        )
    message = refused(stage, run)
    assert f"{statistics(run)}: found statistics that were changed, or are of other" in message
    assert "group1" not in message
    FoldFiles(run.folder).seal("group0").unlink()
    assert f"{statistics(run)}: found no record" in refused(stage, run)


def test_another_fold_than_was_trained_on_is_found(run: Run) -> None:
    fold, wider = fold_of(run), fold_of(run, "pretrain/group0")
    change(run, "group0", test=fold.test[2:], dropped=fold.test[:2])
    message = refused(score, run)
    for model in ("stefaland", "climatology"):
        store = run.finetuned(model, "group0") / "heldout.zarr"
        assert f"{store}: found predictions of a model of other cells" in message
    change(run, "pretrain/group0", validation=wider.validation[:-2])
    assert f"{run.pretrained('group0')}: found an encoder pretrained on other" in refused(
        finetune, run
    )


@pytest.mark.parametrize("kind", ["time", "groups"])
def test_a_day_within_the_window_of_the_test_is_found(tmp_path: Path, kind: str) -> None:
    run = streamflow(tmp_path, *PERIODS, f"folds.kind={kind}")
    stats.main(run)
    name = "time" if kind == "time" else "group0"
    assert fold_of(run, name).warmup_days == 2
    path = change(run, name, validation_period=("1979-01-21", "1979-02-08"))
    message = refused(pretrain, run)
    assert (
        f"{path}: validation and test: found days in both: the test reads from 1979-02-08"
        in message
    )
    assert (
        f"{path}: validation_period: found ('1979-01-21', '1979-02-08'); expected ('1979" in message
    )
    change(run, name, validation_period=("1979-01-21", "1979-02-04"), warmup_days=0)
    assert f"{path}: warmup_days: found 0; expected 2" in refused(finetune, run)


@pytest.mark.parametrize("labels", [True, False])
def test_the_buffer_of_a_test_site_reaches_the_cells_that_pretrain(
    tmp_path: Path, labels: bool
) -> None:
    run = streamflow(tmp_path, "folds.kind=blocks", "folds.block_deg=2", "folds.buffer_km=40",
                     labels=labels)  # fmt: skip
    stats.main(run)
    for name in ("block0", "block1"):
        fold, wider = fold_of(run, name), fold_of(run, f"pretrain/{name}")
        seen = np.union1d(wider.train, wider.validation) - 1000
        assert len(seen)
        assert len(wider.dropped)
        assert not near(UNIT_LONLAT[seen], BASIN_LONLAT[fold.test], 40).any()
    fold, wider = fold_of(run, "block0"), fold_of(run, "pretrain/block0")
    close = wider.dropped[near(UNIT_LONLAT[wider.dropped - 1000], BASIN_LONLAT[fold.test], 40)]
    path = change(run, "pretrain/block0", train=np.append(wider.train, close[:1]))
    assert f"{path}: pretraining: found 1 cells ({close[0]})" in refused(pretrain, run)
    change(run, "pretrain/block0", train=np.append(wider.train, close[:1]), buffer_km=0.0)
    assert f"{path}: buffer_km: found 0.0; expected 40.0" in refused(pretrain, run)
    within = fold.dropped[near(BASIN_LONLAT[fold.dropped], BASIN_LONLAT[fold.test], 40)][:1]
    path = change(run, "block0", train=np.append(fold.train, within))
    assert f"{path}: train: found 1 cells within 40 km of a test cell" in refused(finetune, run)


@pytest.mark.registry
def test_a_cell_over_a_test_cell_does_not_pretrain_though_its_source_cell_trains(
    tmp_path: Path,
) -> None:
    run = run_of(
        "quickstart", tmp_path, "inputs.forcings=[precipitation]", "folds.kind=blocks",
        "finetune.cube=conus", f"roots.data={REGISTRY}",
        "cubes={conus: {grid: conus_1deg, tile: [26, 59]}, global: {grid: global_2deg,"
        " tile: [72, 180]}}",
    )  # fmt: skip
    write_grid_store(run, "conus", {"soil_moisture": RNG.random((12, 26, 59))})
    write_grid_store(run, "global", {"soil_moisture": RNG.random((12, 72, 180))})
    stats.main(run)
    for name in ("block0", "block1"):
        fold, wider = fold_of(run, name), fold_of(run, f"pretrain/{name}")
        assert not overlapping(run, fold, wider)
        # Held out by their source cell, and by ground alone.
        assert len(wider.test)
        assert len(wider.dropped)


def overlapping(run: Run, fold: Fold, wider: Fold) -> list[int]:
    """Cells of 2 degrees that see the test and overlap a test cell of 1 degree."""
    coarse, fine = (run.grid(name).lonlat() for name in ("global", "conus"))
    tests = np.stack([v.ravel()[fold.test] for v in fine], 1)
    seen = np.union1d(wider.train, wider.validation)
    centres = np.stack([v.ravel()[seen] for v in coarse], 1)
    gaps = np.abs(centres[:, None] - tests[None]).max(-1).min(-1)
    return seen[gaps < 1.49].tolist()


@pytest.mark.parametrize("buffer_km", [0, 150])
def test_held_out_locations_do_not_pretrain_on_another_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffer_km: float
) -> None:
    run = landslides(tmp_path, monkeypatch, f"folds.buffer_km={buffer_km}")
    stats.main(run)
    for name in ("block0", "block1"):
        fold, wider = fold_of(run, name), fold_of(run, f"pretrain/{name}")
        assert not overlapping(run, fold, wider)
        lon, lat = (v.ravel()[wider.test] for v in run.grid("global").lonlat())
        assert lon.min() >= -127
        assert lon.max() <= -65
        assert lat.min() >= 23
        assert lat.max() <= 51
        assert len(wider.train) > 5000
    planted = replace(wider, train=np.append(wider.train, wider.test), test=wider.test[:0])
    path = planted.save(FoldFiles(run.folder).cells("pretrain/block1"))
    leaks = overlapping(run, fold, planted)
    if buffer_km == 0:
        ids = ", ".join(map(str, leaks[:5]))
        fault = f"{path}: pretraining: found {len(leaks)} cells ({ids}, …) that pretrain share"
        assert fault in refused(pretrain, run)


def test_locations_are_carried_between_grids_and_sites(tmp_path: Path) -> None:
    """Sites without labels: those at the location of a test site, and the cells that hold one."""
    run = streamflow(tmp_path, labels=False)
    lonlat = np.concatenate([BASIN_LONLAT + 1e-4, UNIT_LONLAT])
    write_sites_store(run, "units", lonlat, {}, first=1000)
    stats.main(run)
    fold, wider = fold_of(run), fold_of(run, "pretrain/group0")
    assert (wider.test - 1000).tolist() == fold.test.tolist()
    assert set(wider.validation - 1000) == set(fold.validation)


@pytest.mark.parametrize("task", ["probability", "composition"])
def test_test_cells_that_train_are_found_for_every_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    make: dict[str, Callable[[], Run]] = {
        "probability": lambda: landslides(tmp_path, monkeypatch),
        "composition": lambda: texture(tmp_path),
    }
    run = make[task]()
    stats.main(run)
    name = "block0" if task == "probability" else "group0"
    fold = fold_of(run, name)
    path = change(run, name, train=np.append(fold.train, fold.test))
    message = refused(finetune, run)
    assert f"{path}: train and test: found {len(fold.test)} shared cells" in message
    assert not (run.folder / "finetuned").exists()
