"""Potential evapotranspiration against published values, and the examples of the room."""

from __future__ import annotations

import doctest
import math
from importlib import import_module

import pytest
import torch

from stefaland.physics.evaporation import extraterrestrial_radiation, oudin


def test_radiation_is_that_of_fao_56_and_of_polar_night_and_day() -> None:
    """Example 8 of FAO-56, 3 September at 20 degrees south: 32.2 MJ m-2 day-1."""
    latitude = torch.tensor([-20.0, 70.0, 90.0])
    fraction = torch.tensor([246.0, 350.0, 172.0])[:, None] / 365
    found = extraterrestrial_radiation(latitude, fraction)[:, 0]
    # The sun of a pole's midsummer stays at 23.4 degrees for 1440 minutes.
    summer = 1440 * 0.0820 * 0.967 * math.sin(0.409)
    torch.testing.assert_close(found, torch.tensor([32.2, 0.0, summer]), atol=0.05, rtol=0)


def test_nothing_evaporates_in_frost_and_more_in_warmth() -> None:
    found = oudin(torch.tensor([[-30.0, -5.0, 0.0, 15.0, 30.0]]), torch.tensor([40.0]),
                  torch.full((1, 5), 0.5))[0]  # fmt: skip
    assert found[:2].tolist() == [0.0, 0.0]
    assert bool((found[1:].diff() > 0).all())


@pytest.mark.parametrize("name", ["evaporation", "hbv", "parameters", "routing"])
def test_the_examples_run(name: str) -> None:
    module = import_module(f"stefaland.physics.{name}")
    assert doctest.testmod(module).failed == 0
