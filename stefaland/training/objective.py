"""What a network is trained for: a loss of batches, and how well it does on held-out windows.

Upstream: reconstruction.py and target_loss.py are the two there are. Downstream: loop.py asks for
losses, recipe.py for the validation.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from stefaland.data.batch import Batch, BatchSource
from stefaland.data.sampler import Draw


class Objective(Protocol):
    """The loss of this rank's `batch`, which is `draw.part` of the whole draw.

    `generator` is alike on all ranks: what is drawn for the whole batch and cut to the part does
    not depend on the number of ranks.
    """

    def __call__(
        self, model: nn.Module, batch: Batch, draw: Draw, generator: torch.Generator
    ) -> Tensor:
        """A scalar whose average over ranks is the loss of the whole draw (`masked_mean`)."""


class FoldObjective(Objective, Protocol):
    """An objective with its validation."""

    def validation_draws(self, rows: Tensor, starts: tuple[int, int]) -> list[Draw]:
        """Windows of validation rows that are always the same; `starts` are first and number."""

    def validate(
        self, model: nn.Module, windows: BatchSource, draws: list[Draw]
    ) -> dict[str, float]:
        """Figures of these windows over all ranks' parts; `loss` decides the best epoch."""
