"""Embedding of values as vectors: a small network per variable, summed into a token.

All variables are embedded by grouped matrix products instead of a loop; hidden and missing values
are replaced by the variable's learned vector (arXiv 2509.17942, App. A.1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.core.errors import bad_input
from stefaland.config import ModelConfig

INITIAL_RANGE = 0.02
"""Half width of the uniform distribution of initial embeddings, heads and position tables."""
REFERENCE_ROWS = 1000
"""Rows of the published table of hidden statics, and so its largest batch."""


def uniform_parameter(*shape: int) -> nn.Parameter:
    """A parameter of this shape with values uniform in ± `INITIAL_RANGE`."""
    return nn.Parameter(torch.empty(shape).uniform_(-INITIAL_RANGE, INITIAL_RANGE))


class VariableEmbedding(nn.Module):
    """Tokens [..., d] of numeric values [..., V]: Linear(1→e), GELU, dropout, Linear(e→d) per
    variable, summed over variables. Values that are `hidden` [..., V] or NaN have the variable's
    mask vector.
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
        """The summed tokens [..., d]."""
        unseen = values.isnan() if hidden is None else hidden | values.isnan()
        clean = values.masked_fill(unseen, 0.0)
        inner = F.gelu(torch.addcmul(self.bias_in, clean[..., None], self.weight_in))
        inner = self.dropout(inner).masked_fill(unseen[..., None], 0.0)
        indicator = torch.cat([~unseen, unseen], -1).to(inner.dtype)
        base = indicator @ torch.cat([self.bias_out, self.mask_vector])
        return base + inner.flatten(-2) @ self.weight_out.flatten(0, 1)


class StaticEmbedding(nn.Module):
    """Tokens [B, G, d] of static attributes: numbers [B, S] and class codes [B, K] (-1 missing).

    There is one token per group, the sum of its attributes' vectors. Numbers are embedded as
    forcings are; classes by Embedding(n→e), Linear(e→d).
    """

    owner: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        e, d, classes = config.d_embed, config.d_model, tuple(config.categorical.values())
        self.n_numeric, self.n_total = len(config.statics), len(config.statics) + len(classes)
        self.weight_in = uniform_parameter(self.n_numeric, e)
        self.bias_in = uniform_parameter(self.n_numeric, e)
        self.tables = nn.ModuleList(nn.Embedding(n, e) for n in classes)
        self.weight_out = uniform_parameter(self.n_total, e, d)
        self.bias_out = uniform_parameter(self.n_total, d)
        self.mask_vector = uniform_parameter(self.n_total, d)
        self.mask_table = (
            uniform_parameter(REFERENCE_ROWS, self.n_numeric)
            if config.reference_static_mask
            else None
        )
        self.dropout = nn.Dropout(config.dropout)
        owner = static_token_of(config)
        self.n_tokens = max(owner, default=0) + 1
        self.register_buffer("owner", torch.tensor(owner, dtype=torch.long), persistent=False)

    def forward(
        self, values: Tensor, codes: Tensor | None = None, hidden: Tensor | None = None
    ) -> Tensor:
        """The tokens [B, G, d]; `hidden` [B, S + K] is True for hidden attributes."""
        unseen = values.isnan()
        if self.tables:
            if codes is None:
                raise bad_input("Batch.categorical", "nothing", "class codes [B, K]")
            unseen = torch.cat([unseen, codes < 0], 1)
        if hidden is not None:
            unseen = unseen | hidden
        inner = self._numbers(values, unseen)
        if codes is not None and self.tables:
            looked_up = [table(codes[:, k].clamp(min=0)) for k, table in enumerate(self.tables)]
            inner = torch.cat([inner, torch.stack(looked_up, 1)], 1)
        each = torch.einsum("bve,ved->bvd", inner, self.weight_out) + self.bias_out
        replaced = unseen.clone()
        if self.mask_table is not None:
            replaced[:, : self.n_numeric] = False
        each = torch.where(replaced[..., None], self.mask_vector, each)
        token = each.new_zeros(len(each), self.n_tokens, each.shape[-1])
        return token.index_add(1, self.owner, each)

    def _numbers(self, values: Tensor, unseen: Tensor) -> Tensor:
        numeric = unseen[:, : self.n_numeric]
        clean = values.masked_fill(numeric, 0.0)
        if self.mask_table is not None:
            if len(values) > len(self.mask_table):
                raise bad_input(
                    "Batch.statics", f"{len(values)} samples",
                    f"at most {len(self.mask_table)} with model.settings.reference_static_mask",
                )  # fmt: skip
            clean = torch.where(numeric, self.mask_table[: len(values)], clean)
        return self.dropout(F.gelu(torch.addcmul(self.bias_in, clean[..., None], self.weight_in)))


def static_token_of(config: ModelConfig) -> list[int]:
    """Index of the static token of each attribute in statics + categorical.

    All attributes have token 0, or each group has a token and all ungrouped ones have the last.
    """
    names = [*config.statics, *config.categorical]
    if config.static_tokens == "one":
        return [0] * len(names)
    member = {n: g for g, group in enumerate(config.static_groups.values()) for n in group}
    return [member.get(name, len(config.static_groups)) for name in names]


def year_features(fraction: Tensor) -> Tensor:
    """First two harmonics [B, T, 4] of the elapsed fraction of the year [B, T]."""
    angle = 2 * math.pi * fraction
    return torch.stack([angle.sin(), angle.cos(), (2 * angle).sin(), (2 * angle).cos()], -1)


def step_features(fraction: Tensor) -> Tensor:
    """Decimal logarithm [B, 1] of the days in a step, from the elapsed fraction of the year.

    >>> step_features(torch.arange(12)[None] / 12).round(decimals=2)
    tensor([[1.4800]])
    """
    if fraction.shape[1] < 2:
        return torch.zeros_like(fraction[:, :1])
    days = 365.25 * fraction.diff(dim=1).remainder(1.0).median(dim=1, keepdim=True).values
    return days.clamp(min=1e-3).log10()


def sphere_features(lonlat: Tensor) -> Tensor:
    """Unit vectors [B, 3] on the sphere of coordinates [B, 2] in degrees, continuous everywhere."""
    lon, lat = torch.deg2rad(lonlat).unbind(-1)
    return torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], -1)
