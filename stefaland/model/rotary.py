"""Rotary positions: queries and keys rotated by the time steps of their tokens (Su et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

ROTARY_BASE = 10_000.0


def rotary_angles(positions: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine [N, width] of the angles of `positions` [N]; `width` is a head's, even."""
    rates = ROTARY_BASE ** (-torch.arange(0, width, 2, device=positions.device) / width)
    angles = (positions[:, None].float() * rates).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Queries or keys [..., N, width] rotated by the angles of their tokens.

    Their products then depend on the distance in time of two tokens.
    """
    cosine, sine = (a.to(x.dtype) for a in angles)
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat([-second, first], -1) * sine
