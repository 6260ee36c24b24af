"""Networks of several seeds on one fold as one predictor, calibrated as a whole.

Held-out predictions of the finetune stage are those of ensembles; maps combine the members
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stefaland.data.cell_data import CellData
from stefaland.folds.fold import Fold
from stefaland.model.quantiles import moments, shifted
from stefaland.prediction.calibration import Calibration, HeldOutPredictions, calibrate, tempered
from stefaland.prediction.member import Member, load_member
from stefaland.prediction.predict import predict_cells
from stefaland.prediction.predictions import Predictions


@dataclass(frozen=True)
class Ensemble:
    """The members of one fold, which predict as an equal mixture."""

    members: tuple[Member, ...]
    calibration: Calibration = field(default_factory=Calibration)
    """Calibration of the mixture, in addition to those of its members."""

    def predict(self, data: CellData) -> Predictions:
        """Calibrated predictions of the cells; raises `InputError` for absent variables."""
        found = predict_cells(self.members, data, device=self._device())
        return replace(found, **self._changes(found))

    def uncalibrated(self) -> Ensemble:
        """The same networks without any calibration."""
        return Ensemble(tuple(member.uncalibrated() for member in self.members))

    def normalised(self, values: NDArray[Any]) -> Tensor:
        """Normalised quantiles [..., O, Q] of physical ones."""
        return self._along_targets(self.members[0].normaliser.forward, torch.from_numpy(values))

    def _device(self) -> torch.device:
        return next(self.members[0].model.parameters()).device

    def _changes(self, found: Predictions) -> dict[str, Any]:
        learnt, task = self.calibration, self.members[0].task
        if learnt.quantile_shift is not None:
            moved = shifted(
                self.normalised(found["quantiles"]), torch.tensor(learnt.quantile_shift)
            )
            physical = self._along_targets(self.members[0].normaliser.inverse, moved.float())
            mean, spread = moments(physical)
            return {"mean": mean.numpy(), "spread": spread.numpy(), "quantiles": physical.numpy()}
        if learnt.spread_factor is not None:
            return {"spread": found["spread"] * np.array(learnt.spread_factor, np.float32)}
        if learnt.temperature is not None:
            mean = tempered(task, found["mean"], learnt.temperature)
            return {"mean": mean.astype(np.float32)}
        return {}

    def _along_targets(self, change: Callable[..., Tensor], values: Tensor) -> Tensor:
        # The members of a fold have the same scaling of the target.
        names = self.members[0].target_names
        return change(values.movedim(-1, -2), names).movedim(-2, -1)


def member_folders(folder: Path, count: int) -> list[Path]:
    """Folders of the members of a fold's model: the folder itself, or one below it for each."""
    return [folder] if count == 1 else [folder / f"member{i}" for i in range(count)]


def load(folder: str | Path, device: torch.device | str = "cpu") -> Ensemble:
    """The finetuned or baseline network in `folder`, or the ensemble of the members below it.

    Raises `InputError` for a folder that holds neither.

    >>> from tempfile import mkdtemp
    >>> from stefaland.config import FinetuneConfig, PretrainConfig, model_preset
    >>> from stefaland.data.cell_data import fit_normaliser
    >>> from stefaland.data.example import example_cells
    >>> from stefaland.folds.split import make_folds
    >>> cells = example_cells()
    >>> fold = make_folds("groups", cells, k=3)[0]
    >>> normaliser = fit_normaliser(cells, cells.rows(fold.train))
    >>> network = model_preset("stefaland-tiny", forcings=cells.forcing_names,
    ...                        statics=cells.static_names)
    >>> from stefaland.training.finetune import finetune
    >>> folder = finetune(None, cells, fold, FinetuneConfig(window=20, epochs=1), mkdtemp(),
    ...                   model_config=network, normaliser=normaliser)
    >>> load(folder).predict(cells)["mean"].shape
    (12, 60, 1)
    """
    found = sorted(Path(folder).glob("member*"), key=lambda path: int(path.name[6:]))
    return Ensemble(tuple(load_member(path, device) for path in found or [Path(folder)]))


def calibrated(members: Sequence[Member], data: CellData, fold: Fold) -> Ensemble:
    """The ensemble of the members, calibrated on the fold's validation cells.

    Its members are calibrated already, but the mixture needs another calibration: the differences
    between members widen its spread, and a mean of probabilities is less certain than each of them
    (Ranjan and Gneiting 2010). With too few validation values, and for members without spreads, it
    is not calibrated.
    """
    ensemble = Ensemble(tuple(members))
    if not len(fold.validation):
        return ensemble
    held = data.subset(fold.validation)
    assert held.target is not None
    when = held.steps(fold.validation_period or fold.train_period)
    predicted = ensemble.predict(held)
    found = {name: _flat(predicted[name][:, when]) for name in predicted if name != "flag"}
    target = _flat(held.target.numpy()[:, when])
    quantiles, scale = None, None if np.isnan(found["spread"]).all() else found["spread"]
    if "quantiles" in found:
        # Shifts are normalised, as those of a member: quantiles stay in the range of the transform.
        quantiles = ensemble.normalised(found["quantiles"]).numpy()
        names = members[0].target_names
        target = members[0].normaliser.forward(torch.from_numpy(target), names).numpy()
    learnt = calibrate(HeldOutPredictions(found["mean"], target, scale, quantiles), members[0].task)
    return replace(ensemble, calibration=learnt)


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    """Values [N, T, ...] as [N·T, ...], float64."""
    return values.reshape(-1, *values.shape[2:]).astype(np.float64)
