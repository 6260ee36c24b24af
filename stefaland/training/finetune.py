"""Finetuning: target networks on a pretrained encoder, and networks without pretraining.

The normaliser of the inputs is that of the pretrained checkpoint and is never recomputed; the
scaling of the target comes from the training cells of the fold alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.core.errors import bad_input
from stefaland.checkpoints.checkpoint import load_encoder, stored_normaliser
from stefaland.config import FinetuneConfig, ModelConfig
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.data.missing import Dropping
from stefaland.data.normalise import Normaliser, Scaling
from stefaland.distributed import process_group
from stefaland.folds.leakage import check_scaler, check_statistics, check_table
from stefaland.folds.split import Fold
from stefaland.folds.visible import input_ranges, visible_part
from stefaland.model.finetuned import FinetunedModel
from stefaland.model.mae import StefaLand
from stefaland.model.mc_dropout import dropouts
from stefaland.model.process import learn_scalings
from stefaland.physics.inputs import check_visible
from stefaland.prediction.calibration import (
    Calibration,
    calibrate,
    identity_calibration,
    predict_held_out,
)
from stefaland.tasks import HEADS, TASKS
from stefaland.training.frozen_features import with_frozen_features
from stefaland.training.log import RunLog
from stefaland.training.recipe import (
    Trained,
    new_network,
    save_trained,
    train_on_fold,
    training_set,
)
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
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Train and calibrate a target network on the fold, in place; returns the checkpoint folder.

    Raises `InputError` before training for a fold with a leak, where no training or no validation
    cell has a target, for MC dropout of a network without dropout, and for data that the process
    model of a head cannot use.
    """
    check_table(fold, data)
    learn_scalings(model, normaliser, data, config.warmup_steps)
    if config.mc_samples and not dropouts(model):
        raise bad_input(
            "finetune.mc_samples",
            f"{config.mc_samples} draws of a network (adapter {config.adapter}) without dropout",
            "finetune.dropout above 0, or mc_samples 0",
        )
    used, train, validation = visible_part(data, fold)
    dropping = Dropping.of(
        config.missing_groups, config.missing_share, used.forcing_names, used.static_names
    )
    objective = TargetLoss(config, used.cell, site_std(used, normaliser, fold), device, dropping)
    drawn = training_set(
        used, fold, config, objective, rows=(train, validation), normaliser=normaliser,
        device=device,
    )  # fmt: skip
    windows = with_frozen_features(
        drawn.windows, model, drawn.sampler, drawn.validation, config
    )  # fmt: skip
    drawn = replace(drawn, windows=windows)
    trained = train_on_fold(
        model, drawn, fold, config, objective, folder=folder, identity=identity, log=log
    )
    stored = {
        **(metadata or {}),
        "normaliser": normaliser.to_dict(),
        "forcings": list(data.forcing_names),
        "statics": [*data.static_names, *data.categorical_names],
        "targets": list(data.target_names),
        "window": config.window,
        "warmup_steps": config.warmup_steps,
        "overlap_steps": config.overlap_steps,
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
        return identity_calibration(len(targets), HEADS.get(config.head).has_quantiles)
    held = predict_held_out(
        model, trained.windows, trained.validation, config.warmup_steps, config.mc_samples,
        normaliser, targets,
    )  # fmt: skip
    return calibrate(held, config.task)


def target_scaling(
    data: CellData,
    fold: Fold,
    normaliser: Normaliser | None,
    transforms: Mapping[str, str] | None,
    task: str = "regression",
) -> Normaliser:
    """Scalings of the targets: those of `normaliser`, or of the fold's training cells and period.

    Compositions and probabilities are not scaled. Raises `InputError` where the scalings of
    `normaliser` are those of other cells or days.
    """
    if not TASKS.get(task).is_scaled:
        return Normaliser({name: Scaling(0.0, 1.0) for name in data.target_names})
    if normaliser is not None and all(name in normaliser.scalings for name in data.target_names):
        check_statistics(data, fold, normaliser, data.target_names)
        return normaliser.selected(data.target_names)
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
    random_encoder: bool = False,
    normaliser: Normaliser | None = None,
    transforms: Mapping[str, str] | None = None,
    device: torch.device | str = "cpu",
    log: RunLog | None = None,
    metadata: Mapping[str, Any] | None = None,
    hidden: Sequence[str] = (),
) -> Path:
    """Finetune on the fold's training cells; returns the checkpoint folder.

    Without `pretrained` the same network is trained from scratch, with all of its weights, or with
    `random_encoder` on an encoder that keeps its random weights, the control of pretraining; then
    `model_config` and `normaliser` are required. The target's scaling is that of `normaliser`, or
    that of the training cells under `transforms`; the scaling of the inputs is always that of the
    pretrained encoder. `metadata` is added to `data.json`. Inputs of the encoder that are `hidden`,
    because the cells lack them, are missing to it as those that pretraining hides, and add nothing
    to adapter and decoder. An interrupted training is resumed. Raises `InputError` before training
    for missing variables, for statistics that are missing or of other cells, and for a fold without
    targets.

    >>> from tempfile import mkdtemp
    >>> from stefaland.config import FinetuneConfig, PretrainConfig, model_preset
    >>> from stefaland.data.cell_data import fit_normaliser
    >>> from stefaland.data.example import example_cells
    >>> from stefaland.folds.split import make_folds
    >>> cells = example_cells()
    >>> fold = make_folds("groups", cells, k=3)[0]
    >>> normaliser = fit_normaliser(cells, cells.rows(fold.train))
    >>> network = model_preset("stefaland-tiny", forcings=cells.forcing_names,
    ...                        statics=cells.static_names)
    >>> config = FinetuneConfig(window=20, epochs=1)
    >>> folder = finetune(None, cells, fold, config, mkdtemp(), model_config=network,
    ...                   normaliser=normaliser)
    >>> (folder / "model.safetensors").exists()
    True
    """
    encoder, model_config, inputs = _start(pretrained, model_config, normaliser)
    if pretrained is None:
        unfreeze = "none" if random_encoder else "all"
        new = {"unfreeze": unfreeze, "layer_decay": 1.0, "head_first": 0.0}
        config = config.model_copy(update=new)
    if config.head == "hbv":
        check_visible(hidden)
    used = data.selected(
        model_config.forcings, model_config.statics, tuple(model_config.categorical), hidden
    )
    inputs.require((*used.forcing_names, *used.static_names), "finetuning")
    both = target_scaling(used, fold, normaliser, transforms, config.task).merged(inputs)
    with process_group(device) as rank_device:
        model = new_network(
            lambda: FinetunedModel(model_config, config, len(used.target_names), encoder),
            config.seed,
        )
        # Computed after an adapter has been attached: its weights are in those of the encoder.
        identity = training_identity(
            [model_config.model_dump(mode="json"), weights_identity(encoder)]
        )
        return train_network(
            model, used, fold, config, both, folder=Path(folder), identity=identity,
            device=rank_device, log=log,
            metadata={**(metadata or {}), **({"hidden": list(hidden)} if hidden else {})},
        )  # fmt: skip


def _start(
    pretrained: str | Path | None, model_config: ModelConfig | None, normaliser: Normaliser | None
) -> tuple[StefaLand | None, ModelConfig, Normaliser]:
    """The encoder (None for a new network), its settings and the normaliser of the inputs."""
    if pretrained is not None:
        encoder, stored = load_encoder(pretrained)
        inputs = stored_normaliser(pretrained, stored)
        if normaliser is not None:
            check_scaler(normaliser, inputs, (*encoder.config.forcings, *encoder.config.statics))
        return encoder, encoder.config, inputs
    if model_config is None or normaliser is None:
        raise bad_input(
            "finetuning without pretraining",
            "no model_config or no normaliser",
            "a model_config and a normaliser",
        )
    return None, model_config, normaliser


def weights_identity(model: nn.Module | None) -> int:
    """Checksum (CRC-32) of all weights; 0 without a model."""
    code = 0
    for value in model.state_dict().values() if model is not None else ():
        code = zlib.crc32(value.detach().cpu().contiguous().numpy().tobytes(), code)
    return code
