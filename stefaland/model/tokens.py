"""The sequence of tokens that the encoder reads: days or patches first, static tokens last."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.core.errors import bad_input
from stefaland.config import ModelConfig
from stefaland.data.batch import Batch
from stefaland.model.embedding import (
    StaticEmbedding,
    VariableEmbedding,
    sphere_features,
    step_features,
    uniform_parameter,
    year_features,
)
from stefaland.model.patches import PatchEmbedding, day_cover, patch_starts

DAY_OF_YEAR = "the elapsed fraction of the year, [B, T]"


class Tokens(nn.Module):
    """Embedding of a batch as tokens, and the time steps of these tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.forcings: VariableEmbedding | PatchEmbedding = (
            PatchEmbedding(config)
            if config.tokens == "patch"
            else VariableEmbedding(
                len(config.forcings), config.d_embed, config.d_model, config.dropout
            )
        )
        self.statics = StaticEmbedding(config)
        self.positions = (
            uniform_parameter(config.max_tokens, config.d_model)
            if config.positions == "learned"
            else None
        )
        self.year = nn.Linear(4, config.d_model) if config.time_of_year else None
        self.place = nn.Linear(3, config.d_model) if config.location_encoding else None
        self.cadence = nn.Linear(1, config.d_model) if config.cadence else None
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, batch: Batch, forcing_mask: Tensor | None = None, static_mask: Tensor | None = None
    ) -> Tensor:
        """Tokens [B, N, d]: T days, or F × P patches forcing by forcing; then the static tokens."""
        series = self.forcings(batch.forcings, forcing_mask)
        static = self.statics(batch.statics, batch.categorical, static_mask)
        if self.year is not None:
            series = series + self._season(batch)
        if self.place is not None:
            if batch.lonlat is None:
                raise bad_input("Batch.lonlat", "nothing", "degrees east and north, [B, 2]")
            static = static + self.place(sphere_features(batch.lonlat))[:, None]
        if self.cadence is not None:
            if batch.day_of_year is None:
                raise bad_input("Batch.day_of_year", "nothing", DAY_OF_YEAR)
            static = static + self.cadence(step_features(batch.day_of_year))[:, None]
        tokens = torch.cat([series, static], 1)
        return self.dropout(tokens + self._positions(batch.forcings.shape[1]))

    def time_steps(self, steps: int, device: torch.device) -> Tensor:
        """Time step [N] of each token, of a patch its first; 0 for static tokens."""
        if self.config.tokens == "patch":
            series = patch_starts(steps, self.config, device).repeat(len(self.config.forcings))
        else:
            series = torch.arange(steps, device=device)
        return F.pad(series, (0, self.statics.n_tokens))

    def to_days(self, encoded: Tensor, steps: int) -> Tensor:
        """Tokens [B, T + G, d], one per day and then the static ones, of encoded tokens [B, N, d].

        Of patches, a day has the mean over all forcings and the patches that cover it.
        """
        if self.config.tokens != "patch":
            return encoded
        static = encoded[:, encoded.shape[1] - self.statics.n_tokens :]
        series = encoded[:, : -self.statics.n_tokens]
        channels = series.unflatten(1, (len(self.config.forcings), -1)).mean(1)
        cover = day_cover(steps, self.config, encoded.device, encoded.dtype)
        return torch.cat([cover @ channels, static], 1)

    def _season(self, batch: Batch) -> Tensor:
        assert self.year is not None
        if batch.day_of_year is None:
            raise bad_input("Batch.day_of_year", "nothing", DAY_OF_YEAR)
        features = self.year(year_features(batch.day_of_year))
        if self.config.tokens == "patch":
            starts = patch_starts(batch.forcings.shape[1], self.config, features.device)
            features = features[:, starts + self.config.patch_length // 2]
            features = features.repeat(1, len(self.config.forcings), 1)
        seasons: Tensor = features
        return seasons

    def _positions(self, steps: int) -> Tensor | float:
        if self.positions is None:
            return 0.0
        n_static = self.statics.n_tokens
        per_channel = steps
        if self.config.tokens == "patch":
            per_channel = len(patch_starts(steps, self.config))
        wanted = per_channel + n_static
        if wanted > len(self.positions):
            raise bad_input(
                "window", f"{wanted} positions", f"at most {len(self.positions)}",
                "Raise model.settings.max_tokens or shorten the window.",
            )  # fmt: skip
        if self.config.tokens != "patch":
            return self.positions[:wanted]
        series = self.positions[:per_channel].repeat(len(self.config.forcings), 1)
        return torch.cat([series, self.positions[per_channel:wanted]])
