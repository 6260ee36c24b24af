"""stefaland finetune workflows/configs/quickstart.yml

Adapter and head on the pretrained encoder, and every baseline, on each fold; then each model's
predictions of the fold's held-out cells, which the score stage judges.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.locations import write_locations
from stefaland.baselines import Predictor
from stefaland.config import FinetuneConfig
from stefaland.dataset import CellData
from stefaland.distributed import agreed, is_main
from stefaland.finetune import finetune, load_member
from stefaland.log import RunLog
from stefaland.normalise import Normaliser
from stefaland.rivals import Rivalry, fit_baseline
from stefaland.splits import Fold
from stefaland.tasks import possible_values
from stefaland.visible import held_out_part
from workflows.cells import cell_data, labelled, open_cells, static_names
from workflows.context import Run
from workflows.device import best_device
from workflows.folds import fold_names
from workflows.pretrain import about, network_settings
from workflows.state import read_json


def train(name: str, run: Run, given: Rivalry) -> Predictor:
    """The named model, trained on the fold: StefaLand on its pretrained encoder, or a baseline."""
    if name != "stefaland":
        return fit_baseline(name, given)
    folder = finetune(
        run.pretrained(given.fold.name),
        given.data,
        given.fold,
        given.config,
        given.folder,
        normaliser=given.normaliser,
        device=given.device,
        log=given.log,
        about=about(run, given.data.static_names),
    )
    return load_member(folder, given.device)


def depends(run: Run) -> Any:
    """Finetuning settings and baselines."""
    return {"finetune": run.config.finetune.model_dump(mode="json"), "seed": run.config.seed}


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
    """Predict what trained nothing: the test cells in the test period; dims (time, cell).

    The first `warmup` steps that the predictor reads have no prediction.
    """
    data, lead = held_out_part(data, fold, warmup)
    predicted = predictor.predict(data)
    series = {}
    for name in ("mean", "spread"):
        values = predicted[name][..., 0].astype(np.float32)
        values[:, :warmup] = np.nan
        series[name] = (("time", "cell"), values[:, lead:].T)
    coords = {
        "time": data.time[lead:],
        "cell": data.cell.numpy(),
        "lon": ("cell", data.lonlat[:, 0].numpy().astype(np.float64)),
        "lat": ("cell", data.lonlat[:, 1].numpy().astype(np.float64)),
    }
    write_locations(path, xr.Dataset(series, coords))


def write_heldout_places(
    path: Path, data: CellData, fold: Fold, predictor: Predictor, task: str, warmup: int
) -> None:
    """One value a test cell for each target, the mean over time; dims (cell,)."""
    data, _ = held_out_part(data, fold, warmup)
    mean = predictor.predict(data)["mean"][:, warmup:].astype(np.float64)
    with warnings.catch_warnings():
        # A cell without any prediction stays NaN.
        warnings.filterwarnings("ignore", message="Mean of empty slice")
        values = possible_values(task, np.nanmean(mean, 1)).astype(np.float32)
    coords = {
        "cell": data.cell.numpy(),
        "lon": ("cell", data.lonlat[:, 0].numpy().astype(np.float64)),
        "lat": ("cell", data.lonlat[:, 1].numpy().astype(np.float64)),
    }
    series = {name: ("cell", values[:, i]) for i, name in enumerate(data.target_names)}
    write_locations(path, xr.Dataset(series, coords))


def write_predictions(
    path: Path, data: CellData, fold: Fold, predictor: Predictor, config: FinetuneConfig
) -> None:
    """What a model predicts of the test cells: series, or one value a place, as the task is."""
    if config.task == "regression":
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
    model_config = network_settings(run, data.static_names)
    with RunLog(folder, title=title) as log:
        given = Rivalry(data, fold, config, model_config, normaliser, folder, best_device(), log)
        predictor = train(name, run, given)
    if is_main():
        write_predictions(folder / "heldout.zarr", data, fold, predictor, config)


def main(run: Run) -> dict[str, Any]:
    """Train every model on every fold and predict what it did not see."""
    names = ["stefaland", *run.config.finetune.baselines]
    data, config = training_data(run), training_settings(run)
    for fold_name in fold_names(run):
        for name in names:
            folder = run.finetuned(name, fold_name)
            if agreed((folder / "heldout.zarr").exists()):
                continue
            train_and_predict(run, data, name, fold_name, config, folder, f"{name} {fold_name}")
    return {"models": names, "folds": fold_names(run)}
