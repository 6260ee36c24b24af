"""Dropout that is quick and small on a CPU: 16 random bits a value and a mask of one byte.

Used by every part of the network in place of `nn.Dropout`, whose CPU form draws one number at a
time and keeps a mask as large as the values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 1 << 16
"""A share is rounded to this many levels, 1.5e-5 apart."""


def dropped(shape: torch.Size, share: float) -> Tensor:
    """Bool tensor on the CPU, True with probability `share`; drawn from torch's generator."""
    count = shape.numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    threshold = round(share * LEVELS) - LEVELS // 2
    return (bits.view(torch.int16)[:count] < threshold).view(shape)


class _Dropout(torch.autograd.Function):
    """x / (1 - share) where kept, 0 elsewhere; saves one byte a value."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, share: float) -> Tensor:
        lost = dropped(x.shape, share)
        ctx.save_for_backward(lost)
        ctx.share = share  # type: ignore[attr-defined]
        return (x / (1 - share)).masked_fill_(lost, 0.0)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        (lost,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return (grads[0] / (1 - ctx.share)).masked_fill_(lost, 0.0), None  # type: ignore[attr-defined]


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
