"""Features of the regressions: a day's forcings, their running means, the statics, the season."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser
from stefaland.data.windows import year_fraction

Array = NDArray[np.float64]
MEAN_STEPS = (3, 7, 30, 90, 365)
"""Lengths of the running means in time steps (days in daily data)."""


class DayFeatures(Protocol):
    """Features of each cell and time step that another model computes, such as an embedding."""

    def compute(self, data: CellData) -> Array:
        """Features [N, T, K]; NaN where there are none."""


@dataclass(frozen=True)
class Features:
    """Features of each cell and time step; the same ones for series of any length."""

    normaliser: Normaliser
    mean_steps: tuple[int, ...]
    """Lengths of the running means in time steps."""
    cyclic: bool
    """The time axis is periodic: running means wrap around, and the mean of the whole series is a
    feature too."""
    embedding: DayFeatures | None = None
    """Features that are added to the others."""

    @classmethod
    def for_table(
        cls, data: CellData, normaliser: Normaliser, cyclic: bool,
        embedding: DayFeatures | None = None,
    ) -> Features:  # fmt: skip
        """The features whose running means are shorter than the series of the training table."""
        steps = tuple(m for m in MEAN_STEPS if m < len(data.time))
        return cls(normaliser, steps, cyclic, embedding)

    def compute(self, data: CellData) -> Array:
        """Features [N, T, P]: forcings, their running means, statics, two harmonics of the year,
        and the embedding if there is one.

        Normalised; NaN where a value is missing, or all values of a running mean are.
        """
        forcings = self.normaliser.forward(data.forcings, data.forcing_names).double().numpy()
        statics = self.normaliser.forward(data.statics, data.static_names).double().numpy()
        n, t = forcings.shape[:2]
        angle = 2 * np.pi * year_fraction(data.time).astype(np.float64)
        season = np.stack([np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)], -1)
        means = [running_mean(forcings, steps, self.cyclic) for steps in self.mean_steps]
        if self.cyclic:
            means.append(np.broadcast_to(mean_and_std(forcings, 1)[0][:, None], forcings.shape))
        pieces = [
            forcings, *means,
            np.broadcast_to(statics[:, None], (n, t, statics.shape[1])),
            np.broadcast_to(season, (n, t, 4)),
        ]  # fmt: skip
        if self.embedding is not None:
            pieces.append(self.embedding.compute(data))
        return np.concatenate(pieces, -1)

    def filled(self, data: CellData) -> Array:
        """Features [N, T, P + 1] with missing values set to 0, the training mean, and a column of
        ones.
        """
        known = np.nan_to_num(self.compute(data), nan=0.0)
        return np.concatenate([known, np.ones((*known.shape[:2], 1))], -1)


def running_mean(values: Array, steps: int, cyclic: bool) -> Array:
    """Mean [N, T, F] of the valid values of the last `steps` time steps, the present one included.

    At the start of a series that is not `cyclic` the mean is over fewer steps.
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
    """Mean and standard deviation of the valid values along `axis`; NaN where none is valid."""
    valid = np.isfinite(values)
    count = valid.sum(axis)
    filled = np.where(valid, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count > 0, filled.sum(axis) / count, np.nan)
        deviation = np.where(valid, values - np.expand_dims(mean, axis), 0.0)
        return mean, np.sqrt(np.where(count > 0, (deviation**2).sum(axis) / count, np.nan))
