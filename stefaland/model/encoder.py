"""The encoder: a transformer over day and static tokens (arXiv 2509.17942, App. A, eq. 9-12)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stefaland.config import ModelConfig
from stefaland.model.rotary import rotary_angles, rotate

Angles = tuple[Tensor, Tensor]
ROWS_AT_ONCE = 4096
"""Number of tokens that pass all layers together on a CPU without gradients. Intermediate values
then stay in a cache, and below the size from which the C library requests new memory at each call.
"""


class Layer(nn.Module):
    """A transformer layer: attention and feed-forward, each added to its input and normalised.

    LayerNorm comes after each sum (as in the paper), or before each part with `norm_first`. Initial
    weights are as in `nn.TransformerEncoderLayer`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.n_heads, self.norm_first = config.n_heads, config.norm_first
        self.activation = nn.ReLU(inplace=True) if config.activation == "relu" else nn.GELU()
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.up = nn.Linear(d, config.d_feedforward)
        self.down = nn.Linear(config.d_feedforward, d)
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.dropout = nn.Dropout(config.dropout)
        rate = config.attention_dropout
        self.attention_dropout = config.dropout if rate is None else rate
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, angles: Angles | None = None) -> Tensor:
        """Tokens [B, N, d]; `angles` rotate queries and keys by the positions of their tokens."""
        if self.norm_first:
            x = x + self._attention(self.norm1(x), angles)
            return x + self._feed_forward(self.norm2(x))
        x = self.norm1(x + self._attention(x, angles))
        return self.norm2(x + self._feed_forward(x))

    def _attention(self, x: Tensor, angles: Angles | None) -> Tensor:
        packed = self.qkv(x).unflatten(-1, (3, self.n_heads, -1))
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        dropout = self.attention_dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.down(self.dropout(self.activation(self.up(x)))))


class Stack(nn.Module):
    """Layers over tokens [B, N, d] times sqrt(d), then LayerNorm and dropout; full attention."""

    def __init__(self, config: ModelConfig, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.scale = math.sqrt(config.d_model)
        self.rotary_width = (
            config.d_model // config.n_heads if config.positions == "rotary" else None
        )

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Tokens [B, N, d]; `positions` [N] are their time steps."""
        angles = None if self.rotary_width is None else rotary_angles(positions, self.rotary_width)
        if torch.is_grad_enabled() or tokens.device.type != "cpu":
            return self._through(tokens, angles)
        samples = max(1, ROWS_AT_ONCE // max(1, tokens.shape[1]))
        return torch.cat([self._through(part, angles) for part in tokens.split(samples)])

    def _through(self, tokens: Tensor, angles: Angles | None) -> Tensor:
        x = tokens * self.scale
        for layer in self.layers:
            x = layer(x, angles)
        normed: Tensor = self.dropout(self.norm(x))
        return normed


class Encoder(nn.Module):
    """The stack of layers, then Linear(d→d); its output [B, N, d] is the embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.stack = Stack(config, config.n_encoder_layers)
        self.out = nn.Linear(config.d_model, config.d_model)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Encoded tokens [B, N, d]; `positions` [N] are their time steps."""
        encoded: Tensor = self.out(self.stack(tokens, positions))
        return encoded
