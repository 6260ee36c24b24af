"""HBV against a plain loop over days, its water balance, its gradients, and hydrodl2."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.core.errors import InputError
from stefaland.physics import State, simulate
from stefaland.physics.parameters import PARAMETERS, ROUTING, in_range
from stefaland.physics.routing import unit_hydrograph

CELLS, DAYS = 8, 60


def weather(seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Two months of forcings [8, 60, 3], first around freezing, with wet and dry days."""
    draw = np.random.default_rng(seed)
    rain = draw.gamma(0.4, 12.0, (CELLS, DAYS)) * (draw.random((CELLS, DAYS)) < 0.6)
    warm = np.linspace(-6, 14, DAYS) + draw.normal(0, 5, (CELLS, DAYS))
    pet = np.maximum(0.15 * warm, 0.0)
    return torch.tensor(np.stack([rain, warm, pet], -1), dtype=dtype)


def drawn(
    seed: int, k: int = 3, dtype: torch.dtype = torch.float64, width: float = 2.0
) -> tuple[Tensor, Tensor]:
    """Unbounded numbers of parameters [8, k, 14] and of routing [8, 2]."""
    draw = torch.Generator().manual_seed(seed)
    numbers = torch.randn(CELLS, k, len(PARAMETERS), generator=draw, dtype=torch.float64)
    routes = torch.randn(CELLS, len(ROUTING), generator=draw, dtype=torch.float64)
    return (width * numbers).to(dtype), routes.to(dtype)


def one_by_one(
    forcings: list[list[float]], parameters: dict[str, float], stores: list[float]
) -> list[list[float]]:
    """Runoff, evaporation and stores of each day, in plain numbers: one component of one cell."""
    p, (ice, liquid, soil, upper, lower), days = parameters, stores, []
    for rain, warm, pet in forcings:
        if warm < p["tt"]:
            ice, rain = ice + rain, 0.0
        melt = min(p["cfmax"] * max(warm - p["tt"], 0.0), ice)
        ice, liquid = ice - melt, liquid + melt
        freeze = min(p["cfr"] * p["cfmax"] * max(p["tt"] - warm, 0.0), liquid)
        ice, liquid = ice + freeze, liquid - freeze
        held = min(liquid, p["cwh"] * ice)
        rain, liquid = rain + liquid - held, held
        recharge = rain * min(soil / p["fc"], 1.0) ** p["beta"]
        soil += rain - recharge
        if soil > p["fc"]:
            soil, recharge = p["fc"], recharge + soil - p["fc"]
        evaporation = min(soil, pet * min(soil / (p["lp"] * p["fc"]), 1.0) ** p["betaet"])
        soil -= evaporation
        rise = p["c"] * lower * (1 - soil / p["fc"])
        soil, lower, upper = soil + rise, lower - rise, upper + recharge
        percolation = min(p["perc"], upper)
        upper -= percolation
        quick = p["k0"] * max(upper - p["uzl"], 0.0)
        upper -= quick
        slow = p["k1"] * upper
        upper, lower = upper - slow, lower + percolation
        base = p["k2"] * lower
        lower -= base
        days.append([quick + slow + base, evaporation, ice + liquid, soil, upper + lower])
    return days


def test_all_cells_and_components_equal_a_loop_over_each() -> None:
    forcings, parameters = weather(0), in_range(drawn(1)[0])
    # A store of water in the snow and soil, so that every branch is taken.
    begin = State(*(torch.full((CELLS, 3), mm, dtype=torch.float64) for mm in (30, 2, 40, 60, 20)))
    found = simulate(forcings, parameters, state=begin)
    expected = np.mean(
        [
            [
                one_by_one(forcings[i].tolist(), dict(zip(PARAMETERS, row, strict=True)),
                           [30, 2, 40, 60, 20])
                for row in parameters[i].tolist()
            ]
            for i in range(CELLS)
        ],
        1,
    )  # fmt: skip
    series = (found.runoff, found.evaporation, found.snow_water, found.soil_water,
              found.groundwater)  # fmt: skip
    np.testing.assert_allclose(torch.stack(series, -1), expected, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    width=st.sampled_from([0.0, 1.0, 5.0, 30.0]),
    single=st.booleans(),
    wet=st.booleans(),
)
def test_water_is_neither_made_nor_lost(seed: int, width: float, single: bool, wet: bool) -> None:
    """Precipitation = runoff + evaporation + change of storage, in each cell and on each day."""
    dtype = torch.float32 if single else torch.float64
    parameters = in_range(drawn(seed, dtype=dtype, width=width)[0])
    begin = State.empty(parameters)
    if wet:
        begin = State(*(torch.full_like(begin.soil, mm) for mm in (9, 0, 30, 9, 5)))
    forcings = weather(seed, dtype)
    found = simulate(forcings, parameters, state=begin)
    rain = forcings[..., 0].double().cumsum(1)
    lost = (found.runoff.double() + found.evaporation.double()).cumsum(1)
    stored = (found.snow_water + found.soil_water + found.groundwater).double()
    gap = rain - lost - (stored - begin.total().double()[:, None])
    assert bool((gap.abs() <= 1e-5 * rain[:, -1:]).all())
    np.testing.assert_allclose(stored[:, -1], found.state.total(), rtol=1e-5)
    for store in astuple(found.state):
        assert float(store.min()) >= -1e-4
    assert float(found.soil_water.max()) <= 1000


