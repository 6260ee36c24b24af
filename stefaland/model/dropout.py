"""Dropout that is quick and small on a CPU: 16 random bits a value and a mask of one byte.

Used by every part of the network in place of `nn.Dropout`, whose CPU form draws one number at a
time and keeps a mask as large as the values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 1 << 16
"""A share is rounded to this many levels, 1.5e-5 apart."""


def draw_kept(keep: Tensor, share: float) -> Tensor:
    """Fill a contiguous uint8 tensor on the CPU with 0, at probability `share`, or 1.

    Four values of one 64-bit number of NumPy's SFC64, which draws them in half the time that torch
    takes; its seed comes from torch's generator.
    """
    count = keep.numel()
    seed = int(torch.empty((), dtype=torch.int64).random_())
    bits = np.random.SFC64(seed).random_raw(-(-count // 4)).view(np.int16)
    threshold = round(share * LEVELS) - LEVELS // 2
    torch.ge(torch.from_numpy(bits[:count]), threshold, out=keep.view(-1))
    return keep


class _Dropout(torch.autograd.Function):
    """x / (1 - share) where kept, 0 elsewhere; saves one byte a value."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float) -> Tensor:
        keep = draw_kept(torch.empty(x.shape, dtype=torch.uint8), share)
        ctx.save_for_backward(keep)
        ctx.share = share
        # A product with a float mask is several times quicker than masked_fill.
        return keep.to(x.dtype).mul_(x).div_(1 - share)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return keep.to(grads[0].dtype).mul_(grads[0]).div_(1 - ctx.share), None


class Dropout(nn.Module):
    """As `nn.Dropout`, tensors of any shape."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """`x` with some values zeroed in training, as it is otherwise."""
        if not self.training or self.share == 0.0:
            return x
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            dropped_out: Tensor = _Dropout.apply(x, self.share)
            return dropped_out
        return F.dropout(x, self.share)
