"""Persistence: the value that a site had last; the forecast of one step ahead to be beaten.

Downstream: registry.py. Alone among the baselines it reads observations of the test period, those
before the day it predicts; no other model knows them.
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
    """Last observed value of the same site before the day; NaN where there is none."""

    cell: NDArray[np.int64]
    """[n] sites with a past, sorted."""
    last: Array
    """[n, O] their last value in the training and validation periods."""
    when: NDArray[np.datetime64]
    """[n, O] its time; NaT without one."""
    spread: Array
    """[n, O] root mean square error of the same rule within those periods."""
    spread_of_all: Array
    """[O] the same over all sites, for those without a past."""

    @classmethod
    def fit(cls, data: CellData, fold: Fold) -> Persistence:
        """From a fold of kind `time`; `InputError` for another, whose tested sites have no past."""
        if fold.kind != "time":
            raise bad_input(
                "baseline persistence", f"a fold of kind {fold.kind}",
                "kind time: a held-out site has no past",
                "Take persistence out of finetune.baselines, or set folds.kind to time.",
            )  # fmt: skip
        seen, _, _ = visible_part(data, fold)
        seen = seen.take(torch.argsort(seen.cell))
        values = _target(seen)
        place = _last_valid(values)[:, -1]
        last = np.take_along_axis(values, place.clip(min=0)[:, None], 1)[:, 0]
        last = np.where(place >= 0, last, np.nan)
        when = np.where(place >= 0, seen.time[place.clip(min=0)], np.datetime64("NaT"))
        gap = values - before(values, np.full_like(last, np.nan))
        valid = np.isfinite(gap)
        square = np.where(valid, gap, 0.0) ** 2
        with np.errstate(invalid="ignore"):
            spread = np.sqrt(square.sum(1) / valid.sum(1))
            of_all = np.sqrt(square.sum((0, 1)) / valid.sum((0, 1)))
        spread = np.where(np.isfinite(spread), spread, of_all)
        return cls(seen.cell.numpy(), last, when, spread, of_all)

    def predict(self, data: CellData) -> dict[str, NDArray[np.float32]]:
        """`mean` and `spread` [N, T, O]; a table without observations keeps the last known ones."""
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
    """[N, T, O] the last valid value before each step; `start` [N, O] before the first."""
    place = _last_valid(values)[:, :-1]
    place = np.concatenate([np.full_like(place[:, :1], -1), place], 1)
    last = np.take_along_axis(values, place.clip(min=0), 1)
    return np.where(place >= 0, last, start[:, None])


def _last_valid(values: Array) -> NDArray[np.int64]:
    """[N, T, O] index of the last valid step up to this one; -1 without."""
    steps = np.arange(values.shape[1])[None, :, None]
    return np.maximum.accumulate(np.where(np.isfinite(values), steps, -1), axis=1)


def _target(data: CellData) -> Array:
    assert data.target is not None
    return data.target.double().numpy()
