"""Trees on the embedding of a frozen encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from stefaland.baselines.embedding import COMPONENTS, Embedding
from stefaland.baselines.registry import BaselineInputs, fit_baseline
from stefaland.checkpoints.checkpoint import save_checkpoint
from stefaland.config import FinetuneConfig, TreeSettings, model_preset
from stefaland.data.cell_data import fit_normaliser
from stefaland.folds.fold import Fold
from stefaland.model.mae import StefaLand
from stefaland.training.recipe import new_network
from tests.synthetic import daily_cells

DATA = replace(daily_cells(8, 80), group=None)
CONFIG = FinetuneConfig(window=20, warmup_steps=5)
FOLD = Fold(
    name="late", kind="time", train=DATA.cell.numpy(), validation=DATA.cell.numpy(),
    test=DATA.cell.numpy(), train_period=("2001-01-01", "2001-01-30"),
    validation_period=("2001-01-31", "2001-02-19"), test_period=("2001-02-25", "2001-03-21"),
    warmup_days=5,
)  # fmt: skip
NORMALISER = fit_normaliser(DATA, DATA.rows(FOLD.train), FOLD.train_period)
NETWORK = model_preset("stefaland-tiny", forcings=DATA.forcing_names, statics=DATA.static_names,
                       d_model=20, d_embed=4, d_feedforward=8, dropout=0.5)  # fmt: skip
ENCODER = new_network(lambda: StefaLand(NETWORK), 5)


def inputs(folder: Path, **changes: object) -> BaselineInputs:
    known = BaselineInputs(data=DATA, fold=FOLD, config=CONFIG, model_config=NETWORK,
                           normaliser=NORMALISER, folder=folder)  # fmt: skip
    return replace(known, **changes)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stored = {"normaliser": NORMALISER.to_dict()}
    return save_checkpoint(tmp_path_factory.mktemp("encoder"), ENCODER, stored)


def test_each_step_has_the_same_components_in_any_table() -> None:
    embedding = Embedding.fit(ENCODER, NORMALISER, CONFIG, DATA)
    found = embedding.compute(DATA)
    columns = found.shape[2]
    assert found.shape[:2] == (8, 80)
    assert 4 < columns <= min(COMPONENTS, 2 * NETWORK.d_model)
    assert np.isnan(found[:, :5]).all()
    late = found[:, 5:].reshape(-1, columns)
    np.testing.assert_allclose(late.mean(0), 0.0, atol=1e-4)
    np.testing.assert_allclose(np.cov(late.T, bias=True)[:4, :4], np.eye(4), atol=1e-3)
    turned = embedding.compute(DATA.take(torch.arange(8).flip(0)))[::-1]
    np.testing.assert_allclose(turned, found, rtol=1e-3, atol=1e-3)
    dry = replace(DATA, forcings=DATA.forcings.clone())
    dry.forcings[2] = torch.nan
    assert np.isnan(embedding.compute(dry)[2]).all()


def test_trees_read_the_embedding_and_no_day_outside_the_periods(
    encoder: Path, tmp_path: Path
) -> None:
    few = CONFIG.model_copy(update={"trees": TreeSettings(count=8)})
    target, forcings = DATA.target.clone(), DATA.forcings.clone()
    target[:, 50:], forcings[:, 50:] = 500.0, 500.0
    spoiled = replace(DATA, target=target, forcings=forcings)
    of_training, same, random, none = (
        fit_baseline(name, inputs(tmp_path, data=data, encoder=encoder, config=few)).predict(DATA)[
            "mean"
        ]
        for name, data in (
            ("gradient_boosting_embedding", DATA),
            ("gradient_boosting_embedding", spoiled),
            ("gradient_boosting_random_embedding", DATA),
            ("gradient_boosting", DATA),
        )
    )
    np.testing.assert_array_equal(of_training, same)
    for other in (random, none):
        assert np.abs(other - of_training).max() > 1e-3


def test_without_an_encoder_the_control_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found no pretrained encoder.*random_embedding"):
        fit_baseline("gradient_boosting_embedding", inputs(tmp_path))
