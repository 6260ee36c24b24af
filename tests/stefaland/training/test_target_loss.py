"""The objective of finetuning with several targets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from stefaland.baselines.regression import Ridge
from stefaland.config import FinetuneConfig
from stefaland.data.batch import Batch
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.folds.split import make_folds
from stefaland.model.heads import Prediction
from stefaland.training.target_loss import TargetLoss
from tests.synthetic import daily_cells

CELLS = torch.arange(6)


@pytest.mark.parametrize("loss", ["gaussian", "mse", "rmse", "nse", "beta_gaussian"])
def test_targets_count_alike_however_many_values_they_have(loss: str) -> None:
    generator = torch.Generator().manual_seed(0)
    mean, target = (torch.randn(6, 20, 2, generator=generator) for _ in range(2))
    target[1:, :, 1] = torch.nan
    scale, std = torch.rand(6, 20, 2, generator=generator) + 0.5, torch.rand(6, 2) + 0.5

    def found(part: slice) -> torch.Tensor:
        config = FinetuneConfig(window=20, loss=loss)
        objective = TargetLoss(config, CELLS, std[:, part], torch.device("cpu"))
        batch = Batch(
            forcings=torch.zeros(6, 20, 1), statics=torch.zeros(6, 1),
            target=target[..., part], cell=CELLS,
        )  # fmt: skip
        prediction = Prediction(mean[..., part], scale[..., part])
        return objective.prediction_loss(prediction, batch)

    both, first, second = (found(slice(*ends)) for ends in ((0, 2), (0, 1), (1, 2)))
    torch.testing.assert_close(both, (first + second) / 2)


def test_a_ridge_of_targets_with_other_gaps_is_that_of_each_alone() -> None:
    data = daily_cells(n=12, days=60)
    assert data.target is not None
    other = data.target * 2.0 + data.forcings[..., :1]
    other[::2] = torch.nan
    both = _with(data, torch.cat([data.target, other], -1), ("streamflow", "other"))
    alone = _with(data, other, ("other",))
    fold = make_folds("groups", data, k=3)[0]
    normaliser = fit_normaliser(both, both.rows(fold.train))
    joint, single = (Ridge.fit(table, fold, normaliser) for table in (both, alone))
    errors = [
        abs(model.predict(data)["mean"][..., -1] - other[..., 0].numpy())
        for model in (joint, single)
    ]
    known = ~other[..., 0].isnan().numpy()
    assert errors[0][known].mean() < 1.2 * errors[1][known].mean()


def _with(data: CellData, target: torch.Tensor, names: tuple[str, ...]) -> CellData:
    return replace(data, target=target, target_names=names)
