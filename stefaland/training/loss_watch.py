"""Losses looked at some steps later, so that looking does not stall a GPU's queue.

Upstream: loop.py hands over each step's loss. A loss that is no number ends the training with the
batch's cells saved.
"""

from __future__ import annotations

import json
import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.core.errors import bad_input
from pipeline.core.files import write_text

LAG = 16
"""Steps after which a GPU's loss is looked at."""


@dataclass(frozen=True)
class _Step:
    """A loss on its way to the host."""

    loss: Tensor
    copied: torch.cuda.Event | None
    cells: Tensor | None
    epoch: int
    number: int


class LossWatch:
    """Raises `InputError` for the first loss that is not finite, after writing the batch's cells to
    `folder/nan_cells.json`.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.path = folder / "nan_cells.json"
        self.lag = 0 if device.type == "cpu" else LAG
        self._steps: deque[_Step] = deque()

    def add(self, loss: Tensor, cells: Tensor | None, epoch: int, number: int) -> None:
        """Take a step's loss [] and its cells [B]; looks at what has been waiting long enough."""
        value, copied = loss.detach(), None
        if value.device.type == "cuda":
            # Waiting for the value itself would wait for all that was asked of the device since.
            value = torch.empty((), dtype=loss.dtype, pin_memory=True)
            value.copy_(loss.detach(), non_blocking=True)
            copied = torch.cuda.current_stream(loss.device).record_event()
        self._steps.append(_Step(value, copied, cells, epoch, number))
        self._check(self.lag)

    def check_all(self) -> None:
        """Look at every loss that has not been looked at."""
        self._check(0)

    def _check(self, lag: int) -> None:
        while len(self._steps) > lag:
            step = self._steps.popleft()
            if step.copied is not None:
                step.copied.synchronize()
            if not math.isfinite(float(step.loss)):
                self._stop(step)

    def _stop(self, step: _Step) -> None:
        loss = float(step.loss)
        ids = [] if step.cells is None else step.cells.tolist()
        where = {"epoch": step.epoch, "step": step.number, "loss": str(loss), "cells": ids}
        write_text(self.path, json.dumps(where))
        raise bad_input(
            f"training, epoch {step.epoch}, step {step.number}", f"a loss of {loss}",
            "a finite loss",
            f"The batch's cells are in {self.path}; look at their inputs, or lower optimiser.lr.",
        )  # fmt: skip
