"""What needs no inputs: the climatology; and what every baseline gives.

Every baseline is fitted on the training cells of a fold (`training_part`) and predicts physical
units. Downstream: registry.py names them; the score stage judges them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stefaland.baselines.features import Array, mean_and_std
from stefaland.data.cell_data import CellData
from stefaland.folds.split import Fold
from stefaland.folds.visible import training_part


class Predictor(Protocol):
    """A fitted model: cells in, physical units out."""

    def predict(self, data: CellData) -> Mapping[str, NDArray[Any]]:
        """`mean` and `spread` [N, T, O] in physical units; NaN where there is no prediction."""


def _season(time: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """[T] month of the year, 0 to 11."""
    months = time.astype("datetime64[M]")
    return (months - months.astype("datetime64[Y]")).astype(np.int64)


@dataclass(frozen=True)
class Climatology:
    """Training mean of each time step; of its month where the step has no training value; of all
    where the month has none.

    A cell that trained itself (folds of kind `time`) has means of its own.
    """

    time: NDArray[np.datetime64]
    """[T] of the training table."""
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
        if fold.kind == "time":
            means = np.stack([mean_and_std(values[:, months == m], 1)[0] for m in range(12)], 1)
            means = np.where(np.isfinite(means), means, mean_and_std(values, 1)[0][:, None])
            own = dict(zip(train.cell.tolist(), means, strict=True))
        month = [mean_and_std(v, 0) for v in by_month]
        whole = mean_and_std(values.reshape(-1, values.shape[-1]), 0)
        mean, spread = (
            np.stack([np.where(np.isfinite(pair[i]), pair[i], whole[i]) for pair in month])
            for i in (0, 1)
        )
        return cls(train.time, *mean_and_std(values, 0), mean, spread, own)

    def predict(self, data: CellData) -> dict[str, NDArray[np.float32]]:
        """The same series for every cell without a past of its own."""
        months = _season(data.time)
        place = np.searchsorted(self.time, data.time).clip(max=len(self.time) - 1)
        known = (self.time[place] == data.time)[:, None] & np.isfinite(self.step_mean[place])
        mean = np.where(known, self.step_mean[place], self.month_mean[months])
        spread = np.where(known, self.step_spread[place], self.month_spread[months])
        means = np.repeat(mean[None], len(data), 0)
        for i, cell in enumerate(data.cell.tolist()):
            if cell in self.own:
                past = self.own[cell][months]
                means[i] = np.where(np.isfinite(past), past, means[i])
        spreads = np.repeat(spread[None], len(data), 0)
        return {"mean": means.astype(np.float32), "spread": spreads.astype(np.float32)}
