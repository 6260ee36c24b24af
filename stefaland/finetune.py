"""Target networks: adapter and head on a pretrained encoder, and networks without pretraining.

Upstream: a checkpoint of train.py, cells with a target, a fold. Downstream: predict.py loads the
folder that is written here. The scaler of the inputs comes with the checkpoint and is not
recomputed; the target's comes from the training cells of the fold alone.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stefaland.batch import Batch
from stefaland.checkpoint import load_checkpoint, save_checkpoint
from stefaland.config import FinetuneConfig, ModelConfig
from stefaland.dataset import CellData, fit_normaliser
from stefaland.distributed import barrier, is_main, process_group, rank, sum_over_ranks, world_size
from stefaland.errors import bad_input
from stefaland.finetuned import FinetunedModel
from stefaland.log import RunLog
from stefaland.loop import Source, fingerprint, fit
from stefaland.losses import finetune_loss
from stefaland.lstm import LSTMConfig, LSTMNetwork, is_lstm, load_lstm, save_lstm
from stefaland.mae import StefaLand
from stefaland.metrics import Z_90
from stefaland.normalise import Normaliser
from stefaland.predict import Member
from stefaland.sampler import Draw
from stefaland.splits import Fold
from stefaland.stream import training_windows
from stefaland.train import data_identity, summary, training_sampler, validation_rows
from stefaland.visible import input_ranges, visible_part

VALIDATION_WINDOWS = 2048
MIN_CALIBRATION = 30
"""Valid validation values below which the spread is left as the network gives it."""


class TargetLoss:
    """The finetuning objective.

    Leading `warmup_steps` of a window count in neither. `site_std` [n] (by sorted `cells` [n]) is
    the standard deviation of each site's normalised target, for losses that weigh sites.
    """

    def __init__(
        self, config: FinetuneConfig, cells: Tensor, site_std: Tensor, device: torch.device
    ) -> None:
        self.loss, self.warmup = finetune_loss(config.loss), config.warmup_steps
        order = cells.argsort()
        self.cells, self.site_std = cells[order].to(device), site_std[order].to(device)

    def __call__(
        self, model: nn.Module, batch: Batch, draw: Draw, generator: torch.Generator
    ) -> Tensor:
        """Mean loss over the valid targets of this rank's part."""
        return self.of(model(batch), batch)

    def of(self, prediction: Any, batch: Batch) -> Tensor:
        """Mean loss of a prediction."""
        if batch.target is None or batch.cell is None:
            raise bad_input("finetuning", "batches without target or cell ids", "both")
        late = slice(self.warmup, None)
        place = torch.searchsorted(self.cells, batch.cell).clamp(max=len(self.cells) - 1)
        return self.loss(
            prediction.cut(late), batch.target[:, late], self.site_std[place][:, None]
        )  # fmt: skip


class HeldOutLoss:
    """Loss and normalised RMSE on fixed windows of the validation cells."""

    def __init__(self, objective: TargetLoss, windows: Source, draws: list[Draw]) -> None:
        self.objective, self.windows, self.draws = objective, windows, draws

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """`loss` and `rmse` over all ranks' parts; NaN where no target is valid."""
        sums = dict.fromkeys(("loss", "n", "square", "valid"), 0.0)
        late = slice(self.objective.warmup, None)
        with torch.inference_mode():
            for batch in self.windows.batches(self.draws[rank() :: world_size()]):
                assert batch.target is not None
                prediction = model(batch)
                gap = (prediction.mean - batch.target)[:, late]
                valid = ~gap.isnan()
                if not bool(valid.any()):
                    continue
                sums["loss"] += float(self.objective.of(prediction, batch)) * len(batch)
                sums["n"] += len(batch)
                sums["square"] += float(gap[valid].double().square().sum())
                sums["valid"] += int(valid.sum())
        total = sum_over_ranks(sums, self.windows.device)
        if not total["n"]:
            return {"loss": math.nan, "rmse": math.nan}
        return {
            "loss": total["loss"] / total["n"],
            "rmse": math.sqrt(total["square"] / total["valid"]),
        }

    def spread_factor(self, model: nn.Module) -> tuple[float, ...] | None:
        """[O] by which scales must grow for 90 % of the validation errors to lie within their 90 %
        interval; None for networks without scales, or with too few valid values.
        """
        ratios = []
        late = slice(self.objective.warmup, None)
        with torch.inference_mode():
            for batch in self.windows.batches(self.draws):
                prediction = model(batch)
                if prediction.scale is None or batch.target is None:
                    return None
                gap = (prediction.mean - batch.target) / prediction.scale
                ratios.append(gap[:, late].flatten(0, 1).abs())
        factors = []
        for column in torch.cat(ratios).double().cpu().numpy().T:
            valid = column[np.isfinite(column)]
            if len(valid) < MIN_CALIBRATION:
                return None
            # A quantile, not the root mean square: a few gross errors must not widen every spread.
            factors.append(float(np.clip(np.quantile(valid, 0.9) / Z_90, 0.1, 10.0)))
        return tuple(factors)


