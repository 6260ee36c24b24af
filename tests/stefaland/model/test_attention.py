"""Attention in blocks and dropout of 16 bits against PyTorch's own, and rotary angles."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from stefaland.model import attention
from stefaland.model.attention import attend, rotary_angles, rotate
from stefaland.model.dropout import Dropout, draw_kept


def inputs(size: int = 5) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    shape = (size, 2, 7, 4)
    return [
        torch.randn(shape, dtype=torch.float64, generator=draw).requires_grad_() for _ in range(3)
    ]


def test_dropout_has_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    for share in (0.1, 0.5, 0.9):
        keep = draw_kept(torch.empty((1001, 1001), dtype=torch.uint8), share)
        assert float(keep.float().mean()) == pytest.approx(1 - share, abs=0.003)
    layer = Dropout(0.1)
    x = torch.ones(1000, 1000)
    assert float(layer(x).mean()) == pytest.approx(1.0, abs=0.002)
    assert sorted(layer(x).unique().tolist()) == pytest.approx([0.0, 1 / 0.9])
    assert layer.eval()(x) is x


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    keep = draw_kept(torch.empty((200_000,), dtype=torch.uint8), 0.3).float()
    for step in (1, 2, 3, 4, 5):
        pair = torch.corrcoef(torch.stack([keep[:-step], keep[step:]]))
        assert abs(float(pair[0, 1])) < 0.012


def test_gradients_of_dropout() -> None:
    layer = Dropout(0.3)

    def same_draw(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return layer(x)

    assert torch.autograd.gradcheck(same_draw, inputs()[:1])


@pytest.mark.parametrize("block", [1, 3 * 49, 10**6])
def test_gradients_of_attention_in_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "BLOCK", block)

    def same_draw(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return attend(q, k, v, 0.3)

    assert torch.autograd.gradcheck(same_draw, inputs())


def test_attention_in_blocks_is_attention_with_those_weights_dropped() -> None:
    q, k, v = (x.detach() for x in inputs())
    torch.manual_seed(3)
    found = attend(q, k, v, 0.25)
    torch.manual_seed(3)
    keep = draw_kept(torch.empty((5, 2, 7, 7), dtype=torch.uint8), 0.25)
    weights = (q @ k.transpose(-1, -2) / 2).softmax(-1)
    expected = (weights * keep / 0.75) @ v
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(attend(q, k, v), F.scaled_dot_product_attention(q, k, v))


def test_rotated_products_depend_on_distances_alone() -> None:
    q, k = torch.randn(2, 1, 8, dtype=torch.float64).unbind(0)

    def product(here: int, there: int) -> float:
        turned = [
            rotate(x, rotary_angles(torch.tensor([place]), 8))
            for x, place in ((q, here), (k, there))
        ]
        return float((turned[0] * turned[1]).sum())

    assert product(3, 10) == pytest.approx(product(203, 210), abs=1e-4)
    assert product(3, 10) != pytest.approx(product(3, 11), abs=1e-4)
    assert product(0, 0) == pytest.approx(float((q * k).sum()))
