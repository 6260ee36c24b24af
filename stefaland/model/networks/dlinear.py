"""The DLinear baseline: linear filters of the history of each forcing (Zeng et al. 2023).

Unlike in DLinear the target is another variable than the inputs: each step is predicted from the
steps of the window up to it, and statics are added linearly.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.core.settings import Frozen
from stefaland.data.batch import Batch
from stefaland.model.heads import Prediction, make_head, predicted
from stefaland.tasks import HeadName

AVERAGED = 25
"""Number of steps of the moving average, as published; half of a shorter window."""
FEATURES = 8
"""Number of features of a step, each a filter of its own, from which the head predicts."""


class DLinearConfig(Frozen):
    """Variables and length of the DLinear baseline."""

    forcings: tuple[str, ...]
    statics: tuple[str, ...]
    n_targets: int = Field(1, gt=0)
    window: int = Field(gt=0)
    """Number of steps of the filters."""
    dropout: float = Field(0.1, ge=0, lt=1)
    head: HeadName = "gaussian"
    cyclic: bool = False
    """The time axis is periodic: filters wrap around."""


class DLinear(nn.Module):
    """The DLinear baseline; a missing input, and one before the window, is the training mean.

    All is linear up to the head. The history of each forcing is split into its moving average and
    the remainder, and each part has filters of its own.
    """

    average: Tensor

    def __init__(self, config: DLinearConfig) -> None:
        super().__init__()
        self.config = config
        steps = max(1, min(AVERAGED, config.window // 2))
        average = torch.zeros(config.window)
        average[:steps] = 1.0 / steps
        self.register_buffer("average", average, persistent=False)
        # Filters begin at zero, so that no step counts before it is found to matter.
        self.filters = nn.Parameter(torch.zeros(FEATURES, 2 * len(config.forcings), config.window))
        # A constant input, so that there is one without statics.
        self.statics = nn.Linear(len(config.statics) + 1, FEATURES, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.head = make_head(config.head, FEATURES, config.n_targets, config.forcings)

    def forward(self, batch: Batch) -> Prediction:
        """Prediction [B, T, O] of every time step from this step and those before it."""
        steps = batch.forcings.shape[1]
        # Fourier transforms are several times as fast as convolutions with filters of a year. They
        # wrap around: the zeros behind the series hold what average and filter carry beyond it.
        length = steps if self.config.cyclic else 3 * steps
        forcings = torch.fft.rfft(batch.forcings.float().nan_to_num(0.0), length, 1)
        trend = forcings * torch.fft.rfft(self.average.float(), length)[:, None]
        parts = torch.cat([trend, forcings - trend], -1)
        filters = torch.fft.rfft(self.filters.float(), length)
        filtered = torch.fft.irfft(torch.einsum("bfc,hcf->bfh", parts, filters), length, 1)
        statics = batch.statics.nan_to_num(0.0)
        statics = torch.cat([statics, statics.new_ones(len(batch), 1)], 1)
        features = filtered[:, :steps] + self.statics(statics)[:, None]
        return predicted(self.head, self.dropout(features), batch)
