"""The target network: a pretrained encoder with an adapter, a decoder over time and a head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stefaland.config import FinetuneConfig, ModelConfig
from stefaland.data.batch import Batch
from stefaland.model.adapters import make_adapter
from stefaland.model.heads import DECODERS, Prediction, make_head, predicted
from stefaland.model.mae import StefaLand
from stefaland.model.pace import USUAL, Pace

FEATURE_SCALE = 0.1
"""Initial value of the learned scale of the encoder's features."""


class FinetunedModel(nn.Module):
    """The target network; without an `encoder` it starts from random weights.

    Parameters of a frozen encoder have no gradient, and its dropout is off in training too.
    """

    def __init__(
        self,
        model_config: ModelConfig,
        config: FinetuneConfig,
        n_targets: int = 1,
        encoder: StefaLand | None = None,
    ) -> None:
        super().__init__()
        self.model_config, self.finetune_config, self.n_targets = model_config, config, n_targets
        self.encoder = encoder if encoder is not None else StefaLand(model_config)
        d, f = model_config.d_model, len(model_config.forcings)
        s = len(model_config.statics) + sum(model_config.categorical.values())
        self.norm = nn.LayerNorm(d)
        self.scale = nn.Parameter(torch.tensor(FEATURE_SCALE))
        self.adapter = make_adapter(config.adapter, d, f, s)
        self.decoder = DECODERS[config.decoder](d, f, s)
        self.dropout = nn.Dropout(config.dropout)
        self.head = make_head(config.head, d, n_targets, model_config.forcings)
        self._freeze()
        attach = getattr(self.adapter, "attach", None)
        if attach is not None:
            attach(self.encoder.encoder)

    def _freeze(self) -> None:
        unfreeze = self.finetune_config.unfreeze
        self.encoder.requires_grad_(unfreeze == "all")
        # The parts for reconstruction are not used by a target network.
        parts = ("decoder", "forcing_heads", "static_heads", "category_heads", "pretext_heads")
        for part in parts:
            module = getattr(self.encoder, part)
            if module is not None:
                module.requires_grad_(False)
        if isinstance(unfreeze, int):
            layers = self.encoder.encoder.stack.layers
            for layer in list(layers)[max(0, len(layers) - unfreeze) :]:
                layer.requires_grad_(True)
            self.encoder.encoder.stack.norm.requires_grad_(True)
            self.encoder.encoder.out.requires_grad_(True)

    def pace(self, name: str) -> Pace:
        """How fast the named parameter is trained: layers of the encoder later and slower."""
        part, _, within = name.partition(".")
        # Low-rank matrices of an adapter are new, like the head.
        is_new = "parametrizations" in within and not within.endswith("original")
        if part != "encoder" or is_new:
            return USUAL
        layers = self.model_config.n_encoder_layers
        below = 1 if within.startswith("encoder.") else layers + 1
        if within.startswith("encoder.stack.layers."):
            below = layers - int(within.split(".")[3])
        settings = self.finetune_config
        return Pace(settings.layer_decay**below, settings.head_first)

    @property
    def is_frozen(self) -> bool:
        """Whether no parameter of the encoder is trained."""
        return not any(p.requires_grad for p in self.encoder.parameters())

    def train(self, mode: bool = True) -> FinetunedModel:
        """Set training mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.is_frozen:
            self.encoder.eval()
        return self

    def features(self, batch: Batch) -> Tensor:
        """Day tokens [B, T, d] of the encoder, without gradients where it is frozen."""
        if batch.features is not None:
            return batch.features
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_frozen):
            return self.encoder.encode(batch)[:, : batch.forcings.shape[1]]

    def forward(self, batch: Batch) -> Prediction:
        """Prediction of the normalised target [B, T, O]; raises `InputError` as `encode` does."""
        h = self.norm(self.features(batch)) * self.scale
        forcings, statics = batch.forcings.nan_to_num(0.0), self._statics(batch)
        adapted = self.adapter(h, forcings, statics)
        features = self.dropout(self.decoder(adapted, forcings, statics))
        return predicted(self.head, features, batch)

    def _statics(self, batch: Batch) -> Tensor:
        """Static inputs [B, S + classes] of adapter and decoder, classes one-hot.

        A missing number counts as the training mean, a missing class is all zeros.
        """
        parts = [batch.statics.nan_to_num(0.0)]
        for k, classes in enumerate(self.model_config.categorical.values()):
            assert batch.categorical is not None
            codes = torch.arange(classes, device=batch.statics.device)
            parts.append((batch.categorical[:, k, None] == codes).to(parts[0].dtype))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]
