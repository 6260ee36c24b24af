"""Stacks: several models of a fold as one, with weights from validation cells (Wolpert 1992).

The weights are at least 0 and sum to 1 (Breiman 1996), so that a stack never leaves the range of
its models, and a composition stays one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import nnls

from pipeline.core.errors import LIBRARY_ERRORS, bad_input
from pipeline.core.files import write_text
from pipeline.core.settings import validated
from pipeline.core.untrusted.safe_json import parse_json
from pipeline.core.written.names import PathName
from stefaland.prediction.calibration import (
    Calibration,
    HeldOutPredictions,
    calibrate,
    tempered,
)
from stefaland.tasks import TaskName, values_of

Array = NDArray[np.float64]
Moments = tuple[Array, Array]
"""Mean and standard deviation; NaN is missing."""
STACK = "stack.json"
"""Name of the file with the weights and the calibration of a stack."""
PARTS = 5
"""Number of parts of the validation cells; each is predicted with weights from the others."""
FLOOR = 0.1
"""Smallest unit of a cell's errors, as a fraction of the standard deviation of all observations."""


@dataclass(frozen=True)
class Stack:
    """A mixture of models with unequal weights, calibrated as a whole."""

    models: tuple[str, ...]
    weights: tuple[float, ...]
    """Weights of the models, at least 0 with sum 1."""
    task: str = "regression"
    calibration: Calibration = field(default_factory=Calibration)

    @property
    def used(self) -> Stack:
        """The stack of the models with a weight above 0, which predicts the same."""
        kept = [pair for pair in zip(self.models, self.weights, strict=True) if pair[1] > 0]
        models, weights = zip(*kept, strict=True)
        return replace(self, models=models, weights=weights)

    def predict(self, mean: Array, spread: Array) -> Moments:
        """Calibrated mean and spread [...] of those of the models, [M, ...] in physical units."""
        return self._calibrated(*self.mixture(mean, spread))

    def mixture(self, mean: Array, spread: Array) -> Moments:
        """Mean and spread [...] without calibration; NaN where a model with weight has no mean.

        The variance is that within models and that between them; models without any spread count
        for the latter alone, and a single one leaves it unknown.
        """
        used = np.flatnonzero(np.array(self.weights) > 0)
        weights = np.array(self.weights)[used]
        mean, spread = mean[used], spread[used]
        whole = np.tensordot(weights, mean, 1)
        variance = np.tensordot(weights, (mean - whole) ** 2, 1)
        known = ~np.isnan(spread).reshape(len(used), -1).all(1)
        if known.any():
            within = np.tensordot(weights[known], spread[known] ** 2, 1)
            variance = variance + within / weights[known].sum()
        elif len(used) == 1:
            variance = np.full_like(whole, np.nan)
        return whole, np.sqrt(variance)

    def save(self, folder: Path) -> Path:
        """Write the stack as JSON, whole or not at all; returns the path."""
        stored: dict[str, Any] = {
            "models": self.models, "weights": self.weights, "task": self.task
        }  # fmt: skip
        learnt = self.calibration
        stored |= {"spread_factor": learnt.spread_factor, "temperature": learnt.temperature}
        write_text(folder / STACK, json.dumps(stored, indent=2))
        return folder / STACK

    def _calibrated(self, mean: Array, spread: Array) -> Moments:
        learnt = self.calibration
        if learnt.temperature is not None:
            mean = tempered(self.task, mean, learnt.temperature)
        if learnt.spread_factor is not None:
            factors = learnt.spread_factor
            spread = spread * (factors[0] if len(factors) == 1 else np.array(factors))
        return mean, spread


class _Stored(BaseModel):
    """The content of the file of a stack."""

    model_config = ConfigDict(extra="forbid")

    models: Annotated[tuple[PathName, ...], Field(min_length=1)]
    weights: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    task: TaskName
    spread_factor: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] | None
    temperature: Annotated[float, Field(gt=0)] | None


