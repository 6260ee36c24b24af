"""Rotary angles: products of turned queries and keys."""

from __future__ import annotations

import pytest
import torch

from stefaland.model.rotary import rotary_angles, rotate


def test_rotated_products_depend_on_distances_alone() -> None:
    q, k = torch.randn(2, 1, 8, dtype=torch.float64).unbind(0)

    def product(here: int, there: int) -> float:
        turned = [
            rotate(x, rotary_angles(torch.tensor([position]), 8))
            for x, position in ((q, here), (k, there))
        ]
        return float((turned[0] * turned[1]).sum())

    assert product(3, 10) == pytest.approx(product(203, 210), abs=1e-4)
    assert product(3, 10) != pytest.approx(product(3, 11), abs=1e-4)
    assert product(0, 0) == pytest.approx(float((q * k).sum()))
