"""What StefaLand is measured against, on the same fold and budget: from climatology to networks.

Every baseline is fitted on the training cells of a fold (`training_part`) and predicts physical
units. Downstream: the score stage. The LSTM and the network without pretraining run through
finetune.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stefaland.dataset import CellData
from stefaland.errors import bad_input
from stefaland.normalise import Normaliser, fit_scaling
from stefaland.splits import Fold
from stefaland.visible import training_part
from stefaland.windows import year_share

Array = NDArray[np.float64]
MEMORIES = (3, 7, 30, 90, 365)
"""Days (or steps) of the running means that ridge regression sees."""
PENALTIES = tuple(10.0**p for p in range(-6, 3))
CHUNK = 256


class Predictor(Protocol):
    """A fitted model: cells in, physical units out."""

    def predict(self, data: CellData) -> dict[str, NDArray[np.float32]]:
        """`mean` and `spread` [N, T, O] in physical units; NaN where there is no prediction."""


def _season(time: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """[T] month of the year, 0 to 11."""
    months = time.astype("datetime64[M]")
    return (months - months.astype("datetime64[Y]")).astype(np.int64)


@dataclass(frozen=True)
class Climatology:
    """Training mean of each time step; of each month where a step has no training value.

    A cell that trained itself (temporal folds) has its own monthly mean.
    """

    step_mean: Array
    """[T, O], NaN without training values."""
    step_spread: Array
    month_mean: Array
    """[12, O]."""
    month_spread: Array
    own: dict[int, Array]
    """Cell id → [12, O] for cells whose own past is known."""

    @classmethod
    def fit(cls, data: CellData, fold: Fold) -> Climatology:
        """From the fold's training cells and period."""
        train, _ = training_part(data, fold)
        assert train.target is not None
        values = train.target.numpy().astype(np.float64)
        months = _season(train.time)
        by_month = [values[:, months == m].reshape(-1, values.shape[-1]) for m in range(12)]
        own = {}
        if fold.kind == "temporal":
            means = np.stack([_mean(values[:, months == m], 1)[0] for m in range(12)], 1)
            own = dict(zip(train.cell.tolist(), means, strict=True))
        month = [_mean(v, 0) for v in by_month]
        return cls(
            *_mean(values, 0),
            np.stack([m for m, _ in month]), np.stack([s for _, s in month]), own,
        )  # fmt: skip

    def predict(self, data: CellData) -> dict[str, NDArray[np.float32]]:
        """The same series for every cell without a past of its own."""
        months = _season(data.time)
        same = len(self.step_mean) == len(data.time)
        mean, spread = self.month_mean[months], self.month_spread[months]
        if same:
            known = np.isfinite(self.step_mean)
            mean = np.where(known, self.step_mean, mean)
            spread = np.where(known, self.step_spread, spread)
        means = np.repeat(mean[None], len(data), 0)
        for i, cell in enumerate(data.cell.tolist()):
            if cell in self.own:
                past = self.own[cell][months]
                means[i] = np.where(np.isfinite(past), past, means[i])
        spreads = np.repeat(spread[None], len(data), 0)
        return {"mean": means.astype(np.float32), "spread": spreads.astype(np.float32)}


def _mean(values: Array, axis: int) -> tuple[Array, Array]:
    """Mean and standard deviation of the valid values; NaN without any."""
    valid = np.isfinite(values)
    count = valid.sum(axis)
    filled = np.where(valid, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count > 0, filled.sum(axis) / count, np.nan)
        deviation = np.where(valid, values - np.expand_dims(mean, axis), 0.0)
        return mean, np.sqrt(np.where(count > 0, (deviation**2).sum(axis) / count, np.nan))


def ridge_features(data: CellData, normaliser: Normaliser, cyclic: bool) -> Array:
    """[N, T, P]: forcings, their running means over the past, statics, seasons, one.

    Normalised; a missing value counts as the training mean, which is 0.
    """
    forcings = normaliser.forward(data.forcings, data.forcing_names).double().numpy()
    statics = normaliser.forward(data.statics, data.static_names).double().numpy()
    n, t = forcings.shape[:2]
    angle = 2 * np.pi * year_share(data.time).astype(np.float64)
    season = np.stack([np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)], -1)
    memories = [_running_mean(forcings, m, cyclic) for m in MEMORIES if m < t]
    if cyclic:
        memories.append(np.broadcast_to(_mean(forcings, 1)[0][:, None], forcings.shape))
    pieces = [
        forcings, *memories,
        np.broadcast_to(statics[:, None], (n, t, statics.shape[1])),
        np.broadcast_to(season, (n, t, 4)),
        np.ones((n, t, 1)),
    ]  # fmt: skip
    return np.nan_to_num(np.concatenate(pieces, -1), nan=0.0)


