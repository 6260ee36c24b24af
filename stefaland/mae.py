"""StefaLand: the masked autoencoder of forcings and static attributes (arXiv 2509.17942, App. A).

Upstream: `Batch` and the masks of masking.py. Downstream: losses.py in pretraining, finetuned.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from stefaland.batch import Batch
from stefaland.config import ModelConfig
from stefaland.decoder import VariableHeads, make_decoder
from stefaland.embed import Tokens
from stefaland.encoder import Encoder
from stefaland.errors import Faults


@dataclass(frozen=True)
class Reconstruction:
    """Normalised values of every variable, hidden or not."""

    forcings: Tensor
    """[B, T, F]."""
    statics: Tensor
    """[B, S]."""
    categorical: tuple[Tensor, ...] = ()
    """Class scores [B, n] of each categorical attribute."""
    forcing_log_variance: Tensor | None = None
    static_log_variance: Tensor | None = None


class StefaLand(nn.Module):
    """Encoder and decoder; `encode` gives the embedding that finetuning uses."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        outputs = 2 if config.noise_head else 1
        self.tokens = Tokens(config)
        self.encoder = Encoder(config)
        self.decoder = make_decoder(config)
        self.forcing_heads = VariableHeads(len(config.forcings), config, outputs)
        self.static_heads = VariableHeads(len(config.statics), config, outputs)
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
        """[B, T + 1, d]: day tokens, then the static token; masks are True where hidden."""
        self._check(batch)
        tokens = self.tokens(
            batch.forcings, batch.statics, forcing_mask, static_mask, batch.categorical,
            batch.day_of_year, batch.lonlat,
        )  # fmt: skip
        return self.encoder(tokens)

    def forward(
        self, batch: Batch, forcing_mask: Tensor | None = None, static_mask: Tensor | None = None
    ) -> Reconstruction:
        """Reconstruct all variables; `forcing_mask` [B, T, F] and `static_mask` [B, S + K]."""
        decoded = self.decoder(self.encode(batch, forcing_mask, static_mask))
        days, static = decoded[:, :-1], decoded[:, -1]
        forcings, statics = self.forcing_heads(days), self.static_heads(static)
        noisy = self.config.noise_head
        return Reconstruction(
            forcings[..., 0],
            statics[..., 0],
            tuple(head(static) for head in self.category_heads),
            forcings[..., 1] if noisy else None,
            statics[..., 1] if noisy else None,
        )

    def _check(self, batch: Batch) -> None:
        faults = Faults()
        for name, found, expected in (
            ("forcings", batch.forcings.shape[-1], len(self.config.forcings)),
            ("statics", batch.statics.shape[-1], len(self.config.statics)),
        ):
            if found != expected:
                faults.add(f"Batch.{name}", f"{found} variables", f"the model's {expected}")
        faults.raise_if_any()
