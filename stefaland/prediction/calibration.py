"""What validation cells say of a trained network's uncertainty: spreads, quantiles, chances.

Upstream: a trained network and its held-out windows (target.py). Downstream: `data.json` of its
checkpoint; predict.py applies it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from stefaland.data.batch import BatchSource
from stefaland.data.normalise import Normaliser
from stefaland.data.sampler import Draw
from stefaland.metrics import Z_90
from stefaland.model.losses import LEAST_SHARE
from stefaland.model.mc_dropout import sampled
from stefaland.model.quantiles import LEVELS, conformal_shift
from stefaland.tasks import values_of

MIN_CALIBRATION = 30
"""Valid validation values below which predictions stay as the network gives them."""
FACTORS = (0.1, 10.0)
"""Least and greatest factor of a spread, and temperature."""


@dataclass(frozen=True)
class Calibration:
    """How predictions change; None where nothing was to be learnt."""

    spread_factor: tuple[float, ...] | None = None
    """[O] by which spreads in the targets' units are multiplied."""
    quantile_shift: tuple[tuple[float, ...], ...] | None = None
    """[O][Q] added to normalised quantiles; zeros where there was too little to learn from, None of
    networks without quantiles."""
    temperature: float | None = None
    """By which the logarithms of odds or shares are divided."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Calibration:
        """Of a checkpoint's `data.json`; older ones know the spread's factor alone."""
        factor, shift = stored.get("spread_factor"), stored.get("quantile_shift")
        return cls(
            None if factor is None else tuple(factor),
            None if shift is None else tuple(map(tuple, shift)),
            stored.get("temperature"),
        )


def nothing_learnt(n_targets: int, has_quantiles: bool) -> Calibration:
    """Predictions as the network gives them."""
    zeros = (0.0,) * len(LEVELS)
    return Calibration(quantile_shift=(zeros,) * n_targets if has_quantiles else None)


@dataclass(frozen=True)
class Held:
    """Predictions of held-out windows and what was observed, [N, O] (quantiles [N, O, Q]).

    Normalised with quantiles, else in the targets' units: a spread is judged where it is used. To
    widen a distribution of logarithms would raise its mean, and the prediction with it.
    """

    mean: NDArray[Any]
    target: NDArray[Any]
    scale: NDArray[Any] | None
    quantiles: NDArray[Any] | None


def held_out(
    model: nn.Module, windows: BatchSource, draws: list[Draw], warmup: int, samples: int,
    normaliser: Normaliser, names: Sequence[str],
) -> Held:  # fmt: skip
    """The network's predictions of the drawn windows, their warm-up left out."""
    parts: dict[str, list[Tensor]] = {}
    late = slice(warmup, None)
    with torch.inference_mode():
        for batch in windows.batches(draws):
            assert batch.target is not None
            prediction = sampled(model, batch, samples)
            of = {"mean": prediction.mean, "target": batch.target, "scale": prediction.scale,
                  "quantiles": prediction.quantiles}  # fmt: skip
            for name, values in of.items():
                if values is not None:
                    parts.setdefault(name, []).append(values[:, late].flatten(0, 1).cpu())
    joined = {name: torch.cat(values).double() for name, values in parts.items()}
    if "scale" in joined and "quantiles" not in joined:
        physical = normaliser.moments(joined["mean"], joined["scale"], names)
        joined["mean"], joined["scale"] = physical
        joined["target"] = normaliser.inverse(joined["target"], names).double()
    held = {name: values.numpy() for name, values in joined.items()}
    return Held(held["mean"], held["target"], held.get("scale"), held.get("quantiles"))


def calibrate(held: Held, task: str) -> Calibration:
    """The calibration of a network for its task."""
    if values_of(task) != "quantity":
        return Calibration(temperature=_temperature(held, task))
    if held.quantiles is not None:
        return Calibration(quantile_shift=_shifts(held.quantiles, held.target))
    if held.scale is None:
        return Calibration()
    return Calibration(spread_factor=spread_factors(held.mean, held.scale, held.target))


def spread_factors(
    mean: NDArray[Any], scale: NDArray[Any], target: NDArray[Any]
) -> tuple[float, ...] | None:
    """[O] by which scales [N, O] must grow for 90 % of the errors to lie within their 90 %
    interval; None with too few valid values.
    """
    factors = []
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.abs(mean - target) / scale
    for column in ratios.T:
        valid = column[np.isfinite(column)]
        if len(valid) < MIN_CALIBRATION:
            return None
        # A quantile, not the root mean square: a few gross errors must not widen every spread.
        factors.append(float(np.clip(np.quantile(valid, 0.9) / Z_90, *FACTORS)))
    return tuple(factors)


def _shifts(
    quantiles: NDArray[Any], target: NDArray[Any]
) -> tuple[tuple[float, ...], ...]:  # fmt: skip
    shifts = []
    for i in range(target.shape[1]):
        valid = np.isfinite(target[:, i]) & np.isfinite(quantiles[:, i]).all(-1)
        shift = np.zeros(len(LEVELS))
        if valid.sum() >= MIN_CALIBRATION:
            shift = conformal_shift(quantiles[valid, i], target[valid, i])
        shifts.append(tuple(shift.tolist()))
    return tuple(shifts)


def tempered(task: str, values: Any, temperature: float) -> Any:
    """Chances or shares [..., O] at a temperature: logarithms of odds, or of shares, divided by it
    (Guo et al. 2017). Arrays or tensors; 1 changes nothing, more makes them less sure.
    """
    is_tensor = isinstance(values, Tensor)
    tensor = values if is_tensor else torch.from_numpy(np.asarray(values, np.float64))
    sure = tensor.clamp(LEAST_SHARE, 1.0 - LEAST_SHARE)
    if values_of(task) == "probability":
        changed = (torch.logit(sure) / temperature).sigmoid()
    else:
        changed = (sure.log() / temperature).softmax(-1)
    return changed if is_tensor else changed.numpy()


def _temperature(held: Held, task: str) -> float | None:
    """The temperature of the least log loss; None with too few valid values."""
    valid = np.isfinite(held.target).all(-1) & np.isfinite(held.mean).all(-1)
    if valid.sum() < MIN_CALIBRATION:
        return None
    target, mean = held.target[valid], held.mean[valid]
    loss = _log_loss(task, target, mean)
    found = minimize_scalar(
        lambda power: loss(10.0**power), bounds=tuple(np.log10(FACTORS)), method="bounded"
    )
    return float(10.0**found.x)


def _log_loss(
    task: str, target: NDArray[Any], mean: NDArray[Any]
) -> Callable[[float], float]:  # fmt: skip
    kind = values_of(task)

    def loss(temperature: float) -> float:
        chance = np.clip(tempered(task, mean, temperature), LEAST_SHARE, 1.0 - LEAST_SHARE)
        right = target * np.log(chance)
        if kind == "probability":
            right = right + (1.0 - target) * np.log(1.0 - chance)
        return float(-right.sum(-1).mean())

    return loss
