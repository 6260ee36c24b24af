"""The references of pretraining, and the judgement of a network by them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from stefaland.data.batch import Batch
from stefaland.data.cell_data import fit_normaliser
from stefaland.training.pretrain import pretrain
from stefaland.training.references import SITE_SHRINKAGES, Gaussian, References
from tests.stefaland.training.test_pretrain import CONFIG, DATA, FOLD, model_config
from workflows.products.pretraining import pretraining_table


def test_the_conditional_mean_is_the_linear_regression_on_what_is_visible() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 2))
    values = np.column_stack([x, x @ [0.5, -1.5] + rng.normal(size=4000)])
    hidden = values[:50].copy()
    hidden[:25, 2] = np.nan
    hidden[25:, [0, 2]] = np.nan
    filled = Gaussian.fit(values).filled(hidden)
    for rows, seen in ((slice(25), [0, 1]), (slice(25, 50), [1])):
        inputs = np.column_stack([np.ones(4000), values[:, seen]])
        weights = np.linalg.lstsq(inputs, values[:, 2], rcond=None)[0]
        expected = np.column_stack([np.ones(25), values[rows][:, seen]]) @ weights
        np.testing.assert_allclose(filled[rows, 2], expected, atol=0.02)
    np.testing.assert_array_equal(filled[:, 1], values[:50, 1])


def test_shrinkage_is_that_which_predicts_other_sites_best() -> None:
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(2, 30))
    values = rng.normal(size=(300, 2)) @ weights + 2 * rng.normal(size=(300, 30))
    few, others = values[:40], values[40:]
    hidden = np.where(rng.random(others.shape) < 0.5, np.nan, others)

    def error(fitted: Gaussian) -> float:
        return float(np.square(fitted.filled(hidden) - others)[np.isnan(hidden)].mean())

    chosen = error(Gaussian.fit_shrunk(few, np.arange(40) % 5))
    assert chosen < 0.7 * error(Gaussian.fit(few))
    assert chosen < 1.1 * min(error(Gaussian.fit(few, share)) for share in SITE_SHRINKAGES)


def test_own_harmonics_follow_a_site_that_differs_from_all_others() -> None:
    day = torch.linspace(0, 1, 366)[:-1].expand(4, -1)
    rng = torch.Generator().manual_seed(0)
    season = torch.sin(2 * torch.pi * day)[..., None]
    usual = Batch(season + 0.01 * torch.randn(4, 365, 1, generator=rng), torch.zeros(4, 1),
                  day_of_year=day)  # fmt: skip
    other = Batch(-season, torch.zeros(4, 1), day_of_year=day)
    hidden = torch.zeros(4, 365, 1, dtype=torch.bool)
    hidden[:, 100:200] = True
    found = References.fit([usual]).forcings(other, hidden)
    gap = {name: float((guess + season)[hidden].square().mean()) for name, guess in found.items()}
    assert gap["own_harmonics"] < 0.05
    assert gap["seasonal_cycle"] > 1
    assert all(torch.isfinite(guess).all() for guess in found.values())


def test_an_encoder_worse_than_a_reference_is_called_under_trained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    normaliser = fit_normaliser(DATA, DATA.rows(FOLD.train))
    config = CONFIG.model_copy(update={"epochs": 1})
    with caplog.at_level(logging.INFO):
        folder = pretrain(DATA, FOLD, model_config(), config, normaliser, tmp_path / "fold")
    training = json.loads((folder / "data.json").read_text())["training"]
    skills = training["skills"]
    assert set(DATA.forcing_names) | set(DATA.static_names) < set(skills)
    # The network's skill here is that of the best epoch's validation.
    best = training["best"]["validation_forcing_skill"]
    assert skills["all forcings"]["network"] == pytest.approx(best, abs=1e-5)
    assert skills["all forcings"]["same_day_regression"] > best
    assert "under-trained: skill on hidden forcings" in training["verdict"]
    assert training["verdict"] in caplog.text
    assert f"skill of all forcings: network {best:.2f}, seasonal_cycle" in caplog.text
    assert training["verdict"] in (folder / "card.md").read_text()
    table = pretraining_table(tmp_path)
    assert table.columns[0] == "network"
    assert table.caveats == [f"The encoder of fold fold is {training['verdict']}."]


def test_an_encoder_without_skills_has_no_table(tmp_path: Path) -> None:
    (tmp_path / "fold").mkdir()
    (tmp_path / "fold" / "data.json").write_text('{"taken_from": {}}')
    assert pretraining_table(tmp_path).rows == []
