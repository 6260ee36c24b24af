"""The climatology, a baseline without inputs; and the interface of every fitted baseline.

Every baseline is fitted on the training cells of a fold (`training_part`) and predicts in physical
units. `registry.py` lists them by name.
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
    """A fitted model that predicts cells in physical units."""

    def predict(self, data: CellData) -> Mapping[str, NDArray[Any]]:
        """Arrays `mean` and `spread` [N, T, O] in physical units; NaN without a prediction."""


def _season(time: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """Month of the year [T], 0 to 11."""
    months = time.astype("datetime64[M]")
    return (months - months.astype("datetime64[Y]")).astype(np.int64)


_ARRAYS = ("step_mean", "step_spread", "month_mean", "month_spread")


@dataclass(frozen=True, kw_only=True)
class Climatology:
    """Mean of the training values of each time step, over all training cells.

    A step without training values has the mean of its month, and a month without any the mean of
    all values. Cells that are themselves trained on (folds of kind `time`) have monthly means of
    their own.
    """

    time: NDArray[np.datetime64]
    """Times [T] of the training table."""
    step_mean: Array
    """Means [T, O] of the time steps; NaN where a step has no training value."""
    step_spread: Array
    month_mean: Array
    """Means [12, O] of the calendar months."""
    month_spread: Array
    cell_means: dict[int, Array]
    """Monthly means [12, O] by cell id, for the cells that are in the training table."""

    @classmethod
    def fit(cls, data: CellData, fold: Fold) -> Climatology:
        """Fit the climatology to the fold's training cells and period."""
        train, _ = training_part(data, fold)
        assert train.target is not None
        values = train.target.numpy().astype(np.float64)
        months = _season(train.time)
        by_month = [values[:, months == m].reshape(-1, values.shape[-1]) for m in range(12)]
        cell_means = {}
        if fold.kind == "time":
            means = np.stack([mean_and_std(values[:, months == m], 1)[0] for m in range(12)], 1)
            means = np.where(np.isfinite(means), means, mean_and_std(values, 1)[0][:, None])
            cell_means = dict(zip(train.cell.tolist(), means, strict=True))
        month = [mean_and_std(v, 0) for v in by_month]
        whole = mean_and_std(values.reshape(-1, values.shape[-1]), 0)
        mean, spread = (
            np.stack([np.where(np.isfinite(pair[i]), pair[i], whole[i]) for pair in month])
            for i in (0, 1)
        )
        step_mean, step_spread = mean_and_std(values, 0)
        return cls(
            time=train.time,
            step_mean=step_mean,
            step_spread=step_spread,
            month_mean=mean,
            month_spread=spread,
            cell_means=cell_means,
        )

    def predict(self, data: CellData) -> dict[str, NDArray[np.float32]]:
        """The same series [N, T, O] for every cell that has no monthly means of its own."""
        months = _season(data.time)
        step = np.searchsorted(self.time, data.time).clip(max=len(self.time) - 1)
        known = (self.time[step] == data.time)[:, None] & np.isfinite(self.step_mean[step])
        mean = np.where(known, self.step_mean[step], self.month_mean[months])
        spread = np.where(known, self.step_spread[step], self.month_spread[months])
        means = np.repeat(mean[None], len(data), 0)
        for i, cell in enumerate(data.cell.tolist()):
            if cell in self.cell_means:
                past = self.cell_means[cell][months]
                means[i] = np.where(np.isfinite(past), past, means[i])
        spreads = np.repeat(spread[None], len(data), 0)
        return {"mean": means.astype(np.float32), "spread": spreads.astype(np.float32)}

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """What `from_state` makes the climatology of, which has no means of single cells."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return {**arrays, "time": self.time.astype("datetime64[s]").astype(np.int64)}, {}

    @classmethod
    def from_state(
        cls, state: tuple[dict[str, NDArray[Any]], dict[str, Any]], where: str
    ) -> Climatology:
        """The climatology of a `state`."""
        arrays = {name: state[0][name] for name in _ARRAYS}
        time = state[0]["time"].astype("datetime64[s]").astype("datetime64[ns]")
        return cls(time=time, cell_means={}, **arrays)
