"""Scaled dot-product attention, in blocks where PyTorch keeps all weights; rotary angles.

Upstream: encoder.py gives queries, keys and values. Full attention: a hidden value is told by its
mask vector, not by a mask of attention (spec §3).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stefaland.model.dropout import draw_kept

BLOCK = 1 << 19
"""Attention weights of a block: two megabytes, which stay in a cache."""
ROTARY_BASE = 10_000.0


class _BlockedAttention(torch.autograd.Function):
    """Attention with dropout on the CPU, some heads at a time; weights are made anew backward.

    PyTorch keeps all [B, H, N, N] weights three times over where there is dropout.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, share: float) -> Tensor:
        shape = q.shape
        q, k, v = (x.reshape(-1, *shape[2:]) for x in (q, k, v))
        tokens = shape[2]
        keep = torch.empty(len(q), tokens, tokens, dtype=torch.uint8)
        out = torch.empty_like(q)
        for block in _blocks(len(q), tokens):
            weights = _weights(q[block], k[block])
            draw_kept(keep[block], share)
            weights.mul_(keep[block].to(weights.dtype))
            torch.bmm(weights, v[block], out=out[block])
        ctx.save_for_backward(q, k, v, keep)
        ctx.share = share
        return out.div_(1 - share).view(shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, keep = ctx.saved_tensors
        shape, scale = grads[0].shape, 1 / math.sqrt(q.shape[-1])
        dout = (grads[0] / (1 - ctx.share)).reshape(q.shape)
        dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
        for b in _blocks(len(q), q.shape[1]):
            weights, seen = _weights(q[b], k[b]), keep[b].to(q.dtype)
            dweights = torch.bmm(dout[b], v[b].transpose(1, 2)).mul_(seen)
            dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype)
            torch.baddbmm(dq[b], dscores, k[b], beta=0, alpha=scale, out=dq[b])
            torch.baddbmm(dk[b], dscores.transpose(1, 2), q[b], beta=0, alpha=scale, out=dk[b])
            torch.bmm(weights.mul_(seen).transpose(1, 2), dout[b], out=dv[b])
        return dq.view(shape), dk.view(shape), dv.view(shape), None


def _blocks(heads: int, tokens: int) -> list[slice]:
    step = max(1, BLOCK // tokens**2)
    return [slice(start, start + step) for start in range(0, heads, step)]


def _weights(q: Tensor, k: Tensor) -> Tensor:
    """[heads, N, N] softmax of the scaled products."""
    scores = q.new_empty(len(q), q.shape[1], k.shape[1])
    scale = 1 / math.sqrt(q.shape[-1])
    torch.baddbmm(scores, q, k.transpose(1, 2), beta=0, alpha=scale, out=scores)
    return torch.softmax(scores, -1, out=scores)


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
