"""Stacks: their weights, their spread, and what the validation cells decide."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from stefaland.metrics import coverage
from stefaland.prediction.stack import Stack, fit_stack, simplex_weights

RNG = np.random.default_rng(0)
OBSERVED = RNG.normal(size=(20, 40)) * np.linspace(0.5, 5.0, 20)[:, None]
ERRORS = RNG.normal(size=(3, 20, 40)) * np.array([0.3, 0.4, 0.9])[:, None, None]
MEAN = OBSERVED + ERRORS + 0.2 * ERRORS[:1]
NONE = np.full_like(MEAN, np.nan)


def test_weights_are_those_of_a_convex_least_squares() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        errors = rng.normal(size=(4, 60)) + rng.normal(size=(1, 60)) * rng.uniform(0, 3)
        gram = errors @ errors.T
        want = minimize(
            lambda w, gram=gram: w @ gram @ w / 60, np.full(4, 0.25), bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1}, tol=1e-12,
        ).x  # fmt: skip
        found = simplex_weights(errors)
        assert sum(found) == pytest.approx(1.0)
        assert min(found) >= 0
        np.testing.assert_allclose(found, want, atol=1e-3)
    assert simplex_weights(np.full((2, 3), np.nan)) == (0.5, 0.5)


def test_a_stack_is_better_than_its_models_and_its_spread_is_calibrated() -> None:
    half = np.arange(20) < 10
    spread = np.full_like(MEAN, 0.01)
    stack, own = fit_stack("abc", MEAN[:, half], spread[:, half], OBSERVED[half])
    mean, wide = stack.predict(MEAN[:, ~half], spread[:, ~half])
    of_models = ((MEAN - OBSERVED)[:, ~half] ** 2).mean((1, 2))
    assert ((mean - OBSERVED[~half]) ** 2).mean() < of_models.min()
    assert 0.8 < coverage(OBSERVED[~half].ravel(), mean.ravel(), wide.ravel()) < 0.97
    # Its own predictions of validation cells do not read the observations of these cells.
    other = OBSERVED[half].copy()
    other[::5] *= 3.0
    _, same = fit_stack("abc", MEAN[:, half], spread[:, half], other)
    np.testing.assert_array_equal(same[0][::5], own[0][::5])
    assert np.abs(same[0] - own[0]).max() > 1e-6


def test_a_mixture_has_the_variance_within_and_between_its_models() -> None:
    mean = np.array([1.0, 3.0])[:, None, None]
    spread = np.array([0.5, np.nan])[:, None, None]
    found = Stack(("a", "b"), (0.25, 0.75)).predict(mean, spread)
    np.testing.assert_allclose(found[0], 2.5)
    np.testing.assert_allclose(found[1], np.sqrt(0.25 + 0.25 * 1.5**2 + 0.75 * 0.5**2))
    holes = np.array([np.nan, 3.0])[:, None, None]
    assert Stack(("a", "b"), (0.0, 1.0)).predict(holes, spread)[0].item() == 3.0
    assert np.isnan(Stack(("a", "b"), (0.0, 1.0)).predict(holes, spread)[1]).all()
    assert np.isnan(Stack(("a", "b"), (0.5, 0.5)).predict(holes, spread)[0]).all()


def test_compositions_and_probabilities_stay_what_they_are() -> None:
    observed = RNG.dirichlet(np.ones(3), 40)
    mean = np.stack([RNG.dirichlet(np.ones(3), 40), 0.8 * observed + 0.2 / 3])
    stack, own = fit_stack("ab", mean, np.full_like(mean, np.nan), observed, "composition")
    assert stack.weights[1] > 0.9
    np.testing.assert_allclose(own[0].sum(1), 1.0)
    assert stack.calibration.temperature is not None
    event = RNG.integers(0, 2, (60, 1)).astype(float)
    sure = np.stack([np.clip(event, 0.2, 0.8), np.full_like(event, 0.5)])
    found, _ = fit_stack("ab", sure, np.full_like(sure, np.nan), event, "probability")
    assert found.weights == pytest.approx((1.0, 0.0))
    probability = found.predict(sure, np.full_like(sure, np.nan))[0]
    assert ((probability > 0) & (probability < 1)).all()


def test_several_quantities_count_alike_and_have_their_own_spread() -> None:
    """The units of a quantity decide nothing, and a quantity with few values does not vanish."""
    other = np.stack([ERRORS[1], ERRORS[0], ERRORS[2]]) + OBSERVED
    few = np.where(np.arange(40) % 4 == 0, OBSERVED, np.nan)
    spread = np.full_like(MEAN, 0.3)

    def joint(unit: float) -> Stack:
        mean = np.stack([OBSERVED + ERRORS, unit * other], -1)
        spreads = np.stack([spread, unit * 3 * spread], -1)
        return fit_stack("abc", mean, spreads, np.stack([OBSERVED, unit * few], -1))[0]

    one, same = joint(1.0), joint(1e-3)
    np.testing.assert_allclose(one.weights, same.weights, atol=1e-6)
    assert one.weights[0] == pytest.approx(one.weights[1], abs=0.15)
    factors = one.calibration.spread_factor
    assert factors is not None
    assert factors[0] > 2 * factors[1]
    _, wide = one.predict(np.zeros((3, 2, 5, 2)), np.ones((3, 2, 5, 2)))
    np.testing.assert_allclose(wide[0, 0], factors)
