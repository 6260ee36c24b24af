"""The HBV baseline, and HBV as head of the finetuned network, trained and loaded again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stefaland.baselines.registry import BaselineInputs, fit_baseline
from stefaland.config import FinetuneConfig, OptimiserConfig, model_preset
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.folds.fold import Fold
from stefaland.model.networks.hbv import HBVConfig
from stefaland.prediction.ensemble import load
from tests.synthetic import daily_cells

DATA = replace(daily_cells(8, 60), group=None)
FOLD = Fold(
    name="one", kind="blocks", train=DATA.cell[:4].numpy(), validation=DATA.cell[4:6].numpy(),
    test=DATA.cell[6:].numpy(),
)  # fmt: skip
CONFIG = FinetuneConfig(
    window=60, warmup_steps=20, epochs=2, batch_size=4, optimiser=OptimiserConfig(lr=0.01)
)


def inputs(folder: Path, data: CellData = DATA, **settings: object) -> BaselineInputs:
    normaliser = fit_normaliser(data, data.rows(FOLD.train), None, {"streamflow": "log"})
    network = model_preset("stefaland-tiny", forcings=data.forcing_names, d_model=8, d_embed=4,
                           statics=data.static_names)  # fmt: skip
    config = FinetuneConfig(**{**CONFIG.model_dump(), "head": "gaussian", "loss": "gaussian",
                               **settings})  # fmt: skip
    return BaselineInputs(data=data, fold=FOLD, config=config, model_config=network,
                          normaliser=normaliser, folder=folder)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "settings"),
    [("hbv", {}), ("hbv", {"head": "quantile", "loss": "pinball"}),
     ("scratch", {"head": "hbv", "loss": "nse"})],
)  # fmt: skip
def test_networks_with_hbv_train_predict_and_load(
    name: str, settings: dict[str, object], tmp_path: Path
) -> None:
    out = fit_baseline(name, inputs(tmp_path, **settings)).predict(DATA)
    assert np.isnan(out["mean"][:, :20]).all()
    assert np.isfinite(out["mean"][:, 20:]).all()
    assert (out["mean"][:, 20:] >= 0).all()
    assert (out["spread"][:, 20:] > 0).all()
    again = load(tmp_path).predict(DATA)
    np.testing.assert_array_equal(out["mean"], again["mean"])


def test_the_hbv_baseline_does_not_see_the_test_cells(tmp_path: Path) -> None:
    forcings, target = DATA.forcings.clone(), DATA.target.clone()
    forcings[6:], target[6:] = 77.0, 9.0
    spoiled = replace(DATA, forcings=forcings, target=target)
    clean, same = (
        fit_baseline("hbv", inputs(tmp_path / name, data)).predict(DATA)["mean"]
        for name, data in (("clean", DATA), ("spoiled", spoiled))
    )
    np.testing.assert_array_equal(clean, same)


def test_one_set_of_parameters_is_calibrated_without_statics(tmp_path: Path) -> None:
    bare = replace(DATA, statics=torch.zeros(8, 0), static_names=())
    settings = {"loss": "mse", "head": "point", "optimiser": OptimiserConfig(lr=0.1)}
    errors = []
    for epochs in (1, 12):
        fitted = fit_baseline(
            "hbv", inputs(tmp_path / str(epochs), bare, epochs=epochs, **settings)
        )
        errors.append(float(np.nanmean((fitted.predict(bare)["mean"] - bare.target.numpy()) ** 2)))
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("size", ["hidden", "components"])
def test_sizes_have_limits(size: str) -> None:
    with pytest.raises(ValidationError, match=rf"{size}\n.*less than or equal to"):
        HBVConfig.model_validate({"forcings": ("a",), "statics": (), size: 10**15})
