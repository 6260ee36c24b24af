"""Quantile heads, MC dropout and their calibration on validation cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import ndtri
from scipy.stats import norm

from pipeline.core.errors import InputError
from stefaland.config import FinetuneConfig, model_preset
from stefaland.data.cell_data import fit_normaliser
from stefaland.folds.split import Fold
from stefaland.metrics import Z_90, gaussian_crps
from stefaland.model.adapters import make_adapter
from stefaland.model.heads import GaussianHead, Prediction, QuantileHead
from stefaland.model.losses import finetune_loss
from stefaland.model.mc_dropout import dropouts, left_out, sampled
from stefaland.model.quantiles import (
    LEVELS,
    MIDDLE,
    WEIGHTS,
    conformal_shift,
    moments,
    pinball,
    quantile_crps,
    shifted,
)
from stefaland.prediction.calibration import Calibration, HeldOutPredictions, calibrate, tempered
from stefaland.prediction.member import load_member
from stefaland.prediction.predict import predict_cells
from stefaland.training.finetune import finetune
from tests.synthetic import daily_cells

SCORES = ndtri(LEVELS)


def test_quantiles_of_the_head_never_cross() -> None:
    torch.manual_seed(0)
    head = QuantileHead(8, 2)
    with torch.no_grad():
        head.out.weight.mul_(50)
    out = head(torch.randn(64, 30, 8) * 10)
    assert out.quantiles.shape == (64, 30, 2, len(LEVELS))
    assert bool((out.quantiles.diff(dim=-1) >= 0).all())
    assert out.cut(slice(3, 5)).quantiles.shape == (64, 2, 2, len(LEVELS))


def test_mean_and_spread_of_a_normal_distribution_are_exact() -> None:
    quantiles = torch.tensor(3.0 + 2.0 * SCORES)
    mean, spread = moments(quantiles)
    assert float(mean) == pytest.approx(3.0, abs=1e-9)
    assert float(spread) == pytest.approx(2.0, rel=1e-9)
    assert sum(WEIGHTS) == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, (5, len(LEVELS)), elements=st.floats(-50, 50)),
       arrays(np.float64, (5,), elements=st.floats(-50, 50)))  # fmt: skip
def test_pinball_is_its_definition(quantiles: np.ndarray, observed: np.ndarray) -> None:
    want = np.array(
        [
            [level * (y - q) if y >= q else (1 - level) * (q - y)
             for level, q in zip(LEVELS, row, strict=True)]
            for row, y in zip(quantiles, observed, strict=True)
        ]
    )  # fmt: skip
    np.testing.assert_allclose(pinball(quantiles, observed), want, atol=1e-12)
    tensors = pinball(torch.from_numpy(quantiles), torch.from_numpy(observed))
    np.testing.assert_allclose(tensors.numpy(), want, atol=1e-12)


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 1.0), (0.3, 0.05), (-40.0, 12.0)])
def test_a_normal_distribution_has_one_crps_as_quantiles_and_as_mean_and_spread(
    mean: float, spread: float
) -> None:
    observed = mean + spread * np.linspace(-6, 6, 101)
    quantiles = np.broadcast_to(mean + spread * SCORES, (observed.size, len(LEVELS)))
    want = gaussian_crps(observed, mean, spread)
    np.testing.assert_allclose(quantile_crps(observed, quantiles), want, rtol=0.01)
    drawn = np.random.default_rng(0).normal(mean, spread, 20_000)
    quantiles = np.broadcast_to(mean + spread * SCORES, (drawn.size, len(LEVELS)))
    crps = quantile_crps(drawn, quantiles).mean()
    assert crps == pytest.approx(gaussian_crps(drawn, mean, spread).mean(), rel=1e-5)


def test_crps_of_quantiles_rises_with_bias_and_keeps_missing_values() -> None:
    observed = np.random.default_rng(0).normal(0, 1, 20_000)
    found = quantile_crps(observed, np.broadcast_to(SCORES, (observed.size, len(LEVELS)))).mean()
    biased = quantile_crps(observed, np.broadcast_to(SCORES + 1, (observed.size, len(LEVELS))))
    assert biased.mean() > 1.3 * found
    gaps = np.stack([SCORES, np.full(len(LEVELS), np.nan), SCORES])
    missing = np.isnan(quantile_crps(np.array([0.0, 0.0, np.nan]), gaps))
    np.testing.assert_array_equal(missing, [False, True, True])


def test_pinball_is_least_at_the_true_quantiles() -> None:
    observed = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (4000, 1, 1)))
    loss = finetune_loss("pinball")

    def at(shift: float) -> float:
        quantiles = torch.tensor(SCORES + shift).expand(4000, 1, 1, -1)
        return float(loss(Prediction(quantiles[..., 0], None, quantiles), observed, observed))

    assert at(0.0) < min(at(-0.2), at(0.2))
    target = observed.clone()
    target[:2000] = torch.nan
    assert np.isfinite(
        float(loss(Prediction(target, None, torch.tensor(SCORES).expand(4000, 1, 1, -1)), target,
                   target))
    )  # fmt: skip


@pytest.mark.parametrize("width", [0.4, 1.0, 2.5])
def test_conformal_intervals_hold_for_values_they_were_not_fitted_to(width: float) -> None:
    rng = np.random.default_rng(3)
    seen, unseen = rng.normal(0, 1, (2, 4000))
    quantiles = np.broadcast_to(width * SCORES, (4000, len(LEVELS)))
    shift = conformal_shift(quantiles, seen)
    assert shift[MIDDLE] == 0
    found = shifted(torch.from_numpy(quantiles.copy())[:, None], torch.from_numpy(shift)[None])
    found = found[:, 0].numpy()
    assert (np.diff(found, axis=1) >= 0).all()
    for low in range(MIDDLE):
        high = len(LEVELS) - 1 - low
        share = ((unseen >= found[:, low]) & (unseen <= found[:, high])).mean()
        assert share == pytest.approx(LEVELS[high] - LEVELS[low], abs=0.02)


def test_an_interval_that_shrinks_stops_at_the_next_one_inside() -> None:
    quantiles = torch.tensor([[SCORES.tolist()]])
    shift = torch.tensor([[5.0, 1.0, 0.0, 0.0, 0.0, -1.0, -5.0]])
    found = shifted(quantiles, shift)[0, 0]
    assert bool((found.diff() >= 0).all())
    assert float(found[0]) == float(found[2]) == pytest.approx(SCORES[2])
    whole = torch.tensor([[5.0, 5.0, 5.0, 0.0, -5.0, -5.0, -5.0]])
    assert bool((shifted(quantiles, whole) == 0).all()), "all end at the median"


def test_a_temperature_calibrates_probabilities() -> None:
    rng = np.random.default_rng(5)
    odds = rng.normal(0, 1.5, (8000, 1))
    truth = (rng.random(odds.shape) < 1 / (1 + np.exp(-odds))).astype(float)
    overconfident = 1 / (1 + np.exp(-3.0 * odds))
    found = calibrate(
        HeldOutPredictions(overconfident, truth, None, None), "probability"
    ).temperature
    assert found == pytest.approx(3.0, rel=0.1)
    better = tempered("probability", overconfident, found)
    assert ((better - truth) ** 2).mean() < ((overconfident - truth) ** 2).mean()
    shares = torch.tensor([[0.7, 0.2, 0.1]])
    cooler = tempered("composition", shares, 2.0)
    assert float(cooler.sum()) == pytest.approx(1.0)
    assert float(cooler[0, 0]) < 0.7
    np.testing.assert_allclose(tempered("composition", shares, 1.0), shares, rtol=1e-6)


def test_older_checkpoints_have_only_a_spread_factor() -> None:
    assert Calibration.from_dict({"spread_factor": [1.5]}) == Calibration((1.5,))
    stored = Calibration(None, ((0.0,) * len(LEVELS),), 1.2)
    assert Calibration.from_dict(stored.to_dict()) == stored


@pytest.fixture(scope="module")
def training_data():
    data = daily_cells(60, 90)
    cells = data.cell.numpy()
    fold = Fold(
        name="f", kind="groups", train=cells[:36], validation=cells[36:48], test=cells[48:60]
    )
    normaliser = fit_normaliser(
        data, torch.arange(36), transforms={"precipitation": "log", data.target_names[0]: "log"}
    )
    model_config = model_preset(
        "stefaland-tiny", forcings=data.forcing_names, statics=data.static_names, d_model=32,
        d_feedforward=48,
    )  # fmt: skip
    return data, fold, normaliser, model_config


def _trained(folder: Path, training_data, **changes):
    data, fold, normaliser, model_config = training_data
    config = FinetuneConfig(
        window=30, warmup_steps=10, epochs=2, steps_per_epoch=4, batch_size=8, **changes
    )
    finetune(None, data, fold, config, folder, model_config=model_config, normaliser=normaliser)
    return load_member(folder), data.take(torch.arange(48, 60))


def test_a_quantile_network_from_training_to_physical_quantiles(
    tmp_path: Path, training_data
) -> None:
    one, data = _trained(tmp_path / "q", training_data, head="quantile")
    out = predict_cells([one], data)
    assert out["quantiles"].shape == (*out["mean"].shape, len(LEVELS))
    late = out["quantiles"][:, 10:]
    assert np.isfinite(late).all()
    assert (np.diff(late, axis=-1) >= 0).all()
    assert (late >= 0).all(), "streamflow is not negative"
    inside = (out["mean"][:, 10:] >= late[..., 0]) & (out["mean"][:, 10:] <= late[..., -1])
    assert inside.all()
    both = predict_cells([one, one], data)["quantiles"]
    np.testing.assert_allclose(both[:, 10:], late, rtol=1e-6)
    whole = predict_cells([one], data)["quantiles"]
    parts = [
        predict_cells([one], data.take(rows))["quantiles"] for rows in torch.arange(12).split(5)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_quantiles_are_finite_without_validation_cells(tmp_path: Path, training_data) -> None:
    data, fold, normaliser, model_config = training_data
    alone = replace(fold, validation=fold.validation[:0])
    one, held = _trained(
        tmp_path / "alone", (data, alone, normaliser, model_config), head="quantile"
    )
    assert np.isfinite(predict_cells([one], held)["quantiles"][:, 10:]).all()
    assert one.uncalibrated() == one


def test_mc_dropout_is_the_same_in_every_pass_and_widens_the_spread(
    tmp_path: Path, training_data
) -> None:
    once, data = _trained(tmp_path / "mc", training_data, dropout=0.3, mc_samples=12)
    assert once.mc_samples == 12
    assert len(dropouts(once.model)) >= 2
    whole = predict_cells([once], data)
    again = predict_cells([once], data)
    np.testing.assert_array_equal(whole["mean"], again["mean"])
    parts = [predict_cells([once], data.take(rows)) for rows in torch.arange(12).split(5)]
    np.testing.assert_array_equal(np.concatenate([p["spread"] for p in parts]), whole["spread"])
    plain = predict_cells([replace(once, mc_samples=0)], data)
    assert np.nanmean(whole["spread"]) > np.nanmean(plain["spread"])
    assert np.nanmax(np.abs(whole["mean"] - plain["mean"])) > 0


@pytest.mark.parametrize("name", ["dual_residual", "convolution"])
def test_a_draw_leaves_out_the_same_features_of_every_cell_and_day(name: str) -> None:
    torch.manual_seed(1)
    adapter = make_adapter(name, 64, 3, 5).eval()
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    h, x, c = torch.randn(4, 50, 64), torch.randn(4, 50, 3), torch.randn(4, 5)
    with torch.inference_mode(), left_out(adapter, 3):
        # After the draw's own hook, so that it sees what is passed on.
        for module in dropouts(adapter):
            module.register_forward_hook(lambda _, i, out: seen.append((i[0], out)))
        adapter(h, x, c)
    gone = [((out == 0) & (before != 0)).flatten(0, -2) for before, out in seen]
    assert {mask.shape[-1] % 64 for mask in gone} == {0}, "features, not days"
    assert any(bool(mask.any()) for mask in gone)
    for mask, (before, _) in zip(gone, seen, strict=True):
        kept = ((before != 0).flatten(0, -2) & ~mask).any(0)
        assert not bool((mask.any(0) & kept).any())


def test_a_draw_is_a_mixture_over_features_left_out() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Dropout(0.5), GaussianHead(16, 1)).eval()
    features = torch.randn(4, 6, 16)
    plain = model(features)
    mixed = sampled(model, features, 400)
    assert float((mixed.mean - plain.mean).abs().max()) < 0.25 * float(
        plain.mean.detach().std() + 1
    )
    assert bool((mixed.scale > 0).all())
    assert torch.equal(sampled(model, features, 3).mean, sampled(model, features, 3).mean)
    assert torch.equal(sampled(model, features, 0).mean, plain.mean)


@pytest.mark.parametrize("samples", [0, 4])
def test_a_temperature_holds_with_and_without_mc_dropout(
    tmp_path: Path, training_data, samples: int
) -> None:
    data, fold, normaliser, model_config = training_data
    wet = (data.target > data.target.nanmedian()).float()
    one, held = _trained(
        tmp_path / "probability", (replace(data, target=wet), fold, normaliser, model_config),
        task="probability", dropout=0.3, mc_samples=samples,
    )  # fmt: skip
    plain = predict_cells([replace(one, calibration=Calibration())], held)["mean"][:, 10:]
    cool = replace(one, calibration=Calibration(temperature=2.5))
    found = predict_cells([cool], held)["mean"][:, 10:]
    np.testing.assert_allclose(found, tempered("probability", plain, 2.5), rtol=1e-5)
    assert np.abs(found - plain).max() > 1e-3


def test_draws_without_dropout_are_refused_before_training(tmp_path: Path, training_data) -> None:
    with pytest.raises(InputError, match=r"12 draws .* \(adapter gated\) without"):
        _trained(tmp_path, training_data, adapter="gated", mc_samples=12)
    assert not list(tmp_path.iterdir())
    _trained(tmp_path / "some", training_data, adapter="gated", mc_samples=2, dropout=0.1)
    with pytest.raises(ValueError, match="one draw has no spread"):
        FinetuneConfig(mc_samples=1)


def test_a_loss_of_other_heads_is_refused() -> None:
    with pytest.raises(ValueError, match="pinball"):
        FinetuneConfig(head="gaussian", loss="pinball")
    assert FinetuneConfig(head="quantile").loss == "pinball"
    assert norm.cdf(SCORES[0]) == pytest.approx(LEVELS[0])


def test_intervals_of_a_logarithm_hold_in_the_units_of_the_target(
    tmp_path: Path, training_data
) -> None:
    data, fold, _, model_config = training_data
    config = FinetuneConfig(window=30, warmup_steps=10, epochs=3, steps_per_epoch=6, batch_size=8)
    rows = data.rows(fold.train)
    logarithm = fit_normaliser(data, rows, transforms={"streamflow": "log"})
    finetune(
        None, data, fold, config, tmp_path, model_config=model_config, normaliser=logarithm
    )  # fmt: skip
    one, seen = load_member(tmp_path), data.subset(fold.validation)
    assert one.normaliser.scalings["streamflow"].transform == "log"
    calibrated, plain = (predict_cells([m], seen) for m in (one, one.uncalibrated()))
    np.testing.assert_array_equal(calibrated["mean"], plain["mean"])
    error = np.abs(calibrated["mean"] - seen.target.numpy())[:, 10:]
    inside = (error <= Z_90 * calibrated["spread"][:, 10:])[np.isfinite(error)]
    assert 0.86 < inside.mean() < 0.94
