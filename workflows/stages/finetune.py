"""stefaland finetune workflows/configs/quickstart.yml

Adapter and head on the pretrained encoder, and every baseline, on each fold; then each model's
predictions of the fold's held-out cells, which the score stage judges.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.files import read_json
from pipeline.cube.locations import write_locations
from stefaland.baselines.climatology import Predictor
from stefaland.baselines.registry import BaselineInputs, fit_baseline
from stefaland.config import FinetuneConfig
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.distributed import agreed, best_device, is_main
from stefaland.folds.split import Fold
from stefaland.folds.visible import held_out_part
from stefaland.model.quantiles import NAMES
from stefaland.prediction.ensemble import Ensemble, calibrated, load, member_folders
from stefaland.prediction.member import Member
from stefaland.tasks import possible_values, values_of
from stefaland.training.finetune import finetune
from stefaland.training.log import RunLog
from workflows.inputs.cells import cell_data, labelled, open_cells, static_names
from workflows.inputs.checked_folds import check_encoders, check_folds, fold_identity
from workflows.inputs.folds import fold_names
from workflows.inputs.given_encoder import encoder_settings
from workflows.products.place_scores import UNCALIBRATED
from workflows.run import Run
from workflows.stages.pretrain import about, network_settings


def train(name: str, run: Run, given: BaselineInputs) -> Predictor:
    """The named model, trained on the fold; networks as often as the ensemble has members."""
    count = given.config.ensemble
    if count == 1 or name not in NETWORKS:
        return train_one(name, run, given)
    trained: list[Member] = []
    for i, folder in enumerate(member_folders(given.folder, count)):
        config = given.config.model_copy(update={"seed": given.config.seed + i})
        one = train_one(name, run, replace(given, config=config, folder=folder))
        assert isinstance(one, Ensemble)
        trained.extend(one.members)
    return calibrated(trained, given.data, given.fold)


def train_one(name: str, run: Run, given: BaselineInputs) -> Predictor:
    """One model of a name: StefaLand on its pretrained encoder, or a baseline."""
    if name != "stefaland":
        return fit_baseline(name, given)
    normaliser = given.normaliser
    if run.config.pretrain.from_checkpoint is not None:
        # The inputs' scaler comes with the encoder, and is not this run's own.
        targets = set(given.data.target_names) & set(normaliser.scalings)
        normaliser = normaliser.selected(sorted(targets))
    folder = finetune(
        run.pretrained(given.fold.name),
        given.data,
        given.fold,
        given.config,
        given.folder,
        normaliser=normaliser,
        device=given.device,
        log=given.log,
        about=about(run, given.data.static_names),
    )
    return load(folder, given.device)


NETWORKS = ("stefaland", "scratch", "lstm", "patchtst")
"""Models that a seed changes enough to be asked several times."""


def outputs(run: Run) -> list[Path]:
    """Checkpoints and held-out predictions of every model."""
    return [run.folder / "finetuned"]


def training_settings(run: Run) -> FinetuneConfig:
    """The config's finetuning section, with the run's seed."""
    settings = run.config.finetune.model_dump(exclude={"cube", "baselines"})
    return FinetuneConfig(**{**settings, "seed": run.config.seed})


def write_heldout(
    path: Path, data: CellData, fold: Fold, predictor: Predictor, warmup: int
) -> None:
    """Predict what trained nothing: the test cells in the test period; dims (time, cell), with a
    variable a quantile where the predictor has them.

    The first `warmup` steps that the predictor reads have no prediction.
    """
    data, lead = held_out_part(data, fold, warmup)
    predicted = predictor.predict(data)
    of_target = {name: predicted[name][..., 0] for name in ("mean", "spread")}
    if "quantiles" in predicted:
        levels = np.moveaxis(predicted["quantiles"][..., 0, :], -1, 0)
        of_target |= dict(zip(NAMES, levels, strict=True))
    series = {}
    for name, found in of_target.items():
        values = found.astype(np.float32)
        values[:, :warmup] = np.nan
        series[name] = (("time", "cell"), values[:, lead:].T)
    coords = {
        "time": data.time[lead:],
        "cell": data.cell.numpy(),
        "lon": ("cell", data.lonlat[:, 0].numpy().astype(np.float64)),
        "lat": ("cell", data.lonlat[:, 1].numpy().astype(np.float64)),
    }
    write_locations(path, xr.Dataset(series, coords, {"fold": fold_identity(fold)}))


def write_heldout_places(
    path: Path, data: CellData, fold: Fold, predictor: Predictor, task: str, warmup: int
) -> None:
    """One value a test cell for each target, the mean over time; dims (cell,).

    Of networks also what they say without calibration, as the target's name and `UNCALIBRATED`.
    """
    data, _ = held_out_part(data, fold, warmup)
    series = _place_values(data, predictor, task, warmup)
    if isinstance(predictor, Ensemble):
        plain = _place_values(data, predictor.uncalibrated(), task, warmup)
        series |= {f"{name}{UNCALIBRATED}": values for name, values in plain.items()}
    coords = {
        "cell": data.cell.numpy(),
        "lon": ("cell", data.lonlat[:, 0].numpy().astype(np.float64)),
        "lat": ("cell", data.lonlat[:, 1].numpy().astype(np.float64)),
    }
    write_locations(path, xr.Dataset(series, coords, {"fold": fold_identity(fold)}))


def _place_values(
    data: CellData, predictor: Predictor, task: str, warmup: int
) -> dict[str, tuple[str, np.ndarray]]:
    mean = predictor.predict(data)["mean"][:, warmup:].astype(np.float64)
    with warnings.catch_warnings():
        # A cell without any prediction stays NaN.
        warnings.filterwarnings("ignore", message="Mean of empty slice")
        values = possible_values(task, np.nanmean(mean, 1)).astype(np.float32)
    return {name: ("cell", values[:, i]) for i, name in enumerate(data.target_names)}


def write_predictions(
    path: Path, data: CellData, fold: Fold, predictor: Predictor, config: FinetuneConfig
) -> None:
    """What a model predicts of the test cells: series, or one value a place, as the task is."""
    if values_of(config.task) == "quantity":
        write_heldout(path, data, fold, predictor, config.warmup_steps)
    else:
        write_heldout_places(path, data, fold, predictor, config.task, config.warmup_steps)


def training_data(run: Run) -> CellData:
    """The finetuning cube's labelled cells, in memory."""
    table = labelled(run, open_cells(run, run.config.finetune.cube)).load()
    return cell_data(run, table, static_names(run, table))


