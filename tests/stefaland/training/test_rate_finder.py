"""The range test of learning rates."""

from __future__ import annotations

import numpy as np
import torch

from stefaland.data.cell_data import fit_normaliser
from stefaland.training.rate_finder import RangeTest, find_rate
from tests.stefaland.training.test_pretrain import CONFIG, DATA, FOLD, model_config

NORMALISER = fit_normaliser(DATA, DATA.rows(FOLD.train))


CONFIG_16 = CONFIG.model_copy(update={"batch_size": 16})


def tried(**settings: float) -> RangeTest:
    network = model_config(dropout=0.0, d_model=16, n_encoder_layers=1)
    return find_rate(DATA, FOLD, network, CONFIG_16, NORMALISER, **settings)


def test_a_range_test_repeats_itself_and_leaves_other_random_numbers_alone() -> None:
    state = torch.random.get_rng_state()
    found = tried(steps=8, low=1e-3, high=1e-2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert found == tried(steps=8, low=1e-3, high=1e-2)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-3, 1e-2, 8))


def test_it_ends_where_the_loss_grows_and_suggests_a_rate_before() -> None:
    found = tried(steps=120, low=1e-4, high=1e3)
    assert len(found.rates) < 120
    assert found.suggested == found.rates[int(np.argmin(found.losses[20:])) + 20] / 10
    assert 2e-4 < found.suggested < 2e-2
