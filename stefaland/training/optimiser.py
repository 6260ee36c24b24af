"""The optimiser of a training run, and the schedule of its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from stefaland.config import OptimiserConfig


def learning_rate(step: int, total: int, config: OptimiserConfig) -> float:
    """Learning rate of an optimiser step: linear warm-up, then constant or a cosine down to 0."""
    warmup = max(1, round(config.warmup_share * total)) if config.warmup_share else 0
    if step < warmup:
        return config.lr * (step + 1) / warmup
    if config.schedule == "constant":
        return config.lr
    done = (step - warmup) / max(1, total - warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def make_optimiser(model: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """The optimiser of the trained parameters, with weight decay of matrices only."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.name == "adadelta":
        return torch.optim.Adadelta(groups, lr=config.lr)
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)
