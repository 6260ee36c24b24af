"""The baselines by name, fitted on one fold under one budget and one interface.

Upstream: baselines.py, regression.py, finetune.py. Downstream: the finetune and score stages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.core.errors import bad_input, nearest_name
from stefaland.baselines.climatology import Climatology, Predictor
from stefaland.baselines.networks import train_baseline
from stefaland.baselines.persistence import Persistence
from stefaland.baselines.regression import GradientBoosting, Ridge
from stefaland.checkpoints.networks import Settings
from stefaland.config import FinetuneConfig, ModelConfig
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.folds.leakage import check_table
from stefaland.folds.split import Fold
from stefaland.model.lstm import LSTMConfig
from stefaland.model.patchtst import PatchTSTConfig
from stefaland.prediction.ensemble import load
from stefaland.training.finetune import finetune, target_scaling
from stefaland.training.log import RunLog


@dataclass(frozen=True)
class Rivalry:
    """What every baseline of a fold is given: the same cells, scaler and budget."""

    data: CellData
    fold: Fold
    config: FinetuneConfig
    model_config: ModelConfig
    normaliser: Normaliser
    """Of the inputs, and of the target where it is known."""
    folder: Path
    """Networks keep their state and checkpoint here."""
    device: torch.device | str = "cpu"
    log: RunLog | None = None
    transforms: Mapping[str, str] | None = None

    def full_normaliser(self) -> Normaliser:
        """Inputs and target."""
        target = target_scaling(
            self.data, self.fold, self.normaliser, self.transforms, self.config.task
        )
        return target.merged(self.normaliser)

    def inputs(self) -> CellData:
        """The data with the network's variables, in its order."""
        return self.data.selected(self.model_config.forcings, self.model_config.statics)


def _climatology(given: Rivalry) -> Predictor:
    return Climatology.fit(given.data, given.fold)


def _persistence(given: Rivalry) -> Predictor:
    return Persistence.fit(given.data, given.fold)


def _ridge(given: Rivalry) -> Predictor:
    return Ridge.fit(
        given.inputs(), given.fold, given.full_normaliser(), cyclic=given.config.cyclic
    )


def _gradient_boosting(given: Rivalry) -> Predictor:
    return GradientBoosting.fit(
        given.inputs(), given.fold, given.full_normaliser(), cyclic=given.config.cyclic,
        seed=given.config.seed,
    )  # fmt: skip


def _lstm(given: Rivalry) -> Predictor:
    data = given.inputs()
    settings = LSTMConfig(
        forcings=data.forcing_names, statics=data.static_names, n_targets=len(data.target_names),
        hidden=given.model_config.d_model, head=given.config.head, cyclic=given.config.cyclic,
    )  # fmt: skip
    return _trained(settings, data, given)


def _patchtst(given: Rivalry) -> Predictor:
    data = given.inputs()
    settings = PatchTSTConfig.beside(
        given.model_config.d_model, given.config.window, data.forcing_names, data.static_names,
        len(data.target_names), given.config.head,
    )  # fmt: skip
    return _trained(settings, data, given)


def _trained(settings: Settings, data: CellData, given: Rivalry) -> Predictor:
    folder = train_baseline(
        settings, data, given.fold, given.config, given.folder,
        normaliser=given.full_normaliser(), device=given.device, log=given.log,
    )  # fmt: skip
    return load(folder, given.device)


def _scratch(given: Rivalry) -> Predictor:
    folder = finetune(
        None, given.data, given.fold, given.config, given.folder, model_config=given.model_config,
        normaliser=given.full_normaliser(), device=given.device, log=given.log,
    )  # fmt: skip
    return load(folder, given.device)


BASELINES: dict[str, Callable[[Rivalry], Predictor]] = {
    "climatology": _climatology,
    "persistence": _persistence,
    "ridge": _ridge,
    "gradient_boosting": _gradient_boosting,
    "lstm": _lstm,
    "patchtst": _patchtst,
    "scratch": _scratch,
}


def fit_baseline(name: str, given: Rivalry) -> Predictor:
    """The named baseline, fitted on the fold's training cells; `InputError` for unknown names and
    for a fold that leaks.
    """
    if name not in BASELINES:
        raise bad_input(
            "baselines", f'"{name}"', f"one of {', '.join(BASELINES)}",
            nearest_name(name, BASELINES),
        )  # fmt: skip
    check_table(given.fold, given.data)
    return BASELINES[name](given)
