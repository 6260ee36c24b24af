"""Arithmetic of a training: whole float32 on a CPU, reduced products on a GPU by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from stefaland.config import PretrainConfig, TrainConfig

AMPERE = (8, 0)
"""The first compute capability with products of bfloat16 and TF32."""


@dataclass(frozen=True)
class Arithmetic:
    """How a training multiplies."""

    bfloat16: bool
    """Whether training steps run under autocast; validation and calibration never do."""
    tf32: bool | None
    """Whether products of float32 have ten bits of mantissa; None leaves the setting of torch."""


def arithmetic(
    config: TrainConfig, device: torch.device, capability: tuple[int, int] | None = None
) -> Arithmetic:
    """The arithmetic of these settings on a device; `capability` is by default that of the GPU.

    On a CPU it is that of `precision` alone.

    >>> arithmetic(PretrainConfig(), torch.device("cpu"))
    Arithmetic(bfloat16=False, tf32=None)
    >>> arithmetic(PretrainConfig(), torch.device("cuda"), (9, 0))
    Arithmetic(bfloat16=True, tf32=True)
    """
    if config.precision == "bfloat16" or device.type != "cuda":
        return Arithmetic(config.precision == "bfloat16", None)
    if config.gpu_precision == "float32":
        return Arithmetic(False, False)
    able = (capability or torch.cuda.get_device_capability(device)) >= AMPERE
    is_auto = config.gpu_precision == "auto"
    return Arithmetic(able and is_auto and isinstance(config, PretrainConfig), able)


def autocast(config: TrainConfig, device: torch.device) -> torch.autocast:
    """The context of a training step's loss."""
    enabled = arithmetic(config, device).bfloat16
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


@contextmanager
def products(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Set TF32 for a training on a GPU; afterwards it is as before."""
    tf32 = arithmetic(config, device).tf32
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    if tf32 is not None:
        matmul.allow_tf32 = cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        if tf32 is not None:
            matmul.allow_tf32, cudnn.allow_tf32 = before
