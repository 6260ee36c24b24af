"""Masked-autoencoder pretraining: cell table and fold in, checkpoint folder out (spec §5 to §7).

Upstream: dataset.py, masking.py, mae.py. Downstream: finetune.py and `stefaland embed`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stefaland.checkpoints.checkpoint import save_checkpoint
from stefaland.config import MaskConfig, ModelConfig, PretrainConfig, TrainConfig
from stefaland.data.batch import Batch, BatchSource
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.data.sampler import Draw, Sampler
from stefaland.data.sharded import ShardedCells
from stefaland.data.stream import SHARDS_MIXED, training_windows
from stefaland.distributed import barrier, is_main, process_group, rank, sum_over_ranks, world_size
from stefaland.folds.leakage import check_statistics, check_table
from stefaland.folds.split import Fold
from stefaland.model.losses import masked_loss
from stefaland.model.mae import StefaLand
from stefaland.model.masking import group_mask, window_mask
from stefaland.training.log import RunLog
from stefaland.training.loop import FitResult, fit
from stefaland.training.state import training_identity

VALIDATION_SEED = 20_250_917
VALIDATION_BATCH = 512


class MaskedReconstruction:
    """The pretraining objective: hide, reconstruct, compare what was hidden and observed."""

    def __init__(self, model_config: ModelConfig, mask: MaskConfig, static_weight: float) -> None:
        self.model_config, self.mask, self.static_weight = model_config, mask, static_weight

    def masks(self, whole: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Hidden forcings [B, T, F] and statics [B, S + K] of a batch of that shape."""
        forcings = window_mask(
            tuple(whole.forcings.shape), self.mask.forcing_ratio, self.mask.window_min,
            self.mask.window_max, generator, whole.forcings.device,
        )  # fmt: skip
        return forcings, group_mask(whole, self.model_config, self.mask.static_ratio, generator)

    def __call__(
        self, model: nn.Module, batch: Batch, draw: Draw, generator: torch.Generator
    ) -> Tensor:
        """The masked loss (`masked_mean`); masks are drawn for the whole batch."""
        whole = batch if len(draw.rows) == len(batch) else _shaped_like(batch, len(draw.rows))
        forcing_mask, static_mask = (m[draw.part] for m in self.masks(whole, generator))
        reconstruction = model(batch, forcing_mask, static_mask)
        loss, _ = masked_loss(reconstruction, batch, forcing_mask, static_mask, self.static_weight)
        return loss


def _shaped_like(batch: Batch, size: int) -> Batch:
    """A batch of `size` samples without content or memory, from which masks take their shape."""
    return Batch(
        batch.forcings[:1].expand(size, -1, -1),
        batch.statics[:1].expand(size, -1),
        None if batch.categorical is None else batch.categorical[:1].expand(size, -1),
    )


class ReconstructionError:
    """Held-out reconstruction on fixed windows and masks; the same every time it is called.

    Gives the masked loss, and the skill 1 - SSE / SSE of the training mean, for forcings and
    statics: 0 is no better than the mean, 1 is perfect.
    """

    def __init__(
        self, objective: MaskedReconstruction, windows: BatchSource, draws: list[Draw]
    ) -> None:
        self.objective, self.windows, self.draws = objective, windows, draws

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """`loss`, `forcing_skill` and `static_skill` over all ranks' parts."""
        mine = self.draws[rank() :: world_size()]
        sums = dict.fromkeys(("loss", "n", "forcing", "forcing0", "static", "static0"), 0.0)
        with torch.inference_mode():
            for i, batch in enumerate(self.windows.batches(mine)):
                seed = VALIDATION_SEED + rank() + i * world_size()
                generator = torch.Generator(self.windows.device).manual_seed(seed)
                for name, value in self._errors(model, batch, generator).items():
                    sums[name] += value
        total = sum_over_ranks(sums, self.windows.device)
        return {
            "loss": total["loss"] / max(total["n"], 1.0),
            "forcing_skill": 1 - total["forcing"] / max(total["forcing0"], 1e-12),
            "static_skill": 1 - total["static"] / max(total["static0"], 1e-12),
        }

    def _errors(
        self, model: nn.Module, batch: Batch, generator: torch.Generator
    ) -> dict[str, float]:
        forcing_mask, static_mask = self.objective.masks(batch, generator)
        reconstruction = model(batch, forcing_mask, static_mask)
        loss, _ = masked_loss(
            reconstruction, batch, forcing_mask, static_mask, self.objective.static_weight
        )
        numeric = static_mask[:, : batch.statics.shape[1]]
        sums = {"loss": float(loss) * len(batch), "n": float(len(batch))}
        for name, values, guess, mask in (
            ("forcing", batch.forcings, reconstruction.forcings, forcing_mask),
            ("static", batch.statics, reconstruction.statics, numeric),
        ):
            asked = mask & ~values.isnan()
            sums[name] = float((guess - values)[asked].double().square().sum())
            sums[f"{name}0"] = float(values[asked].double().square().sum())
        return sums


