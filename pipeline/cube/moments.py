"""Additive moments of variables, computed for parts of the data and merged.

The stage `stats` computes them from the training fold alone, for normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Moments:
    """Count, mean, sum of squared deviations `m2`, minimum and maximum; float64, of one shape.

    Where nothing was counted the mean is 0, `m2` is 0, and the extremes are infinite.
    """

    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray

    @property
    def variance(self) -> np.ndarray:
        """Population variance; NaN where nothing was counted."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.count > 0, self.m2 / self.count, np.nan)

    @property
    def std(self) -> np.ndarray:
        """Population standard deviation; NaN where nothing was counted."""
        return np.sqrt(self.variance)

    def to_dict(self) -> dict[str, Any]:
        """The moments as plain lists or numbers for JSON; extremes without values are None."""
        return {
            "count": self.count.tolist(),
            "mean": self.mean.tolist(),
            "m2": self.m2.tolist(),
            "min": _finite_or_none(self.minimum.tolist()),
            "max": _finite_or_none(self.maximum.tolist()),
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Moments:
        """The moments from the result of `to_dict`."""
        low, high = _none_to(entry["min"], math.inf), _none_to(entry["max"], -math.inf)
        values = (entry["count"], entry["mean"], entry["m2"], low, high)
        return cls(*(np.asarray(value, dtype=np.float64) for value in values))


def _finite_or_none(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite_or_none(item) for item in value]
    return value if math.isfinite(value) else None


def _none_to(value: Any, default: float) -> Any:
    if isinstance(value, list):
        return [_none_to(item, default) for item in value]
    return default if value is None else value


def accumulate(
    values: ArrayLike, axis: int | tuple[int, ...] | None = None, where: ArrayLike | None = None
) -> Moments:
    """Moments over `axis` (all axes by default) of the values that are not NaN, in float64.

    `where` (broadcast) limits the count to the cells and times of the training fold. An infinite
    value counts as it is, and makes the moments infinite.
    """
    array = np.asarray(values)
    valid = ~np.isnan(array)
    if where is not None:
        valid = valid & np.broadcast_to(np.asarray(where, dtype=bool), array.shape)
    count = valid.sum(axis=axis, dtype=np.float64)
    total = np.sum(array, axis=axis, dtype=np.float64, where=valid)
    mean = np.divide(total, count, out=np.zeros_like(count), where=count > 0)
    centred = np.where(valid, array, np.nan) - (
        mean if axis is None else np.expand_dims(mean, axis)
    )
    # The second pass corrects the mean's rounding, so that m2 keeps its digits (Chan et al. 1983).
    m2 = np.sum(centred**2, axis=axis, where=valid)
    drift = np.sum(centred, axis=axis, where=valid)
    m2 = m2 - np.divide(drift**2, count, out=np.zeros_like(count), where=count > 0)
    low = np.min(array, axis=axis, initial=math.inf, where=valid).astype(np.float64)
    high = np.max(array, axis=axis, initial=-math.inf, where=valid).astype(np.float64)
    return Moments(count, mean, np.maximum(m2, 0.0), low, high)


def merge(first: Moments, second: Moments) -> Moments:
    """Moments of both parts together (Chan et al. 1983)."""
    count = first.count + second.count
    delta = second.mean - first.mean
    fraction = np.divide(second.count, count, out=np.zeros_like(count), where=count > 0)
    mean = np.where(first.count == 0, second.mean, first.mean + delta * fraction)
    m2 = first.m2 + second.m2 + delta**2 * first.count * fraction
    low, high = np.minimum(first.minimum, second.minimum), np.maximum(first.maximum, second.maximum)
    return Moments(count, mean, m2, low, high)


def merge_all(parts: Iterable[Moments]) -> Moments:
    """Moments of all parts, merged in their order: the same order yields the same bits."""
    return reduce(merge, parts)
