"""The HBV baseline: parameters of each location from its statics by a small network.

This is parameter learning without a memory of the weather (Feng et al. 2022 use an LSTM). Without
statics all locations have one calibrated set of parameters.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from pipeline.core.settings import Frozen
from stefaland.data.batch import Batch
from stefaland.model.heads import HBVHead, Prediction
from stefaland.model.process import COMPONENTS
from stefaland.tasks import HeadName


class HBVConfig(Frozen):
    """Variables and size of the HBV baseline."""

    forcings: tuple[str, ...]
    statics: tuple[str, ...]
    hidden: int = Field(64, gt=0, le=65_536)
    components: int = Field(COMPONENTS, gt=0, le=10_000)
    dropout: float = Field(0.2, ge=0, lt=1)
    around: HeadName = "gaussian"
    """Head that predicts the distribution around HBV's streamflow."""


class HBVNetwork(nn.Module):
    """The HBV baseline; a missing static attribute counts as the training mean."""

    def __init__(self, config: HBVConfig) -> None:
        super().__init__()
        self.config = config
        # A constant input, so that there is one without statics.
        self.layers = nn.Sequential(
            nn.Linear(len(config.statics) + 1, config.hidden), nn.GELU(),
            nn.Linear(config.hidden, config.hidden), nn.GELU(),
        )  # fmt: skip
        self.dropout = nn.Dropout(config.dropout)
        self.head = HBVHead(
            config.hidden, 1, config.forcings, around=config.around, components=config.components
        )

    def forward(self, batch: Batch) -> Prediction:
        """Prediction [B, T, 1] of every day from this day's weather and that before it."""
        statics = batch.statics.nan_to_num(0.0)
        inputs = torch.cat([statics, statics.new_ones(len(batch), 1)], 1)
        features = self.dropout(self.layers(inputs))[:, None]
        prediction: Prediction = self.head(features.expand(-1, batch.forcings.shape[1], -1), batch)
        return prediction
