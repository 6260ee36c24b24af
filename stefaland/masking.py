"""What the autoencoder must reconstruct: windows of forcings, groups of static attributes.

Upstream: `MaskConfig`. Downstream: train.py. Masks are drawn on the device for a whole batch, with
an exact share; the published loop counts overlapping windows twice (spec §5).
"""

from __future__ import annotations

import torch
from torch import Tensor

from stefaland.batch import Batch
from stefaland.config import ModelConfig


def window_mask(
    shape: tuple[int, ...],
    ratio: float,
    window_min: int,
    window_max: int,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """[B, T, F] bool: in each sample and variable exactly floor(ratio · T) steps are True, in
    windows of `window_min` to `window_max` steps that do not overlap (they may touch).

    Where no number of such windows adds up to the share, the last one is shorter.
    """
    samples, steps, variables = shape
    wanted = int(ratio * steps)
    mask = torch.zeros(samples * variables, steps + 1, dtype=torch.int32, device=device)
    if wanted:
        starts, lengths = _windows(
            len(mask), steps, wanted, window_min, window_max, generator, device
        )
        ones = torch.ones_like(starts, dtype=torch.int32)
        mask.scatter_add_(1, starts, ones).scatter_add_(1, starts + lengths, -ones)
    inside = mask[:, :-1].cumsum(1) > 0
    return inside.view(samples, variables, steps).transpose(1, 2).contiguous()


def _windows(
    rows: int, steps: int, wanted: int, shortest: int, longest: int,
    generator: torch.Generator | None, device: torch.device | str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Starts and lengths [rows, windows] that add up to `wanted`; unused windows have length 0."""
    fewest = -(-wanted // longest)
    most = max(fewest, wanted // shortest)
    count = torch.randint(fewest, most + 1, (rows,), generator=generator, device=device)
    left = torch.full((rows,), wanted, device=device)
    lengths = []
    for i in range(most):
        after = (count - i - 1).clamp(min=0)
        low = torch.maximum(left - after * longest, torch.full_like(left, shortest))
        high = torch.minimum(left - after * shortest, torch.full_like(left, longest))
        low = torch.minimum(low, left)
        high = torch.maximum(torch.minimum(high, left), low)
        share = torch.rand(rows, generator=generator, device=device)
        length = low + (share * (high - low + 1)).long().clamp(max=high - low)
        length = torch.where(count > i, length, torch.zeros_like(length))
        lengths.append(length)
        left = left - length
    each = torch.stack(lengths, 1)
    gaps = torch.rand(rows, most, generator=generator, device=device) * (steps - wanted + 1)
    starts = gaps.long().clamp(max=steps - wanted).sort(1).values + each.cumsum(1) - each
    return starts, each


def mask_units(config: ModelConfig) -> list[list[int]]:
    """Positions in statics + categorical that are hidden together: groups, then single attributes;
    never-masked attributes are in none.
    """
    names = [*config.statics, *config.categorical]
    grouped = [
        [names.index(name) for name in members if name not in config.never_masked]
        for members in config.static_groups.values()
    ]
    taken = {place for group in grouped for place in group}
    single = [
        [place]
        for place, name in enumerate(names)
        if place not in taken and name not in config.never_masked
    ]
    return [unit for unit in [*grouped, *single] if unit]


def group_mask(
    batch: Batch, config: ModelConfig, ratio: float, generator: torch.Generator | None = None
) -> Tensor:
    """[B, S + K] bool: in each sample round(ratio · units) units are hidden, whole."""
    units = mask_units(config)
    width = len(config.statics) + len(config.categorical)
    device = batch.statics.device
    if not units:
        return torch.zeros(len(batch), width, dtype=torch.bool, device=device)
    order = torch.rand(len(batch), len(units), generator=generator, device=device).argsort(1)
    chosen = order.argsort(1) < round(ratio * len(units))
    members = torch.zeros(len(units), width, device=device)
    for unit, places in enumerate(units):
        members[unit, places] = 1.0
    return (chosen.float() @ members) > 0
