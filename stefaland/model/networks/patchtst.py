"""The PatchTST-like baseline: a transformer over patches of each forcing (Nie et al. 2023).

Unlike in PatchTST the target is another variable than the inputs: channels and statics are mixed
after the encoder, and every day of the window has a prediction. Values are not normalised within a
window, because their level matters.
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.core.settings import Frozen
from stefaland.data.batch import Batch
from stefaland.model.heads import Prediction, make_head, predicted
from stefaland.model.patches import patch_days

HEADS, LAYERS = 4, 2
DAY_WIDTH = 16
"""Number of features of a day, from which the head predicts the target."""
LONGEST_PATCH = 16
INITIAL_STD = 0.02


class PatchTSTConfig(Frozen):
    """Variables and size of the PatchTST-like baseline."""

    forcings: tuple[str, ...]
    statics: tuple[str, ...]
    n_targets: int = Field(1, gt=0, le=10_000)
    window: int = Field(gt=0, le=1_000_000)
    width: int = Field(32, gt=0, le=65_536, multiple_of=HEADS)
    patch_length: int = Field(LONGEST_PATCH, gt=0)
    patch_stride: int = Field(LONGEST_PATCH // 2, gt=0)
    dropout: float = Field(0.2, ge=0, lt=1)
    head: str = "gaussian"

    @model_validator(mode="after")
    def _patches_cover(self) -> PatchTSTConfig:
        if not self.patch_stride <= self.patch_length <= self.window:
            raise ValueError(f"patches of {self.patch_length}, {self.patch_stride} apart, "
                             f"in a window of {self.window}")  # fmt: skip
        return self

    @classmethod
    def matching_lstm(
        cls, hidden: int, window: int, forcings: tuple[str, ...], statics: tuple[str, ...],
        n_targets: int, head: str,
    ) -> PatchTSTConfig:  # fmt: skip
        """Settings with about as many weights as an LSTM of `hidden` units."""
        length = min(LONGEST_PATCH, max(1, window // 4))
        return cls(
            forcings=forcings, statics=statics, n_targets=n_targets, head=head, window=window,
            width=HEADS * max(1, hidden // (2 * HEADS)),
            patch_length=length, patch_stride=max(1, length // 2),
        )  # fmt: skip


class PatchTST(nn.Module):
    """The PatchTST-like baseline; a missing input counts as the training mean."""

    def __init__(self, config: PatchTSTConfig) -> None:
        super().__init__()
        self.config = config
        width, channels = config.width, len(config.forcings)
        n_patches = len(patch_days(config.window, config, torch.device("cpu")))
        self.embed = nn.Linear(config.patch_length, width)
        self.places = nn.Parameter(torch.randn(n_patches, width) * INITIAL_STD)
        layer = nn.TransformerEncoderLayer(
            width, HEADS, 2 * width, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(
            layer, LAYERS, nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.mix = nn.Linear(channels * width + len(config.statics), width)
        self.days = nn.Linear(width, config.patch_length * DAY_WIDTH)
        self.dropout = nn.Dropout(config.dropout)
        self.head = make_head(config.head, DAY_WIDTH, config.n_targets, config.forcings)

    def forward(self, batch: Batch) -> Prediction:
        """Prediction [B, T, O] of every time step from the whole window."""
        size, steps, channels = batch.forcings.shape
        days = patch_days(steps, self.config, batch.forcings.device)
        values = batch.forcings.nan_to_num(0.0)[:, days].permute(0, 3, 1, 2)
        tokens = self.embed(values.flatten(0, 1)) + self.places
        tokens = self.encoder(tokens).unflatten(0, (size, channels))
        statics = batch.statics.nan_to_num(0.0)[:, None].expand(-1, len(days), -1)
        mixed = self.mix(torch.cat([tokens.transpose(1, 2).flatten(2), statics], -1))
        each = self.days(nn.functional.gelu(mixed)).unflatten(-1, (-1, DAY_WIDTH))
        features = nn.functional.gelu(_averaged(each, days, steps))
        return predicted(self.head, self.dropout(features), batch)


def _averaged(each: Tensor, days: Tensor, steps: int) -> Tensor:
    """Features [B, T, h] of days: those of patches [B, P, L, h], averaged where they overlap."""
    flat = days.flatten()
    total = each.new_zeros(len(each), steps, each.shape[-1])
    total = total.index_add(1, flat, each.flatten(1, 2))
    return total / torch.bincount(flat, minlength=steps).to(each.dtype)[:, None]