def validation_draws(
    rows: Tensor, first: int, count: int, step: int, cyclic: bool, batch_size: int
) -> list[Draw]:
    """Windows that cover each validation row, `step` apart; fewer where there are many rows."""
    starts = torch.arange(first, first + count, max(step, 1))
    if cyclic:
        starts = starts[:1]
    elif int(starts[-1]) != first + count - 1:
        starts = torch.cat([starts, torch.tensor([first + count - 1])])
    pairs = torch.cartesian_prod(rows, starts)
    if len(pairs) > VALIDATION_WINDOWS:
        pairs = pairs[:: math.ceil(len(pairs) / VALIDATION_WINDOWS)]
    return [Draw(part[:, 0], part[:, 1], slice(0, len(part))) for part in pairs.split(batch_size)]


def train_network(
    model: nn.Module,
    data: CellData,
    fold: Fold,
    config: FinetuneConfig,
    normaliser: Normaliser,
    folder: Path,
    *,
    device: torch.device,
    log: RunLog | None,
    identity: str,
) -> dict[str, Any]:
    """Train a target network in place on the fold; gives what its `data.json` must hold.

    Raises `InputError` before training where no training or validation cell has a target.
    """
    used, train, validation = visible_part(data, fold)
    model.to(device)
    windows = training_windows(used, normaliser, config.window, cyclic=config.cyclic, device=device)
    sampler = training_sampler(used, train, windows.starts(fold.train_period), config)
    objective = TargetLoss(config, used.cell, _site_std(used, normaliser, fold), device)
    validate = None
    if len(validation):
        late = windows.starts(fold.validation_period or fold.train_period)
        checked = validation_rows(used, validation, config)
        step = config.window - config.warmup_steps
        draws = validation_draws(checked, *late, step, config.cyclic, config.batch_size)
        validate = HeldOutLoss(objective, windows, draws)
    identity = fingerprint([identity, fold.to_dict(), normaliser.to_dict(), data_identity(used)])
    result = fit(model, windows, sampler, objective, validate, config, folder / "training",
                 identity=identity, log=log)  # fmt: skip
    return {
        "normaliser": normaliser.to_dict(),
        "forcings": list(data.forcing_names),
        "statics": [*data.static_names, *data.categorical_names],
        "targets": list(data.target_names),
        "window": config.window,
        "warmup_steps": config.warmup_steps,
        "cyclic": config.cyclic,
        "spread_factor": validate.spread_factor(model) if validate else None,
        "ranges": input_ranges(used.take(train), fold.train_period),
        "training": {"config": config.model_dump(mode="json"), "fold": fold.name,
                     "cells": len(train), **summary(result)},
    }  # fmt: skip


def _site_std(data: CellData, normaliser: Normaliser, fold: Fold) -> Tensor:
    """[N, O] standard deviation of each site's normalised target over the training period."""
    assert data.target is not None
    when = data.steps(fold.train_period)
    series = normaliser.forward(data.target[:, when], data.target_names)
    mean = series.nanmean(1, keepdim=True)
    return (series - mean).square().nanmean(1).sqrt().nan_to_num(1.0)


