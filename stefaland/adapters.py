"""Adapters on the encoder's features: they learn what the frozen encoder does not say.

Upstream: finetuned.py gives features h [B, T, d], forcings x [B, T, F] and statics c [B, S], all
without NaN. Downstream: the decoder over time (spec §8).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stefaland.errors import bad_input, nearest_name
from stefaland.heads import beside

ADAPTERS: dict[str, Callable[[int, int, int], nn.Module]] = {}


def register(name: str) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Make an adapter known by `name`."""

    def add(adapter: type[nn.Module]) -> type[nn.Module]:
        ADAPTERS[name] = adapter
        return adapter

    return add


def make_adapter(name: str, d_model: int, n_forcings: int, n_statics: int) -> nn.Module:
    """The adapter of that name; `InputError` for an unknown one."""
    if name not in ADAPTERS:
        known = ", ".join(ADAPTERS)
        raise bad_input(
            "finetune.adapter", f'"{name}"', f"one of {known}", nearest_name(name, ADAPTERS)
        )
    return ADAPTERS[name](d_model, n_forcings, n_statics)


@register("dual_residual")
class DualResidual(nn.Module):
    """The paper's: LN2(LN1(h + MLP[h, a_x, a_c]) + a_x + a_c) with a = ReLU(Linear)."""

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        super().__init__()
        self.series = nn.Linear(n_forcings, d_model)
        self.statics = nn.Linear(n_statics, d_model)
        self.mix = nn.Sequential(
            nn.Linear(3 * d_model, 2 * d_model), nn.ReLU(), nn.Dropout(0.2),
            nn.Linear(2 * d_model, d_model),
        )  # fmt: skip
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(0.1)

    def forward(self, h: Tensor, x: Tensor, c: Tensor) -> Tensor:
        """[B, T, d]."""
        series = self.dropout(F.relu(self.series(x)))
        static = self.dropout(F.relu(self.statics(c)))[:, None].expand_as(series)
        combined = self.mix(torch.cat([h, series, static], -1))
        return self.norm2(self.norm1(h + combined) + series + static)


@register("gated")
class Gated(nn.Module):
    """h + sigmoid(W[h, x, c]) · V[h, x, c]."""

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        super().__init__()
        wide = d_model + n_forcings + n_statics
        self.gate, self.value = nn.Linear(wide, d_model), nn.Linear(wide, d_model)

    def forward(self, h: Tensor, x: Tensor, c: Tensor) -> Tensor:
        """[B, T, d]."""
        inputs = torch.cat([h, beside(x, c)], -1)
        return h + self.gate(inputs).sigmoid() * self.value(inputs)


@register("bottleneck")
class Bottleneck(nn.Module):
    """h + up(ReLU(down[h, x, c])) through 64 features."""

    width = 64

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        super().__init__()
        self.down = nn.Linear(d_model + n_forcings + n_statics, self.width)
        self.up = nn.Linear(self.width, d_model)

    def forward(self, h: Tensor, x: Tensor, c: Tensor) -> Tensor:
        """[B, T, d]."""
        return h + self.up(F.relu(self.down(torch.cat([h, beside(x, c)], -1))))


@register("feed_forward")
class FeedForward(Bottleneck):
    """As the bottleneck, with 2d features."""

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        self.width = 2 * d_model
        super().__init__(d_model, n_forcings, n_statics)
