"""Pretraining tasks beyond masking: water that HBV simulates, and windows of one site as a pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.core.errors import Faults, bad_input, nearest_name
from stefaland.data.cell_data import CellData
from stefaland.data.windows import year_fraction
from stefaland.model.losses import masked_mean
from stefaland.physics.evaporation import oudin
from stefaland.physics.hbv import simulate
from stefaland.physics.inputs import check_daily, input_columns
from stefaland.physics.parameters import PARAMETERS, in_range

SIMULATED = {
    "simulated_soil_water": "soil_water",
    "simulated_runoff": "runoff",
    "simulated_evaporation": "evaporation",
    "simulated_snow_water": "snow_water",
}
"""Pretext targets that HBV simulates, mm or mm/day, with their names in `Simulation`."""
SPIN_UP = 365
"""Number of first days that are simulated twice: first from empty stores, for the state."""
TEMPERATURE = 0.1
"""Divisor of similarities in the contrastive loss (Chen et al. 2020)."""


def simulated(data: CellData, names: Sequence[str]) -> Tensor:
    """Series [N, T, O] of HBV with the middle of its parameters' ranges, from the forcings.

    Where no potential evapotranspiration is among the forcings, it is that of Oudin et al. (2005).
    From the first missing forcing on a site is missing. Raises `InputError` for unknown names, for
    absent forcings, and for other steps than days.
    """
    faults = Faults()
    for name in names:
        if name not in SIMULATED:
            faults.add("pretrain.also_predict", f'"{name}"', f"one of {', '.join(SIMULATED)}",
                       nearest_name(name, SIMULATED))  # fmt: skip
    faults.raise_if_any()
    check_daily(data.time, "pretrain.also_predict")
    columns = input_columns(data.forcing_names, where="pretrain.also_predict")
    temperature = data.forcings[..., list(columns.temperature)].mean(-1)
    if columns.pet is None:
        season = torch.from_numpy(year_fraction(data.time)).expand(len(data), -1)
        pet = oudin(temperature, data.lonlat[:, 1].float(), season)
    else:
        pet = data.forcings[..., columns.pet].clamp(min=0.0)
    weather = torch.stack([data.forcings[..., columns.precipitation], temperature, pet], -1)
    parameters = in_range(torch.zeros(len(data), 1, len(PARAMETERS)))
    with torch.inference_mode():
        state = simulate(weather[:, :SPIN_UP], parameters).state
        found = simulate(weather, parameters, state=state)
        return torch.stack([getattr(found, SIMULATED[name]) for name in names], -1).clone()


def with_pretext(data: CellData, known: CellData | None, names: Sequence[str]) -> CellData:
    """The table with the pretext targets as its target, and no other.

    Those in `SIMULATED` are simulated, others are the target of the same cells in `known`; what
    that lacks is missing.
    """
    ours = [name for name in names if name in SIMULATED]
    columns = dict(zip(ours, simulated(data, ours).unbind(-1), strict=True)) if ours else {}
    if known is not None and known.target is not None:
        of_known = known.target.unbind(-1)
        columns |= dict(zip(known.target_names, of_known, strict=True))
    empty = torch.full(data.forcings.shape[:2], torch.nan)
    target = torch.stack([columns.get(name, empty) for name in names], -1)
    return replace(data, target=target.float(), target_names=tuple(names))


def require_values(data: CellData, cells: Tensor) -> None:
    """Raise `InputError` for pretext targets without any value in the rows `cells`."""
    assert data.target is not None
    faults = Faults()
    for name, values in zip(data.target_names, data.target[cells].unbind(-1), strict=True):
        if bool(values.isnan().all()):
            faults.add(f"pretrain.also_predict: {name}", "no value in any training cell",
                       "values, for example of a source of the run")  # fmt: skip
    faults.raise_if_any()


def pretext_loss(guess: Tensor, target: Tensor | None) -> Tensor:
    """Mean squared error of the normalised pretext targets [B, T, O] that are there."""
    if target is None:
        raise bad_input("pretraining", "batches without pretext targets", "their values")
    return masked_mean((guess - target.nan_to_num(0.0)).square(), ~target.isnan())


def contrastive_loss(days: Tensor, cells: Tensor) -> Tensor:
    """Loss that pulls windows of one site together and others apart, of day tokens [B, T, d].

    Each window is compared with all others of the batch by the cosine of their mean tokens; those
    of the same of `cells` [B] are to be the most similar (InfoNCE; Chen et al. 2020). 0 without
    two windows of one site.
    """
    vectors = F.normalize(days.mean(1).float(), dim=-1)
    itself = torch.eye(len(cells), dtype=torch.bool, device=cells.device)
    similar = (vectors @ vectors.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    same = (cells[:, None] == cells) & ~itself
    pulled = similar.masked_fill(~same, -torch.inf).logsumexp(1)
    loss = similar.logsumexp(1) - pulled
    return masked_mean(loss.masked_fill(~same.any(1), 0.0), same.any(1))
