"""The training loop of pretraining, finetuning and the network baselines.

A sampler draws the windows, a `BatchSource` gathers them, and an objective computes the loss. A run
is a pure function of data, settings and seed: killed and resumed, it ends with the same bits (on a
CPU).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.core.errors import InputError, bad_input
from pipeline.core.system.failures import is_out_of_memory, out_of_memory
from stefaland.config import TrainConfig
from stefaland.data.batch import Batch, BatchSource
from stefaland.data.mixture import MixedSampler
from stefaland.data.sampler import Draw, Sampler
from stefaland.distributed import (
    barrier,
    is_main,
    parts_of_one_batch,
    rank,
    sum_over_ranks,
    world_size,
)
from stefaland.training.finite_loss import LossWatch, NotFiniteError
from stefaland.training.log import RunLog
from stefaland.training.objective import Objective
from stefaland.training.optimiser import learning_rate, make_optimiser
from stefaland.training.precision import autocast, products
from stefaland.training.signals import Interrupted, Stop, stop_signals
from stefaland.training.state import (
    STATE_FILE,
    Progress,
    Weights,
    load_state,
    save_state,
    trained_weights,
    training_identity,
)


@dataclass(frozen=True)
class FitResult:
    """Result of a run; the model then has the weights of `best_epoch`."""

    best_epoch: int
    best_loss: float
    history: list[dict[str, float]]


def fit(
    model: nn.Module,
    source: BatchSource,
    sampler: Sampler | MixedSampler,
    objective: Objective,
    *,
    validate: Callable[[nn.Module], dict[str, float]] | None,
    config: TrainConfig,
    folder: str | Path,
    identity: str = "",
    log: RunLog | None = None,
) -> FitResult:
    """Train `model` in place; it ends with its best weights.

    These are the ones with the lowest `"loss"` that `validate` returns; without it, those of the
    last epoch. A run resumes from `folder/state.safetensors`; `identity` is a fingerprint of data
    and settings, and a state with another is refused. SIGTERM and SIGUSR1 save the state and raise
    `Interrupted`. Raises `InputError` for a loss that is not finite, after writing the cells of the
    batch to `nan_cells.json`.
    """
    run = _Run(
        model=model, source=source, sampler=sampler, objective=objective, validate=validate,
        config=config, folder=Path(folder), identity=identity, log=log,
    )  # fmt: skip
    with (
        torch.random.fork_rng(),
        stop_signals() as stop,
        _naming_memory(config, Path(folder)),
        products(config, run.device),
    ):
        while not run.progress.finished:
            run.epoch(stop)
    return run.result()


@contextmanager
def _naming_memory(config: TrainConfig, folder: Path) -> Iterator[None]:
    """Turn a lack of memory into an `InputError` that names the settings which decide it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        hint = (
            f"Choose a smaller batch_size (now {config.batch_size}; `accumulate` keeps the size of "
            "a step), a shorter window, a smaller network (model.preset) or `resident: false`."
        )
        where = f"training of {folder.parent.name}/{folder.name}"
        raise InputError([out_of_memory(where, error, hint)]) from None


