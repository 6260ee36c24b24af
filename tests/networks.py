"""Small networks and batches for tests of the model."""

from __future__ import annotations

import torch

from stefaland.config import ModelConfig
from stefaland.data.batch import Batch

FORCINGS = ("rain", "heat", "light")
STATICS = ("clay", "sand", "height", "slope", "forest")
GROUPS = {"soil": ("clay", "sand"), "land": ("height", "slope", "rock")}
CLASSES = {"rock": 4, "cover": 3}
STEPS = 20


def small_config(**settings: object) -> ModelConfig:
    """A network of two layers with groups and classes; without dropout by default."""
    defaults = {
        "forcings": FORCINGS, "statics": STATICS, "categorical": CLASSES, "static_groups": GROUPS,
        "d_model": 16, "d_embed": 6, "d_feedforward": 24, "n_heads": 2, "n_encoder_layers": 2,
        "max_tokens": 40, "dropout": 0.0, "patch_length": 6, "patch_stride": 4,
    }  # fmt: skip
    return ModelConfig(**{**defaults, **settings})


def small_batch(size: int = 4, seed: int = 0, steps: int = STEPS) -> Batch:
    """A batch with values of all kinds, some of them missing."""
    draw = torch.Generator().manual_seed(seed)
    forcings = torch.randn(size, steps, len(FORCINGS), generator=draw)
    statics = torch.randn(size, len(STATICS), generator=draw)
    codes = torch.stack(
        [torch.randint(-1, n, (size,), generator=draw) for n in CLASSES.values()], 1
    )
    forcings[torch.rand(forcings.shape, generator=draw) < 0.1] = torch.nan
    statics[torch.rand(statics.shape, generator=draw) < 0.1] = torch.nan
    lonlat = torch.rand(size, 2, generator=draw) * 180 - 90
    fraction = (torch.arange(steps) / steps).expand(size, -1)
    return Batch(forcings, statics, categorical=codes, day_of_year=fraction, lonlat=lonlat)


def random_masks(batch: Batch, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks of half of the forcings and of half of the attributes, each drawn alone."""
    draw = torch.Generator().manual_seed(seed)
    assert batch.categorical is not None
    width = batch.statics.shape[1] + batch.categorical.shape[1]
    return (
        torch.rand(batch.forcings.shape, generator=draw) < 0.5,
        torch.rand(len(batch), width, generator=draw) < 0.5,
    )


VARIANTS: dict[str, dict[str, object]] = {
    "paper": {},
    "transformer decoder": {"decoder": "transformer", "n_decoder_layers": 1},
    "no decoder": {"decoder": "none"},
    "group tokens": {"static_tokens": "group"},
    "rotary": {"positions": "rotary"},
    "season and coordinates": {"time_of_year": True, "location_encoding": True},
    "noise": {"noise_head": True},
    "pre-norm gelu": {"norm_first": True, "activation": "gelu"},
    "rows": {"reference_static_mask": True},
    "patches": {"tokens": "patch", "decoder": "none", "noise_head": True},
    "patches with all": {
        "tokens": "patch", "decoder": "transformer", "static_tokens": "group",
        "positions": "rotary", "time_of_year": True, "location_encoding": True,
    },
}  # fmt: skip
"""Settings of every variant of the network."""
