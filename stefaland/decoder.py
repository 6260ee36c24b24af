"""Encoded tokens back to variables: an LSTM or a transformer, then one small head per variable.

Upstream: encoder.py. Downstream: mae.py (spec §4).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from stefaland.config import ModelConfig
from stefaland.embed import uniform_parameter
from stefaland.encoder import Stack


class LSTMDecoder(nn.Module):
    """[B, N, d] → [B, N, d]: one LSTM over all tokens, the static one last; LayerNorm, dropout."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.lstm = nn.LSTM(config.d_model, config.d_model, batch_first=True)
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Decoded tokens."""
        return self.dropout(self.norm(self.lstm(tokens)[0]))


def make_decoder(config: ModelConfig) -> nn.Module:
    """The configured decoder."""
    if config.decoder == "lstm":
        return LSTMDecoder(config)
    return Stack(config, config.n_decoder_layers)


class VariableHeads(nn.Module):
    """[..., d] → [..., V, outputs]: Linear(d→e), GELU, dropout, Linear(e→outputs) per variable."""

    def __init__(self, n_variables: int, config: ModelConfig, outputs: int) -> None:
        super().__init__()
        self.weight_in = uniform_parameter(config.d_model, n_variables, config.d_embed)
        self.bias_in = uniform_parameter(n_variables, config.d_embed)
        self.weight_out = uniform_parameter(n_variables, config.d_embed, outputs)
        self.bias_out = uniform_parameter(n_variables, outputs)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Every variable's outputs."""
        inner = (tokens @ self.weight_in.flatten(1)).unflatten(-1, self.bias_in.shape)
        inner = self.dropout(F.gelu(inner + self.bias_in))
        return (inner[..., None] * self.weight_out).sum(-2) + self.bias_out
