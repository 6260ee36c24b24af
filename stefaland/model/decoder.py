"""Encoded tokens back to variables: an LSTM or a transformer, then one small head per variable.

Upstream: encoder.py. Downstream: mae.py (spec §4).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stefaland.config import ModelConfig
from stefaland.model.embedding import uniform_parameter
from stefaland.model.encoder import Stack


class LSTMDecoder(nn.Module):
    """[B, N, d] → [B, N, d]: one LSTM over all tokens, the static ones last; LayerNorm, dropout."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.lstm = nn.LSTM(config.d_model, config.d_model, batch_first=True)
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Decoded tokens; their order alone tells their places."""
        decoded: Tensor = self.dropout(self.norm(self.lstm(tokens)[0]))
        return decoded


class NoDecoder(nn.Module):
    """Encoded tokens as they are."""

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        """The tokens."""
        return tokens


def make_decoder(config: ModelConfig) -> nn.Module:
    """The configured decoder."""
    if config.decoder == "lstm":
        return LSTMDecoder(config)
    if config.decoder == "none":
        return NoDecoder()
    return Stack(config, config.n_decoder_layers)


class VariableHeads(nn.Module):
    """Linear(d→e), GELU, dropout, Linear(e→outputs) per variable, all in two matrix products."""

    def __init__(self, n_variables: int, config: ModelConfig, outputs: int) -> None:
        super().__init__()
        self.weight_in = uniform_parameter(config.d_model, n_variables, config.d_embed)
        self.bias_in = uniform_parameter(n_variables, config.d_embed)
        self.weight_out = uniform_parameter(n_variables, config.d_embed, outputs)
        self.bias_out = uniform_parameter(n_variables, outputs)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """[..., d] → [..., V, outputs]: every variable from the same token."""
        inner = F.linear(tokens, self.weight_in.flatten(1).t(), self.bias_in.flatten())
        inner = self.dropout(F.gelu(inner))
        # Block-diagonal: each variable's outputs see its own features alone.
        n_variables, d_embed, outputs = self.weight_out.shape
        own = torch.eye(n_variables, dtype=inner.dtype, device=inner.device)
        blocks = self.weight_out[:, :, None] * own[:, None, :, None]
        blocks = blocks.reshape(n_variables * d_embed, n_variables * outputs)
        values = F.linear(inner, blocks.t(), self.bias_out.flatten())
        return values.unflatten(-1, (n_variables, outputs))

    def each(self, tokens: Tensor) -> Tensor:
        """[B, V, d] → [B, V, outputs]: each variable from its own token."""
        inner = torch.einsum("bvd,dve->bve", tokens, self.weight_in) + self.bias_in
        inner = self.dropout(F.gelu(inner))
        return torch.einsum("bve,veo->bvo", inner, self.weight_out) + self.bias_out
