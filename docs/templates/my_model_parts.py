"""Template of model parts of your own: copy it next to your config and keep what you need.

It predicts counts (landslides or fires a day): a task with its head and loss, an adapter, a
baseline and a score. Name the module in the config:

    plugins: [my_model_parts]
    finetune: {task: count, adapter: modulated, baselines: [climatology, training_median]}
    score: {metric: MAE}

or list its values in the `pyproject.toml` of your package, without the calls of `register`:

    [project.entry-points."stefaland.heads"]
    poisson = "my_model_parts:POISSON"
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from stefaland.baselines.registry import BASELINES, BaselineInputs
from stefaland.data.cell_data import CellData
from stefaland.folds.visible import training_part
from stefaland.metrics import SCORES, Score
from stefaland.model.adapters import ADAPTERS
from stefaland.model.heads import Prediction, with_statics
from stefaland.model.losses import masked_mean
from stefaland.tasks import HEADS, LOSSES, TASKS, Head, Loss, Task

MIN_RATE = 1e-6
"""Smallest predicted rate, which keeps its logarithm finite."""


class Modulated(nn.Module):
    """An adapter that multiplies features by a factor (0 to 2) of forcings and statics."""

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        super().__init__()
        self.factor = nn.Linear(n_forcings + n_statics, d_model)

    def forward(self, features: Tensor, forcings: Tensor, statics: Tensor) -> Tensor:
        """Adapted features [B, T, d_model]; forcings are [B, T, F], statics [B, S]."""
        return features * (1 + self.factor(with_statics(forcings, statics)).tanh())


class PoissonHead(nn.Module):
    """A head that predicts the rate of a Poisson distribution, whose root is its spread."""

    def __init__(self, d_model: int, n_targets: int) -> None:
        super().__init__()
        self.out = nn.Linear(d_model, n_targets)

    def forward(self, features: Tensor) -> Prediction:
        """Mean and standard deviation [B, T, n_targets] of features [B, T, d_model]."""
        rate = F.softplus(self.out(features)) + MIN_RATE
        return Prediction(rate, rate.sqrt())


def poisson(prediction: Prediction, target: Tensor, site_std: Tensor) -> Tensor:
    """A loss: the negative log-likelihood without its constant; NaN does not count."""
    expected = F.poisson_nll_loss(
        prediction.mean, target.nan_to_num(0.0), log_input=False, reduction="none"
    )
    return masked_mean(expected, ~target.isnan())


@dataclass(frozen=True)
class TrainingMedian:
    """A baseline that predicts the median of the training values of each target everywhere."""

    median: NDArray[np.float32]

    def predict(self, data: CellData) -> dict[str, NDArray[np.float32]]:
        """Arrays `mean` and `spread` [N, T, O] in physical units; the spread is unknown (NaN)."""
        shape = (len(data), len(data.time), len(self.median))
        mean = np.broadcast_to(self.median, shape)
        return {"mean": mean, "spread": np.full(shape, np.nan, np.float32)}


def training_median(inputs: BaselineInputs) -> TrainingMedian:
    """The baseline, fitted on the fold's training cells and period alone."""
    train, _ = training_part(inputs.data, inputs.fold)
    assert train.target is not None
    values = train.target.flatten(0, 1)
    return TrainingMedian(torch.nanmedian(values, 0).values.numpy())


def mean_absolute_error(
    observed: NDArray[np.float64], predicted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A score [N] of series [N, T]; NaN where a series has no pair."""
    error = np.abs(predicted - observed)
    count = np.isfinite(error).sum(-1)
    return np.where(count > 0, np.nansum(error, -1) / np.maximum(count, 1), np.nan)


POISSON = Head(PoissonHead, loss="poisson")
POISSON_LOSS = Loss(poisson, heads=("poisson",))
COUNT = Task(heads=("poisson",), losses=("poisson",), is_scaled=False)
MAE = Score(mean_absolute_error, better="lower")

ADAPTERS.register("modulated", Modulated)
HEADS.register("poisson", POISSON)
LOSSES.register("poisson", POISSON_LOSS)
TASKS.register("count", COUNT)
BASELINES.register("training_median", training_median)
SCORES.register("MAE", MAE)
