"""Potential evapotranspiration of tensors against arrays, and the examples of the room."""

from __future__ import annotations

import doctest
from importlib import import_module

import numpy as np
import pytest
import torch

from pipeline.core.formulas.meteorology import pet_oudin
from stefaland.physics.evaporation import oudin


def test_it_is_the_formula_of_the_pipeline_at_all_latitudes_and_days() -> None:
    latitude = torch.linspace(-90, 90, 13)
    days = torch.arange(1.0, 366.0, 7.0).expand(13, -1)
    temperature = torch.linspace(-30, 40, days.shape[1]).expand(13, -1)
    found = oudin(temperature, latitude, (days - 1) / 365)
    expected = pet_oudin(*(v.double().numpy() for v in (temperature, latitude[:, None], days)))
    np.testing.assert_allclose(found, expected, atol=5e-3)
    assert float(found[:, temperature[0] < -5].max()) == 0.0
    assert float(found.max()) > 5.0


@pytest.mark.parametrize("name", ["evaporation", "hbv", "parameters", "routing"])
def test_the_examples_run(name: str) -> None:
    module = import_module(f"stefaland.physics.{name}")
    assert doctest.testmod(module).failed == 0
