"""Compositions and probabilities as targets: heads, losses, possible and impossible values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError
from scipy.stats import entropy

from pipeline.core.errors import InputError
from stefaland.config import FinetuneConfig
from stefaland.model.heads import Prediction, make_head
from stefaland.model.losses import finetune_loss
from stefaland.tasks import check_target, impossible_targets, possible_values
from workflows.config.load import load_config
from workflows.inputs.cells import with_closed_targets
from workflows.products.static_scores import (
    calibration_effect,
    composition_scores,
    expected_calibration_error,
    probability_scores,
)
from workflows.run import Run

VALUES = arrays.arrays(np.float64, (7, 3), elements=st.floats(-2, 2))


@pytest.mark.parametrize(
    ("task", "head", "loss"),
    [("regression", "gaussian", "gaussian"), ("composition", "composition", "composition"),
     ("probability", "probability", "binary")],
)  # fmt: skip
def test_head_and_loss_follow_from_the_task(task: str, head: str, loss: str) -> None:
    config = FinetuneConfig(task=task)
    assert (config.head, config.loss) == (head, loss)


def test_a_head_of_another_task_is_refused() -> None:
    with pytest.raises(ValidationError, match=r'for task composition, head "point" is none of'):
        FinetuneConfig(task="composition", head="point")
    with pytest.raises(ValidationError, match=r'loss "binary" is none of gaussian'):
        FinetuneConfig(loss="binary")


def test_fractions_sum_to_1_at_every_step_and_over_time() -> None:
    torch.manual_seed(0)
    fractions = make_head("composition", 8, 3)(5 * torch.randn(4, 6, 8)).mean
    assert (fractions >= 0).all()
    np.testing.assert_allclose(fractions.sum(-1).detach(), 1.0, atol=1e-6)
    np.testing.assert_allclose(fractions.mean(1).sum(-1).detach(), 1.0, atol=1e-6)


def test_the_loss_of_compositions_is_their_divergence_and_missing_ones_do_not_count() -> None:
    rng = np.random.default_rng(1)
    target, guess = (rng.dirichlet((1, 2, 3), (2, 5)) for _ in range(2))
    target[0, 0] = (0.0, 0.4, 0.6)
    expected = entropy(target, guess, axis=-1)
    target[1, 2, 1] = np.nan
    seen = np.ones((2, 5), bool)
    seen[1, 2] = False
    prediction = Prediction(torch.tensor(guess))
    loss = finetune_loss("composition")(prediction, torch.tensor(target), torch.ones(1))
    assert float(loss) == pytest.approx(expected[seen].mean(), rel=1e-12)


def test_the_loss_of_probabilities_is_their_cross_entropy() -> None:
    target = torch.tensor([[[1.0], [0.0], [float("nan")]]], dtype=torch.float64)
    probability = torch.tensor([[[0.8], [0.3], [0.5]]], dtype=torch.float64)
    loss = finetune_loss("binary")(Prediction(probability), target, torch.ones(1))
    assert float(loss) == pytest.approx(-(np.log(0.8) + np.log(0.7)) / 2, rel=1e-12)
    certain = torch.tensor([[[0.0], [1.0], [0.5]]], dtype=torch.float64)
    assert torch.isfinite(finetune_loss("binary")(Prediction(certain), target, torch.ones(1)))


@given(VALUES)
def test_any_prediction_becomes_a_composition(values: np.ndarray) -> None:
    fractions = possible_values("composition", values)
    assert (fractions >= 0).all()
    np.testing.assert_allclose(fractions.sum(-1), 1.0, atol=1e-12)
    np.testing.assert_allclose(possible_values("composition", fractions), fractions, atol=1e-12)


def test_missing_predictions_stay_missing() -> None:
    values = np.array([[0.2, np.nan, 0.3], [0.2, 0.2, 0.2]])
    fractions = possible_values("composition", values)
    assert np.isnan(fractions[0]).all()
    np.testing.assert_allclose(fractions[1], 1 / 3)
    assert np.isnan(possible_values("probability", np.array([[np.nan]]))).all()
    np.testing.assert_array_equal(possible_values("probability", np.array([-1.0, 2.0])), [0, 1])


def test_percent_and_incomplete_compositions_are_reported_with_their_sites() -> None:
    values = np.array([[0.5, 0.3, 0.2], [50.0, 30.0, 20.0], [0.5, 0.3, np.nan], [0.4, 0.3, 0.1]])
    sites = np.array([3, 14, 15, 92])
    with pytest.raises(InputError, match=r"2 sites \(14, 92\).*exclude_impossible"):
        check_target("composition", values, ("sand", "silt", "clay"), sites, 0.02)
    wrong, _ = impossible_targets("composition", values, 0.25)
    np.testing.assert_array_equal(wrong, [False, True, False, False])
    with pytest.raises(InputError, match=r"1 sites \(14\)"):
        check_target("probability", np.array([[1.0], [0.5]]), ("slide",), sites[:2], 0.02)


def test_scores_of_texture_against_their_definitions() -> None:
    rng = np.random.default_rng(5)
    names = ["sand", "silt", "clay"]
    truth, guess = rng.dirichlet((4, 4, 2), 60), rng.dirichlet((4, 4, 2), 60)
    scores = composition_scores(truth, guess, names)
    assert scores["RMSE"] == pytest.approx(np.sqrt(((truth - guess) ** 2).mean()))
    sand = truth[:, 0]
    r2 = 1 - ((guess[:, 0] - sand) ** 2).sum() / ((sand - sand.mean()) ** 2).sum()
    assert scores["R2 sand"] == pytest.approx(r2)
    perfect = composition_scores(truth, truth, names)
    assert (perfect["accuracy"], perfect["macro F1"], perfect["RMSE"]) == (1.0, 1.0, 0.0)
    assert 0 <= scores["accuracy"] < 0.6
    same = composition_scores(np.tile(truth[:1], (5, 1)), guess[:5], names)
    assert all(np.isnan(same[f"R2 {name}"]) for name in names)


def test_macro_f1_is_the_mean_over_the_classes_that_occur() -> None:
    names = ["sand", "silt", "clay"]
    sand, loam, clay = [0.92, 0.05, 0.03], [0.4, 0.4, 0.2], [0.2, 0.2, 0.6]
    scores = composition_scores(
        np.array([sand, sand, sand, loam, loam]), np.array([sand, sand, loam, loam, clay]), names
    )
    # Sand: precision 1, recall 2/3. Loam: precision and recall 1/2. Clay occurs nowhere.
    assert scores["macro F1"] == pytest.approx((0.8 + 0.5) / 2)
    assert scores["accuracy"] == pytest.approx(0.6)


def test_scores_of_probabilities_against_their_definitions() -> None:
    truth = np.array([[1.0], [1.0], [0.0], [0.0], [0.0]])
    probability = np.array([[0.9], [0.4], [0.6], [0.4], [0.1]])
    scores = probability_scores(truth, probability)
    pairs = [(a > b) + 0.5 * (a == b) for a in (0.9, 0.4) for b in (0.6, 0.4, 0.1)]
    assert scores["AUC"] == pytest.approx(np.mean(pairs))
    assert scores["Brier"] == pytest.approx(((truth - probability) ** 2).mean())
    assert scores["F1"] == pytest.approx(0.5)
    assert np.isnan(probability_scores(truth[:2], probability[:2])["AUC"])


def test_expected_calibration_error_is_the_gap_of_each_bin() -> None:
    probability = np.array([0.05, 0.05, 0.85, 0.85, 1.0])
    truth = np.array([0, 1, 1, 1, 1])
    want = (2 * abs(0.05 - 0.5) + 2 * abs(0.85 - 1.0) + 0.0) / 5
    assert expected_calibration_error(truth, probability) == pytest.approx(want)


def _site_table(
    observed: np.ndarray, predicted: np.ndarray, uncalibrated: np.ndarray
) -> xr.Dataset:
    dims = ("model", "site", "part")
    return xr.Dataset(
        {"observed": (dims[1:], observed), "predicted": (dims, predicted),
         "uncalibrated": (dims, uncalibrated)},
        coords={"model": ["net", "ridge"]},
    )  # fmt: skip


def test_scores_report_the_effect_of_a_calibration() -> None:
    truth = np.array([[1.0], [0.0], [1.0], [0.0]])
    after, before = np.array([[0.8], [0.4], [0.6], [0.3]]), np.array([[0.99], [0.2], [0.9], [0.7]])
    none = np.full_like(before, np.nan)
    table = _site_table(truth, np.stack([after, after]), np.stack([before, none]))
    effect = calibration_effect("probability", table, "net")["uncertainty"]
    for key, probability in (("calibrated", after), ("uncalibrated", before)):
        assert effect[key]["Brier"] == pytest.approx(((probability - truth) ** 2).mean())
        want = expected_calibration_error(truth[:, 0], probability[:, 0])
        assert effect[key]["ECE"] == pytest.approx(want)
    assert calibration_effect("probability", table, "ridge") == {}
    rng = np.random.default_rng(3)
    fractions, one, other = (rng.dirichlet((4, 2, 1), 30) for _ in range(3))
    table = _site_table(fractions, np.stack([one, one]), np.stack([other, other]))
    effect = calibration_effect("composition", table, "net")["uncertainty"]
    assert effect["calibrated"]["divergence"] == pytest.approx(
        entropy(fractions, one, axis=1).mean()
    )
    want = entropy(fractions, other, axis=1).mean()
    assert effect["uncalibrated"]["divergence"] == pytest.approx(want)


def test_measured_fractions_become_compositions_and_missing_ones_stay() -> None:
    run = Run(load_config("conus_texture"))
    names = run.config.inputs.targets
    values = np.array([[0.45, 0.275, 0.265], [0.2, np.nan, 0.4]], np.float32)
    table = xr.Dataset({name: ("cell", values[:, i]) for i, name in enumerate(names)})
    whole = with_closed_targets(table, run.config.inputs.target_parts)
    found = np.stack([whole[name].values for name in names], -1)
    np.testing.assert_allclose(found[0], values[0] / 0.99, rtol=1e-6)
    assert np.isnan(found[1]).all()
    other = Run(load_config("conus_smap"))
    same = xr.Dataset({other.config.inputs.target: ("cell", values[:, 0])})
    assert with_closed_targets(same, other.config.inputs.target_parts) is same
