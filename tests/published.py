"""Our networks as the published code stores them, for tests of the import."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from stefaland.checkpoints.published import LAYER_NAMES
from stefaland.config import ModelConfig
from stefaland.model.embedding import REFERENCE_ROWS
from stefaland.model.mae import StefaLand

PARTS = (
    ("tokens.forcings", "time_series_embedding.embeddings{}", "forcings"),
    ("tokens.statics", "static_embedding.numerical_embeddings{}", "statics"),
    ("forcing_heads", "time_series_projection.embeddings{}", "forcings"),
    ("static_heads", "static_projection.numerical_embeddings{}", "statics"),
)


def published_tensors(model: StefaLand) -> dict[str, torch.Tensor]:
    """The state dict under the published names; hidden statics are noise, as ours have no table."""
    own, config = model.state_dict(), model.config
    found = {}
    for ours, theirs, role in PARTS:
        for i, name in enumerate(getattr(config, role)):
            found |= _variable(own, ours, theirs, i, name)
    for i in range(config.n_encoder_layers):
        for published, name in LAYER_NAMES.items():
            found[f"encoder.transformer_encoder.layers.{i}.{published}"] = own[
                f"encoder.stack.layers.{i}.{name}"
            ]
    for theirs, ours in (("encoder_norm", "encoder.stack.norm"),
                         ("enc_2_dec_embedding", "encoder.out"),
                         ("decoder_norm", "decoder.norm")):  # fmt: skip
        found |= {f"{theirs}.{kind}": own[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        found[f"decoder.{name}"] = own[f"decoder.lstm.{name}"]
    found["positional_encoding.position_embedding"] = own["tokens.positions"][None]
    found["time_series_embedding.masked_values"] = own["tokens.forcings.mask_vector"]
    found["static_embedding.masked_values"] = torch.randn(REFERENCE_ROWS, len(config.statics))
    return {name: value.clone().contiguous() for name, value in found.items()}


def _variable(
    own: dict[str, torch.Tensor], ours: str, theirs: str, i: int, name: str
) -> dict[str, torch.Tensor]:
    first, second = theirs.format(1), theirs.format(2)
    is_head = ours.endswith("heads")
    weight = own[f"{ours}.weight_in"]
    return {
        f"{first}.{name}.weight": weight[:, i].T if is_head else weight[i, :, None],
        f"{first}.{name}.bias": own[f"{ours}.bias_in"][i],
        f"{second}.{name}.weight": own[f"{ours}.weight_out"][i].T,
        f"{second}.{name}.bias": own[f"{ours}.bias_out"][i],
    }


def small_reference(forcings: Sequence[str], statics: Sequence[str]) -> StefaLand:
    """A network of the published form, of a few numbers."""
    torch.manual_seed(0)
    return StefaLand(ModelConfig(
        forcings=tuple(forcings), statics=tuple(statics), d_model=16, d_embed=6, d_feedforward=24,
        n_heads=4, n_encoder_layers=2, max_tokens=40,
    )).eval()  # fmt: skip
