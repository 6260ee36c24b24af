"""MC dropout: one network asked several times, each time with other features left out.

Upstream: trained networks. Downstream: target.py calibrates with it, predict.py maps with it. After
Gal and Ghahramani (2016): a draw leaves out the same features of every cell and time step, so that
a cell's prediction does not depend on the cells that it is predicted with.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from stefaland.data.batch import Batch
from stefaland.model.heads import Prediction

ENCODER = "encoder."
"""Names of modules that are always asked without dropout."""


def dropouts(model: nn.Module) -> list[nn.Dropout]:
    """The dropout behind the encoder, in the order of the model's modules."""
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Dropout) and module.p > 0 and not name.startswith(ENCODER)
    ]


_ASKED = threading.local()
_HOOKING = threading.Lock()


@contextmanager
def left_out(model: nn.Module, sample: int) -> Iterator[None]:
    """Within the block a model in evaluation mode leaves out the features of this draw.

    In this thread alone: others may ask the same model for other draws.
    """
    with _HOOKING:
        for place, module in enumerate(dropouts(model)):
            if not getattr(module, "_leaves_out", False):
                module.register_forward_hook(_hook(module.p, place))
                module._leaves_out = True  # type: ignore[assignment]
    _ASKED.sample = sample
    try:
        yield
    finally:
        _ASKED.sample = None


def _hook(share: float, place: int) -> Any:
    def leave_out(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        sample = getattr(_ASKED, "sample", None)
        if sample is None:
            return output
        # Drawn on the CPU: every device leaves out the same features.
        generator = torch.Generator().manual_seed(1_000_003 * sample + place)
        kept = torch.rand(output.shape[-1], generator=generator) >= share
        return output * (kept.to(output) / (1.0 - share))

    return leave_out


def sampled(model: nn.Module, batch: Batch, samples: int) -> Prediction:
    """The mixture of `samples` draws: mean of means; variance the mean of variances and the
    variance of means; mean of quantiles. Without samples, or dropout to draw, the prediction.
    """
    if not samples or not dropouts(model):
        prediction: Prediction = model(batch)
        return prediction
    draws = []
    for sample in range(samples):
        with left_out(model, sample):
            draws.append(model(batch))
    means = torch.stack([draw.mean for draw in draws])
    variance = (means - means.mean(0)).square().mean(0)
    if draws[0].scale is not None:
        variance = variance + torch.stack([draw.scale.square() for draw in draws]).mean(0)
    quantiles = None
    if draws[0].quantiles is not None:
        quantiles = torch.stack([draw.quantiles for draw in draws]).mean(0)
    return Prediction(means.mean(0), variance.sqrt(), quantiles)
