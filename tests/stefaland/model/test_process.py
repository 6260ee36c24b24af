"""HBV as a head: physical inputs, streamflow of its parameters, the distribution around it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from stefaland.data.batch import Batch
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.data.normalise import Normaliser
from stefaland.data.windows import Windows
from stefaland.model.heads import HBVHead, make_head
from stefaland.model.process import HBV, learn_scalings
from stefaland.model.quantiles import MIDDLE
from stefaland.physics import simulate
from stefaland.physics.evaporation import oudin
from stefaland.physics.parameters import ROUTING, in_range
from tests.synthetic import daily_cells

WINDOW = 60
DATA = daily_cells(8, 400)
LOGS = {"precipitation": "log", "streamflow": "log"}


def batch_of(data: CellData, steps: int = WINDOW) -> tuple[Batch, Normaliser]:
    normaliser = fit_normaliser(data, torch.arange(len(data)), None, LOGS)
    windows = Windows(data, normaliser, steps)
    return windows.gather(torch.arange(8), torch.zeros(8, dtype=torch.int64)), normaliser


def with_pet(data: CellData) -> CellData:
    pet = torch.full((8, 400, 1), 2.5)
    pet[:, 100:] = 1.5
    names = (*data.forcing_names, "potential_evapotranspiration")
    return replace(data, forcings=torch.cat([data.forcings, pet], -1), forcing_names=names)


def expected(head: HBVHead, features: torch.Tensor, forcings: torch.Tensor) -> torch.Tensor:
    numbers = head.hbv.numbers(features.mean(1))
    parameters = in_range(numbers[:, :-2].unflatten(1, (-1, 14)))
    routing, state = in_range(numbers[:, -2:], ROUTING), None
    if forcings.shape[1] >= 365:
        state = simulate(forcings[:, :365], parameters).state
    return simulate(forcings, parameters, routing, state).discharge


@pytest.mark.parametrize("steps", [WINDOW, 380])
@pytest.mark.parametrize("given", [True, False])
def test_the_median_is_the_streamflow_of_the_physical_forcings(steps: int, given: bool) -> None:
    torch.manual_seed(0)
    data = with_pet(DATA) if given else DATA
    batch, normaliser = batch_of(data, steps)
    head = HBVHead(4, 1, data.forcing_names, components=2)
    learn_scalings(head, normaliser, data)
    features = torch.randn(8, steps, 4)
    rain, heat = data.forcings[:, :steps, 0], data.forcings[:, :steps, 1]
    pet = torch.full_like(rain, 2.5)
    pet[:, 100:] = 1.5
    if not given:
        assert batch.day_of_year is not None
        pet = oudin(heat, data.lonlat[:, 1].float(), batch.day_of_year)
    with torch.no_grad():
        found = head(features, batch)
        flow = expected(head, features, torch.stack([rain, heat, pet], -1))
    assert found.scale is not None
    assert found.scale.shape == found.mean.shape == (8, steps, 1)
    assert float(found.scale.min()) > 0
    physical = normaliser.inverse(found.mean, ("streamflow",))[..., 0]
    torch.testing.assert_close(physical, flow.clamp(min=1e-6), rtol=1e-4, atol=1e-4)


def test_quantiles_lie_around_the_streamflow_and_all_weights_have_gradients() -> None:
    torch.manual_seed(1)
    batch, normaliser = batch_of(DATA)
    features = torch.randn(8, WINDOW, 4)
    for around in ("quantile", "point", "gaussian"):
        head = HBVHead(4, 1, DATA.forcing_names, around=around, components=2)
        learn_scalings(head, normaliser, DATA)
        found = head(features, batch)
        if around == "quantile":
            flow = head.hbv(features, batch)
            torch.testing.assert_close(found.quantiles[..., MIDDLE], flow)
            assert bool((found.quantiles.diff(dim=-1) > 0).all())
        found.mean.square().mean().backward()
        for name, weight in head.named_parameters():
            assert weight.grad is not None, name
            assert bool(weight.grad.isfinite().all()), name
        assert float(head.hbv.numbers.weight.grad.abs().max()) > 0


def test_the_warm_up_has_the_same_streamflow_without_gradient() -> None:
    torch.manual_seed(4)
    batch, normaliser = batch_of(DATA)
    hbv, features = HBV(4, DATA.forcing_names, components=2), torch.randn(8, WINDOW, 4)
    flows, gradients = [], []
    for warmup in (0, 40):
        learn_scalings(hbv, normaliser, DATA, warmup)
        flows.append(hbv(features, batch))
        early = flows[-1][:, 20:25].sum()
        # The last two rows are those of routing, which has a gradient in both.
        gradients.append(torch.autograd.grad(early, hbv.numbers.weight)[0][:-2].abs().max())
    torch.testing.assert_close(*flows)
    assert gradients[0] > 0
    assert gradients[1] == 0


def test_a_missing_forcing_is_the_training_mean() -> None:
    torch.manual_seed(2)
    batch, normaliser = batch_of(DATA)
    hbv = HBV(4, DATA.forcing_names, components=2)
    learn_scalings(hbv, normaliser, DATA)
    gappy, filled = batch.forcings.clone(), batch.forcings.clone()
    gappy[:, 5:9, 0], filled[:, 5:9, 0] = torch.nan, 0.0
    features = torch.randn(8, WINDOW, 4)
    with torch.no_grad():
        found = [hbv(features, replace(batch, forcings=each)) for each in (gappy, filled)]
    torch.testing.assert_close(*found)


def test_the_mean_of_extremes_may_be_the_temperature_and_other_inputs_are_refused() -> None:
    names = ("air_temperature_max", "precipitation", "air_temperature_min")
    assert HBV(4, names).columns.temperature == (0, 2)
    with pytest.raises(InputError) as error:
        make_head("hbv", 8, 1, ("precipitaton", "shortwave_radiation"))
    faults = error.value.faults
    assert ["precipitation (mm/day)" in f.expected for f in faults] == [True, False]
    assert "air_temperature_max and air_temperature_min" in faults[1].expected
    assert 'Did you mean "precipitaton"' in faults[0].hint
    hbv, normaliser = HBV(4, DATA.forcing_names), batch_of(DATA)[1]
    with pytest.raises(InputError, match=r"target soil_moisture; expected streamflow \(mm/day\)"):
        hbv.learn(normaliser, replace(DATA, target_names=("soil_moisture",)))
    hours = DATA.time[0] + np.arange(400) * np.timedelta64(6, "h")
    with pytest.raises(InputError, match="time steps of 6 hours"):
        hbv.learn(normaliser, replace(DATA, time=hours))
    kelvins = replace(DATA, forcings=DATA.forcings + torch.tensor([0.0, 273.15]))
    with pytest.raises(InputError, match=r"air_temperature with a training mean of 28.*Subtract"):
        hbv.learn(batch_of(kelvins)[1], kelvins)


@pytest.mark.slow
def test_a_compiled_network_runs_hbv_as_it_is() -> None:
    torch.manual_seed(3)
    batch, normaliser = batch_of(DATA)
    hbv = HBV(4, DATA.forcing_names, components=2)
    learn_scalings(hbv, normaliser, DATA)
    features = torch.randn(8, WINDOW, 4)
    compiled = torch.compile(hbv, backend="eager")
    torch.testing.assert_close(compiled(features, batch), hbv(features, batch))
