"""Transformer stack over day and static tokens, and what stands around it.

Upstream: embed.py. Downstream: decoder.py, and the adapters of finetuning (arXiv 2509.17942,
App. A; eq. 9-12).
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from stefaland.config import ModelConfig


class Stack(nn.Module):
    """[B, N, d] × sqrt(d) → transformer layers → LayerNorm → dropout; full attention."""

    def __init__(self, config: ModelConfig, layers: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            config.d_model,
            config.n_heads,
            config.d_feedforward,
            config.dropout,
            config.activation,
            batch_first=True,
            norm_first=config.norm_first,
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.scale = math.sqrt(config.d_model)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens of the same shape."""
        return self.dropout(self.norm(self.layers(tokens * self.scale)))


class Encoder(nn.Module):
    """[B, N, d] → [B, N, d]: the stack, then Linear(d→d); its output is the embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.stack = Stack(config, config.n_encoder_layers)
        self.out = nn.Linear(config.d_model, config.d_model)

    def forward(self, tokens: Tensor) -> Tensor:
        """Encoded tokens."""
        return self.out(self.stack(tokens))
