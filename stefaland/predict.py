"""Trained networks over cells: mean, spread and flag in physical units; an ensemble as one.

Upstream: checkpoints of finetune.py, cell tables. Downstream: the predict and score stages write
and judge what is returned here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stefaland.dataset import CellData
from stefaland.errors import Faults, bad_input
from stefaland.normalise import Normaliser
from stefaland.passes import Pass, passes
from stefaland.tasks import possible_values
from stefaland.windows import Windows

PREDICTED, OUTSIDE_RANGE, FILLED_INPUT, MASKED = 0, 1, 2, 3
"""Quality flags; a cell gets the highest that applies."""
CPU_STEPS = 6_000
"""Cells times window of every pass on the CPU, about; see `pass_size`."""
LEAST_ROWS = 32

K = TypeVar("K")


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
    table = [(0, data, masked)]
    found = predict_tables(members, table, batch_size=batch_size, device=device)
    return next(predicted for _, predicted in found)


def predict_tables(
    members: Sequence[Member],
    tables: Iterable[tuple[K, CellData, Tensor | None]],
    *,
    task: str = "regression",
    batch_size: int = 1024,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Iterator[tuple[K, dict[str, NDArray[Any]]]]:
    """Each table's key with what `predict_cells` says of its cells, in the order of the tables.

    `tables` gives (key, cells, masked [N] or None). A pass holds cells of as many tables as it
    takes to fill it, so a table is given back once the next ones have been read. Other tasks than
    regression have one value a place: `mean` and `spread` are [N, O], of each member's mean over
    time, so that the spread is what members disagree about. `dtype` bfloat16 runs the networks
    under autocast.
    """
    _check_members(members)
    place = torch.device(device)
    for member in members:
        member.model.to(place).eval()
    size = pass_size(members) if place.type == "cpu" else batch_size
    flagged = (_flagged(members, *table) for table in tables)
    results: dict[int, dict[str, NDArray[Any]]] = {}
    for batch in passes(flagged, size, padded=place.type == "cpu"):
        if batch.data is not None:
            _run_pass(members, batch, results, task, place, dtype)
        for table in batch.finished:
            key, n_cells, flag = table.key
            found = results.pop(table.number, None) or _empty(members, table.data, n_cells, task)
            yield key, {**found, "flag": flag}


def pass_size(members: Sequence[Member]) -> int:
    """Cells of every pass on the CPU: a power of two, more of them the shorter the windows are.

    Fixed for given members, because arrays of other shapes are rounded otherwise, and a map must
    not depend on the tiles it was made in.
    """
    longest = max(member.window for member in members)
    return max(LEAST_ROWS, int(2 ** math.floor(math.log2(max(CPU_STEPS / longest, 1)))))


def _flagged(
    members: Sequence[Member], key: K, data: CellData, masked: Tensor | None
) -> tuple[tuple[K, int, NDArray[np.uint8]], CellData, Tensor]:
    """Key, cells and flags of a table, the table, and its rows to predict."""
    for member in members:
        names = member.forcing_names, member.static_names, member.categorical_names
        data.take(torch.arange(0)).selected(*names)
    flag = quality_flag(members, data, masked)
    return (key, len(data), flag), data, torch.from_numpy(np.flatnonzero(flag != MASKED))


def _empty(
    members: Sequence[Member], data: CellData, n_cells: int, task: str
) -> dict[str, NDArray[Any]]:
    steps = (len(data.time),) if task == "regression" else ()
    shape = (n_cells, *steps, len(members[0].target_names))
    return {name: np.full(shape, np.nan, np.float32) for name in ("mean", "spread")}


def _run_pass(
    members: Sequence[Member], batch: Pass[Any], results: dict[int, dict[str, NDArray[Any]]],
    task: str, device: torch.device, dtype: torch.dtype,
) -> None:  # fmt: skip
    """Predict the cells of a pass and put them into the `results` of the tables they are of."""
    assert batch.data is not None
    laws = [_member_law(member, batch.data, device, dtype) for member in members]
    if task != "regression":
        laws = [
            (_place_mean(mean, member.warmup_steps if not member.cyclic else 0), None)
            for (mean, _), member in zip(laws, members, strict=True)
        ]
    means, spreads = combine(laws)
    means = possible_values(task, means)
    for part in batch.parts:
        if part.table.number not in results:
            n_cells = part.table.key[1]
            results[part.table.number] = _empty(members, batch.data, n_cells, task)
        own = results[part.table.number]
        own["mean"][part.rows], own["spread"][part.rows] = means[part.inside], spreads[part.inside]


def _place_mean(mean: Tensor, warmup: int) -> Tensor:
    """[N, T, O] → [N, O], the mean over the time steps that have a prediction."""
    with warnings.catch_warnings():
        # A cell without any prediction stays NaN.
        warnings.filterwarnings("ignore", message="Mean of empty slice")
        return torch.from_numpy(np.nanmean(mean[:, warmup:].double().numpy(), 1))


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
    member: Member, data: CellData, device: torch.device, dtype: torch.dtype = torch.float32
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
    model = member.model
    reduced = dtype != torch.float32
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=reduced):
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
