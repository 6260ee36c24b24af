"""Trained networks over cells: mean, spread and flag in physical units; an ensemble as one.

Upstream: checkpoints of finetune.py, cell tables. Downstream: the predict and score stages write
and judge what is returned here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stefaland.dataset import CellData
from stefaland.errors import Faults, bad_input
from stefaland.normalise import Normaliser
from stefaland.windows import Windows

PREDICTED, OUTSIDE_RANGE, FILLED_INPUT, MASKED = 0, 1, 2, 3
"""Quality flags; a cell gets the highest that applies."""
CPU_ROWS = 32
"""Cells of every pass on the CPU. Arrays of other shapes are rounded otherwise, and a map must not
depend on the tiles it was made in."""


@dataclass(frozen=True)
class Member:
    """One trained network and all that is needed to use it."""

    model: nn.Module
    """`Batch` → prediction with `mean` and `scale` (or None) [B, T, O], normalised."""
    normaliser: Normaliser
    forcing_names: tuple[str, ...]
    static_names: tuple[str, ...]
    target_names: tuple[str, ...]
    window: int
    warmup_steps: int = 0
    cyclic: bool = False
    categorical_names: tuple[str, ...] = ()
    spread_factor: tuple[float, ...] | None = None
    """[O] by which scales are multiplied: calibration on validation cells."""
    ranges: Mapping[str, tuple[float, float]] | None = None
    """Physical range of each input over the cells that trained the member."""

    def predict(self, data: CellData) -> dict[str, NDArray[np.float32]]:
        """`mean` and `spread` [N, T, O] in physical units, as every baseline gives them."""
        predicted = predict_cells([self], data, device=next(self.model.parameters()).device)
        return {name: predicted[name] for name in ("mean", "spread")}


@dataclass(frozen=True)
class Stretch:
    """A window to run and the time steps of the series that are taken from it."""

    start: int
    keep: slice
    """Steps of the window."""


def plan_windows(n_steps: int, window: int, warmup: int, cyclic: bool) -> list[Stretch]:
    """The windows that cover a series once, each after its warm-up.

    The first `warmup` steps of a series that does not wrap have no prediction.
    """
    if not 0 <= warmup < window:
        raise bad_input("warmup_steps", f"{warmup}", f"fewer than the window's {window} steps")
    if window > n_steps:
        raise bad_input("window", f"{window} time steps", f"at most the {n_steps} of the data")
    stretches, done = [], 0 if cyclic else warmup
    while done < n_steps:
        start = done - warmup
        if not cyclic:
            start = min(start, n_steps - window)
        taken = min(start + window, n_steps) - done
        begin = done - start
        stretches.append(Stretch(start % n_steps, slice(begin, begin + taken)))
        done += taken
    return stretches


def predict_cells(
    members: Sequence[Member],
    data: CellData,
    *,
    batch_size: int = 1024,
    device: torch.device | str = "cpu",
    masked: Tensor | None = None,
) -> dict[str, NDArray[Any]]:
    """`mean` and `spread` [N, T, O] float32 in physical units, `flag` [N] uint8.

    Members are combined as an equal mixture: mean of means; variance is the mean of variances plus
    the variance of means. The spread is NaN where a single network gives none. Cells without any
    forcing, or `masked` [N], are NaN with flag 3. Raises `InputError` for absent variables, and for
    members that disagree about the target. On the CPU a cell's bits do not depend on the cells it
    comes with; `batch_size` is for other devices.
    """
    _check_members(members)
    n_targets = len(members[0].target_names)
    shape = (len(data), len(data.time), n_targets)
    mean, spread = (np.full(shape, np.nan, np.float32) for _ in range(2))
    flag = quality_flag(members, data, masked)
    possible = torch.from_numpy(np.flatnonzero(flag != MASKED))
    place = torch.device(device)
    size = CPU_ROWS if place.type == "cpu" else batch_size
    for rows in possible.split(size):
        part = data.take(rows)
        if place.type == "cpu" and len(rows):
            part = _filled_up(part, size)
        laws = [_member_law(member, part, place) for member in members]
        means, spreads = combine(laws)
        mean[rows.numpy()], spread[rows.numpy()] = means[: len(rows)], spreads[: len(rows)]
    return {"mean": mean, "spread": spread, "flag": flag}


def _filled_up(data: CellData, size: int) -> CellData:
    """`size` cells: the table's, and its last one again under ids of its own."""
    missing = size - len(data)
    if not missing:
        return data
    rows = torch.cat([torch.arange(len(data)), torch.full((missing,), len(data) - 1)])
    ids = torch.cat([data.cell, data.cell.max() + 1 + torch.arange(missing)])
    more = {
        name: value[rows]
        for name in ("forcings", "statics", "categorical", "target", "lonlat", "filled")
        if (value := getattr(data, name)) is not None
    }
    return replace(data, **more, cell=ids, group=None, region=None)


