"""Several networks of one fold as one predictor, tested on values not used for calibration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit, ndtri
from torch import nn

from stefaland.data.batch import Batch
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import Normaliser, Scaling
from stefaland.folds.split import Fold
from stefaland.model.heads import Prediction
from stefaland.model.quantiles import LEVELS, MIDDLE
from stefaland.prediction.calibration import identity_calibration
from stefaland.prediction.ensemble import Ensemble, calibrated
from stefaland.prediction.member import Member
from tests.synthetic import daily_cells

CELLS = daily_cells(200, 50).cell.numpy()
FOLD = Fold(name="f", kind="groups", train=CELLS[:50], validation=CELLS[50:120], test=CELLS[120:])

TARGET = (2.0, 0.4)
"""Mean and standard deviation, far from the values that the logarithm's inverse cuts off."""


class Signal(nn.Module):
    """Quantiles of a normal distribution around the first forcing, or a probability."""

    def __init__(self, shift: float, width: float, task: str) -> None:
        super().__init__()
        self.shift, self.task = nn.Parameter(torch.tensor(shift)), task
        self.register_buffer("steps", torch.tensor(width * ndtri(LEVELS), dtype=torch.float32))
        self.width = width

    def forward(self, batch: Batch) -> Prediction:
        value = batch.forcings[..., :1] + self.shift
        if self.task == "probability":
            return Prediction((self.width * value).sigmoid())
        quantiles = value[..., None] + self.steps
        return Prediction(value, torch.full_like(value, self.width), quantiles)


def members(width: float, task: str = "regression", transform: str = "none") -> list[Member]:
    data = daily_cells(200, 50)
    scalings = {name: Scaling(0.0, 1.0) for name in (*data.forcing_names, *data.static_names)}
    if task == "regression":
        scalings[data.target_names[0]] = Scaling(*TARGET, transform)
    else:
        scalings[data.target_names[0]] = Scaling(0.0, 1.0)
    return [
        Member(
            model=Signal(shift, width, task),
            normaliser=Normaliser(scalings),
            forcing_names=data.forcing_names,
            static_names=data.static_names,
            target_names=data.target_names,
            window=20,
            task=task,
            calibration=identity_calibration(1, task == "regression"),
        )
        for shift in (-0.4, 0.4)
    ]


def observed(transform: str = "none") -> CellData:
    """Forcings of unit variance, and what is normal around the first of them."""
    draw = torch.Generator().manual_seed(4)
    data = daily_cells(200, 50)
    forcings = torch.randn(data.forcings.shape, generator=draw)
    normal = forcings[..., :1] + 0.5 * torch.randn(200, 50, 1, generator=draw)
    return replace(data, forcings=forcings, target=Scaling(*TARGET, transform).inverse(normal))


@pytest.mark.parametrize("transform", ["none", "log"])
@pytest.mark.parametrize("width", [0.1, 0.64, 2.0])
def test_its_quantiles_hold_for_values_not_used_for_calibration(
    width: float, transform: str
) -> None:
    # At 0.64 each member is right alone (0.5 of noise and 0.4 of shift), the mixture is too wide.
    data = observed(transform)
    ensemble = calibrated(members(width, transform=transform), data, FOLD)
    test = data.subset(FOLD.test)
    truth = test.target.numpy()
    found = ensemble.predict(test)
    quantiles = found["quantiles"]
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    for low in range(MIDDLE):
        high = len(LEVELS) - 1 - low
        inside = (truth >= quantiles[..., low]) & (truth <= quantiles[..., high])
        assert inside.mean() == pytest.approx(LEVELS[high] - LEVELS[low], abs=0.03)
    apart = Ensemble(ensemble.members).predict(test)["quantiles"]
    np.testing.assert_allclose(quantiles[..., MIDDLE], apart[..., MIDDLE], rtol=1e-5)
    alone = (truth >= apart[..., 0]) & (truth <= apart[..., -1])
    assert abs(alone.mean() - 0.9) > 0.05, "there was something to calibrate"
    assert ((found["mean"] >= quantiles[..., 0]) & (found["mean"] <= quantiles[..., -1])).all()


def _log_loss(truth: np.ndarray, probability: np.ndarray) -> float:
    clipped = np.clip(probability.astype(np.float64), 1e-6, 1 - 1e-6)
    return float(-np.mean(truth * np.log(clipped) + (1 - truth) * np.log(1 - clipped)))


@pytest.mark.parametrize("width", [0.3, 4.0])
def test_its_probabilities_are_calibrated(width: float) -> None:
    data = observed()
    rng = np.random.default_rng(2)
    odds = 1.2 * data.forcings[..., :1].numpy()
    events = torch.from_numpy((rng.random(odds.shape) < expit(odds)).astype(np.float32))
    data = replace(data, target=events)
    ensemble = calibrated(members(width, "probability"), data, FOLD)
    test = data.subset(FOLD.test)
    before = ensemble.uncalibrated().predict(test)["mean"]
    after = ensemble.predict(test)["mean"]
    truth = test.target.numpy()
    assert _log_loss(truth, after) < _log_loss(truth, before) - 0.005
    best = _log_loss(truth, expit(1.2 * test.forcings[..., :1].numpy()))
    assert _log_loss(truth, after) < best + 0.02
    assert (after.argsort(axis=None) == before.argsort(axis=None)).mean() > 0.99


def test_without_validation_cells_it_stays_as_it_is() -> None:
    alone = replace(FOLD, validation=CELLS[:0])
    ensemble = calibrated(members(0.5), observed(), alone)
    assert ensemble == Ensemble(ensemble.members)
