"""Masks of pretraining: hidden windows of forcings, and hidden groups of static attributes.

Every mask is a pattern with the exact mask ratio from a bank that is made once, shifted in time at
random, so that the masks of a whole batch are one gather on the device. The published code counts
overlapping windows twice.
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
"""Addend before rounding down: a ratio of 0.29 of 100 steps is 29 in floating point too."""


def window_mask(
    shape: tuple[int, ...],
    ratio: float,
    window_min: int,
    window_max: int,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Mask [B, T, F], bool: exactly floor(ratio · T) steps of each sample and variable are True.

    They form windows of `window_min` to `window_max` steps that do not overlap (they may touch). A
    window may wrap around the end of the sample, so that every step is hidden equally often. Where
    no number of such windows has that many steps, one window is shorter.
    """
    samples, steps, variables = shape
    wanted = math.floor(ratio * steps + ROUNDING)
    bank = _window_bank(steps, wanted, window_min, window_max, str(device))
    drawn = torch.randint(
        PATTERNS * steps, (samples * variables,), generator=generator, device=device
    )
    # The bank holds each pattern twice in a row: any shift of it is `steps` contiguous values.
    shifted = bank.as_strided(((2 * PATTERNS - 1) * steps, steps), (1, 1))
    rows = shifted.index_select(0, drawn.add_(drawn.div(steps, rounding_mode="floor"), alpha=steps))
    return rows.as_strided((samples, steps, variables), (variables * steps, 1, steps))


@lru_cache(maxsize=16)
def _window_bank(steps: int, wanted: int, shortest: int, longest: int, device: str) -> Tensor:
    """Patterns [patterns, 2 T], bool: windows on a ring of T steps, each stored twice in a row."""
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
    """Lengths [rows, windows] that add up to `wanted`; unused windows have length 0."""
    min_windows = -(-wanted // longest)
    max_windows = max(min_windows, wanted // shortest)
    count = torch.randint(min_windows, max_windows + 1, (rows,), generator=generator)
    left = torch.full((rows,), wanted)
    lengths = []
    for i in range(max_windows):
        after = (count - i - 1).clamp(min=0)
        low = torch.maximum(left - after * longest, torch.full_like(left, shortest))
        low = torch.minimum(low, left)
        high = torch.minimum(left - after * shortest, torch.full_like(left, longest))
        high = torch.maximum(high, low)
        fraction = torch.rand(rows, generator=generator)
        length = low + (fraction * (high - low + 1)).long().clamp(max=high - low)
        length = torch.where(count > i, length, torch.zeros_like(length))
        lengths.append(length)
        left = left - length
    return torch.stack(lengths, 1)


def mask_units(config: ModelConfig) -> list[list[int]]:
    """Indices in statics + categorical that are hidden together: groups, then single attributes.

    Never-masked attributes are in none of them.
    """
    return _units(*_attributes(config))


Names = tuple[str, ...]


def _attributes(config: ModelConfig) -> tuple[Names, tuple[Names, ...], Names]:
    names = (*config.statics, *config.categorical)
    return names, tuple(config.static_groups.values()), config.never_masked


def _units(names: Names, groups: tuple[Names, ...], never: Names) -> list[list[int]]:
    taken = {name for group in groups for name in group}
    units = [*groups, *((name,) for name in names if name not in taken)]
    indices = [[names.index(name) for name in unit if name not in never] for unit in units]
    return [unit for unit in indices if unit]


def group_mask(
    batch: Batch, config: ModelConfig, ratio: float, generator: torch.Generator | None = None
) -> Tensor:
    """Mask [B, S + K], bool: in each sample round(ratio · units) whole units are hidden."""
    device = batch.statics.device
    bank = _group_bank(*_attributes(config), ratio, str(device))
    drawn = torch.randint(PATTERNS, (len(batch),), generator=generator, device=device)
    return bank.index_select(0, drawn)


@lru_cache(maxsize=16)
def _group_bank(
    names: Names, groups: tuple[Names, ...], never: Names, ratio: float, device: str
) -> Tensor:
    """Patterns [patterns, S + K], bool, with round(ratio · units) whole units hidden."""
    units = _units(names, groups, never)
    bank = torch.zeros(PATTERNS, len(names), dtype=torch.bool)
    generator = torch.Generator().manual_seed(BANK_SEED)
    order = torch.rand(PATTERNS, len(units), generator=generator).argsort(1)
    chosen = order.argsort(1) < round(ratio * len(units))
    for unit, indices in enumerate(units):
        bank[:, indices] = chosen[:, unit, None]
    return bank.to(device)
