"""Affine maps through oneDNN on a CPU, where it is a good deal quicker than PyTorch's own choice.

Used by every part of the network in place of `nn.Linear` and `F.linear`, with the same parameters
and results equal to rounding. On other devices, in other precisions and where PyTorch comes without
oneDNN they are `F.linear`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stefaland.model.dropout import draw_kept

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
FEWEST_ROWS = 64
"""Below this many rows the call costs more than the product."""


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, after: str = "none") -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], "")
    return product


class _Affine(torch.autograd.Function):
    """x W^T + b of [M, in] values, or dropout(relu(…)); gradients are products of the same kind."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, relu: bool, share: float
    ) -> Tensor:
        out = _product(x, weight, bias, "relu" if relu else "none")
        if share:
            keep = draw_kept(torch.empty(out.shape, dtype=torch.uint8), share)
            out.mul_(keep.to(out.dtype)).div_(1 - share)
        ctx.relu, ctx.share = relu, share
        # What is above 0 was kept and above 0 before: no mask need be saved.
        ctx.save_for_backward(x, weight, *([out] if relu else []))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *out = ctx.saved_tensors
        grad = grads[0].contiguous()
        if ctx.relu:
            grad = torch.ops.aten.threshold_backward(grad, out[0], 0)
        if ctx.share:
            grad = grad.div_(1 - ctx.share)
        needs_x, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        return (
            _product(grad, weight.t(), None) if needs_x else None,
            grad.t() @ x if needs_weight else None,
            grad.sum(0) if needs_bias else None,
            None,
            None,
        )


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[..., in] → [..., out]: x W^T + b with `weight` [out, in]."""
    return _affine(x, weight, bias) if _fits_onednn(x, weight) else F.linear(x, weight, bias)


def _affine(
    x: Tensor, weight: Tensor, bias: Tensor, relu: bool = False, share: float = 0.0
) -> Tensor:
    flat: Tensor = _Affine.apply(x.flatten(0, -2).contiguous(), weight, bias, relu, share)
    return flat.unflatten(0, x.shape[:-1])


def _fits_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        HAS_ONEDNN
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.ndim > 1
        and x.numel() >= FEWEST_ROWS * x.shape[-1] > 0
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


class Linear(nn.Linear):
    """As `nn.Linear` with a bias."""

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] → [..., out]."""
        return affine(input, self.weight, self.bias)

    def relu(self, input: Tensor, share: float = 0.0) -> Tensor:
        """[..., in] → [..., out], then ReLU and dropout: fewer passes, less kept."""
        if _fits_onednn(input, self.weight):
            return _affine(input, self.weight, self.bias, True, share)
        return F.dropout(F.relu(super().forward(input), inplace=True), share)