def test_routing_delays_all_water_and_loses_none() -> None:
    parameters, routing = in_range(drawn(3)[0]), in_range(drawn(3)[1], ROUTING)
    forcings = weather(4)
    dry = torch.zeros(CELLS, 20, 3, dtype=torch.float64)
    dry[..., 1] = -90.0
    found = simulate(torch.cat([forcings, dry], 1), parameters, routing)
    np.testing.assert_allclose(unit_hydrograph(routing).sum(1), 1.0)
    early = found.runoff[:, : DAYS + 6].sum(1)
    assert bool((found.discharge.sum(1) >= early).all())
    assert bool((found.discharge.cumsum(1) <= found.runoff.cumsum(1) + 1e-9).all())


def test_a_simulation_in_two_parts_is_that_of_the_whole() -> None:
    forcings, parameters = weather(5), in_range(drawn(6)[0])
    whole = simulate(forcings, parameters)
    first = simulate(forcings[:, :25], parameters)
    second = simulate(forcings[:, 25:], parameters, state=first.state)
    torch.testing.assert_close(torch.cat([first.runoff, second.runoff], 1), whole.runoff)


def test_gradients_are_those_of_finite_differences_and_stay_finite() -> None:
    numbers, routes = drawn(7, k=2, width=1.0)

    def discharge(forcings: Tensor, numbers: Tensor, routes: Tensor, wet: Tensor) -> Tensor:
        state = State(*(wet[..., None].expand(-1, 2) * share for share in (1.0, 0.01, 3, 0.5, 1)))
        found = simulate(forcings, in_range(numbers), in_range(routes, ROUTING), state)
        return found.discharge + found.evaporation

    # Without values of exactly 0, where a minimum of two zeros has no derivative.
    inputs = (weather(8)[:2, 25:33] + 0.37, numbers[:2], routes[:2],
              torch.tensor([20.0, 31.0], dtype=torch.float64))  # fmt: skip
    assert torch.autograd.gradcheck(discharge, [v.clone().requires_grad_() for v in inputs])
    # From empty stores, where powers of 0 have no derivative, and without any precipitation.
    empty = drawn(9)[0].float().requires_grad_()
    forcings = weather(9, torch.float32)
    forcings[:4, :, 0] = 0.0
    simulate(forcings, in_range(empty)).runoff.sum().backward()
    assert bool(empty.grad.isfinite().all())


def test_other_shapes_are_one_error() -> None:
    parameters = in_range(torch.zeros(2, 3, 14))
    with pytest.raises(InputError, match=r"\[B, T, 3\], at least one day of precipitation"):
        simulate(torch.zeros(2, 5, 4), parameters)
    with pytest.raises(InputError) as error:
        simulate(torch.zeros(3, 5, 3), parameters, torch.zeros(2, 2))
    assert [fault.where for fault in error.value.faults] == ["parameters of HBV", "routing of HBV"]


def of_hydrodl2(forcings: Tensor, numbers: Tensor, routes: Tensor) -> dict[str, Tensor]:
    """Fluxes [B, T] of the same parameters under hydrodl2's HBV 1.1p."""
    models = pytest.importorskip(
        "hydrodl2.models.hbv.hbv_1_1p", reason="needs hydrodl2: pip install 'stefaland[parity]'"
    )
    model = models.Hbv_1_1p({"nmul": numbers.shape[1], "dynamic_params": {}}, torch.device("cpu"))
    order = [name.removeprefix("par").lower() for name in model.parameter_bounds]
    columns = numbers[..., [list(PARAMETERS).index(name) for name in order]]
    raw = torch.cat([columns.transpose(1, 2).flatten(1), routes], 1)
    days = forcings.shape[1]
    out = model({"x_phy": forcings.transpose(0, 1)}, raw.expand(days, -1, -1))
    return {name: flux[..., 0].T for name, flux in out.items() if name != "BFI"}


def test_hydrodl2_returns_the_same_fluxes() -> None:
    numbers, routes = drawn(10, k=4, dtype=torch.float32, width=1.0)
    forcings = weather(11, torch.float32).repeat(1, 4, 1)
    theirs = of_hydrodl2(forcings, numbers, routes)
    begin = State(*(torch.full((CELLS, 4), 1e-3) for _ in range(5)))
    ours = simulate(forcings, in_range(numbers), in_range(routes, ROUTING), begin)
    torch.testing.assert_close(ours.discharge, theirs["streamflow"], rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(ours.runoff, theirs["streamflow_no_rout"], rtol=1e-5, atol=2e-5)
    # Its stores are never below 1e-5 mm, which a small exponent of evaporation makes 1e-4 mm/day.
    torch.testing.assert_close(ours.evaporation, theirs["AET_hydro"], rtol=1e-5, atol=2e-4)
    both = theirs["recharge"] + theirs["excs"]
    torch.testing.assert_close(ours.recharge, both, rtol=1e-5, atol=5e-5)