def fixed_draws(rows: Tensor, first: int, count: int, batch_size: int) -> list[Draw]:
    """Each row once, its start spread evenly over the possible ones; always the same."""
    starts = first + (torch.arange(len(rows)) * 7919) % count
    return [
        Draw(r, s, slice(0, len(r)))
        for r, s in zip(rows.split(batch_size), starts.split(batch_size), strict=True)
    ]


def training_sampler(
    data: CellData | ShardedCells, rows: Tensor, starts: tuple[int, int], config: TrainConfig
) -> Sampler:
    """The sampler of these rows under a `TrainConfig`, for this rank."""
    group = None
    if config.one_per_group and data.group is not None:
        group = np.asarray(data.group)[rows.numpy()]
    shard = data.shard_of[rows.numpy()] if isinstance(data, ShardedCells) else None
    return Sampler(
        rows.numpy(), *starts, config.batch_size, config.seed, config.steps_per_epoch,
        config.windows_per_cell, group, shard, SHARDS_MIXED, rank(), world_size(),
    )  # fmt: skip


def validation_rows(data: CellData | ShardedCells, rows: Tensor, config: TrainConfig) -> Tensor:
    """The rows that are validated: the first of each group under `one_per_group`, or all."""
    if not (config.one_per_group and data.group is not None):
        return rows
    _, firsts = np.unique(np.asarray(data.group)[rows.numpy()], return_index=True)
    return rows[torch.from_numpy(np.sort(firsts))]


def pretrain(
    data: CellData | ShardedCells,
    fold: Fold,
    model_config: ModelConfig,
    config: PretrainConfig,
    normaliser: Normaliser,
    folder: str | Path,
    *,
    device: torch.device | str = "cpu",
    log: RunLog | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Pretrain on the fold's training cells, resident or in shards; gives the checkpoint folder.

    The fold's validation cells decide the best epoch; its test cells are not read. Resumes by
    itself from what an earlier call left in `folder`. `about` (grid, units, catalog entries) goes
    into the checkpoint's `data.json`. Raises `InputError` before training for variables or
    statistics that are missing, an empty fold, a window longer than the data; and of resident cells
    for a fold that leaks and for statistics that are not those of its training part. Whoever hands
    in shards has checked both: to read them for it would cost as much as an epoch.
    """
    folder = Path(folder)
    if isinstance(data, CellData):
        check_table(fold, data)
    used = data.subset(np.union1d(fold.train, fold.validation))
    used = used.selected(
        model_config.forcings, model_config.statics, tuple(model_config.categorical)
    )
    names = (*used.forcing_names, *used.static_names)
    normaliser.require(names, "pretraining")
    normaliser = normaliser.selected(names)
    if isinstance(used, CellData) and len(fold.train):
        check_statistics(used, fold, normaliser, names)
    with process_group(device) as place:
        windows = training_windows(
            used, normaliser, config.window, cyclic=config.cyclic, device=place
        )
        starts = windows.starts(fold.train_period)
        sampler = training_sampler(used, used.rows(fold.train), starts, config)
        objective = MaskedReconstruction(model_config, config.mask, config.static_weight)
        validate = None
        if len(fold.validation):
            late = windows.starts(fold.validation_period or fold.train_period)
            size = min(VALIDATION_BATCH, config.batch_size)
            checked = validation_rows(used, used.rows(fold.validation), config)
            draws = fixed_draws(checked, *late, size)
            validate = ReconstructionError(objective, windows, draws)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            model = StefaLand(model_config).to(place)
        identity = training_identity([model_config.model_dump(mode="json"), fold.to_dict(),
                                normaliser.to_dict(), data_identity(used)])  # fmt: skip
        result = fit(model, windows, sampler, objective, validate, config, folder / "training",
                     identity=identity, log=log)  # fmt: skip
        if is_main():
            stored = {
                **(about or {}),
                "forcings": list(used.forcing_names),
                "statics": [*used.static_names, *used.categorical_names],
                "normaliser": normaliser.to_dict(),
                "training": {"config": config.model_dump(mode="json"), "fold": fold.name,
                             "cells": len(fold.train), **summary(result)},
            }  # fmt: skip
            save_checkpoint(folder, model, stored)
        barrier()
    return folder


def summary(result: FitResult) -> dict[str, Any]:
    """What a checkpoint remembers of its training."""
    best = next((r for r in result.history if int(r["epoch"]) == result.best_epoch), {})
    return {"best_epoch": result.best_epoch, "epochs": len(result.history), "best": best}


def data_identity(data: CellData | ShardedCells) -> str:
    """A hash that changes with the cells, the time axis or the values."""
    if isinstance(data, ShardedCells):
        order = zlib.crc32(data.ids.tobytes())
        return training_identity([data.identity, order, len(data.shards), str(data.time[[0, -1]])])
    parts: list[Any] = [str(data.time[0]), str(data.time[-1]), len(data)]
    for values in (data.cell, data.forcings, data.statics, data.categorical, data.target):
        if values is not None:
            # CRC of the bytes: a float sum would depend on the number of threads.
            parts.append(zlib.crc32(values.contiguous().numpy().tobytes()))
    return training_identity(parts)
