"""The range test of learning rates (Smith 2017): a rate that rises at every step, and the losses.

Nothing is written: weights and optimiser are made anew and forgotten.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stefaland.config import ModelConfig, PretrainConfig
from stefaland.data.batch import Batch
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.data.sampler import Draw
from stefaland.data.sharded import ShardedCells
from stefaland.folds.split import Fold
from stefaland.model.mae import StefaLand
from stefaland.training.loop import step_seed
from stefaland.training.optimiser import make_optimiser
from stefaland.training.precision import autocast, products
from stefaland.training.pretrain import FurtherCells, pretraining_set, scaled
from stefaland.training.recipe import TrainingSet, new_network
from stefaland.training.reconstruction import MaskedReconstruction

SMOOTHING = 0.9
"""Weight of the losses before in their moving average."""
DIVERGED = 4.0
"""Ratio of the smoothed loss to its lowest value at which the test ends."""
FIRST = 20
"""Number of first losses that are too few for a mean, or a quarter of all."""
MARGIN = 10.0
"""Ratio of the rate of the lowest loss, which is near divergence, to the suggested one."""


@dataclass(frozen=True)
class RangeTest:
    """Learning rates, in rising order, and the smoothed training loss at each."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def suggested(self) -> float:
        """A tenth of the rate of the lowest loss, as the largest rate of a training.

        The first losses are means of few batches and do not count.

        >>> RangeTest((1e-3, 1e-2, 1e-1), (1.0, 0.5, 3.0)).suggested
        0.001
        """
        first = min(FIRST, len(self.rates) // 4)
        return self.rates[first + int(np.argmin(self.losses[first:]))] / MARGIN


def find_rate(
    data: CellData | ShardedCells,
    fold: Fold,
    model_config: ModelConfig,
    config: PretrainConfig,
    normaliser: Normaliser,
    *,
    also: Sequence[FurtherCells] = (),
    device: torch.device | str = "cpu",
    low: float = 1e-5,
    high: float = 1.0,
    steps: int = 200,
) -> RangeTest:
    """Pretrain for some steps on the fold's training cells, at rates from `low` to `high`.

    The arguments are those of `pretrain`. The same seed makes the same losses (on a CPU). The test
    ends early where the loss is no longer finite or four times its lowest value.
    """
    used, _, normaliser = scaled(data, fold, model_config, normaliser, also)
    chosen = torch.device(device)
    objective = MaskedReconstruction(model_config, config)
    drawn = pretraining_set(used, fold, model_config, config, objective, normaliser, also, chosen)
    model = new_network(lambda: StefaLand(model_config), config.seed).to(chosen).train()
    optimiser = make_optimiser(model, config.optimiser)
    batches, mean, found = _batches(drawn, config), 0.0, RangeTest((), ())
    with torch.random.fork_rng(), products(config, chosen):
        for number, rate in enumerate(np.geomspace(low, high, steps).tolist()):
            total = 0.0
            for seed, draw, batch in itertools.islice(batches, config.accumulate):
                torch.manual_seed(seed)
                generator = torch.Generator(chosen).manual_seed(seed)
                with autocast(config, chosen):
                    loss: Tensor = objective(model, batch, draw, generator)
                (loss / config.accumulate).backward()
                total += float(loss.detach()) / config.accumulate
            mean = SMOOTHING * mean + (1 - SMOOTHING) * total
            smoothed = mean / (1 - SMOOTHING ** (number + 1))
            if not math.isfinite(total) or smoothed > DIVERGED * min(found.losses, default=np.inf):
                break
            found = RangeTest((*found.rates, rate), (*found.losses, smoothed))
            for group in optimiser.param_groups:
                group["lr"] = rate
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimiser.clip_norm)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
    return found


def _batches(drawn: TrainingSet, config: PretrainConfig) -> Iterator[tuple[int, Draw, Batch]]:
    """The batches of as many epochs as are asked for, each with its seed, as in a training."""
    for epoch in itertools.count():
        draws = drawn.sampler.epoch(epoch)
        for step, (draw, batch) in enumerate(zip(draws, drawn.windows.batches(draws), strict=True)):
            yield step_seed(config.seed, epoch, step), draw, batch