def train_and_predict(
    run: Run, data: CellData, name: str, fold_name: str, config: FinetuneConfig, folder: Path,
    title: str,
) -> None:  # fmt: skip
    """Train the named model on a fold, in `folder`, and write what it predicts of the test."""
    fold = Fold.load(run.fold(fold_name))
    normaliser = Normaliser.from_dict(read_json(run.stats(fold_name)))
    model_config = (
        encoder_settings(run, fold_name)
        if run.config.pretrain.from_checkpoint is not None
        else network_settings(run, data.static_names)
    )
    with RunLog(folder, title=title) as log:
        given = BaselineInputs(
            data, fold, config, model_config, normaliser, folder, best_device(), log
        )
        predictor = train(name, run, given)
    if is_main():
        write_predictions(folder / "heldout.zarr", data, fold, predictor, config)


def main(run: Run) -> dict[str, Any]:
    """Train every model on every fold and predict what it did not see."""
    names = ["stefaland", *run.config.finetune.baselines]
    check_folds(run)
    check_encoders(run)
    data, config = training_data(run), training_settings(run)
    for fold_name in fold_names(run):
        for name in names:
            folder = run.finetuned(name, fold_name)
            if agreed((folder / "heldout.zarr").exists()):
                continue
            train_and_predict(run, data, name, fold_name, config, folder, f"{name} {fold_name}")
    return {"models": names, "folds": fold_names(run)}
