"""Checks that losses are finite, some steps later, so that a GPU does not have to wait.

A loss that is not finite ends the training after the cells of its batch have been saved.
"""

from __future__ import annotations

import json
import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.core.errors import InputError, bad_input
from pipeline.core.files import write_text

LAG = 16
"""Number of steps after which the loss of a GPU is checked."""


@dataclass(frozen=True)
class _Step:
    """A loss that is being copied to the host."""

    loss: Tensor
    copied: torch.cuda.Event | None
    cells: Tensor | None
    epoch: int
    number: int


class NotFiniteError(InputError):
    """A training whose loss is not finite, as of a learning rate that is too high."""


class LossWatch:
    """Check of each step's loss: `InputError` for the first that is not finite.

    The cells of its batch are written to `folder/nan_cells.json` before.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.path = folder / "nan_cells.json"
        self.lag = 0 if device.type == "cpu" else LAG
        self._steps: deque[_Step] = deque()

    def add(self, loss: Tensor, cells: Tensor | None, epoch: int, number: int) -> None:
        """Add a step's loss (a scalar) and its cells [B]; check the loss of `lag` steps before."""
        value, copied = loss.detach(), None
        if value.device.type == "cuda":
            # To read the value directly would wait for all work that the device was sent since.
            value = torch.empty((), dtype=loss.dtype, pin_memory=True)
            value.copy_(loss.detach(), non_blocking=True)
            copied = torch.cuda.current_stream(loss.device).record_event()
        self._steps.append(_Step(value, copied, cells, epoch, number))
        self._check(self.lag)

    def check_all(self) -> None:
        """Check every loss that has not been checked."""
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
        error = bad_input(
            f"training, epoch {step.epoch}, step {step.number}", f"a loss of {loss}",
            "a finite loss",
            f"The batch's cells are in {self.path}; check their inputs, or lower optimiser.lr.",
        )  # fmt: skip
        raise NotFiniteError(error.faults)
