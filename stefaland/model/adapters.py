"""Adapters: small modules that adapt the features of a frozen encoder to the target.

Their inputs are features h [B, T, d], forcings x [B, T, F] and statics c [B, S], all without NaN;
a decoder over time follows (`heads.py`). An adapter with an `attach` method changes the encoder
itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from pipeline.core.plugins import Registry
from stefaland.model.encoder import Encoder, Layer
from stefaland.model.heads import with_statics

Adapter = Callable[[int, int, int], nn.Module]
"""Function of (d_model, n_forcings, n_statics) that makes a module from features [B, T, d_model],
forcings [B, T, F] and statics [B, S], all without NaN, to features [B, T, d_model]."""
ADAPTERS: Registry[Adapter] = Registry("adapter", "stefaland.adapters")


def make_adapter(name: str, d_model: int, n_forcings: int, n_statics: int) -> nn.Module:
    """The named adapter with new weights; raises `InputError` for an unknown name.

    >>> adapter = make_adapter("gated", d_model=8, n_forcings=3, n_statics=5)
    >>> adapter(torch.zeros(2, 12, 8), torch.zeros(2, 12, 3), torch.zeros(2, 5)).shape
    torch.Size([2, 12, 8])
    """
    return ADAPTERS.get(name, "finetune.adapter")(d_model, n_forcings, n_statics)


class DualResidual(nn.Module):
    """The paper's adapter: LN2(LN1(h + MLP[h, a_x, a_c]) + a_x + a_c) with a = ReLU(Linear)."""

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
        """Adapted features [B, T, d]."""
        series = self.dropout(F.relu(self.series(x)))
        static = self.dropout(F.relu(self.statics(c)))[:, None].expand_as(series)
        combined = self.mix(torch.cat([h, series, static], -1))
        return self.norm2(self.norm1(h + combined) + series + static)


class Gated(nn.Module):
    """A gated update: h + sigmoid(W[h, x, c]) · V[h, x, c]."""

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        super().__init__()
        wide = d_model + n_forcings + n_statics
        self.gate, self.value = nn.Linear(wide, d_model), nn.Linear(wide, d_model)

    def forward(self, h: Tensor, x: Tensor, c: Tensor) -> Tensor:
        """Adapted features [B, T, d]."""
        inputs = torch.cat([h, with_statics(x, c)], -1)
        return h + self.gate(inputs).sigmoid() * self.value(inputs)


class Bottleneck(nn.Module):
    """A bottleneck of 64 features: h + up(ReLU(down[h, x, c]))."""

    width = 64

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        super().__init__()
        self.down = nn.Linear(d_model + n_forcings + n_statics, self.width)
        self.up = nn.Linear(self.width, d_model)

    def forward(self, h: Tensor, x: Tensor, c: Tensor) -> Tensor:
        """Adapted features [B, T, d]."""
        return h + self.up(F.relu(self.down(torch.cat([h, with_statics(x, c)], -1))))


class FeedForward(Bottleneck):
    """The bottleneck with 2d features."""

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        self.width = 2 * d_model
        super().__init__(d_model, n_forcings, n_statics)


class NoAdapter(nn.Module):
    """The features h unchanged."""

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        super().__init__()

    def forward(self, h: Tensor, x: Tensor, c: Tensor) -> Tensor:
        """Adapted features [B, T, d]."""
        return h


class Convolution(nn.Module):
    """Convolutions in time: h + two of [h, x, c] over three time steps each, with ReLU between."""

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        super().__init__()
        wide = d_model + n_forcings + n_statics
        self.mix = nn.Sequential(
            nn.Conv1d(wide, d_model, 3, padding=1), nn.ReLU(), nn.Dropout(0.1),
            nn.Conv1d(d_model, d_model, 3, padding=1),
        )  # fmt: skip

    def forward(self, h: Tensor, x: Tensor, c: Tensor) -> Tensor:
        """Adapted features [B, T, d]."""
        first, relu, dropout, second = self.mix
        inputs = torch.cat([h, with_statics(x, c)], -1).transpose(1, 2)
        # Dropout with features last: a draw of MC dropout then drops features, not days.
        inner = dropout(relu(first(inputs)).transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = second(inner).transpose(1, 2)
        return h + mixed


class InputAttention(nn.Module):
    """Attention: LayerNorm(h + attention of h over the projected inputs of all days), four heads.

    The encoder's features contain the position of a day in the window; they are added to the
    projected inputs of the same day for that reason.
    """

    heads = 4

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(n_forcings + n_statics, d_model)
        self.query, self.out = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.key_value = nn.Linear(d_model, 2 * d_model)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, h: Tensor, x: Tensor, c: Tensor) -> Tensor:
        """Adapted features [B, T, d]."""
        q = self.query(h).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key_value = self.key_value(F.relu(self.inputs(with_statics(x, c))) + h)
        k, v = key_value.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        adapted: Tensor = self.norm(h + self.out(mixed))
        return adapted


class MixtureOfExperts(nn.Module):
    """h + the mean of four bottlenecks of [h, x, c], weighted by a softmax gate per day."""

    experts, width = 4, 64

    def __init__(self, d_model: int, n_forcings: int, n_statics: int) -> None:
        super().__init__()
        wide = d_model + n_forcings + n_statics
        self.gate = nn.Linear(wide, self.experts)
        self.down = nn.Linear(wide, self.experts * self.width)
        self.up = nn.Linear(self.experts * self.width, d_model, bias=False)
        self.bias = nn.Parameter(torch.zeros(self.experts, d_model))

    def forward(self, h: Tensor, x: Tensor, c: Tensor) -> Tensor:
        """Adapted features [B, T, d]."""
        inputs = torch.cat([h, with_statics(x, c)], -1)
        weights = self.gate(inputs).softmax(-1)
        inner = F.relu(self.down(inputs)).unflatten(-1, (self.experts, self.width))
        # Weights before the linear map `up` are equivalent, and allow one product for all experts.
        weighted = (inner * weights[..., None]).flatten(-2)
        mixed: Tensor = self.up(weighted) + weights @ self.bias
        return h + mixed


class LowRank(nn.Module):
    """A weight [out, in] plus a product of low rank that starts at zero (LoRA, Hu et al. 2022)."""

    rank, alpha = 8, 16.0

    def __init__(self, n_out: int, n_in: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(self.rank, n_in).normal_(std=n_in**-0.5))
        self.up = nn.Parameter(torch.zeros(n_out, self.rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight [out, in]."""
        return weight + self.up @ self.down * (self.alpha / self.rank)


class Lora(NoAdapter):
    """Low-rank changes of the encoder's weights; the features h pass unchanged."""

    def attach(self, encoder: Encoder) -> None:
        """Add trained low-rank matrices to every layer's weights, which stay frozen."""
        for layer in encoder.stack.layers:
            assert isinstance(layer, Layer)
            for linear in (layer.qkv, layer.out, layer.up, layer.down):
                part = LowRank(linear.out_features, linear.in_features)
                parametrize.register_parametrization(linear, "weight", part.to(linear.weight))


ADAPTERS.register("dual_residual", DualResidual)
ADAPTERS.register("gated", Gated)
ADAPTERS.register("bottleneck", Bottleneck)
ADAPTERS.register("feed_forward", FeedForward)
ADAPTERS.register("none", NoAdapter)
ADAPTERS.register("convolution", Convolution)
ADAPTERS.register("attention", InputAttention)
ADAPTERS.register("mixture_of_experts", MixtureOfExperts)
ADAPTERS.register("lora", Lora)
