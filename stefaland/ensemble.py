"""Networks of several seeds on one fold as one predictor with a calibrated spread.

Upstream: finetune.py. Downstream: the finetune stage's held-out predictions; maps take the members.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stefaland.calibration import spread_factors
from stefaland.dataset import CellData
from stefaland.fold import Fold
from stefaland.predict import Member, predict_cells


@dataclass(frozen=True)
class Ensemble:
    """Members of one fold, which predict as an equal mixture."""

    members: tuple[Member, ...]
    spread_factor: tuple[float, ...] | None = None
    """[O] by which the mixture's spread is multiplied."""

    def predict(self, data: CellData) -> dict[str, NDArray[np.float32]]:
        """As a `Member` does."""
        device = next(self.members[0].model.parameters()).device
        predicted: dict[str, Any] = predict_cells(self.members, data, device=device)
        if self.spread_factor is not None:
            factor = np.array(self.spread_factor, np.float32)
            predicted["spread"] = predicted["spread"] * factor
        return {name: values for name, values in predicted.items() if name != "flag"}


def member_folders(folder: Path, count: int) -> list[Path]:
    """Where the members of a fold's model are: the folder itself, or one below it for each."""
    return [folder] if count == 1 else [folder / f"member{i}" for i in range(count)]


def calibrated(members: Sequence[Member], data: CellData, fold: Fold) -> Ensemble:
    """The ensemble whose 90 % intervals hold 90 % of the fold's validation values.

    Members are calibrated one by one; what they disagree about comes on top, so that the mixture's
    spread is too wide until this. It stays as it is with too few validation values, and for members
    without spreads.
    """
    ensemble = Ensemble(tuple(members))
    if members[0].task != "regression":
        return ensemble
    held = data.subset(fold.validation)
    assert held.target is not None
    predicted = ensemble.predict(held)
    if np.isnan(predicted["spread"]).all():
        return ensemble
    when = held.steps(fold.validation_period or fold.train_period)
    of = {name: predicted[name][:, when] for name in ("mean", "spread")}
    target = held.target.numpy()[:, when]
    flat = [values.reshape(-1, target.shape[-1]).astype(np.float64)
            for values in (of["mean"], of["spread"], target)]  # fmt: skip
    return replace(ensemble, spread_factor=spread_factors(*flat))
