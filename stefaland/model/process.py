"""HBV as a part of a network: parameters from features, discharge from the window's forcings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.core.errors import bad_input
from stefaland.data.batch import Batch
from stefaland.data.cell_data import CellData
from stefaland.data.normalise import TRANSFORMS, Normaliser
from stefaland.physics.evaporation import oudin
from stefaland.physics.hbv import simulate
from stefaland.physics.inputs import check_daily, input_columns
from stefaland.physics.parameters import PARAMETERS, ROUTING, in_range
from stefaland.physics.routing import route, unit_hydrograph

COMPONENTS = 16
"""Number of components (Feng et al. 2022)."""
SPIN_UP = 365
"""Number of first days of a window that are simulated beforehand, from empty stores."""
WARMEST = 60.0
"""Highest mean air temperature in degC that is possible; others are in kelvins."""
SMALLEST = 1e-6
"""Smallest discharge in mm/day, so that the derivative of a square root stays finite."""


class Scalings(nn.Module):
    """The scalings of n variables as buffers, which checkpoints store with the weights."""

    mean: Tensor
    std: Tensor
    transform: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("std", torch.ones(n))
        self.register_buffer("transform", torch.zeros(n, dtype=torch.int64))

    def learn(self, normaliser: Normaliser, names: Sequence[str]) -> None:
        """Take the scalings of these variables."""
        known, order = [normaliser.scalings[name] for name in names], list(TRANSFORMS)
        self.mean.copy_(torch.tensor([scaling.mean for scaling in known]))
        self.std.copy_(torch.tensor([scaling.std for scaling in known]))
        self.transform.copy_(torch.tensor([order.index(scaling.transform) for scaling in known]))

    def physical(self, values: Tensor) -> Tensor:
        """Physical values [..., n] of normalised ones."""
        transformed = found = values * self.std + self.mean
        for i, transform in enumerate(TRANSFORMS.values()):
            found = torch.where(self.transform == i, transform.inverse(transformed), found)
        return found

    def normalised(self, values: Tensor) -> Tensor:
        """Normalised values of physical ones [..., n], of at least 0."""
        found = values
        for i, transform in enumerate(TRANSFORMS.values()):
            found = torch.where(self.transform == i, transform.forward(values), found)
        return (found - self.mean) / self.std


class HBV(nn.Module):
    """HBV with parameters from features; a missing forcing counts as the training mean.

    The parameters are constant within a window. The state before it is that after a spin-up: the
    window's first year from empty stores, without gradient; a shorter window starts from them. In
    training the warm-up of the window has no gradient either, which saves half of the time.
    """

    def __init__(self, d_model: int, forcings: Sequence[str], components: int = COMPONENTS) -> None:
        super().__init__()
        self.forcing_names, self.components = tuple(forcings), components
        self.columns = input_columns(forcings)
        self.numbers = nn.Linear(d_model, components * len(PARAMETERS) + len(ROUTING))
        # Components that differ from each other before training.
        nn.init.normal_(self.numbers.bias)
        self.inputs, self.target = Scalings(len(self.forcing_names)), Scalings(1)
        self.warmup = 0

    def learn(self, normaliser: Normaliser, data: CellData, warmup: int = 0) -> None:
        """Take the scalings of forcings and target, and the number of first days without gradient.

        Raises `InputError` for data that HBV cannot use.
        """
        self.warmup = warmup
        input_columns(self.forcing_names, data.target_names)
        check_daily(data.time)
        for name in (self.forcing_names[column] for column in self.columns.temperature):
            if (mean := normaliser.scalings[name].mean) > WARMEST:
                raise bad_input(
                    "HBV", f"{name} with a training mean of {mean:.4g}",
                    f"degC, at most {WARMEST:g}", "Subtract 273.15 from kelvins.",
                )  # fmt: skip
        self.inputs.learn(normaliser, self.forcing_names)
        self.target.learn(normaliser, data.target_names)

    def forward(self, features: Tensor, batch: Batch) -> Tensor:
        """Normalised discharge [B, T, 1] of features [B, T, d], averaged over the window."""
        numbers = self.numbers(features.mean(1)).float()
        of_components, of_routing = numbers[:, : -len(ROUTING)], numbers[:, -len(ROUTING) :]
        parameters = in_range(of_components.unflatten(1, (self.components, -1)))
        forcings = self._forcings(batch)
        # A compiler would unroll the loop over days, which takes it minutes.
        compiling = torch.compiler.is_compiling()
        run = torch.compiler.disable(simulate) if compiling else simulate
        days, state, runoff = forcings.shape[1], None, []
        warmup = min(self.warmup, days - 1)
        with torch.no_grad():
            if days >= SPIN_UP:
                state = run(forcings[:, :SPIN_UP], parameters).state
            if warmup:
                early = run(forcings[:, :warmup], parameters, None, state)
                state, runoff = early.state, [early.runoff]
        runoff.append(run(forcings[:, warmup:], parameters, None, state).runoff)
        fractions = unit_hydrograph(in_range(of_routing, ROUTING))
        discharge = route(torch.cat(runoff, 1), fractions).clamp(min=SMALLEST)
        return self.target.normalised(discharge[..., None])

    def _forcings(self, batch: Batch) -> Tensor:
        """Precipitation, air temperature and PET [B, T, 3] of the batch in physical units."""
        columns, physical = self.columns, self.inputs.physical(batch.forcings.nan_to_num(0.0))
        temperature = physical[..., list(columns.temperature)].mean(-1)
        if columns.pet is not None:
            pet = physical[..., columns.pet]
        else:
            if batch.lonlat is None or batch.day_of_year is None:
                raise bad_input("HBV", "batches without PET, coordinates or time of year",
                                "potential_evapotranspiration, or both")  # fmt: skip
            pet = oudin(temperature, batch.lonlat[:, 1], batch.day_of_year)
        rain = physical[..., columns.precipitation]
        return torch.stack([rain.clamp(min=0.0), temperature, pet.clamp(min=0.0)], -1)


def learn_scalings(
    model: nn.Module, normaliser: Normaliser, data: CellData, warmup: int = 0
) -> None:
    """Give the process models of a network the scalings of its data, before it is trained."""
    for part in model.modules():
        if isinstance(part, HBV):
            part.learn(normaliser, data, warmup)
