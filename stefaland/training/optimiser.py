"""The optimiser of a training run, and the schedule of its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from stefaland.config import OptimiserConfig
from stefaland.model.pace import USUAL, Pace


def learning_rate(step: int, total: int, config: OptimiserConfig, pace: Pace = USUAL) -> float:
    """Learning rate of an optimiser step: linear warm-up, then constant or a cosine down to 0.

    >>> config = OptimiserConfig(lr=0.1, warmup_share=0, schedule="constant")
    >>> [round(learning_rate(step, 10, config, Pace(0.5, begin=0.2)), 2) for step in range(4)]
    [0.0, 0.0, 0.05, 0.05]
    """
    if step < pace.begin * total:
        return 0.0
    return pace.factor * _scheduled(step, total, config)


def _scheduled(step: int, total: int, config: OptimiserConfig) -> float:
    warmup = max(1, round(config.warmup_share * total)) if config.warmup_share else 0
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.schedule == "constant":
        return config.lr
    done = (step - warmup) / max(1, total - warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def make_optimiser(model: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """The optimiser of the trained parameters, with weight decay of matrices only.

    Each group of its parameters has one `pace`.
    """
    pace_of = getattr(model, "pace", lambda name: USUAL)
    members: dict[tuple[bool, Pace], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members.setdefault((parameter.ndim <= 1, pace_of(name)), []).append(parameter)
    groups = [
        {"params": parameters, "weight_decay": 0.0 if is_vector else config.weight_decay,
         "pace": pace}
        for (is_vector, pace), parameters in sorted(members.items(), key=lambda item: item[0])
    ]  # fmt: skip
    if config.name == "adadelta":
        return torch.optim.Adadelta(groups, lr=config.lr)
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)
