"""Regressions of the target on the features of the same day: ridge and gradient-boosted trees.

Both are fitted on the training cells alone. Settings are chosen by the error in physical units on
the validation cells; the spread is that of the residuals there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from pipeline.core.errors import bad_input
from stefaland.baselines.features import Array, DayFeatures, Features, mean_and_std
from stefaland.baselines.trees import BoostedTrees
from stefaland.config import TreeSettings
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser, fit_scaling
from stefaland.folds.split import Fold
from stefaland.folds.visible import training_days, training_part

State = tuple[dict[str, NDArray[Any]], dict[str, Any]]
"""Arrays by name, and plain values by name."""
PENALTIES = tuple(10.0**p for p in range(-6, 3))
CHUNK = 256
PATIENCE = 20
AS_USUAL = TreeSettings()
MAX_ROWS = 200_000
"""Largest number of cell-days to which trees are fitted; of more, a random sample is drawn to limit
memory."""


@dataclass(frozen=True)
class Regression(ABC):
    """A model from features to the normalised target, with a constant Gaussian spread."""

    features: Features
    """Features; their normaliser has statistics of the target too."""
    target_names: tuple[str, ...]
    residual: Array
    """Root mean square [O] of the validation residuals, normalised."""

    @abstractmethod
    def predict_normalised(self, data: CellData) -> Array:
        """Normalised predictions [N, T, O]."""

    def predict(self, data: CellData) -> dict[str, NDArray[np.float32]]:
        """Arrays `mean` and `spread` [N, T, O] of every cell, in physical units."""
        means, spreads = [], []
        for part in chunks(data):
            normal = torch.from_numpy(self.predict_normalised(part))
            scale = torch.from_numpy(self.residual).expand_as(normal)
            mean, spread = self.features.normaliser.moments(normal, scale, self.target_names)
            with np.errstate(over="ignore"):
                means.append(mean.numpy().astype(np.float32))
                spreads.append(spread.numpy().astype(np.float32))
        return {"mean": np.concatenate(means), "spread": np.concatenate(spreads)}

    def state(self) -> State:
        """What `from_state` makes the model of: arrays by name, and plain values."""
        kept = {
            "normaliser": self.features.normaliser.to_dict(), "targets": list(self.target_names),
            "mean_steps": list(self.features.mean_steps), "cyclic": self.features.cyclic,
        }  # fmt: skip
        return {"residual": self.residual, **self._fitted()}, kept

    @abstractmethod
    def _fitted(self) -> dict[str, NDArray[Any]]:
        """The fitted arrays by name."""

    @classmethod
    def from_state(cls, state: State, where: str) -> Self:
        """The model of a `state`; `InputError` where it is none."""
        arrays, kept = state
        features = Features(
            Normaliser.from_dict(kept["normaliser"], where),
            tuple(map(int, kept["mean_steps"])), bool(kept["cyclic"]),
        )  # fmt: skip
        fitted = {name: values for name, values in arrays.items() if name != "residual"}
        return cls._from_fitted(features, tuple(kept["targets"]), arrays["residual"], fitted, where)

    @classmethod
    @abstractmethod
    def _from_fitted(
        cls, features: Features, targets: tuple[str, ...], residual: Array,
        fitted: Mapping[str, NDArray[Any]], where: str,
    ) -> Self:  # fmt: skip
        """The model of its parts."""

    def validated(self, data: CellData) -> tuple[float, Self]:
        """Error on these cells (`physical_error`), and the model with their residual spread."""
        total, count = np.zeros(len(self.target_names)), np.zeros(len(self.target_names))
        for part in chunks(data):
            gap = self.predict_normalised(part) - normal_target(part, self.features.normaliser)
            valid = np.isfinite(gap)
            total += (np.where(valid, gap, 0.0) ** 2).sum((0, 1))
            count += valid.sum((0, 1))
        model = replace(self, residual=np.sqrt(total / np.maximum(count, 1.0)))
        return model.physical_error(data), model

    def physical_error(self, data: CellData) -> float:
        """Root mean square error, each target in units of its own standard deviation."""
        assert data.target is not None
        truth = data.target.double().numpy()
        truth = truth.reshape(-1, truth.shape[-1])
        gap = self.predict(data)["mean"].reshape(truth.shape) - truth
        error = float(np.sqrt(mean_and_std(gap**2, 0)[0] / mean_and_std(truth, 0)[1] ** 2).mean())
        # The inverse of a logarithm may overflow on cells unlike the training cells.
        return error if np.isfinite(error) else np.inf


@dataclass(frozen=True)
class Ridge(Regression):
    """Ridge regression; a missing input counts as the training mean.

    The penalty is the one of `PENALTIES` with the smallest validation error.
    """

    weights: Array
    """Weights [P + 1, O] of the features and, last, the intercept."""

    @classmethod
    def fit(
        cls, data: CellData, fold: Fold, normaliser: Normaliser, *, cyclic: bool = False
    ) -> Ridge:
        """Fit the weights to the fold's training cells.

        `normaliser` has statistics of inputs and target. Where it transforms the target, the
        untransformed target is tried too, and the better of both by validation error is returned.
        Raises `InputError` where no target is valid.
        """
        train, validation = _parts(data, fold)
        candidates = []
        for scaling in _target_scalings(train, normaliser):
            features = Features.for_table(train, scaling, cyclic)
            systems = _normal_equations(train, features)
            for penalty in PENALTIES:
                weights = np.concatenate([_solution(*system, penalty) for system in systems], 1)
                residual = np.zeros(weights.shape[1])
                model = cls(features, data.target_names, residual, weights)
                candidates.append(model.validated(validation))
        return min(candidates, key=lambda pair: pair[0])[1]

    def predict_normalised(self, data: CellData) -> Array:
        """Normalised predictions [N, T, O]."""
        predicted: Array = self.features.filled(data) @ self.weights
        return predicted

    def _fitted(self) -> dict[str, NDArray[Any]]:
        return {"weights": self.weights}

    @classmethod
    def _from_fitted(
        cls, features: Features, targets: tuple[str, ...], residual: Array,
        fitted: Mapping[str, NDArray[Any]], where: str,
    ) -> Ridge:  # fmt: skip
        return cls(features, targets, residual, fitted["weights"])


@dataclass(frozen=True)
class GradientBoosting(Regression):
    """Gradient-boosted trees (Friedman 2001; scikit-learn's histogram method), one per target.

    Missing inputs are sent to one side of each split. Trees are added until the validation loss
    stops falling.
    """

    trees: tuple[BoostedTrees, ...]

    @classmethod
    def fit(
        cls, data: CellData, fold: Fold, normaliser: Normaliser, *, cyclic: bool = False,
        seed: int = 0, embedding: DayFeatures | None = None,
        settings: TreeSettings = AS_USUAL,
    ) -> GradientBoosting:  # fmt: skip
        """Fit the trees to the fold's training cells, with the features of an `embedding` if given.

        `normaliser` has statistics of inputs and target. Where it transforms the target, the
        untransformed target is tried too, and the better of both by validation error is returned.
        Raises `InputError` where no target is valid.
        """
        # The windows of an encoder read days after the one that they embed.
        train, validation = _parts(data, fold, of_periods=embedding is not None)
        candidates = []
        for scaling in _target_scalings(train, normaliser):
            features = Features.for_table(train, scaling, cyclic, embedding)
            x, y = _samples(train, features, seed)
            held = None
            if validation is not train:
                held = _samples(validation, features, seed)
            trees = tuple(
                BoostedTrees.of(_boosted(x, y, held, column, seed, settings))
                for column in range(y.shape[1])
            )
            model = cls(features, data.target_names, np.zeros(y.shape[1]), trees)
            candidates.append(model.validated(validation))
        return min(candidates, key=lambda pair: pair[0])[1]

    def predict_normalised(self, data: CellData) -> Array:
        """Normalised predictions [N, T, O]."""
        x = self.features.compute(data)
        flat = x.reshape(-1, x.shape[-1])
        predicted = [tree.predict(flat).reshape(x.shape[:2]) for tree in self.trees]
        return np.stack(predicted, -1)

    def _fitted(self) -> dict[str, NDArray[Any]]:
        return {
            f"{i}.{name}": values
            for i, trees in enumerate(self.trees)
            for name, values in trees.arrays().items()
        }

    @classmethod
    def _from_fitted(
        cls, features: Features, targets: tuple[str, ...], residual: Array,
        fitted: Mapping[str, NDArray[Any]], where: str,
    ) -> GradientBoosting:  # fmt: skip
        parts: list[dict[str, NDArray[Any]]] = [{} for _ in targets]
        for name, values in fitted.items():
            number, _, key = name.partition(".")
            parts[int(number)][key] = values
        trees = tuple(BoostedTrees.from_arrays(part, where) for part in parts)
        return cls(features, targets, residual, trees)


def _boosted(
    x: Array,
    y: Array,
    held: tuple[Array, Array] | None,
    column: int,
    seed: int,
    settings: TreeSettings,
) -> HistGradientBoostingRegressor:
    """Trees for one column of the target, with early stopping where there are `held` samples."""
    known = np.isfinite(y[:, column])
    if not known.any():
        raise bad_input("training fold", "no valid target", "at least one")
    model = HistGradientBoostingRegressor(
        max_iter=settings.count, learning_rate=settings.lr, max_leaf_nodes=settings.leaves,
        min_samples_leaf=settings.min_samples, l2_regularization=settings.l2,
        early_stopping=held is not None, n_iter_no_change=PATIENCE, random_state=seed,
    )  # fmt: skip
    if held is None:
        return model.fit(x[known], y[known, column])
    late = np.isfinite(held[1][:, column])
    return model.fit(
        x[known], y[known, column], X_val=held[0][late], y_val=held[1][late, column]
    )  # fmt: skip


def _samples(data: CellData, features: Features, seed: int) -> tuple[Array, Array]:
    """Features [n, P] and targets [n, O] of about `MAX_ROWS` cell-days with a target at most."""
    assert data.target is not None
    known = ~data.target.isnan().all(-1)
    fraction = min(1.0, MAX_ROWS / max(int(known.sum()), 1))
    rng = np.random.default_rng((seed, 0xB005))
    xs, ys = [], []
    for part in chunks(data):
        target = normal_target(part, features.normaliser)
        taken = np.isfinite(target).any(-1) & (rng.random(target.shape[:2]) < fraction)
        xs.append(features.compute(part)[taken])
        ys.append(target[taken])
    return np.concatenate(xs), np.concatenate(ys)


def chunks(data: CellData) -> Sequence[CellData]:
    """The table in parts whose features fit in memory."""
    size = max(1, CHUNK * 365 // max(len(data.time), 1))
    return [data.take(rows) for rows in torch.arange(len(data)).split(size)]


def normal_target(data: CellData, normaliser: Normaliser) -> Array:
    """Normalised target [N, T, O]."""
    assert data.target is not None
    return normaliser.forward(data.target, data.target_names).double().numpy()


def _parts(data: CellData, fold: Fold, of_periods: bool = False) -> tuple[CellData, CellData]:
    """Training and validation cells, without the days outside their periods if `of_periods`.

    They are the training cells twice where none validate.
    """
    train, validation = (training_days if of_periods else training_part)(data, fold)
    return train, validation if len(validation) else train


def _target_scalings(train: CellData, normaliser: Normaliser) -> list[Normaliser]:
    """The normaliser, and where it transforms a target one with untransformed targets."""
    transformed = [n for n in train.target_names if normaliser.scalings[n].transform != "none"]
    if not transformed or train.target is None:
        return [normaliser]
    plain = {
        name: fit_scaling(train.target[..., train.target_names.index(name)], "none", name)
        for name in transformed
    }
    return [normaliser, Normaliser(plain).merged(normaliser)]


def _normal_equations(data: CellData, features: Features) -> list[tuple[Array, Array]]:
    """Matrices X'X [P, P] and X'y [P, O], summed over chunks of cells and over valid targets.

    One pair has all targets where they are missing together, else each target has its own.
    """
    assert data.target is not None
    known, size = ~data.target.isnan(), len(data.target_names)
    together = bool((known.all(-1) == known.any(-1)).all())
    columns = [slice(0, size)] if together else [slice(i, i + 1) for i in range(size)]
    grams: list[Any] = [0.0] * len(columns)
    moments: list[Any] = [0.0] * len(columns)
    for part in chunks(data):
        target, features_of_part = normal_target(part, features.normaliser), features.filled(part)
        for i, column in enumerate(columns):
            valid = np.isfinite(target[..., column]).all(-1)
            x, y = features_of_part[valid], target[..., column][valid]
            grams[i], moments[i] = grams[i] + x.T @ x, moments[i] + x.T @ y
    if not all(np.any(gram) for gram in grams):
        raise bad_input("training fold", "no valid target", "at least one")
    return list(zip(grams, moments, strict=True))


def _solution(gram: Array, moment: Array, penalty: float) -> Array:
    """Weights [P, O] of a ridge regression; the intercept, the last row, is not shrunk."""
    shrink = penalty * np.trace(gram) / len(gram) * np.eye(len(gram))
    shrink[-1, -1] = 0.0
    weights: Array = np.linalg.lstsq(gram + shrink, moment, rcond=None)[0]
    return weights
