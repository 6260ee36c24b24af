"""Scaled dot-product attention, in blocks where PyTorch keeps all weights; rotary angles.

Upstream: encoder.py gives queries, keys and values. Full attention: a hidden value is told by its
mask vector, not by a mask of attention (spec §3).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from stefaland.dropout import dropped

BLOCK = 1 << 20
"""Attention weights of a block: some megabytes, which stay in a cache."""
ROTARY_BASE = 10_000.0


class _BlockedAttention(torch.autograd.Function):
    """Attention with dropout on the CPU, some samples at a time; weights are made anew backward.

    PyTorch keeps all [B, H, N, N] weights three times over where there is dropout.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, q: Tensor, k: Tensor, v: Tensor, share: float
    ) -> Tensor:
        heads, tokens, width = q.shape[1:]
        ctx.step = max(1, BLOCK // (heads * tokens * tokens))  # type: ignore[attr-defined]
        ctx.share = share  # type: ignore[attr-defined]
        out = q.new_empty(len(q), tokens, heads, width).transpose(1, 2)
        lost = []
        for block in _blocks(len(q), ctx.step):  # type: ignore[attr-defined]
            weights = _weights(q[block], k[block])
            lost.append(dropped(weights.shape, share))
            weights.masked_fill_(lost[-1], 0.0)
            out[block] = (weights @ v[block]).div_(1 - share)
        ctx.save_for_backward(q, k, v, *lost)
        return out

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *grads: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, *lost = ctx.saved_tensors  # type: ignore[attr-defined]
        kept = 1 - ctx.share  # type: ignore[attr-defined]
        scale = 1 / math.sqrt(q.shape[-1])
        dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
        for block, gone in zip(_blocks(len(q), ctx.step), lost, strict=True):  # type: ignore[attr-defined]
            dout = grads[0][block] / kept
            weights = _weights(q[block], k[block])
            dweights = (dout @ v[block].transpose(-1, -2)).masked_fill_(gone, 0.0)
            dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype)
            dq[block] = (dscores @ k[block]).mul_(scale)
            dk[block] = (dscores.transpose(-1, -2) @ q[block]).mul_(scale)
            dv[block] = weights.masked_fill_(gone, 0.0).transpose(-1, -2) @ dout
        return dq, dk, dv, None


def _blocks(size: int, step: int) -> list[slice]:
    return [slice(start, start + step) for start in range(0, size, step)]


def _weights(q: Tensor, k: Tensor) -> Tensor:
    return ((q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)).softmax(-1)


def attend(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """[B, H, N, d/H] each → [B, H, N, d/H]; `dropout` is the share of weights set to 0."""
    if dropout and q.device.type == "cpu" and not torch.compiler.is_compiling():
        out: Tensor = _BlockedAttention.apply(q, k, v, dropout)
        return out
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)


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
