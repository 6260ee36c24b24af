"""The common steps of pretraining, finetuning and network baselines: windows, sampler, validation.

`loop.py` trains; `pretrain.py` and `finetune.py` save the network.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from stefaland.checkpoints.checkpoint import save_checkpoint
from stefaland.config import FinetuneConfig, PretrainConfig, TrainConfig
from stefaland.data.batch import BatchSource
from stefaland.data.cell_data import CellData
from stefaland.data.mixture import MixedSampler, Mixture, stacked
from stefaland.data.normalise import Normaliser
from stefaland.data.sampler import Draw, Sampler
from stefaland.data.sharded import ShardedCells
from stefaland.data.stream import SHARDS_MIXED, training_windows
from stefaland.data.target_windows import TargetWindows
from stefaland.distributed import barrier, is_main, rank, world_size
from stefaland.folds.split import Fold
from stefaland.training.log import RunLog
from stefaland.training.loop import FitResult, fit
from stefaland.training.objective import FoldObjective
from stefaland.training.state import training_identity

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Trained:
    """Results of a training in addition to the network."""

    record: dict[str, Any]
    """Settings, fold and best figures; `training` in the checkpoint's `data.json`."""
    windows: BatchSource
    validation: list[Draw]
    """Windows of the validation cells; empty where the fold has none."""
    sampler: Sampler | MixedSampler
    """The sampler of the training windows."""

    def training_windows(self, count: int) -> list[Draw]:
        """Windows of the training cells, about `count` at most: those of the first batches."""
        draws = self.sampler.epoch(0)
        whole = [Draw(draw.rows, draw.starts, slice(0, len(draw.rows))) for draw in draws]
        return whole[: max(1, count // len(draws[0].rows))]


def new_network(make: Callable[[], N], seed: int) -> N:
    """The network that `make` returns under this seed; other random numbers are not affected."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


@dataclass(frozen=True)
class TrainingSet:
    """What a training draws: windows, the batches of an epoch, and the windows of validation."""

    windows: BatchSource
    sampler: Sampler | MixedSampler
    validation: list[Draw]
    cells: int
    """Number of training cells."""
    size: int
    """Number of rows of the windows."""
    identity: Any
    """What decides the windows, for the identity of the training."""


def training_set(
    data: CellData | ShardedCells,
    fold: Fold,
    config: TrainConfig,
    objective: FoldObjective,
    *,
    rows: tuple[Tensor, Tensor],
    normaliser: Normaliser,
    device: torch.device,
) -> TrainingSet:
    """The windows of the training and validation `rows` of `data` in the fold's periods."""
    train, validation = rows
    windows = training_windows(data, normaliser, config.window, cyclic=config.cyclic, device=device)
    sampler = training_sampler(data, train, windows.starts(fold.train_period), config)
    draws: list[Draw] = []
    if len(validation):
        starts = windows.starts(fold.validation_period or fold.train_period)
        draws = objective.validation_draws(validation_rows(data, validation, config), starts)
    identity = [fold.to_dict(), normaliser.to_dict(), data_identity(data)]
    return TrainingSet(windows, sampler, draws, len(train), len(data), identity)


def mixed_set(
    sets: Sequence[TrainingSet], weights: Sequence[float], config: TrainConfig,
    device: torch.device,
) -> TrainingSet:  # fmt: skip
    """Several sets as one, with batches in proportion to the weights; one set is itself."""
    if len(sets) == 1:
        return sets[0]
    offsets = tuple(int(n) for n in np.cumsum([0, *(one.size for one in sets[:-1])]))
    # The number of batches is that of the mixture, not of each set in it.
    samplers = [one.sampler for one in sets]
    parts = tuple(replace(s, steps_per_epoch=None) for s in samplers if isinstance(s, Sampler))
    return TrainingSet(
        Mixture(tuple(one.windows for one in sets), offsets, device),
        MixedSampler(parts, tuple(weights), offsets, config.seed, config.steps_per_epoch),
        stacked([one.validation for one in sets], offsets),
        sum(one.cells for one in sets),
        sum(one.size for one in sets),
        [[one.identity for one in sets], list(weights)],
    )


def train_on_fold(
    model: nn.Module,
    drawn: TrainingSet,
    fold: Fold,
    config: TrainConfig,
    objective: FoldObjective,
    *,
    folder: Path,
    identity: Any,
    log: RunLog | None = None,
) -> Trained:
    """Train `model` in place on the fold's periods; it ends with its best weights.

    Without windows to validate, the weights of the last epoch are the best. An interrupted training
    in `folder/training` is resumed; `InputError` refuses one with another network (`identity`),
    data, fold or settings.
    """
    windows, draws = drawn.windows, drawn.validation
    model.to(windows.device)
    result = fit(
        model,
        windows,
        drawn.sampler,
        objective,
        validate=partial(objective.validate, windows=windows, draws=draws) if draws else None,
        config=config,
        folder=folder / "training",
        identity=training_identity([identity, *drawn.identity]),
        log=log,
    )
    record = {
        "config": config.model_dump(mode="json"),
        "fold": fold.name,
        "cells": drawn.cells,
        **_summary(result),
    }
    return Trained(record, windows, draws, drawn.sampler)


def save_trained(folder: Path, model: nn.Module, data: Mapping[str, Any]) -> Path:
    """Write the checkpoint on the main rank, while all others wait; returns the folder."""
    if is_main():
        save_checkpoint(folder, model, data)
    barrier()
    return folder


def training_sampler(
    data: CellData | ShardedCells, rows: Tensor, starts: tuple[int, int], config: TrainConfig
) -> Sampler:
    """The sampler of these rows under a `TrainConfig`, for this rank.

    `starts` are the first start and the number of starts.
    """
    group = None
    if config.one_per_group and data.group is not None:
        group = np.asarray(data.group)[rows.numpy()]
    shard = data.shard_of[rows.numpy()] if isinstance(data, ShardedCells) else None
    return Sampler(
        rows=rows.numpy(),
        starts=starts,
        batch_size=config.batch_size,
        seed=config.seed,
        steps_per_epoch=config.steps_per_epoch,
        windows_per_cell=config.windows_per_cell,
        group=group,
        shard=shard,
        buffer=SHARDS_MIXED,
        pairs=isinstance(config, PretrainConfig) and config.contrastive_weight > 0,
        by_targets=_by_targets(data, rows, starts, config),
        start_every=config.start_every,
        rank=rank(),
        world_size=world_size(),
    )


def _by_targets(
    data: CellData | ShardedCells, rows: Tensor, starts: tuple[int, int], config: TrainConfig
) -> TargetWindows | None:
    is_by_targets = isinstance(config, FinetuneConfig) and config.draw == "targets"
    if not is_by_targets or not isinstance(data, CellData) or data.target is None:
        return None
    known = (~data.target[rows].isnan()).any(-1).numpy()
    return TargetWindows.of(
        known, starts=starts, window=config.window, warmup=config.warmup_steps,
        every=config.start_every, cyclic=config.cyclic,
    )  # fmt: skip


def validation_rows(data: CellData | ShardedCells, rows: Tensor, config: TrainConfig) -> Tensor:
    """The rows to validate: the first of each group with `one_per_group`, else all."""
    if not (config.one_per_group and data.group is not None):
        return rows
    _, firsts = np.unique(np.asarray(data.group)[rows.numpy()], return_index=True)
    return rows[torch.from_numpy(np.sort(firsts))]


def _summary(result: FitResult) -> dict[str, Any]:
    best = next((r for r in result.history if int(r["epoch"]) == result.best_epoch), {})
    return {"best_epoch": result.best_epoch, "epochs": len(result.history), "best": best}


def data_identity(data: CellData | ShardedCells) -> str:
    """A hash that changes with the cells, the time axis and the values."""
    if isinstance(data, ShardedCells):
        order = zlib.crc32(data.ids.tobytes())
        return training_identity([data.identity, order, len(data.shards), str(data.time[[0, -1]])])
    parts: list[Any] = [str(data.time[0]), str(data.time[-1]), len(data)]
    for values in (data.cell, data.forcings, data.statics, data.categorical, data.target):
        if values is not None:
            # A CRC of the bytes: a sum of floats would depend on the number of threads.
            parts.append(zlib.crc32(values.contiguous().numpy().tobytes()))
    return training_identity(parts)