def load_stack(folder: str | Path) -> Stack:
    """The stack that is kept in a folder; `InputError` where there is none, or a damaged one."""
    path = Path(folder) / STACK
    try:
        known = validated(_Stored, parse_json(path.read_bytes()), str(path))
    except LIBRARY_ERRORS as error:
        raise bad_input(
            str(path), f"{type(error).__name__}: {error}", "the weights of a stack",
            "In a run, `stefaland run CONFIG --verify` makes it again.",
        ) from None  # fmt: skip
    if len(known.weights) != len(known.models) or not np.isclose(sum(known.weights), 1.0):
        raise bad_input(f"{path}: weights", str(known.weights), "one of each model, with sum 1")
    learnt = Calibration(known.spread_factor, None, known.temperature)
    return Stack(known.models, known.weights, known.task, learnt)


def fit_stack(
    models: Sequence[str], mean: Array, spread: Array, observed: Array, task: str = "regression"
) -> tuple[Stack, Moments]:
    """The stack of M models, and its own predictions [N, K] of the N validation cells.

    `mean` and `spread` [M, N, K] are the models' predictions of these cells, K time steps or parts
    of a static target, and `observed` [N, K] their observations; several quantities add a last
    axis. The weights minimise the squared error; that of a quantity is in units of the standard
    deviation of each cell's observations, so that cells with large values do not decide alone, and
    several quantities count alike. Without observations the weights are equal.
    The stack's predictions of each part of the cells have weights from the others, as calibration
    and a comparison with other models need them.

    >>> rng = np.random.default_rng(0)
    >>> observed = rng.normal(size=(20, 50))
    >>> mean = observed + np.array([0.1, 0.3])[:, None, None] * rng.normal(size=(2, 20, 50))
    >>> stack, _ = fit_stack(["good", "bad"], mean, np.full_like(mean, np.nan), observed)
    >>> [round(weight, 1) for weight in stack.weights]
    [0.9, 0.1]
    """
    is_quantity = values_of(task) == "quantity"
    errors = (mean - observed) / (_units(observed) if is_quantity else 1.0)

    def of_cells(cells: NDArray[Any]) -> Stack:
        return Stack(tuple(models), simplex_weights(errors[:, cells]), task)

    number = np.arange(len(observed))
    own = np.full((2, *observed.shape), np.nan)
    for part in np.unique(number % PARTS):
        here = number % PARTS == part
        others = of_cells(~here if not here.all() else here)
        own[:, here] = others.mixture(mean[:, here], spread[:, here])
    size = observed.shape[2] if observed.ndim == 3 else 1
    columns = [values.reshape(-1, size) if is_quantity else values for values in (*own, observed)]
    scale = columns[1] if is_quantity and not np.isnan(columns[1]).all() else None
    learnt = calibrate(HeldOutPredictions(columns[0], columns[2], scale, None), task)
    stack = replace(of_cells(number), calibration=learnt)
    return stack, stack._calibrated(*own)


def simplex_weights(errors: Array) -> tuple[float, ...]:
    """The weights [M], at least 0 with sum 1, of the smallest mean square of the weighted errors.

    `errors` are [M, ...]; only where all models have one do they count. Weights are equal where
    none does.
    """
    count = len(errors)
    rows = errors.reshape(count, -1).T
    rows = rows[np.isfinite(rows).all(1)]
    if not len(rows):
        return (1.0 / count,) * count
    gram = rows.T @ rows
    scale = np.trace(gram) / count or 1.0
    # Of all u >= 0, |root u|^2 + (sum(u) - 1)^2 is smallest where u / sum(u) is the solution.
    values, axes = np.linalg.eigh(gram / scale)
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * axes.T
    found, _ = nnls(np.vstack([root, np.ones(count)]), np.append(np.zeros(count), 1.0))
    return tuple((found / found.sum()).tolist())


def _units(observed: Array) -> Array:
    """Standard deviation [N, 1] of each cell's observations, not below `FLOOR` of that of all.

    Those of several quantities [N, K, O] are [N, 1, O], times the root of their number of values.
    """
    if observed.ndim == 3:
        series = list(np.moveaxis(observed, -1, 0))
        return np.stack(
            [_units(one) * np.sqrt(max(np.isfinite(one).sum(), 1)) for one in series], -1
        )
    known = np.isfinite(observed)
    whole = observed[known].std() if known.any() else 0.0
    each = np.array([row[ok].std() if ok.any() else 0.0
                     for row, ok in zip(observed, known, strict=True)])  # fmt: skip
    return np.maximum(each, FLOOR * whole or 1.0)[:, None]
