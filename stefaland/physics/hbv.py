"""Differentiable HBV: snow, soil and groundwater of many locations, day by day.

The equations are those of HBV (Bergström 1992; Seibert 2005; AghaKouchak and Habib 2010) with an
exponent of evaporation and several components (Feng et al. 2022, doi 10.1029/2022WR032404) and with
capillary rise (Song et al., doi 10.1029/2025WR040414). docs/physics.md lists them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.core.errors import Faults
from stefaland.physics.parameters import PARAMETERS
from stefaland.physics.routing import route, unit_hydrograph

FORCINGS = ("precipitation in mm/day", "air temperature in degC", "PET in mm/day")
DRIEST = 1e-5
"""Smallest wetness of the soil in a power, so that its derivative stays finite."""


@dataclass(frozen=True)
class State:
    """Water in the stores of each component [B, K], in mm."""

    ice: Tensor
    liquid: Tensor
    """Liquid water in the snow."""
    soil: Tensor
    upper: Tensor
    lower: Tensor

    @classmethod
    def empty(cls, parameters: Tensor) -> State:
        """Empty stores of the components with these parameters [B, K, n]."""
        zeros = parameters.new_zeros(parameters.shape[:2])
        return cls(*(zeros,) * 5)

    def total(self) -> Tensor:
        """Water of all stores [B], the mean of the components."""
        return (self.ice + self.liquid + self.soil + self.upper + self.lower).mean(1)


@dataclass(frozen=True)
class Simulation:
    """Fluxes in mm/day and stores in mm of each day [B, T], means of the components."""

    discharge: Tensor
    """Runoff after routing."""
    runoff: Tensor
    evaporation: Tensor
    recharge: Tensor
    """Water from the soil to the upper groundwater store."""
    snow_water: Tensor
    """Snow water equivalent at the end of the day: ice and liquid water."""
    soil_water: Tensor
    groundwater: Tensor
    state: State
    """State after the last day, from which a simulation can go on."""


def simulate(
    forcings: Tensor, parameters: Tensor, routing: Tensor | None = None, state: State | None = None
) -> Simulation:
    """Simulate B locations over T days with K components each.

    `forcings` [B, T, 3] are precipitation in mm/day, air temperature in degC and potential
    evapotranspiration in mm/day, of at least 0; `parameters` [B, K, 14] and `routing` [B, 2] are in
    the order of `PARAMETERS` and `ROUTING`. Without `routing` discharge is runoff; without `state`
    the stores are empty before the first day. Gradients pass through all arguments. After a missing
    forcing (NaN) all is NaN. Raises `InputError` for other shapes.

    >>> from stefaland.physics.parameters import in_range
    >>> weather = torch.tensor([5.0, 10.0, 2.0]).expand(1, 400, 3)
    >>> wet = simulate(weather, in_range(torch.zeros(1, 1, 14)), torch.tensor([[2.0, 1.0]]))
    >>> [round(float(flux[0, -1]), 2) for flux in (wet.discharge, wet.evaporation)]
    [3.0, 2.0]
    """
    _check(forcings, parameters, routing, state)
    tt, cfmax, cfr, cwh, fc, beta, lp, betaet, c, k0, k1, k2, uzl, perc = parameters.unbind(-1)
    precipitation, temperature, pet = forcings[:, :, None].unbind(-1)
    # What depends on no state is computed for all days at once, [B, T, K].
    warmth = temperature - tt[:, None]
    rain = torch.where(warmth >= 0, precipitation, torch.zeros_like(precipitation))
    snow = precipitation - rain
    can_melt = cfmax[:, None] * warmth.clamp(min=0.0)
    can_freeze = (cfr * cfmax)[:, None] * (-warmth).clamp(min=0.0)
    store = state or State.empty(parameters)
    ice, liquid, soil, upper, lower = store.ice, store.liquid, store.soil, store.upper, store.lower
    days = []
    for rain_now, snow_now, melt_now, freeze_now, pet_now in zip(
        rain.unbind(1), snow.unbind(1), can_melt.unbind(1), can_freeze.unbind(1), pet.unbind(1),
        strict=True,
    ):  # fmt: skip
        ice = ice + snow_now
        melt = torch.minimum(melt_now, ice)
        wet = liquid + melt
        freeze = torch.minimum(freeze_now, wet)
        ice = ice - melt + freeze
        liquid = wet - freeze
        drained = (liquid - cwh * ice).clamp(min=0.0)
        liquid = liquid - drained

        water = rain_now + drained
        recharge = water * (soil / fc).clamp(DRIEST, 1.0) ** beta
        soil = soil + water - recharge
        excess = (soil - fc).clamp(min=0.0)
        soil = soil - excess
        demand = pet_now * (soil / (lp * fc)).clamp(DRIEST, 1.0) ** betaet
        evaporation = torch.minimum(demand, soil)
        soil = soil - evaporation
        rise = c * lower * (1.0 - soil / fc)
        soil = soil + rise

        upper = upper + recharge + excess
        percolation = torch.minimum(perc, upper)
        upper = upper - percolation
        quick = k0 * (upper - uzl).clamp(min=0.0)
        slow = k1 * (upper - quick)
        upper = upper - quick - slow
        lower = lower - rise + percolation
        base = k2 * lower
        lower = lower - base
        series = (quick + slow + base, evaporation, recharge + excess, ice + liquid, soil,
                  upper + lower)  # fmt: skip
        days.append(torch.stack(series).mean(-1))
    runoff, evapotranspiration, recharged, snow_water, soil_water, groundwater = torch.stack(
        days, 2
    ).unbind(0)
    return Simulation(
        discharge=runoff if routing is None else route(runoff, unit_hydrograph(routing)),
        runoff=runoff, evaporation=evapotranspiration, recharge=recharged, snow_water=snow_water,
        soil_water=soil_water, groundwater=groundwater,
        state=State(ice, liquid, soil, upper, lower),
    )  # fmt: skip


def _check(
    forcings: Tensor, parameters: Tensor, routing: Tensor | None, state: State | None
) -> None:
    faults = Faults()
    if forcings.ndim != 3 or forcings.shape[-1] != len(FORCINGS) or not forcings.shape[1]:
        expected = f"[B, T, {len(FORCINGS)}], at least one day of {', '.join(FORCINGS)}"
        faults.add("forcings of HBV", f"shape {tuple(forcings.shape)}", expected)
        faults.raise_if_any()
    size = len(forcings)
    if parameters.ndim != 3 or parameters.shape[::2] != (size, len(PARAMETERS)):
        expected = f"[{size}, K, {len(PARAMETERS)}]: {', '.join(PARAMETERS)}"
        faults.add("parameters of HBV", f"shape {tuple(parameters.shape)}", expected)
    if routing is not None and routing.shape != (size, 2):
        faults.add("routing of HBV", f"shape {tuple(routing.shape)}", f"[{size}, 2]: a, b")
    if state is not None and state.soil.shape != parameters.shape[:2]:
        expected = str(list(parameters.shape[:2]))
        faults.add("state of HBV", f"shape {tuple(state.soil.shape)}", expected)
    faults.raise_if_any()
