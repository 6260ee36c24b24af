"""Losses count hidden and observed values and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from stefaland.model.heads import Prediction
from stefaland.model.losses import NSE_FLOOR, finetune_loss, masked_loss
from stefaland.model.mae import Reconstruction
from tests.networks import CLASSES, STATICS, random_masks, small_batch


def guess(seed: int = 1) -> Reconstruction:
    draw = torch.Generator().manual_seed(seed)
    batch = small_batch()
    classes = tuple(torch.randn(4, n, generator=draw) for n in CLASSES.values())
    return Reconstruction(
        torch.randn(batch.forcings.shape, generator=draw).requires_grad_(),
        torch.randn(batch.statics.shape, generator=draw).requires_grad_(),
        classes,
    )


def test_masked_loss_is_the_mean_over_hidden_and_observed_values() -> None:
    batch, found = small_batch(), guess()
    forcing_mask, static_mask = random_masks(batch)
    loss, parts = masked_loss(found, batch, forcing_mask, static_mask, static_weight=0.25)
    means = []
    for values, guessed, mask in (
        (batch.forcings, found.forcings, forcing_mask),
        (batch.statics, found.statics, static_mask[:, : len(STATICS)]),
    ):
        value, g = values.double().numpy(), guessed.detach().double().numpy()
        asked = mask.numpy() & ~np.isnan(value)
        means.append(((g - value)[asked] ** 2).mean())
    assert batch.categorical is not None
    for k, scores in enumerate(found.categorical):
        codes, hidden = batch.categorical[:, k], static_mask[:, len(STATICS) + k]
        rows = [i for i in range(4) if hidden[i] and codes[i] >= 0]
        log_shares = scores.log_softmax(-1)
        means[1] += -np.mean([float(log_shares[i, codes[i]]) for i in rows]) if rows else 0.0
    assert float(parts["forcings"].detach()) == pytest.approx(means[0], rel=1e-5)
    assert float(parts["statics"].detach()) == pytest.approx(means[1], rel=1e-5)
    assert float(loss.detach()) == pytest.approx(means[0] + 0.25 * means[1], rel=1e-5)


def test_missing_and_shown_values_have_no_gradient() -> None:
    batch, found = small_batch(), guess()
    masks = random_masks(batch)
    loss, _ = masked_loss(found, batch, *masks)
    loss.backward()
    for values, guessed, mask in (
        (batch.forcings, found.forcings, masks[0]),
        (batch.statics, found.statics, masks[1][:, : len(STATICS)]),
    ):
        gradient = guessed.grad
        assert gradient is not None
        assert bool(gradient.isfinite().all())
        assert torch.equal(gradient != 0, mask & ~values.isnan())


def test_nothing_hidden_is_no_loss_and_no_nan() -> None:
    batch, found = small_batch(), guess()
    nothing = [torch.zeros_like(m) for m in random_masks(batch)]
    loss, _ = masked_loss(found, batch, *nothing)
    loss.backward()
    assert float(loss.detach()) == 0
    assert found.forcings.grad is not None
    assert not found.forcings.grad.any()


def test_noise_head_is_a_normal_likelihood() -> None:
    batch, plain = small_batch(), guess()
    masks = random_masks(batch)
    same = Reconstruction(
        plain.forcings, plain.statics, (), torch.zeros_like(plain.forcings),
        torch.zeros_like(plain.statics),
    )  # fmt: skip
    _, parts = masked_loss(same, batch, *masks)
    _, squares = masked_loss(plain, batch, *masks)
    assert float(parts["forcings"].detach()) == pytest.approx(
        float(squares["forcings"].detach()) / 2
    )


@pytest.mark.parametrize("name", ["mse", "rmse", "nse", "gaussian", "beta_gaussian"])
def test_target_losses_leave_missing_targets_out(name: str) -> None:
    draw = torch.Generator().manual_seed(0)
    mean, target = torch.randn(2, 3, 6, 1, generator=draw).unbind(0)
    target[0, 2:] = torch.nan
    mean.requires_grad_()
    std = torch.full((3, 1, 1), 0.4)
    prediction = Prediction(mean, torch.full_like(target, 0.5).nan_to_num(0.5))
    loss = finetune_loss(name)(prediction, target, std)
    valid = ~target.isnan()
    square = float((mean.detach() - target)[valid].square().mean())
    likelihood = 0.5 * (square / 0.25 + math.log(0.25) + math.log(2 * math.pi))
    expected = {
        "mse": square, "rmse": square**0.5, "nse": square / (0.4 + NSE_FLOOR) ** 2,
        "gaussian": likelihood, "beta_gaussian": 0.5 * likelihood,
    }  # fmt: skip
    assert float(loss.detach()) == pytest.approx(expected[name], rel=1e-5)
    loss.backward()
    assert mean.grad is not None
    assert torch.equal(mean.grad != 0, valid)


def test_losses_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match='Did you mean "rmse"'):
        finetune_loss("rmsee")
    target = torch.zeros(1, 2, 1)
    for name in ("gaussian", "beta_gaussian"):
        with pytest.raises(InputError, match="gaussian"):
            finetune_loss(name)(Prediction(target), target, target)
