"""Decoders of the autoencoder: an LSTM or a transformer over encoded tokens, and a small head per
variable.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stefaland.config import ModelConfig
from stefaland.model.embedding import uniform_parameter
from stefaland.model.encoder import Stack


class LSTMDecoder(nn.Module):
    """One LSTM over all tokens [B, N, d], static tokens last; then LayerNorm and dropout."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.lstm = nn.LSTM(config.d_model, config.d_model, batch_first=True)
        self.norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Decoded tokens [B, N, d]; `positions` is not used: tokens are in order of time."""
        decoded: Tensor = self.dropout(self.norm(self.lstm(tokens)[0]))
        return decoded


class NoDecoder(nn.Module):
    """Encoded tokens unchanged."""

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """The tokens [B, N, d]."""
        return tokens


def make_decoder(config: ModelConfig) -> nn.Module:
    """The decoder that `config.decoder` names."""
    if config.decoder == "lstm":
        return LSTMDecoder(config)
    if config.decoder == "none":
        return NoDecoder()
    return Stack(config, config.n_decoder_layers)


class VariableHeads(nn.Module):
    """A head Linear(d→e), GELU, dropout, Linear(e→outputs) per variable.

    The heads of all variables are two matrix products.
    """

    def __init__(self, n_variables: int, config: ModelConfig, outputs: int) -> None:
        super().__init__()
        self.weight_in = uniform_parameter(config.d_model, n_variables, config.d_embed)
        self.bias_in = uniform_parameter(n_variables, config.d_embed)
        self.weight_out = uniform_parameter(n_variables, config.d_embed, outputs)
        self.bias_out = uniform_parameter(n_variables, outputs)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Outputs [..., V, outputs] of every variable from the same token [..., d]."""
        inner = F.linear(tokens, self.weight_in.flatten(1).t(), self.bias_in.flatten())
        inner = self.dropout(F.gelu(inner))
        # A block-diagonal matrix: the outputs of a variable depend on its features only.
        n_variables, d_embed, outputs = self.weight_out.shape
        diagonal = torch.eye(n_variables, dtype=inner.dtype, device=inner.device)
        blocks = self.weight_out[:, :, None] * diagonal[:, None, :, None]
        blocks = blocks.reshape(n_variables * d_embed, n_variables * outputs)
        values = F.linear(inner, blocks.t(), self.bias_out.flatten())
        return values.unflatten(-1, (n_variables, outputs))

    def each(self, tokens: Tensor) -> Tensor:
        """Outputs [B, V, outputs] of each variable from its own token in [B, V, d]."""
        inner = torch.einsum("bvd,dve->bve", tokens, self.weight_in) + self.bias_in
        inner = self.dropout(F.gelu(inner))
        return torch.einsum("bve,veo->bvo", inner, self.weight_out) + self.bias_out
