"""Routing of runoff by a gamma unit hydrograph (Feng et al. 2022, doi 10.1029/2022WR032404)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

DAYS = 15
"""Length of the unit hydrograph in days."""


def unit_hydrograph(routing: Tensor, days: int = DAYS) -> Tensor:
    """Fractions [B, days] of a day's runoff that arrive on this and the next days.

    `routing` [B, 2] has shape a (1) and scale b (days) of the gamma distribution, whose density at
    the middle of each day is scaled to a sum of 1.
    """
    a, b = routing[:, :1], routing[:, 1:]
    middle = torch.arange(days, dtype=routing.dtype, device=routing.device) + 0.5
    # The softmax of the logarithm of t^(a - 1) exp(-t / b).
    return ((a - 1.0) * middle.log() - middle / b).softmax(-1)


def route(runoff: Tensor, fractions: Tensor) -> Tensor:
    """Discharge [B, T] of runoff [B, T] with the unit hydrographs [B, days].

    Runoff before the first day is 0; runoff of the last days has not all arrived at the end.

    >>> route(torch.tensor([[4.0, 0.0, 0.0]]), torch.tensor([[0.75, 0.25]]))
    tensor([[3., 1., 0.]])
    """
    days = fractions.shape[1]
    before = F.pad(runoff, (days - 1, 0)).unfold(1, days, 1)
    return (before * fractions.flip(-1)[:, None]).sum(-1)
