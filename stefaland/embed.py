"""Variables to tokens: one small map per variable, summed into a token a day and one of statics.

Upstream: `Batch`. Downstream: encoder.py. All variables go through one grouped matrix product
instead of a loop; hidden or missing values are replaced by the variable's learned vector
(arXiv 2509.17942, App. A.1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stefaland.config import ModelConfig
from stefaland.errors import bad_input

INITIAL_RANGE = 0.02
"""Embeddings, heads and position tables start uniform in ± this (spec, details A.9)."""


def uniform_parameter(*shape: int) -> nn.Parameter:
    """A parameter of that shape, uniform in ± `INITIAL_RANGE`."""
    return nn.Parameter(torch.empty(shape).uniform_(-INITIAL_RANGE, INITIAL_RANGE))


class VariableEmbedding(nn.Module):
    """[..., V] numeric values → [..., d]: Linear(1→e), GELU, dropout, Linear(e→d) per variable,
    summed over variables; `hidden` [..., V] and NaN values give the variable's mask vector.
    """

    def __init__(self, n_variables: int, d_embed: int, d_model: int, dropout: float) -> None:
        super().__init__()
        self.weight_in = uniform_parameter(n_variables, d_embed)
        self.bias_in = uniform_parameter(n_variables, d_embed)
        self.weight_out = uniform_parameter(n_variables, d_embed, d_model)
        self.bias_out = uniform_parameter(n_variables, d_model)
        self.mask_vector = uniform_parameter(n_variables, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, hidden: Tensor | None = None) -> Tensor:
        """The summed tokens."""
        unseen = values.isnan() if hidden is None else hidden | values.isnan()
        clean = values.masked_fill(unseen, 0.0)
        inner = F.gelu(clean[..., None] * self.weight_in + self.bias_in)
        inner = self.dropout(inner).masked_fill(unseen[..., None], 0.0)
        tokens = inner.flatten(-2) @ self.weight_out.flatten(0, 1)
        seen = (~unseen).to(tokens.dtype)
        return tokens + seen @ self.bias_out + (1.0 - seen) @ self.mask_vector


class CategoryEmbedding(nn.Module):
    """[B, K] class codes (-1 missing) → [B, d]: Embedding(n→e), Linear(e→d) each, summed."""

    def __init__(self, classes: tuple[int, ...], d_embed: int, d_model: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, d_embed) for n in classes)
        self.weight_out = uniform_parameter(len(classes), d_embed, d_model)
        self.bias_out = uniform_parameter(len(classes), d_model)
        self.mask_vector = uniform_parameter(len(classes), d_model)

    def forward(self, codes: Tensor, hidden: Tensor | None = None) -> Tensor:
        """The summed tokens."""
        unseen = codes < 0 if hidden is None else hidden | (codes < 0)
        inner = torch.stack(
            [table(codes[:, k].clamp(min=0)) for k, table in enumerate(self.tables)], dim=1
        )
        each = torch.einsum("bke,ked->bkd", inner, self.weight_out) + self.bias_out
        return torch.where(unseen[..., None], self.mask_vector, each).sum(1)


def year_features(share: Tensor) -> Tensor:
    """[B, T] share of the year → [B, T, 4] first two harmonics."""
    angle = 2 * math.pi * share
    return torch.stack([angle.sin(), angle.cos(), (2 * angle).sin(), (2 * angle).cos()], -1)


def sphere_features(lonlat: Tensor) -> Tensor:
    """[B, 2] degrees → [B, 3] unit vector on the sphere: no seam at the date line, no poles."""
    lon, lat = torch.deg2rad(lonlat).unbind(-1)
    return torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], -1)


class Tokens(nn.Module):
    """`Batch` parts → [B, T + 1, d]: day tokens, then the static token, with learned positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.forcings = VariableEmbedding(
            len(config.forcings), config.d_embed, config.d_model, config.dropout
        )
        self.statics = VariableEmbedding(
            len(config.statics), config.d_embed, config.d_model, config.dropout
        )
        self.categories = (
            CategoryEmbedding(tuple(config.categorical.values()), config.d_embed, config.d_model)
            if config.categorical
            else None
        )
        self.positions = uniform_parameter(config.max_tokens, config.d_model)
        self.year = nn.Linear(4, config.d_model) if config.time_of_year else None
        self.place = nn.Linear(3, config.d_model) if config.location_encoding else None
        self.dropout = nn.Dropout(config.dropout)
        self.n_statics = len(config.statics)

    def forward(
        self,
        forcings: Tensor,
        statics: Tensor,
        forcing_mask: Tensor | None,
        static_mask: Tensor | None,
        categorical: Tensor | None,
        day_of_year: Tensor | None,
        lonlat: Tensor | None,
    ) -> Tensor:
        """The sequence of tokens."""
        numeric = None if static_mask is None else static_mask[:, : self.n_statics]
        days = self.forcings(forcings, forcing_mask)
        static = self.statics(statics, numeric)
        if self.categories is not None:
            if categorical is None:
                raise bad_input("Batch.categorical", "nothing", "codes of the model's categories")
            codes = None if static_mask is None else static_mask[:, self.n_statics :]
            static = static + self.categories(categorical, codes)
        if self.year is not None:
            if day_of_year is None:
                raise bad_input("Batch.day_of_year", "nothing", "the share of the year, [B, T]")
            days = days + self.year(year_features(day_of_year))
        if self.place is not None:
            if lonlat is None:
                raise bad_input("Batch.lonlat", "nothing", "degrees east and north, [B, 2]")
            static = static + self.place(sphere_features(lonlat))
        tokens = torch.cat([days, static[:, None]], 1)
        if tokens.shape[1] > len(self.positions):
            raise bad_input(
                "window", f"{tokens.shape[1]} tokens", f"at most {len(self.positions)}",
                "Raise model.settings.max_tokens or shorten the window.",
            )  # fmt: skip
        return self.dropout(tokens + self.positions[: tokens.shape[1]])
