"""What a regression sees of a day: the forcings, their recent means, the statics, the season.

Upstream: dataset.py. Downstream: regression.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.data.windows import year_share

Array = NDArray[np.float64]
MEMORIES = (3, 7, 30, 90, 365)
"""Days (or steps) of the running means that are tried."""


@dataclass(frozen=True)
class Aggregates:
    """The features of a cell-day, the same ones for any length of series."""

    normaliser: Normaliser
    memories: tuple[int, ...]
    """Steps of the running means."""
    cyclic: bool
    """The time axis goes round, and so do the means; the mean of the whole series is a feature."""

    @classmethod
    def suited(cls, data: CellData, normaliser: Normaliser, cyclic: bool) -> Aggregates:
        """Those whose running means are shorter than the series of the training table."""
        return cls(normaliser, tuple(m for m in MEMORIES if m < len(data.time)), cyclic)

    def of(self, data: CellData) -> Array:
        """[N, T, P]: forcings, their running means, statics, two harmonics of the year.

        Normalised; NaN where a value, or all of a mean's, is missing.
        """
        forcings = self.normaliser.forward(data.forcings, data.forcing_names).double().numpy()
        statics = self.normaliser.forward(data.statics, data.static_names).double().numpy()
        n, t = forcings.shape[:2]
        angle = 2 * np.pi * year_share(data.time).astype(np.float64)
        season = np.stack([np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)], -1)
        means = [running_mean(forcings, steps, self.cyclic) for steps in self.memories]
        if self.cyclic:
            means.append(np.broadcast_to(mean_and_std(forcings, 1)[0][:, None], forcings.shape))
        pieces = [
            forcings, *means,
            np.broadcast_to(statics[:, None], (n, t, statics.shape[1])),
            np.broadcast_to(season, (n, t, 4)),
        ]  # fmt: skip
        return np.concatenate(pieces, -1)

    def filled(self, data: CellData) -> Array:
        """[N, T, P + 1]: with 0, the training mean, for what is missing; and a column of ones."""
        known = np.nan_to_num(self.of(data), nan=0.0)
        return np.concatenate([known, np.ones((*known.shape[:2], 1))], -1)


def running_mean(values: Array, steps: int, cyclic: bool) -> Array:
    """[N, T, F] mean of the valid values of the last `steps` time steps, this one included.

    A series that does not go round has fewer steps at its start.
    """
    n, t, f = values.shape
    valid = np.isfinite(values)
    totals = []
    for x in (np.where(valid, values, 0.0), valid.astype(np.float64)):
        past = x[:, np.arange(1 - steps, 0) % t] if cyclic else np.zeros((n, steps - 1, f))
        summed = np.cumsum(np.concatenate([np.zeros((n, 1, f)), past, x], 1), 1)
        totals.append(summed[:, steps:] - summed[:, :-steps])
    return np.where(totals[1] > 0.5, totals[0] / np.maximum(totals[1], 1.0), np.nan)


def mean_and_std(values: Array, axis: int) -> tuple[Array, Array]:
    """Mean and standard deviation of the valid values; NaN without any."""
    valid = np.isfinite(values)
    count = valid.sum(axis)
    filled = np.where(valid, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count > 0, filled.sum(axis) / count, np.nan)
        deviation = np.where(valid, values - np.expand_dims(mean, axis), 0.0)
        return mean, np.sqrt(np.where(count > 0, (deviation**2).sum(axis) / count, np.nan))
