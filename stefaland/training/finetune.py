"""Target networks: adapter and head on a pretrained encoder, and networks without pretraining.

Upstream: a checkpoint of train.py, cells with a target, a fold. Downstream: predict.py loads the
folder that is written here. The scaler of the inputs comes with the checkpoint and is not
recomputed; the target's comes from the training cells of the fold alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.core.errors import bad_input
from stefaland.checkpoints.checkpoint import load_encoder, stored_normaliser
from stefaland.config import FinetuneConfig, ModelConfig
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.data.normalise import Normaliser, Scaling
from stefaland.distributed import process_group
from stefaland.folds.leakage import check_scaler, check_statistics, check_table
from stefaland.folds.split import Fold
from stefaland.folds.visible import input_ranges, visible_part
from stefaland.model.finetuned import FinetunedModel
from stefaland.model.mae import StefaLand
from stefaland.model.mc_dropout import dropouts
from stefaland.prediction.calibration import Calibration, calibrate, held_out, nothing_learnt
from stefaland.tasks import HEADS, TASKS
from stefaland.training.log import RunLog
from stefaland.training.recipe import Trained, new_network, save_trained, train_on_fold
from stefaland.training.state import training_identity
from stefaland.training.target_loss import TargetLoss, site_std


def train_network(
    model: nn.Module,
    data: CellData,
    fold: Fold,
    config: FinetuneConfig,
    normaliser: Normaliser,
    *,
    folder: Path,
    identity: str,
    device: torch.device,
    log: RunLog | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Train a target network in place on the fold, and calibrate it; gives the checkpoint folder.

    Raises `InputError` before training for a fold that leaks, where no training or validation cell
    has a target, and for draws of MC dropout of a network without dropout.
    """
    check_table(fold, data)
    if config.mc_samples and not dropouts(model):
        raise bad_input(
            "finetune.mc_samples",
            f"{config.mc_samples} draws of a network (adapter {config.adapter}) without dropout",
            "finetune.dropout above 0, or mc_samples 0",
        )
    used, train, validation = visible_part(data, fold)
    trained = train_on_fold(
        model,
        used,
        fold,
        config,
        TargetLoss(config, used.cell, site_std(used, normaliser, fold), device),
        rows=(train, validation),
        normaliser=normaliser,
        folder=folder,
        identity=identity,
        device=device,
        log=log,
    )
    stored = {
        **(about or {}),
        "normaliser": normaliser.to_dict(),
        "forcings": list(data.forcing_names),
        "statics": [*data.static_names, *data.categorical_names],
        "targets": list(data.target_names),
        "window": config.window,
        "warmup_steps": config.warmup_steps,
        "cyclic": config.cyclic,
        **_calibration(model, trained, config, normaliser, data.target_names).to_dict(),
        "mc_samples": config.mc_samples,
        "task": config.task,
        "ranges": input_ranges(used.take(train), fold.train_period),
        "training": trained.record,
    }
    return save_trained(folder, model, stored)


def _calibration(
    model: nn.Module,
    trained: Trained,
    config: FinetuneConfig,
    normaliser: Normaliser,
    targets: Sequence[str],
) -> Calibration:
    if not trained.validation:
        return nothing_learnt(len(targets), HEADS.get(config.head).has_quantiles)
    held = held_out(
        model, trained.windows, trained.validation, config.warmup_steps, config.mc_samples,
        normaliser, targets,
    )  # fmt: skip
    return calibrate(held, config.task)


def target_scaling(
    data: CellData,
    fold: Fold,
    given: Normaliser | None,
    transforms: Mapping[str, str] | None,
    task: str = "regression",
) -> Normaliser:
    """The targets' scalings: those of `given`, or of the fold's training cells and period; none
    for shares and chances.

    Raises `InputError` where those of `given` come from other cells or days.
    """
    if not TASKS.get(task).is_scaled:
        return Normaliser({name: Scaling(0.0, 1.0) for name in data.target_names})
    if given is not None and all(name in given.scalings for name in data.target_names):
        check_statistics(data, fold, given, data.target_names)
        return given.selected(data.target_names)
    rows = data.rows(fold.train)
    return fit_normaliser(data, rows, fold.train_period, dict(transforms or {}), data.target_names)


def finetune(
    pretrained: str | Path | None,
    data: CellData,
    fold: Fold,
    config: FinetuneConfig,
    folder: str | Path,
    *,
    model_config: ModelConfig | None = None,
    normaliser: Normaliser | None = None,
    transforms: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
    log: RunLog | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Finetune on the fold's training cells; gives the checkpoint folder.

    `pretrained` None trains the same network from scratch: then `model_config` and the inputs'
    `normaliser` are needed, and all of it is trained. The target's scaling is that of `normaliser`
    where it has one, or that of the training cells under `transforms`. The inputs' is always the
    pretrained encoder's.
    Resumes by itself. Raises `InputError` before training for variables or statistics that are
    missing or not the training part's, and for a fold without targets.
    """
    encoder, model_config, inputs = _start(pretrained, model_config, normaliser)
    config = config if pretrained else config.model_copy(update={"unfreeze": "all"})
    used = data.selected(
        model_config.forcings, model_config.statics, tuple(model_config.categorical)
    )
    inputs.require((*used.forcing_names, *used.static_names), "finetuning")
    both = target_scaling(used, fold, normaliser, transforms, config.task).merged(inputs)
    with process_group(device) as place:
        model = new_network(
            lambda: FinetunedModel(model_config, config, len(used.target_names), encoder),
            config.seed,
        )
        # An adapter within the encoder is among its weights from here on.
        identity = training_identity(
            [model_config.model_dump(mode="json"), weights_identity(encoder)]
        )
        return train_network(
            model, used, fold, config, both, folder=Path(folder), identity=identity, device=place,
            log=log, about=about,
        )  # fmt: skip


def _start(
    pretrained: str | Path | None, model_config: ModelConfig | None, normaliser: Normaliser | None
) -> tuple[StefaLand | None, ModelConfig, Normaliser]:
    """The encoder with its settings and scaler, or the settings and scaler of a new network."""
    if pretrained is not None:
        encoder, stored = load_encoder(pretrained)
        own = stored_normaliser(pretrained, stored)
        if normaliser is not None:
            check_scaler(normaliser, own, (*encoder.config.forcings, *encoder.config.statics))
        return encoder, encoder.config, own
    if model_config is None or normaliser is None:
        raise bad_input(
            "finetuning without pretraining", "no model_config or no normaliser", "both"
        )
    return None, model_config, normaliser


def weights_identity(model: nn.Module | None) -> int:
    """A hash of all weights; 0 without a model."""
    code = 0
    for value in model.state_dict().values() if model is not None else ():
        code = zlib.crc32(value.detach().cpu().contiguous().numpy().tobytes(), code)
    return code