def target_scaling(
    data: CellData, fold: Fold, given: Normaliser | None, transforms: Mapping[str, str] | None
) -> Normaliser:
    """The targets' scalings: those of `given`, or of the fold's training cells and period."""
    if given is not None and all(name in given.scalings for name in data.target_names):
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
    where it has one, or that of the training cells under `transforms`.
    Resumes by itself. Raises `InputError` before training for variables or statistics that are
    missing and for a fold without targets.
    """
    folder = Path(folder)
    encoder, model_config, inputs = _start(pretrained, model_config, normaliser)
    config = config if pretrained else config.model_copy(update={"unfreeze": "all"})
    used = data.selected(
        model_config.forcings, model_config.statics, tuple(model_config.categorical)
    )
    inputs.require((*used.forcing_names, *used.static_names), "finetuning")
    both = target_scaling(used, fold, normaliser, transforms).merged(inputs)
    with process_group(device) as place:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            model = FinetunedModel(model_config, config, len(used.target_names), encoder)
        identity = fingerprint([model_config.model_dump(mode="json"), weights_identity(encoder)])
        stored = train_network(
            model, used, fold, config, both, folder, device=place, log=log, identity=identity
        )
        if is_main():
            save_checkpoint(folder, model, {**(about or {}), **stored})
        barrier()
    return folder


def _start(
    pretrained: str | Path | None, model_config: ModelConfig | None, normaliser: Normaliser | None
) -> tuple[StefaLand | None, ModelConfig, Normaliser]:
    """The encoder with its settings and scaler, or the settings and scaler of a new network."""
    if pretrained is not None:
        encoder, stored = load_checkpoint(pretrained)
        if not isinstance(encoder, StefaLand):
            raise bad_input(str(pretrained), "a finetuned network", "a pretrained StefaLand")
        return encoder, encoder.config, Normaliser.from_dict(stored["normaliser"])
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


def finetune_lstm(
    data: CellData,
    fold: Fold,
    config: FinetuneConfig,
    folder: str | Path,
    *,
    hidden: int,
    normaliser: Normaliser,
    device: torch.device | str = "cpu",
    log: RunLog | None = None,
) -> Path:
    """Train the LSTM baseline on the fold as `finetune` does; gives its folder."""
    folder = Path(folder)
    settings = LSTMConfig(
        forcings=data.forcing_names, statics=data.static_names, n_targets=len(data.target_names),
        hidden=hidden, head=config.head, cyclic=config.cyclic,
    )  # fmt: skip
    normaliser.require((*data.forcing_names, *data.static_names, *data.target_names), "LSTM")
    with process_group(device) as place:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            model = LSTMNetwork(settings)
        identity = fingerprint(settings.model_dump(mode="json"))
        stored = train_network(
            model, data, fold, config, normaliser, folder, device=place, log=log, identity=identity
        )
        if is_main():
            save_lstm(folder, model, stored)
        barrier()
    return folder


def load_member(folder: str | Path, device: torch.device | str = "cpu") -> Member:
    """A finetuned network or an LSTM baseline, ready for `predict_cells`.

    Raises `InputError` for a folder that holds neither, or a network without a target.
    """
    model: nn.Module
    settings: LSTMConfig | ModelConfig
    if is_lstm(folder):
        network, stored = load_lstm(folder)
        model, settings = network, network.config
        categorical: tuple[str, ...] = ()
    else:
        finetuned, stored = load_checkpoint(folder)
        if not isinstance(finetuned, FinetunedModel):
            raise bad_input(str(folder), "a network without a target", "a finetuned network")
        model, settings = finetuned, finetuned.model_config
        categorical = tuple(settings.categorical)
    factor = stored["spread_factor"]
    return Member(
        model.to(device).eval(), Normaliser.from_dict(stored["normaliser"]),
        tuple(settings.forcings), tuple(settings.statics), tuple(stored["targets"]),
        stored["window"], stored["warmup_steps"], stored["cyclic"], categorical,
        None if factor is None else tuple(factor),
        {name: (low, high) for name, (low, high) in stored["ranges"].items()},
    )  # fmt: skip
