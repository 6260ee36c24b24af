from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from stefaland.data.normalise import Normaliser, Scaling, fit_scaling


@pytest.mark.parametrize("transform", ["none", "log"])
def test_forward_has_zero_mean_and_unit_spread_and_inverts(transform: str) -> None:
    values = np.random.default_rng(0).gamma(0.7, 5.0, (40, 50))
    values[3, 4] = np.nan
    scaling = fit_scaling(values, transform)
    normal = scaling.forward(torch.from_numpy(values))
    valid = normal[~torch.isnan(normal)]
    assert abs(float(valid.mean())) < 1e-9
    assert abs(float(valid.std(correction=0)) - 1) < 1e-9
    assert torch.isnan(normal[3, 4])
    assert normal.isnan().sum() == 1
    back = scaling.inverse(normal)
    np.testing.assert_allclose(back.numpy(), values, rtol=1e-9, atol=1e-9)
    assert scaling.minimum == pytest.approx(np.nanmin(values), rel=1e-6, abs=1e-9)
    assert scaling.maximum == pytest.approx(np.nanmax(values))


def test_log_is_the_fields_gamma_normalisation() -> None:
    scaling = Scaling(0.0, 1.0, "log")
    assert float(scaling.forward(torch.tensor(4.0))) == pytest.approx(np.log10(2.1))


@settings(max_examples=25, deadline=None)
@given(mean=st.floats(-1.5, 2.0), scale=st.floats(1e-4, 0.8), std=st.floats(0.05, 0.6))
def test_moments_of_a_transformed_distribution_agree_with_integration(
    mean: float, scale: float, std: float
) -> None:
    scaling = Scaling(0.1, std, "log")
    got_mean, got_spread = scaling.moments(
        torch.tensor(mean, dtype=torch.float64), torch.tensor(scale, dtype=torch.float64)
    )
    z = torch.linspace(-12, 12, 40001, dtype=torch.float64)
    weights = torch.exp(-0.5 * z**2) / torch.exp(-0.5 * z**2).sum()
    values = scaling.inverse(mean + scale * z)
    want = (weights * values).sum()
    spread = (weights * (values - want) ** 2).sum().sqrt()
    assert float(got_mean) == pytest.approx(float(want), rel=0.01, abs=1e-4)
    assert float(got_spread) == pytest.approx(float(spread), rel=0.03, abs=1e-4)


def test_moments_without_transform_scale_the_spread() -> None:
    mean, spread = Scaling(2.0, 3.0).moments(torch.tensor([1.0]), torch.tensor([0.5]))
    assert (mean.item(), spread.item()) == (5.0, 1.5)


def test_constant_variable_is_centred_and_not_blown_up() -> None:
    scaling = fit_scaling(np.full(10, 7.0))
    assert float(scaling.forward(torch.tensor(7.5))) == pytest.approx(0.5)


def test_negative_under_log_and_empty_are_refused() -> None:
    with pytest.raises(InputError, match="2 values below 0"):
        fit_scaling([-1.0, -2.0, 3.0], "log", "precipitation")
    with pytest.raises(InputError, match="no valid training value"):
        fit_scaling([np.nan])
    with pytest.raises(InputError, match='Did you mean "log"'):
        fit_scaling([1.0], "logg")


def test_normaliser_by_name_round_trips_through_json() -> None:
    moments = {
        "rain": {"count": 4, "mean": 0.2, "m2": 1.0, "min": -1.0, "max": 1.0},
        "heat": {"count": 4, "mean": 10.0, "m2": 4.0, "min": 8.0, "max": 12.0},
    }
    normaliser = Normaliser.from_moments(moments, {"rain": "log"})
    again = Normaliser.from_dict(json.loads(json.dumps(normaliser.to_dict())))
    assert again == normaliser
    values = torch.tensor([[[12.0, 4.0]]])
    normal = again.forward(values, ("heat", "rain"))
    assert normal[0, 0, 0] == pytest.approx(2.0)
    torch.testing.assert_close(again.inverse(normal, ("heat", "rain")), values)
    with pytest.raises(InputError, match='Did you mean "heat"'):
        normaliser.forward(values, ("heet", "rain"))
    with pytest.raises(InputError) as caught:
        Normaliser.from_moments({"a": {"count": 0}, "b": {"count": 0}})
    assert len(caught.value.faults) == 2
    kept = Normaliser({"heat": Scaling(1.0, 1.0)}).merged(normaliser)
    assert kept.scalings["heat"].mean == 1.0
    assert "rain" in kept.scalings