def _check_members(members: Sequence[Member]) -> None:
    if not members:
        raise bad_input("ensemble", "no member", "at least one")
    faults = Faults()
    for i, member in enumerate(members[1:], 1):
        if member.target_names != members[0].target_names:
            found = ", ".join(member.target_names)
            faults.add(f"ensemble member {i}", found, ", ".join(members[0].target_names))
    faults.raise_if_any()


def _member_law(
    member: Member, data: CellData, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Physical mean and spread [N, T, O] of one network, on the CPU."""
    inputs = data.selected(member.forcing_names, member.static_names, member.categorical_names)
    windows = Windows(
        inputs, member.normaliser, member.window, cyclic=member.cyclic, device=device
    )  # fmt: skip
    shape = (len(data), len(data.time), len(member.target_names))
    mean, scale = (torch.full(shape, torch.nan, device=device) for _ in range(2))
    rows = torch.arange(len(data), device=device)
    knows_spread = True
    model = member.model.to(device).eval()
    with torch.inference_mode():
        for stretch in plan_windows(
            len(data.time), member.window, member.warmup_steps, member.cyclic
        ):
            out = model(windows.gather(rows, torch.full_like(rows, stretch.start)))
            first = stretch.start + stretch.keep.start
            steps = torch.arange(first, first + stretch.keep.stop - stretch.keep.start)
            steps = (steps % len(data.time)).to(device)
            mean[:, steps] = out.mean[:, stretch.keep].float()
            knows_spread = out.scale is not None
            if out.scale is not None:
                scale[:, steps] = out.scale[:, stretch.keep].float()
        if not knows_spread:
            return member.normaliser.inverse(mean, member.target_names).cpu(), None
        if member.spread_factor is not None:
            scale = scale * torch.tensor(member.spread_factor, device=device)
        means, spreads = member.normaliser.moments(mean, scale, member.target_names)
    return means.cpu(), spreads.cpu()


def combine(laws: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Any, Any]:
    """Mean and spread of an equal mixture of laws (mean, spread), in the laws' units."""
    means = torch.stack([mean for mean, _ in laws]).double()
    mean = means.mean(0)
    variance = (means - mean).square().mean(0)
    spreads = [spread for _, spread in laws if spread is not None]
    if spreads:
        known = torch.stack([s.double().square() for s in spreads])
        variance = variance + known.mean(0)
    elif len(laws) == 1:
        variance = torch.full_like(mean, torch.nan)
    return mean.float().numpy(), variance.sqrt().float().numpy()


def quality_flag(
    members: Sequence[Member], data: CellData, masked: Tensor | None = None
) -> NDArray[np.uint8]:
    """[N] uint8: 0 predicted, 1 an input outside every member's training range, 2 an input filled
    from neighbours, 3 masked.
    """
    flag = np.full(len(data), PREDICTED, np.uint8)
    outside = [_outside(member, data) for member in members if member.ranges]
    if outside:
        flag[np.logical_and.reduce(outside)] = OUTSIDE_RANGE
    if data.filled is not None:
        flag[data.filled.numpy()] = FILLED_INPUT
    names = members[0].forcing_names
    chosen = [i for i, name in enumerate(data.forcing_names) if name in names]
    empty = data.forcings[..., chosen].isnan().flatten(1).all(1)
    flag[(empty if masked is None else empty | masked).numpy()] = MASKED
    return flag


def _outside(member: Member, data: CellData) -> NDArray[np.bool_]:
    outside = torch.zeros(len(data), dtype=torch.bool)
    ranges = member.ranges or {}
    for names, values in (
        (data.forcing_names, data.forcings),
        (data.static_names, data.statics[:, None]),
    ):
        for i, name in enumerate(names):
            if name in ranges:
                low, high = ranges[name]
                column = values[..., i]
                outside |= ((column < low) | (column > high)).any(1)
    return outside.numpy()
