"""Rotary positions: queries and keys turned by their tokens' places in time.

Upstream: tokens.py has the places. Downstream: encoder.py.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROTARY_BASE = 10_000.0


def rotary_angles(places: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine [N, width] of each token's place; `width` is that of a head, even."""
    rates = ROTARY_BASE ** (-torch.arange(0, width, 2, device=places.device) / width)
    angles = (places[:, None].float() * rates).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """[..., N, width] turned by its token's angles (Su et al. 2021): products see distances."""
    cosine, sine = (a.to(x.dtype) for a in angles)
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat([-second, first], -1) * sine