def _running_mean(values: Array, steps: int, cyclic: bool) -> Array:
    """Mean of the valid values of the last `steps` time steps, this one included."""
    valid = np.isfinite(values)
    totals = []
    for x in (np.where(valid, values, 0.0), valid.astype(np.float64)):
        padding = x[:, -(steps - 1) :] if cyclic else np.zeros_like(x[:, : steps - 1])
        summed = np.cumsum(np.concatenate([np.zeros_like(x[:, :1]), padding, x], 1), 1)
        totals.append(summed[:, steps:] - summed[:, :-steps])
    return np.where(totals[1] > 0.5, totals[0] / np.maximum(totals[1], 1.0), np.nan)


@dataclass(frozen=True)
class Ridge:
    """Ridge regression of the normalised target on `ridge_features`; penalty by validation."""

    weights: Array
    """[P, O]."""
    residual: Array
    """[O] standard deviation of validation residuals, normalised."""
    normaliser: Normaliser
    target_names: tuple[str, ...]
    cyclic: bool

    @classmethod
    def fit(
        cls, data: CellData, fold: Fold, normaliser: Normaliser, *, cyclic: bool = False
    ) -> Ridge:
        """From the fold's training cells; `normaliser` must know inputs and target.

        Where the target has a transform, the plain target is tried too: a linear law may suit
        either. Physical validation errors decide.
        """
        train, validation = training_part(data, fold)
        if not len(validation):
            validation = train
        best: tuple[float, Ridge] | None = None
        for candidate in _target_scalings(train, normaliser):
            gram, moment = _normal_equations(train, candidate, cyclic)
            for penalty in PENALTIES:
                shrink = penalty * np.trace(gram) / len(gram) * np.eye(len(gram))
                shrink[-1, -1] = 0.0
                weights = np.linalg.lstsq(gram + shrink, moment, rcond=None)[0]
                residual = _residual(validation, candidate, cyclic, weights)
                model = cls(weights, residual, candidate, data.target_names, cyclic)
                error = model._physical_error(validation)
                # A law in logarithms may run away on cells unlike the training cells.
                error = error if np.isfinite(error) else np.inf
                if best is None or error < best[0]:
                    best = error, model
        assert best is not None
        return best[1]

    def _physical_error(self, data: CellData) -> float:
        """Root mean square error, each target in units of its own standard deviation."""
        assert data.target is not None
        truth = data.target.double().numpy()
        gap = _mean((self.predict(data)["mean"] - truth).reshape(-1, truth.shape[-1]) ** 2, 0)[0]
        return float(np.sqrt(gap / _mean(truth.reshape(-1, truth.shape[-1]), 0)[1] ** 2).mean())

    def predict(self, data: CellData) -> dict[str, NDArray[np.float32]]:
        """Predictions of every cell; the spread is that of validation residuals."""
        means, spreads = [], []
        for part in _chunks(data):
            features = ridge_features(part, self.normaliser, self.cyclic)
            normal = torch.from_numpy(features @ self.weights)
            scale = torch.from_numpy(self.residual).expand_as(normal)
            mean, spread = self.normaliser.moments(normal, scale, self.target_names)
            with np.errstate(over="ignore"):
                means.append(mean.numpy().astype(np.float32))
                spreads.append(spread.numpy().astype(np.float32))
        return {"mean": np.concatenate(means), "spread": np.concatenate(spreads)}


def _chunks(data: CellData) -> Sequence[CellData]:
    size = max(1, CHUNK * 365 // max(len(data.time), 1))
    return [data.take(rows) for rows in torch.arange(len(data)).split(size)]


def _target(data: CellData, normaliser: Normaliser) -> Tensor:
    assert data.target is not None
    return normaliser.forward(data.target, data.target_names).double()


def _target_scalings(train: CellData, normaliser: Normaliser) -> list[Normaliser]:
    """The given scaling of the targets, and the plain one where that has a transform."""
    transformed = [n for n in train.target_names if normaliser.scalings[n].transform != "none"]
    if not transformed or train.target is None:
        return [normaliser]
    plain = {
        name: fit_scaling(train.target[..., train.target_names.index(name)], "none", name)
        for name in transformed
    }
    return [normaliser, Normaliser(plain).merged(normaliser)]


def _normal_equations(data: CellData, normaliser: Normaliser, cyclic: bool) -> tuple[Array, Array]:
    """X'X [P, P] and X'y [P, O], summed over chunks of cells and over valid targets."""
    gram: Any = 0.0
    moment: Any = 0.0
    for part in _chunks(data):
        features = ridge_features(part, normaliser, cyclic)
        target = _target(part, normaliser).numpy()
        valid = np.isfinite(target).all(-1)
        x, y = features[valid], target[valid]
        gram, moment = gram + x.T @ x, moment + x.T @ y
    if not np.any(gram):
        raise bad_input("training fold", "no valid target", "at least one")
    return gram, moment


def _residual(data: CellData, normaliser: Normaliser, cyclic: bool, weights: Array) -> Array:
    """[O] root mean square of the residuals."""
    total, count = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    for part in _chunks(data):
        gap = ridge_features(part, normaliser, cyclic) @ weights
        gap = gap - _target(part, normaliser).numpy()
        valid = np.isfinite(gap)
        total += (np.where(valid, gap, 0.0) ** 2).sum((0, 1))
        count += valid.sum((0, 1))
    return np.sqrt(total / np.maximum(count, 1.0))
