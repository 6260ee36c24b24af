"""Persistence: the last observed value of a site as the forecast one step ahead.

It is the only baseline that reads observations of the test period: those before the day that it
predicts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.errors import bad_input
from stefaland.baselines.features import Array
from stefaland.data.cell_data import CellData
from stefaland.folds.split import Fold
from stefaland.folds.visible import visible_part


@dataclass(frozen=True)
class Persistence:
    """The last observed value of the same site before each day; NaN where there is none."""

    cell: NDArray[np.int64]
    """Ids [n] of the sites with earlier observations, sorted."""
    last: Array
    """Last value [n, O] of each site in the training and validation periods."""
    when: NDArray[np.datetime64]
    """Time [n, O] of that value; NaT where there is none."""
    spread: Array
    """Root mean square error [n, O] of persistence within those periods."""
    spread_of_all: Array
    """Root mean square error [O] over all sites, for sites without earlier observations."""

    @classmethod
    def fit(cls, data: CellData, fold: Fold) -> Persistence:
        """Fit persistence to the training and validation periods of a fold of kind `time`.

        Raises `InputError` for other kinds, whose test sites have no earlier observations.
        """
        if fold.kind != "time":
            raise bad_input(
                "baseline persistence", f"a fold of kind {fold.kind}",
                "kind time: a held-out site has no earlier observations",
                "Take persistence out of finetune.baselines, or set folds.kind to time.",
            )  # fmt: skip
        seen, _, _ = visible_part(data, fold)
        seen = seen.take(torch.argsort(seen.cell))
        values = _target(seen)
        last_step = _last_valid(values)[:, -1]
        last = np.take_along_axis(values, last_step.clip(min=0)[:, None], 1)[:, 0]
        last = np.where(last_step >= 0, last, np.nan)
        when = np.where(last_step >= 0, seen.time[last_step.clip(min=0)], np.datetime64("NaT"))
        gap = values - before(values, np.full_like(last, np.nan))
        valid = np.isfinite(gap)
        square = np.where(valid, gap, 0.0) ** 2
        with np.errstate(invalid="ignore"):
            spread = np.sqrt(square.sum(1) / valid.sum(1))
            of_all = np.sqrt(square.sum((0, 1)) / valid.sum((0, 1)))
        spread = np.where(np.isfinite(spread), spread, of_all)
        return cls(seen.cell.numpy(), last, when, spread, of_all)

    def predict(self, data: CellData) -> dict[str, NDArray[np.float32]]:
        """Arrays `mean` and `spread` [N, T, O]; without a target in `data` the last value of the
        fitted periods stays.
        """
        cells = data.cell.numpy()
        row = np.searchsorted(self.cell, cells).clip(max=len(self.cell) - 1)
        known = (self.cell[row] == cells)[:, None]
        start = np.where(known & (self.when[row] < data.time[0]), self.last[row], np.nan)
        if data.target is None:
            mean = np.repeat(start[:, None], len(data.time), 1)
        else:
            mean = before(_target(data), start)
        wide = np.where(known, self.spread[row], self.spread_of_all)[:, None]
        spread = np.where(np.isfinite(mean), wide, np.nan)
        return {"mean": mean.astype(np.float32), "spread": spread.astype(np.float32)}


def before(values: Array, start: Array) -> Array:
    """The last valid value [N, T, O] before each step; `start` [N, O] where there is none."""
    last_step = _last_valid(values)[:, :-1]
    last_step = np.concatenate([np.full_like(last_step[:, :1], -1), last_step], 1)
    last = np.take_along_axis(values, last_step.clip(min=0), 1)
    return np.where(last_step >= 0, last, start[:, None])


def _last_valid(values: Array) -> NDArray[np.int64]:
    """Index [N, T, O] of the last valid step up to and including each step; -1 where none is."""
    steps = np.arange(values.shape[1])[None, :, None]
    return np.maximum.accumulate(np.where(np.isfinite(values), steps, -1), axis=1)


def _target(data: CellData) -> Array:
    assert data.target is not None
    return data.target.double().numpy()
