"""Calibration of predictive distributions from validation cells: spreads, quantiles, probabilities.

It is learnt after training from held-out windows, stored in the checkpoint's `data.json`, and
applied to every prediction (`distribution.py`).
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
from stefaland.model.losses import MIN_PROBABILITY
from stefaland.model.mc_dropout import sampled
from stefaland.model.quantiles import LEVELS, conformal_shift
from stefaland.tasks import values_of

MIN_CALIBRATION = 30
"""Number of valid validation values below which predictions are not calibrated."""
FACTORS = (0.1, 10.0)
"""Smallest and largest factor of a spread, and temperature."""


@dataclass(frozen=True)
class Calibration:
    """Changes of predictions; None where one does not apply or could not be learnt."""

    spread_factor: tuple[float, ...] | None = None
    """Factors [O] of the spreads in the targets' units."""
    quantile_shift: tuple[tuple[float, ...], ...] | None = None
    """Shifts [O][Q] added to normalised quantiles; zeros where there were too few values, None for
    networks without quantiles."""
    temperature: float | None = None
    """Divisor of the logarithms of odds (probabilities) or of fractions (compositions)."""

    def to_dict(self) -> dict[str, Any]:
        """The calibration as plain values for JSON."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Calibration:
        """The calibration in a checkpoint's `data.json`; older files hold `spread_factor` only."""
        factor, shift = stored.get("spread_factor"), stored.get("quantile_shift")
        return cls(
            None if factor is None else tuple(factor),
            None if shift is None else tuple(map(tuple, shift)),
            stored.get("temperature"),
        )


def identity_calibration(n_targets: int, has_quantiles: bool) -> Calibration:
    """The calibration that changes no prediction."""
    zeros = (0.0,) * len(LEVELS)
    return Calibration(quantile_shift=(zeros,) * n_targets if has_quantiles else None)


@dataclass(frozen=True)
class HeldOutPredictions:
    """Predictions of held-out windows and observed values, [N, O] (quantiles [N, O, Q]).

    They are normalised if there are quantiles, else in the targets' units, in which the spread is
    used: to widen a distribution of logarithms would raise its mean, and so the prediction.
    """

    mean: NDArray[Any]
    target: NDArray[Any]
    scale: NDArray[Any] | None
    quantiles: NDArray[Any] | None


def predict_held_out(
    model: nn.Module, windows: BatchSource, draws: list[Draw], warmup: int, samples: int,
    normaliser: Normaliser, names: Sequence[str],
) -> HeldOutPredictions:  # fmt: skip
    """Predictions of the drawn windows without their first `warmup` steps."""
    parts: dict[str, list[Tensor]] = {}
    late = slice(warmup, None)
    with torch.inference_mode():
        for batch in windows.batches(draws):
            assert batch.target is not None
            prediction = sampled(model, batch, samples)
            by_name = {"mean": prediction.mean, "target": batch.target, "scale": prediction.scale,
                  "quantiles": prediction.quantiles}  # fmt: skip
            for name, values in by_name.items():
                if values is not None:
                    parts.setdefault(name, []).append(values[:, late].flatten(0, 1).cpu())
    joined = {name: torch.cat(values).double() for name, values in parts.items()}
    if "scale" in joined and "quantiles" not in joined:
        physical = normaliser.moments(joined["mean"], joined["scale"], names)
        joined["mean"], joined["scale"] = physical
        joined["target"] = normaliser.inverse(joined["target"], names).double()
    held = {name: values.numpy() for name, values in joined.items()}
    return HeldOutPredictions(
        held["mean"], held["target"], held.get("scale"), held.get("quantiles")
    )


def calibrate(held: HeldOutPredictions, task: str) -> Calibration:
    """The calibration of a network for its task, learnt from held-out predictions."""
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
    """Factors [O] of the spreads `scale` [N, O] with which 90 % of the errors lie within their 90 %
    interval; 1 for a target with too few valid values, and None where all have too few.
    """
    factors: list[float | None] = []
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.abs(mean - target) / scale
    for column in ratios.T:
        valid = column[np.isfinite(column)]
        if len(valid) < MIN_CALIBRATION:
            factors.append(None)
            continue
        # A quantile, not the root mean square, so that a few large errors do not widen all spreads.
        factors.append(float(np.clip(np.quantile(valid, 0.9) / Z_90, *FACTORS)))
    if not any(factors):
        return None
    return tuple(factor or 1.0 for factor in factors)


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
    """Probabilities or compositions [..., O] at a temperature (Guo et al. 2017).

    Arrays or tensors whose logarithms of odds, or of fractions, are divided by it: 1 changes
    nothing, and higher temperatures make predictions less certain.
    """
    is_tensor = isinstance(values, Tensor)
    tensor = values if is_tensor else torch.from_numpy(np.asarray(values, np.float64))
    clamped = tensor.clamp(MIN_PROBABILITY, 1.0 - MIN_PROBABILITY)
    if values_of(task) == "probability":
        changed = (torch.logit(clamped) / temperature).sigmoid()
    else:
        changed = (clamped.log() / temperature).softmax(-1)
    return changed if is_tensor else changed.numpy()


def _temperature(held: HeldOutPredictions, task: str) -> float | None:
    """The temperature with the smallest log loss; None with too few valid values."""
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
        probability = np.clip(
            tempered(task, mean, temperature), MIN_PROBABILITY, 1.0 - MIN_PROBABILITY
        )
        right = target * np.log(probability)
        if kind == "probability":
            right = right + (1.0 - target) * np.log(1.0 - probability)
        return float(-right.sum(-1).mean())

    return loss
