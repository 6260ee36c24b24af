"""Patch tokens: several days of one forcing as a token, and back (PatchTST, Nie et al. 2023).

Unlike the published variant, hidden values never reach a token, and the last patch ends with the
window, so that every day is in a patch.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from pipeline.core.errors import bad_input
from stefaland.config import ModelConfig
from stefaland.model.embedding import uniform_parameter


class Patching(Protocol):
    """Settings of how a window is cut into patches."""

    @property
    def patch_length(self) -> int:
        """Number of time steps of a patch."""

    @property
    def patch_stride(self) -> int:
        """Number of time steps from one patch to the next."""


def patch_starts(steps: int, config: Patching, device: torch.device | str | None = None) -> Tensor:
    """First day [P] of each patch; the last patch ends with the window.

    Raises `InputError` for a window shorter than a patch.
    """
    last = steps - config.patch_length
    if last < 0:
        raise bad_input(
            "window", f"{steps} steps", f"at least one patch of {config.patch_length}",
            "Lower model.settings.patch_length or lengthen the window.",
        )  # fmt: skip
    starts = torch.arange(0, last + config.patch_stride, config.patch_stride, device=device)
    return starts.clamp(max=last)


def patch_days(steps: int, config: Patching, device: torch.device) -> Tensor:
    """Days [P, L] of each patch."""
    within = torch.arange(config.patch_length, device=device)
    return patch_starts(steps, config, device)[:, None] + within


def day_cover(steps: int, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Weights [T, P] of the patches that cover each day; the weights of a day sum to 1."""
    days = patch_days(steps, config, device)
    cover = torch.zeros(steps, len(days), device=device, dtype=dtype)
    cover.scatter_(0, days.t(), 1.0)
    return cover / cover.sum(1, keepdim=True)


class PatchEmbedding(nn.Module):
    """Patch tokens [B, F × P, d] of forcings [B, T, F]: Linear(L→d) plus a vector per forcing.

    Hidden and missing values are replaced by learned values [F, L] of the forcing.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        n_forcings = len(config.forcings)
        self.project = nn.Linear(config.patch_length, config.d_model)
        self.channel = uniform_parameter(n_forcings, config.d_model)
        self.mask_values = uniform_parameter(n_forcings, config.patch_length)

    def forward(self, values: Tensor, hidden: Tensor | None = None) -> Tensor:
        """The tokens [B, F × P, d], forcing by forcing."""
        unseen = values.isnan() if hidden is None else hidden | values.isnan()
        days = patch_days(values.shape[1], self.config, values.device)
        cut = values.masked_fill(unseen, 0.0)[:, days].permute(0, 3, 1, 2)
        gone = unseen[:, days].permute(0, 3, 1, 2)
        patches = torch.where(gone, self.mask_values[:, None], cut)
        tokens: Tensor = self.project(patches) + self.channel[:, None]
        return tokens.flatten(1, 2)


class PatchHead(nn.Module):
    """Values [B, T, F, outputs] of tokens [B, F × P, d]: Linear(d→outputs × L) to the days of each
    patch, averaged where patches overlap. Outputs are the mean and, if there are two, the log
    variance.
    """

    def __init__(self, config: ModelConfig, outputs: int) -> None:
        super().__init__()
        self.config, self.outputs = config, outputs
        self.out = nn.Linear(config.d_model, outputs * config.patch_length)

    def forward(self, tokens: Tensor, steps: int) -> Tensor:
        """Values [B, T, F, outputs] of every day."""
        n_forcings, length = len(self.config.forcings), self.config.patch_length
        guesses = self.out(tokens).unflatten(-1, (self.outputs, length))
        guesses = guesses.unflatten(1, (n_forcings, -1))
        days = patch_days(steps, self.config, tokens.device).flatten()
        flat = guesses.permute(2, 4, 0, 1, 3).flatten(0, 1)
        shape = (steps, *flat.shape[1:])
        total = torch.zeros(shape, dtype=flat.dtype, device=flat.device).index_add(0, days, flat)
        ones = torch.ones(days.shape, dtype=flat.dtype, device=flat.device)
        count = torch.zeros(steps, dtype=flat.dtype, device=flat.device).index_add(0, days, ones)
        return (total / count[:, None, None, None]).transpose(0, 1)
