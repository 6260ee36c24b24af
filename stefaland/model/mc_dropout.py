"""MC dropout: several predictions of one network, each with other features dropped.

After Gal and Ghahramani (2016). A draw drops the same features of every cell and time step, so that
a cell's prediction does not depend on the cells that it is predicted with. Calibration and
prediction both use it.
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
"""Prefix of the names of modules that are always run without dropout."""


def dropouts(model: nn.Module) -> list[nn.Dropout]:
    """The dropout modules after the encoder, in the order of the model's modules."""
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Dropout) and module.p > 0 and not name.startswith(ENCODER)
    ]


_CURRENT = threading.local()
_HOOKING = threading.Lock()


@contextmanager
def left_out(model: nn.Module, sample: int) -> Iterator[None]:
    """Drop the features of this draw in a model in evaluation mode, within the block.

    It holds for this thread only: others may run other draws of the same model.
    """
    with _HOOKING:
        for number, module in enumerate(dropouts(model)):
            if not getattr(module, "_leaves_out", False):
                module.register_forward_hook(_hook(module.p, number))
                module._leaves_out = True  # type: ignore[assignment]
    _CURRENT.sample = sample
    try:
        yield
    finally:
        _CURRENT.sample = None


def _hook(rate: float, number: int) -> Any:
    def leave_out(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        sample = getattr(_CURRENT, "sample", None)
        if sample is None:
            return output
        # Drawn on the CPU, so that every device drops the same features.
        generator = torch.Generator().manual_seed(1_000_003 * sample + number)
        kept = torch.rand(output.shape[-1], generator=generator) >= rate
        return output * (kept.to(output) / (1.0 - rate))

    return leave_out


def sampled(model: nn.Module, batch: Batch, samples: int) -> Prediction:
    """The mixture of `samples` draws of MC dropout as one prediction.

    The mean is the mean of means, the variance the mean of variances plus the variance of means;
    quantiles are averaged. Without samples or dropout it is the model's only prediction.
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
