"""What the autoencoder must reconstruct: windows of forcings, groups of static attributes.

Upstream: `MaskConfig`. Downstream: train.py. Every mask is a pattern out of a bank made once, which
holds the exact share, turned by a random shift of time: masks of a whole batch are one gather on
the device. The published loop counts overlapping windows twice (spec §5).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from stefaland.config import ModelConfig
from stefaland.data.batch import Batch

PATTERNS = 1024
BANK_SEED = 20_250_917
ROUNDING = 1e-9
"""So that a share of 0.29 of 100 steps is 29 of them in floating point too."""


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

    A window may reach over the end of the sample and go on at its beginning, so that every step is
    hidden equally often. Where no number of such windows adds up to the share, one is shorter.
    """
    samples, steps, variables = shape
    wanted = math.floor(ratio * steps + ROUNDING)
    bank = _window_bank(steps, wanted, window_min, window_max, str(device))
    drawn = torch.randint(
        PATTERNS * steps, (samples * variables,), generator=generator, device=device
    )
    # Each pattern lies in the bank twice in a row: any shift of it is `steps` values on end.
    shifted = bank.as_strided(((2 * PATTERNS - 1) * steps, steps), (1, 1))
    rows = shifted.index_select(0, drawn.add_(drawn.div(steps, rounding_mode="floor"), alpha=steps))
    return rows.as_strided((samples, steps, variables), (variables * steps, 1, steps))


@lru_cache(maxsize=16)
def _window_bank(steps: int, wanted: int, shortest: int, longest: int, device: str) -> Tensor:
    """[patterns, 2 T] bool: windows on a ring of T steps, written down twice."""
    mask = torch.zeros(PATTERNS, steps + 1, dtype=torch.int32)
    if wanted:
        generator = torch.Generator().manual_seed(BANK_SEED)
        lengths = _lengths(PATTERNS, wanted, shortest, longest, generator)
        gaps = torch.rand(lengths.shape, generator=generator) * (steps - wanted + 1)
        gaps = gaps.long().clamp(max=steps - wanted).sort(1).values
        starts = gaps + lengths.cumsum(1) - lengths
        ones = torch.ones_like(starts, dtype=torch.int32)
        mask.scatter_add_(1, starts, ones).scatter_add_(1, starts + lengths, -ones)
    inside = mask[:, :-1].cumsum(1) > 0
    return torch.cat([inside, inside], 1).to(device)


def _lengths(
    rows: int, wanted: int, shortest: int, longest: int, generator: torch.Generator
) -> Tensor:
    """[rows, windows] lengths that add up to `wanted`; unused windows have length 0."""
    fewest = -(-wanted // longest)
    most = max(fewest, wanted // shortest)
    count = torch.randint(fewest, most + 1, (rows,), generator=generator)
    left = torch.full((rows,), wanted)
    lengths = []
    for i in range(most):
        after = (count - i - 1).clamp(min=0)
        low = torch.maximum(left - after * longest, torch.full_like(left, shortest))
        low = torch.minimum(low, left)
        high = torch.minimum(left - after * shortest, torch.full_like(left, longest))
        high = torch.maximum(high, low)
        share = torch.rand(rows, generator=generator)
        length = low + (share * (high - low + 1)).long().clamp(max=high - low)
        length = torch.where(count > i, length, torch.zeros_like(length))
        lengths.append(length)
        left = left - length
    return torch.stack(lengths, 1)


def mask_units(config: ModelConfig) -> list[list[int]]:
    """Positions in statics + categorical that are hidden together: groups, then single attributes;
    never-masked attributes are in none.
    """
    return _units(*_attributes(config))


Names = tuple[str, ...]


def _attributes(config: ModelConfig) -> tuple[Names, tuple[Names, ...], Names]:
    names = (*config.statics, *config.categorical)
    return names, tuple(config.static_groups.values()), config.never_masked


def _units(names: Names, groups: tuple[Names, ...], never: Names) -> list[list[int]]:
    taken = {name for group in groups for name in group}
    units = [*groups, *((name,) for name in names if name not in taken)]
    places = [[names.index(name) for name in unit if name not in never] for unit in units]
    return [unit for unit in places if unit]


def group_mask(
    batch: Batch, config: ModelConfig, ratio: float, generator: torch.Generator | None = None
) -> Tensor:
    """[B, S + K] bool: in each sample round(ratio · units) units are hidden, whole."""
    device = batch.statics.device
    bank = _group_bank(*_attributes(config), ratio, str(device))
    drawn = torch.randint(PATTERNS, (len(batch),), generator=generator, device=device)
    return bank.index_select(0, drawn)


@lru_cache(maxsize=16)
def _group_bank(
    names: Names, groups: tuple[Names, ...], never: Names, ratio: float, device: str
) -> Tensor:
    """[patterns, S + K] bool: round(ratio · units) units hidden, whole."""
    units = _units(names, groups, never)
    bank = torch.zeros(PATTERNS, len(names), dtype=torch.bool)
    generator = torch.Generator().manual_seed(BANK_SEED)
    order = torch.rand(PATTERNS, len(units), generator=generator).argsort(1)
    chosen = order.argsort(1) < round(ratio * len(units))
    for unit, places in enumerate(units):
        bank[:, places] = chosen[:, unit, None]
    return bank.to(device)
