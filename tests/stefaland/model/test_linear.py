"""Affine maps through oneDNN against PyTorch's own, with their gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from stefaland.model import linear
from stefaland.model.linear import Linear, affine


def layer() -> Linear:
    torch.manual_seed(0)
    return Linear(24, 40)


def values(rows: int = 100) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(2, rows, 24, generator=draw).requires_grad_()


@pytest.mark.parametrize("rows", [1, 100])
@pytest.mark.parametrize("relu", [False, True])
def test_values_and_gradients_are_those_of_pytorch(rows: int, relu: bool) -> None:
    ours, x = layer(), values(rows)
    out = ours.relu(x) if relu else ours(x)
    expected = F.linear(x, ours.weight, ours.bias)
    expected = F.relu(expected) if relu else expected
    torch.testing.assert_close(out, expected)
    weights = torch.randn_like(out)
    wanted = (x, ours.weight, ours.bias)
    for one, two in zip(
        torch.autograd.grad((out * weights).sum(), wanted),
        torch.autograd.grad((expected * weights).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def test_dropout_after_relu() -> None:
    ours, x = layer(), values(20_000)
    torch.manual_seed(0)
    out = ours.relu(x, 0.25)
    plain = F.relu(F.linear(x, ours.weight, ours.bias))
    seen = (out > 0) & (plain > 0)
    assert float(seen.sum() / (plain > 0).sum()) == pytest.approx(0.75, abs=0.005)
    torch.testing.assert_close(out[seen], plain[seen] / 0.75, atol=1e-5, rtol=1e-4)
    assert not out[~seen].any()
    weights = torch.randn_like(out)
    (found,) = torch.autograd.grad((out * weights).sum(), x)
    (expected,) = torch.autograd.grad((plain * seen / 0.75 * weights).sum(), x)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_views_of_any_strides() -> None:
    ours, x = layer(), values()
    wide = torch.randn(2, 100, 48)
    for view in (x.transpose(0, 1), wide[..., :24], wide[:, ::2, 24:], wide[:, 1:-1, ::2]):
        expected = F.linear(view, ours.weight, ours.bias)
        torch.testing.assert_close(ours(view), expected)
    turned = torch.randn(24, 40)
    torch.testing.assert_close(affine(x, turned.t(), ours.bias), F.linear(x, turned.t(), ours.bias))


def test_frozen_weights_have_no_gradient() -> None:
    ours, x = layer().requires_grad_(False), values()
    ours(x).sum().backward()
    assert x.grad is not None
    assert ours.weight.grad is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_pytorchs_own(dtype: torch.dtype) -> None:
    ours, x = layer().to(dtype), values().to(dtype)
    assert torch.equal(ours(x), F.linear(x, ours.weight, ours.bias))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer()(values()).dtype == torch.bfloat16


def test_without_onednn_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, x = layer(), values()
    quick = ours.relu(x)
    monkeypatch.setattr(linear, "HAS_ONEDNN", False)
    torch.testing.assert_close(ours.relu(x), quick)
    torch.manual_seed(0)
    assert float((ours.relu(x, 0.5) == 0).float().mean()) > float((quick == 0).float().mean())
