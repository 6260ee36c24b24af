"""The reference of benchmarks/model.py: the same network written plainly, like the published code.

It loops over variables with one small network each, uses `nn.TransformerEncoder`, and draws masks
with NumPy for one sample and variable at a time. Parameters have the published names, so that
`stefaland.checkpoints.import_published` maps them and both networks compute the same numbers.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn


class PlainEmbedding(nn.Module):
    """One two-layer network per forcing; a loop stacks them, masks, and sums."""

    def __init__(self, names: tuple[str, ...], d_embed: int, d_model: int, dropout: float) -> None:
        super().__init__()
        self.names = names
        self.embeddings1 = nn.ModuleDict({n: nn.Linear(1, d_embed) for n in names})
        self.embeddings2 = nn.ModuleDict({n: nn.Linear(d_embed, d_model) for n in names})
        self.masked_values = nn.Parameter(torch.empty(len(names), d_model).uniform_(-0.02, 0.02))
        self.activation, self.dropout = nn.GELU(), nn.Dropout(dropout)

    def forward(self, values: Tensor, hidden: Tensor) -> Tensor:
        each = []
        for i, name in enumerate(self.names):
            inner = self.dropout(self.activation(self.embeddings1[name](values[..., i : i + 1])))
            each.append(self.embeddings2[name](inner))
        stacked = torch.stack(each, dim=-2)
        mask = hidden[..., None].expand_as(stacked)
        stacked = torch.where(mask, self.masked_values.expand_as(stacked), stacked)
        return stacked.sum(-2)


class PlainStatics(nn.Module):
    """One two-layer network per attribute; hidden scalars come from a table by batch row."""

    def __init__(self, names: tuple[str, ...], d_embed: int, d_model: int, dropout: float) -> None:
        super().__init__()
        self.names = names
        self.numerical_embeddings1 = nn.ModuleDict({n: nn.Linear(1, d_embed) for n in names})
        self.numerical_embeddings2 = nn.ModuleDict({n: nn.Linear(d_embed, d_model) for n in names})
        self.masked_values = nn.Parameter(torch.empty(1000, len(names)).uniform_(-0.02, 0.02))
        self.activation, self.dropout = nn.GELU(), nn.Dropout(dropout)

    def forward(self, values: Tensor, hidden: Tensor) -> Tensor:
        values = torch.where(hidden, self.masked_values[: len(values)], values)
        each = []
        for i, name in enumerate(self.names):
            inner = self.activation(self.numerical_embeddings1[name](values[:, i : i + 1]))
            each.append(self.numerical_embeddings2[name](self.dropout(inner)))
        return torch.stack(each, dim=-2).sum(-2)


class PlainSeriesHeads(nn.Module):
    """One two-layer head per forcing in a loop."""

    def __init__(self, names: tuple[str, ...], d_embed: int, d_model: int, dropout: float) -> None:
        super().__init__()
        self.names = names
        self.embeddings1 = nn.ModuleDict({n: nn.Linear(d_model, d_embed) for n in names})
        self.embeddings2 = nn.ModuleDict({n: nn.Linear(d_embed, 1) for n in names})
        self.activation, self.dropout = nn.GELU(), nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        each = []
        for name in self.names:
            inner = self.dropout(self.activation(self.embeddings1[name](tokens)))
            each.append(self.embeddings2[name](inner))
        return torch.cat(each, -1)


class PlainStaticHeads(nn.Module):
    """One two-layer head per attribute in a loop."""

    def __init__(self, names: tuple[str, ...], d_embed: int, d_model: int, dropout: float) -> None:
        super().__init__()
        self.names = names
        self.numerical_embeddings1 = nn.ModuleDict({n: nn.Linear(d_model, d_embed) for n in names})
        self.numerical_embeddings2 = nn.ModuleDict({n: nn.Linear(d_embed, 1) for n in names})
        self.activation, self.dropout = nn.GELU(), nn.Dropout(dropout)

    def forward(self, token: Tensor) -> Tensor:
        each = []
        for name in self.names:
            inner = self.dropout(self.activation(self.numerical_embeddings1[name](token)))
            each.append(self.numerical_embeddings2[name](inner))
        return torch.cat(each, -1)


class PlainPositions(nn.Module):
    """Learned positions, added to the tokens."""

    def __init__(self, d_model: int, dropout: float) -> None:
        super().__init__()
        self.position_embedding = nn.Parameter(torch.empty(1000, d_model).uniform_(-0.02, 0.02))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.dropout(tokens + self.position_embedding[: tokens.shape[1]])


class PlainStack(nn.Module):
    """Encoder of PyTorch, `nn.TransformerEncoder`."""

    def __init__(self, d_model: int, heads: int, wide: int, layers: int, dropout: float) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(d_model, heads, wide, dropout, batch_first=True)
        self.transformer_encoder = nn.TransformerEncoder(layer, layers)
        self.scale = math.sqrt(d_model)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.transformer_encoder(tokens * self.scale)


class PlainStefaLand(nn.Module):
    """The paper's network (arXiv 2509.17942) with the LSTM decoder."""

    def __init__(
        self, forcings: tuple[str, ...], statics: tuple[str, ...], d_model: int = 256,
        d_embed: int = 64, d_feedforward: int = 512, heads: int = 4, layers: int = 4,
        dropout: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__()
        sizes = (d_embed, d_model, dropout)
        self.time_series_embedding = PlainEmbedding(forcings, *sizes)
        self.static_embedding = PlainStatics(statics, *sizes)
        self.positional_encoding = PlainPositions(d_model, dropout)
        self.encoder = PlainStack(d_model, heads, d_feedforward, layers, dropout)
        self.encoder_norm = nn.LayerNorm(d_model)
        self.enc_2_dec_embedding = nn.Linear(d_model, d_model)
        self.decoder = nn.LSTM(d_model, d_model, batch_first=True)
        self.decoder_norm = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)
        self.time_series_projection = PlainSeriesHeads(forcings, *sizes)
        self.static_projection = PlainStaticHeads(statics, *sizes)

    def forward(
        self, forcings: Tensor, statics: Tensor, forcing_mask: Tensor, static_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Reconstructions [B, T, F] and [B, S]."""
        forcing_mask = forcing_mask | forcings.isnan()
        static_mask = static_mask | statics.isnan()
        days = self.time_series_embedding(forcings.nan_to_num(0.0), forcing_mask)
        static = self.static_embedding(statics.nan_to_num(0.0), static_mask)
        tokens = self.positional_encoding(torch.cat([days, static[:, None]], 1))
        encoded = self.dropout(self.encoder_norm(self.encoder(tokens)))
        decoded, _ = self.decoder(self.enc_2_dec_embedding(encoded))
        decoded = self.dropout(self.decoder_norm(decoded))
        series = self.time_series_projection(decoded[:, :-1])
        return series, self.static_projection(decoded[:, -1])


def plain_loss(
    guesses: tuple[Tensor, Tensor], values: tuple[Tensor, Tensor], masks: tuple[Tensor, Tensor]
) -> Tensor:
    """Mean squared error on hidden, observed forcings plus half that of statics."""
    losses = []
    for guess, value, mask in zip(guesses, values, masks, strict=True):
        counted = mask & ~value.isnan()
        losses.append((guess[counted] - value[counted]).square().mean())
    return losses[0] + 0.5 * losses[1]


def plain_window_mask(
    samples: int, steps: int, variables: int, ratio: float, shortest: int, longest: int,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """[B, T, F] windows whose lengths add up to the mask ratio; overlaps count twice."""
    mask = np.zeros((samples, steps, variables), dtype=bool)
    for sample in range(samples):
        for variable in range(variables):
            left = int(ratio * steps)
            while left > 0:
                length = min(int(rng.integers(shortest, longest + 1)), left)
                start = int(rng.integers(0, steps - length + 1))
                mask[sample, start : start + length, variable] = True
                left -= length
    return mask


def plain_group_mask(
    samples: int, names: tuple[str, ...], groups: dict[str, tuple[str, ...]], ratio: float,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """[B, S] masks that hide whole groups with probability `ratio` up to a limit, then singles."""
    mask = np.zeros((samples, len(names)), dtype=bool)
    grouped = {name for members in groups.values() for name in members}
    single = [name for name in names if name not in grouped]
    for sample in range(samples):
        budget = int(ratio * (len(groups) + len(single)))
        for members in groups.values():
            if budget > 0 and rng.random() < ratio:
                for name in members:
                    mask[sample, names.index(name)] = True
                budget -= 1
        for name in rng.choice(single, min(budget, len(single)), replace=False):
            mask[sample, names.index(name)] = True
    return mask
