"""stefaland finetune workflows/configs/quickstart.yml

Adapter and head on the pretrained encoder, and every baseline, on each fold; then each model's
predictions of the fold's held-out cells, which the score stage judges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.locations import write_locations
from stefaland.baselines import Climatology, Predictor, Ridge
from stefaland.config import FinetuneConfig, ModelConfig, model_preset
from stefaland.dataset import CellData
from stefaland.errors import bad_input, nearest_name
from stefaland.finetune import finetune, finetune_lstm, load_member
from stefaland.log import RunLog
from stefaland.normalise import Normaliser
from stefaland.splits import Fold
from workflows.cells import cell_data, labelled, open_cells, static_groups, static_names
from workflows.context import Run
from workflows.device import best_device
from workflows.folds import fold_names
from workflows.pretrain import units
from workflows.state import read_json


@dataclass(frozen=True)
class Task:
    """One model to be trained on one fold."""

    run: Run
    data: CellData
    fold: Fold
    normaliser: Normaliser
    config: FinetuneConfig
    model_config: ModelConfig
    folder: Path

    @property
    def about(self) -> dict[str, Any]:
        """What the checkpoint says of its run."""
        return {"run": self.run.config.name, "units": units(self.run, self.data.static_names)}


def _stefaland(task: Task, log: RunLog) -> Predictor:
    finetune(
        task.run.pretrained(task.fold.name), task.data, task.fold, task.config, task.folder,
        normaliser=task.normaliser, device=best_device(), log=log, about=task.about,
    )  # fmt: skip
    return load_member(task.folder, best_device())


def _scratch(task: Task, log: RunLog) -> Predictor:
    finetune(
        None, task.data, task.fold, task.config, task.folder, model_config=task.model_config,
        normaliser=task.normaliser, device=best_device(), log=log, about=task.about,
    )  # fmt: skip
    return load_member(task.folder, best_device())


def _lstm(task: Task, log: RunLog) -> Predictor:
    finetune_lstm(
        task.data, task.fold, task.config, task.folder, normaliser=task.normaliser,
        device=best_device(), log=log, about=task.about,
    )  # fmt: skip
    return load_member(task.folder, best_device())


def _ridge(task: Task, log: RunLog) -> Predictor:
    return Ridge.fit(task.data, task.fold, task.normaliser, cyclic=task.config.cyclic)


def _climatology(task: Task, log: RunLog) -> Predictor:
    return Climatology.fit(task.data, task.fold)


MODELS: dict[str, Callable[[Task, RunLog], Predictor]] = {
    "stefaland": _stefaland,
    "scratch": _scratch,
    "lstm": _lstm,
    "ridge": _ridge,
    "climatology": _climatology,
}
"""`scratch` is the same network without pretraining."""


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


def write_heldout(path: Path, data: CellData, predictor: Predictor, warmup: int) -> None:
    """Predict cells that trained nothing; dims (time, cell). Warm-up steps are left out."""
    predicted = predictor.predict(data)
    series = {}
    for name in ("mean", "spread"):
        values = predicted[name][..., 0].astype(np.float32)
        values[:, :warmup] = np.nan
        series[name] = (("time", "cell"), values.T)
    coords = {
        "time": data.time,
        "cell": data.cell.numpy(),
        "lon": ("cell", data.lonlat[:, 0].numpy().astype(np.float64)),
        "lat": ("cell", data.lonlat[:, 1].numpy().astype(np.float64)),
    }
    write_locations(path, xr.Dataset(series, coords))


def main(run: Run) -> dict[str, Any]:
    """Train every model on every fold and predict what it did not see."""
    names = ["stefaland", *run.config.finetune.baselines]
    for name in names:
        if name not in MODELS:
            raise bad_input(
                "finetune.baselines", f'"{name}"', f"one of {', '.join(MODELS)}",
                nearest_name(name, MODELS),
            )  # fmt: skip
    table = labelled(run, open_cells(run, run.config.finetune.cube)).load()
    statics = static_names(run, table)
    data = cell_data(run, table, statics)
    config = training_settings(run)
    model_config = model_preset(
        run.config.model.preset,
        forcings=run.config.inputs.forcings,
        statics=statics,
        static_groups=static_groups(run, statics),
        **run.config.model.settings,
    )
    for fold_name in fold_names(run):
        fold = Fold.load(run.fold(fold_name))
        normaliser = Normaliser.from_dict(read_json(run.stats(fold_name)))
        for name in names:
            folder = run.finetuned(name, fold_name)
            if (folder / "heldout.zarr").exists():
                continue
            task = Task(run, data, fold, normaliser, config, model_config, folder)
            with RunLog(folder, title=f"{name} {fold_name}") as log:
                predictor = MODELS[name](task, log)
            write_heldout(
                folder / "heldout.zarr", data.subset(fold.test), predictor, config.warmup_steps
            )
    return {"models": names, "folds": fold_names(run)}