class _Run:
    """The state and the steps of one call of `fit`."""

    def __init__(
        self, *, model: nn.Module, source: BatchSource, sampler: Sampler | MixedSampler,
        objective: Objective, validate: Callable[[nn.Module], dict[str, float]] | None,
        config: TrainConfig, folder: Path, identity: str, log: RunLog | None,
    ) -> None:  # fmt: skip
        self.model, self.source, self.sampler = model, source, sampler
        self.objective, self.validate, self.config = objective, validate, config
        self.folder, self.log = folder, log or RunLog(None)
        self.device = source.device
        self.optimiser = make_optimiser(model, config.optimiser)
        self.identity = training_identity([identity, config.model_dump(mode="json")])
        self.progress = Progress()
        self.averaged: Weights | None = None
        self.best: Weights | None = None
        saved = load_state(folder / STATE_FILE, self.identity, model, self.optimiser)
        if saved is not None:
            self.progress, averaged, best = saved
            self.averaged, self.best = (self._on_device(w) for w in (averaged, best))
        elif config.optimiser.ema_decay is not None:
            self.averaged = _copy(trained_weights(model))
        self.runner = self._wrap(model)
        self.micro_steps = len(sampler.epoch(0))
        self.steps = math.ceil(self.micro_steps / config.accumulate)
        self.epochs = config.epochs if config.steps is None else -(-config.steps // self.steps)
        self.watch = LossWatch(self.folder, self.device)

    def _on_device(self, weights: Weights | None) -> Weights | None:
        return None if weights is None else {k: v.to(self.device) for k, v in weights.items()}

    def _wrap(self, model: nn.Module) -> nn.Module:
        runner: nn.Module = model
        if world_size() > 1:
            ids = [self.device.index] if self.device.type == "cuda" else None
            runner = DistributedDataParallel(model, device_ids=ids)
        return torch.compile(runner) if self.config.compile else runner  # type: ignore[return-value]

    def epoch(self, stop: Stop) -> None:
        """Run the rest of the present epoch and its validation, and save the state."""
        progress = self.progress
        self.log.restart_clock()
        self.model.train()
        total = torch.tensor(progress.loss_sum, dtype=torch.float64, device=self.device)
        draws = self.sampler.epoch(progress.epoch)
        begun = progress.samples
        for draw, batch in zip(
            draws[progress.step :], self.source.batches(draws[progress.step :]), strict=True
        ):
            total += self._step(draw, batch, len(draws)).double() * len(draw.rows)
            progress.samples += len(draw.rows)
            progress.step += 1
            # Saved after whole optimiser steps only: accumulated gradients are not in the state.
            whole = progress.step % self.config.accumulate == 0
            if whole and progress.step < len(draws) and stop.requested(progress.step):
                progress.loss_sum = self._mean_over_ranks(float(total))
                self.watch.check_all()
                self._save()
                raise Interrupted(stop.number)
        self.watch.check_all()
        self._finish_epoch(float(total) / max(progress.samples, 1.0), progress.samples - begun)
        if stop.requested(0) and not progress.finished:
            raise Interrupted(stop.number)

    def _step(self, draw: Draw, batch: Batch, n_draws: int) -> Tensor:
        progress, config = self.progress, self.config
        seed = step_seed(config.seed, progress.epoch, progress.step)
        torch.manual_seed(seed + rank())
        generator = torch.Generator(self.device).manual_seed(seed)
        group_begin = progress.step - progress.step % config.accumulate
        group_size = min(config.accumulate, n_draws - group_begin)
        last = progress.step == group_begin + group_size - 1
        quiet = not last and isinstance(self.runner, DistributedDataParallel)
        with self.runner.no_sync() if quiet else nullcontext():  # type: ignore[operator]
            loss = self._loss(draw, batch, generator)
            (loss / group_size).backward()
        self.watch.add(loss, batch.cell, progress.epoch, progress.step)
        if last:
            self._update(progress.epoch * self.steps + progress.step // config.accumulate)
        return loss.detach()

    def _loss(self, draw: Draw, batch: Batch, generator: torch.Generator) -> Tensor:
        with autocast(self.config, self.device), parts_of_one_batch():
            return self.objective(self.runner, batch, draw, generator)

    def _mean_over_ranks(self, value: float) -> float:
        return sum_over_ranks({"value": value}, self.device)["value"] / world_size()

    def _update(self, step: int) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(
                step, self.steps * self.epochs, self.config.optimiser, group["pace"]
            )
        trained = [p for group in self.optimiser.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(trained, self.config.optimiser.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.averaged is not None and self.config.optimiser.ema_decay is not None:
            decay = min(self.config.optimiser.ema_decay, (1 + step) / (10 + step))
            for name, value in trained_weights(self.model).items():
                if value.is_floating_point():
                    self.averaged[name].lerp_(value, 1 - decay)
                else:
                    self.averaged[name].copy_(value)

    def _finish_epoch(self, loss: float, samples: float) -> None:
        progress, config = self.progress, self.config
        record = {
            "epoch": float(progress.epoch),
            "loss": self._mean_over_ranks(loss),
            "lr": max(group["lr"] for group in self.optimiser.param_groups),
        }
        with self._averaged_weights():
            if self.validate is not None:
                self.model.eval()
                figures = self.validate(self.model)
                record.update({f"validation_{name}": value for name, value in figures.items()})
            decisive = -float(progress.epoch)
            if config.keep == "best":
                decisive = record.get("validation_loss", decisive)
            if math.isnan(decisive):
                error = bad_input("validation", "a loss of NaN", "a number: valid held-out values")
                raise NotFiniteError(error.faults)
            if decisive < progress.best_loss:
                progress.best_loss, progress.best_epoch = decisive, progress.epoch
                self.best = _copy(trained_weights(self.model))
        progress.history.append(record)
        late = config.patience is not None and (
            progress.epoch - progress.best_epoch >= config.patience
        )
        progress.finished = late or progress.epoch + 1 >= self.epochs
        progress.epoch, progress.step = progress.epoch + 1, 0
        progress.loss_sum = progress.samples = 0.0
        self._save()
        self.log.epoch(progress.epoch - 1, self.epochs, samples, record)

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """Replace the weights by their moving average, where there is one, within the block."""
        if self.averaged is None:
            yield
            return
        present = _copy(trained_weights(self.model))
        self.model.load_state_dict(self.averaged, strict=False)
        try:
            yield
        finally:
            self.model.load_state_dict(present, strict=False)

    def _save(self) -> None:
        if is_main():
            save_state(
                self.folder / STATE_FILE, self.progress, self.identity, model=self.model,
                optimiser=self.optimiser, averaged=self.averaged, best=self.best,
            )  # fmt: skip
        barrier()

    def result(self) -> FitResult:
        if self.best is not None:
            self.model.load_state_dict(self.best, strict=False)
        self.model.eval()
        progress = self.progress
        return FitResult(progress.best_epoch, progress.best_loss, progress.history)


def _copy(weights: Mapping[str, Tensor]) -> Weights:
    return {name: value.detach().clone() for name, value in weights.items()}


def step_seed(seed: int, epoch: int, step: int) -> int:
    """A seed that is different for every step of every epoch."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{step}".encode()).digest()
    return int.from_bytes(digest[:6], "little")
