"""The LSTM baseline: one LSTM over forcings and statics (Kratzert et al. 2019).

It is trained like the finetuned network, on the same fold, windows and loss.
"""

from __future__ import annotations

from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.core.settings import Frozen, later
from stefaland.data.batch import Batch
from stefaland.model.heads import Prediction, make_head, predicted
from stefaland.tasks import HeadName


class LSTMConfig(Frozen):
    """Variables and size of the LSTM baseline."""

    forcings: tuple[str, ...]
    statics: tuple[str, ...]
    n_targets: int = Field(1, gt=0, le=10_000)
    hidden: int = Field(64, gt=0, le=65_536)
    dropout: float = Field(0.4, ge=0, lt=1)
    forget_bias: float = later(3.0)
    """Initial bias of the forget gate, so that memories last from the first step on."""
    head: HeadName = "gaussian"
    cyclic: bool = False
    """The time axis is periodic: the LSTM reads the window twice, so that its first step is
    preceded by others."""


class LSTMNetwork(nn.Module):
    """The LSTM baseline; a missing input counts as the training mean."""

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.config = config
        n_inputs = len(config.forcings) + len(config.statics)
        self.lstm = nn.LSTM(n_inputs, config.hidden, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.head = make_head(config.head, config.hidden, config.n_targets, config.forcings)
        bias = cast(Tensor, self.lstm.bias_hh_l0)
        with torch.no_grad():
            # PyTorch adds two biases per gate. Order of the gates: in, forget, cell, out.
            bias[config.hidden : 2 * config.hidden] = config.forget_bias

    def forward(self, batch: Batch) -> Prediction:
        """Prediction [B, T, O] of every time step from this step and those before it."""
        steps = batch.forcings.shape[1]
        statics = batch.statics[:, None].expand(-1, steps, -1)
        inputs = torch.cat([batch.forcings, statics], -1).nan_to_num(0.0)
        if self.config.cyclic:
            inputs = torch.cat([inputs, inputs], 1)
        hidden: Tensor = self.lstm(inputs)[0][:, -steps:]
        return predicted(self.head, self.dropout(hidden), batch)
