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
    """A window to predict, which of its steps are kept, and their weights in the prediction."""

    start: int
    keep: slice
    """Steps of the window whose predictions are kept."""
    weights: tuple[float, ...]
    """Weight of each kept step; those of one step of the series add up to 1."""


def plan_windows(
    n_steps: int, window: int, warmup: int, cyclic: bool, overlap: int = 0
) -> list[Stretch]:
    """Windows whose kept steps cover a series, each after at least `warmup + overlap` steps.

    Predictions of neighbouring windows fade into each other over `overlap` steps: there are no
    seams between windows, and the last steps of a window, which have the shortest future, count
    least. The first window of a series that is not cyclic is kept from `warmup` on, before which
    there is no prediction, and its last window up to the end. Raises `InputError` for a window
    longer than the series or too short for warm-up and overlap.
    """
    if not 0 <= warmup < window:
        raise bad_input("warmup_steps", f"{warmup}", f"fewer than the window's {window} steps")
    if window > n_steps:
        raise bad_input("window", f"{window} time steps", f"at most the {n_steps} of the data")
    lead = warmup + overlap
    stride = window - lead - overlap
    if overlap < 0 or stride < 1:
        expected = f"0 to {(window - warmup - 1) // 2} for windows of {window} steps"
        raise bad_input("overlap_steps", f"{overlap}", expected)
    if cyclic:
        begins = list(range(0, n_steps, stride))
        starts = [begin - lead for begin in begins]
    else:
        starts = [*range(0, n_steps - window, stride), n_steps - window]
        begins = [warmup, *(k * stride + lead for k in range(1, len(starts)))]
    stretches = []
    for k, (start, begin) in enumerate(zip(starts, begins, strict=True)):
        is_first, is_last = not (cyclic or k), not cyclic and k == len(starts) - 1
        after = n_steps if k == len(starts) - 1 else begins[k + 1]
        steps = np.arange(begin, after if is_last else after + overlap)
        rising = np.ones(len(steps)) if is_first else _risen(steps - begin, overlap)
        falling = np.zeros(len(steps)) if is_last else _risen(steps - after, overlap)
        keep = slice(begin - start, begin - start + len(steps))
        weights = tuple((rising - falling).tolist())
        stretches.append(Stretch(start % n_steps, keep, weights))
    return stretches


def window_boundaries(members: Sequence[Member], n_steps: int) -> list[int]:
    """Steps of a series at which a window of any member begins or ends to count, in order.

    A periodic series has none: it has few steps, and most are boundaries.
    """
    found: set[int] = set()
    for member in members:
        if not member.cyclic:
            plan = plan_windows(
                n_steps, member.window, member.warmup_steps, False, member.overlap_steps
            )
            for stretch in plan[1:]:
                begin = stretch.start + stretch.keep.start
                found |= {begin, begin + member.overlap_steps}
    return sorted(found)


def _risen(steps: NDArray[np.int64], overlap: int) -> NDArray[np.float64]:
    """Weight, 0 to 1, of the later of two windows at steps counted from where it begins."""
    return ((steps + 1) / (overlap + 1)).clip(0.0, 1.0)


def member_distribution(
    member: Member, data: CellData, device: torch.device, dtype: torch.dtype = torch.float32
) -> Distribution:
    """Predictive distribution of one network for each cell and time step."""
    inputs = member.inputs(data)
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
            len(data.time), member.window, member.warmup_steps, member.cyclic,
            member.overlap_steps,
        ):  # fmt: skip
            batch = windows.gather(rows, torch.full_like(rows, stretch.start))
            out = sampled(member.model, batch, member.mc_samples).cut(stretch.keep)
            first = stretch.start + stretch.keep.start
            last = first + stretch.keep.stop - stretch.keep.start
            steps = torch.arange(first, last, device=device) % len(data.time)
            weights = torch.tensor(stretch.weights, device=device)[:, None]
            for name, values in vars(out).items():
                if values is None:
                    continue
                whole = (*shape, *values.shape[3:])
                series = parts.setdefault(name, torch.zeros(whole, device=device))
                one = weights if values.ndim == 3 else weights[..., None]
                series[:, steps] += values.float() * one
        if not member.cyclic:
            for series in parts.values():
                series[:, : member.warmup_steps] = torch.nan
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
