"""Protocols of the objectives: a loss of batches, and a validation on held-out windows.

`reconstruction.py` has the objective of pretraining, `target_loss.py` that of finetuning.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from stefaland.data.batch import Batch, BatchSource
from stefaland.data.sampler import Draw


class Objective(Protocol):
    """The loss of this rank's `batch`, which is the part `draw.part` of the whole draw.

    `generator` is the same on all ranks: random numbers for the whole batch, cut to the part, do
    not depend on the number of ranks.
    """

    def __call__(
        self, model: nn.Module, batch: Batch, draw: Draw, generator: torch.Generator
    ) -> Tensor:
        """A scalar whose average over ranks is the loss of the whole draw (`masked_mean`)."""


class FoldObjective(Objective, Protocol):
    """An objective with a validation."""

    def validation_draws(self, rows: Tensor, starts: tuple[int, int]) -> list[Draw]:
        """The windows to validate, the same in every epoch; `starts` are first start and number."""

    def validate(
        self, model: nn.Module, windows: BatchSource, draws: list[Draw]
    ) -> dict[str, float]:
        """Figures by name of these windows over all ranks; the lowest `loss` is the best epoch."""
