"""The predictive distribution of each cell and time step, of one network or of an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.errors import bad_input
from stefaland.data.cell_data import CellData
from stefaland.data.windows import Windows
from stefaland.model.heads import Prediction
from stefaland.model.mc_dropout import sampled
from stefaland.model.quantiles import moments, shifted
from stefaland.prediction.calibration import tempered
from stefaland.tasks import values_of

if TYPE_CHECKING:
    from stefaland.prediction.member import Member


@dataclass(frozen=True)
class Distribution:
    """Predictive distributions of one member for N cells, in physical units, on the CPU."""

    mean: Tensor
    """Mean [N, T, O], or [N, O] for targets without time."""
    spread: Tensor | None = None
    """Standard deviation of the same shape."""
    quantiles: Tensor | None = None
    """Quantiles [N, T, O, Q] at `quantiles.LEVELS`."""


@dataclass(frozen=True)
class Stretch:
    """A window to predict, and which of its steps are kept."""

    start: int
    keep: slice
    """Steps of the window whose predictions are kept."""


def plan_windows(n_steps: int, window: int, warmup: int, cyclic: bool) -> list[Stretch]:
    """Windows whose kept steps cover a series once, each after `warmup` steps.

    The first `warmup` steps of a series that is not cyclic have no prediction. Raises `InputError`
    for a window longer than the series or not longer than its warm-up.
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


def member_distribution(
    member: Member, data: CellData, device: torch.device, dtype: torch.dtype = torch.float32
) -> Distribution:
    """Predictive distribution of one network for each cell and time step."""
    inputs = data.selected(member.forcing_names, member.static_names, member.categorical_names)
    windows = Windows(
        inputs, member.normaliser, member.window, cyclic=member.cyclic, device=device
    )  # fmt: skip
    shape = (len(data), len(data.time), len(member.target_names))
    parts: dict[str, Tensor] = {}
    rows = torch.arange(len(data), device=device)
    reduced = dtype != torch.float32
    # Without the cache of autocast: passes on other streams would read it before it is filled.
    autocast = torch.autocast(device.type, dtype, enabled=reduced, cache_enabled=False)
    with torch.inference_mode(), autocast:
        for stretch in plan_windows(
            len(data.time), member.window, member.warmup_steps, member.cyclic
        ):
            batch = windows.gather(rows, torch.full_like(rows, stretch.start))
            out = sampled(member.model, batch, member.mc_samples).cut(stretch.keep)
            first = stretch.start + stretch.keep.start
            last = first + stretch.keep.stop - stretch.keep.start
            steps = torch.arange(first, last, device=device) % len(data.time)
            for name, values in vars(out).items():
                if values is None:
                    continue
                whole = (*shape, *values.shape[3:])
                series = parts.setdefault(name, torch.full(whole, torch.nan, device=device))
                series[:, steps] = values.float()
    with torch.inference_mode():
        return _physical(member, Prediction(**parts))


def _physical(member: Member, found: Prediction) -> Distribution:
    """A member's normalised series, calibrated and in physical units, on the CPU."""
    names, normaliser, calibration = member.target_names, member.normaliser, member.calibration
    if found.quantiles is not None:
        quantiles = found.quantiles
        if calibration.quantile_shift is not None:
            quantiles = shifted(quantiles, torch.tensor(calibration.quantile_shift).to(quantiles))
        # Monotone transforms map quantiles to quantiles.
        levels = quantiles.movedim(-1, -2)
        quantiles = normaliser.inverse(levels, names).movedim(-2, -1)
        mean, spread = moments(quantiles)
        return Distribution(mean.cpu(), spread.cpu(), quantiles.cpu())
    if found.scale is None or values_of(member.task) != "quantity":
        # With MC dropout, probabilities and compositions have a standard deviation too.
        mean = normaliser.inverse(found.mean, names)
        if calibration.temperature is not None:
            mean = tempered(member.task, mean, calibration.temperature)
        return Distribution(mean.cpu())
    means, spreads = normaliser.moments(found.mean, found.scale, names)
    if calibration.spread_factor is not None:
        spreads = spreads * torch.tensor(calibration.spread_factor).to(spreads)
    return Distribution(means.cpu(), spreads.cpu())


def combine(distributions: Sequence[Distribution]) -> dict[str, NDArray[np.float32]]:
    """Arrays `mean`, `spread` and, where all members have them, `quantiles` of an equal mixture."""
    means = torch.stack([part.mean for part in distributions]).double()
    mean = means.mean(0)
    variance = (means - mean).square().mean(0)
    spreads = [part.spread for part in distributions if part.spread is not None]
    if spreads:
        known = torch.stack([s.double().square() for s in spreads])
        variance = variance + known.mean(0)
    elif len(distributions) == 1:
        variance = torch.full_like(mean, torch.nan)
    combined = {"mean": mean, "spread": variance.sqrt()}
    quantiles = [part.quantiles for part in distributions if part.quantiles is not None]
    if len(quantiles) == len(distributions):
        combined["quantiles"] = torch.stack(quantiles).double().mean(0)
    return {name: values.float().numpy() for name, values in combined.items()}
