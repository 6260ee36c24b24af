"""StefaLand: the masked autoencoder of forcings and static attributes (arXiv 2509.17942, App. A).

`masking.py` makes the masks and `losses.py` the loss of pretraining; `finetuned.py` builds the
target network on the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.core.errors import Faults
from stefaland.config import ModelConfig
from stefaland.data.batch import Batch
from stefaland.model.decoder import VariableHeads, make_decoder
from stefaland.model.encoder import Encoder
from stefaland.model.patches import PatchHead
from stefaland.model.tokens import Tokens


@dataclass(frozen=True)
class Reconstruction:
    """Reconstructed values of every variable, hidden or not, normalised."""

    forcings: Tensor
    """Forcings [B, T, F]."""
    statics: Tensor
    """Numeric static attributes [B, S]."""
    categorical: tuple[Tensor, ...] = ()
    """Class scores [B, n] of each categorical attribute."""
    forcing_log_variance: Tensor | None = None
    static_log_variance: Tensor | None = None
    pretext: Tensor | None = None
    """Pretext targets [B, T, P]; None for networks without."""
    days: Tensor | None = None
    """Encoded day or patch tokens [B, N, d]."""


class StefaLand(nn.Module):
    """The encoder and decoder; `encode` returns the features that finetuning uses.

    >>> config = ModelConfig(forcings=("rain", "heat"), statics=("clay",), d_model=16, n_heads=2)
    >>> batch = Batch(forcings=torch.zeros(3, 10, 2), statics=torch.zeros(3, 1))
    >>> StefaLand(config)(batch).forcings.shape
    torch.Size([3, 10, 2])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        outputs = 2 if config.noise_head else 1
        self.tokens = Tokens(config)
        self.encoder = Encoder(config)
        self.decoder = make_decoder(config)
        self.forcing_heads: PatchHead | VariableHeads = (
            PatchHead(config, outputs)
            if config.tokens == "patch"
            else VariableHeads(len(config.forcings), config, outputs)
        )
        self.static_heads = VariableHeads(len(config.statics), config, outputs)
        self.pretext_heads = (
            VariableHeads(len(config.pretext), config, 1) if config.pretext else None
        )
        self.category_heads = nn.ModuleList(
            nn.Sequential(
                nn.Linear(config.d_model, config.d_embed), nn.GELU(), nn.Dropout(config.dropout),
                nn.Linear(config.d_embed, classes),
            )
            for classes in config.categorical.values()
        )  # fmt: skip

    def encode(
        self, batch: Batch, forcing_mask: Tensor | None = None, static_mask: Tensor | None = None
    ) -> Tensor:
        """Encoded tokens [B, T + G, d]: days, then static tokens; masks are True where hidden.

        Raises `InputError` for inputs that are absent or of another shape.
        """
        encoded, _ = self._encode(batch, forcing_mask, static_mask)
        return self.tokens.to_days(encoded, batch.forcings.shape[1])

    def embed(self, batch: Batch) -> Tensor:
        """One vector [B, 2 d] per location: the mean over days, then that over static tokens."""
        encoded, steps = self.encode(batch), batch.forcings.shape[1]
        return torch.cat([encoded[:, :steps].mean(1), encoded[:, steps:].mean(1)], -1)

    def forward(
        self, batch: Batch, forcing_mask: Tensor | None = None, static_mask: Tensor | None = None
    ) -> Reconstruction:
        """Reconstruction of all variables; masks [B, T, F] and [B, S + K], True where hidden."""
        encoded, positions = self._encode(batch, forcing_mask, static_mask)
        decoded = self.decoder(encoded, positions)
        n_static = self.tokens.statics.n_tokens
        series, static = decoded[:, :-n_static], decoded[:, -n_static:]
        if isinstance(self.forcing_heads, PatchHead):
            forcings = self.forcing_heads(series, batch.forcings.shape[1])
        else:
            # The heads read all tokens: to drop the last ones before would copy the others.
            forcings = self.forcing_heads(decoded)[:, :-n_static]
        token_of_attribute = static.index_select(1, self.tokens.statics.owner)
        n_numeric = len(self.config.statics)
        statics = self.static_heads.each(token_of_attribute[:, :n_numeric])
        noisy = self.config.noise_head
        return Reconstruction(
            forcings[..., 0],
            statics[..., 0],
            tuple(
                head(token_of_attribute[:, n_numeric + k])
                for k, head in enumerate(self.category_heads)
            ),
            forcings[..., 1] if noisy else None,
            statics[..., 1] if noisy else None,
            None if self.pretext_heads is None else self.pretext_heads(series)[..., 0],
            encoded[:, :-n_static],
        )

    def _encode(
        self, batch: Batch, forcing_mask: Tensor | None, static_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Encoded tokens [B, N, d] and their time steps [N]."""
        self._check(batch, forcing_mask, static_mask)
        positions = self.tokens.time_steps(batch.forcings.shape[1], batch.forcings.device)
        return self.encoder(self.tokens(batch, forcing_mask, static_mask), positions), positions

    def _check(self, batch: Batch, forcing_mask: Tensor | None, static_mask: Tensor | None) -> None:
        n_forcings, n_statics = len(self.config.forcings), len(self.config.statics)
        n_classes = len(self.config.categorical)
        faults = Faults()
        wanted: list[tuple[str, Tensor | None, tuple[int, ...]]] = [
            ("Batch.forcings", batch.forcings, (*batch.forcings.shape[:2], n_forcings)),
            ("Batch.statics", batch.statics, (len(batch), n_statics)),
            ("forcing_mask", forcing_mask, (*batch.forcings.shape[:2], n_forcings)),
            ("static_mask", static_mask, (len(batch), n_statics + n_classes)),
        ]
        if n_classes:
            wanted.append(("Batch.categorical", batch.categorical, (len(batch), n_classes)))
        for name, found, expected in wanted:
            if found is not None and tuple(found.shape) != expected:
                faults.add(name, f"shape {tuple(found.shape)}", f"{expected}")
        faults.raise_if_any()
