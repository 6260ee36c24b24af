"""The quality flag of each predicted cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stefaland.data.cell_data import CellData
from stefaland.prediction.predictions import (
    FILLED_INPUT,
    MASKED,
    OUTSIDE_RANGE,
    PREDICTED,
)


class Ranged(Protocol):
    """A model of an ensemble with the ranges of its inputs."""

    @property
    def forcing_names(self) -> tuple[str, ...]:
        """Names of the forcings that it reads."""

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]] | None:
        """Physical range of each input over its training cells."""


def quality_flag(
    members: Sequence[Ranged], data: CellData, masked: Tensor | None = None
) -> NDArray[np.uint8]:
    """Quality flag [N], uint8: 0 predicted, 1 an input outside every member's training range, 2 an
    input filled from neighbours, 3 masked.
    """
    flag = np.full(len(data), PREDICTED, np.uint8)
    ranged = [member for member in members if member.ranges]
    if ranged and len(data):
        extremes = _extremes(data)
        outside = torch.stack([_outside(member, extremes) for member in ranged]).all(0)
        flag[outside.numpy()] = OUTSIDE_RANGE
    if data.filled is not None:
        flag[data.filled.numpy()] = FILLED_INPUT
    names = members[0].forcing_names
    chosen = [i for i, name in enumerate(data.forcing_names) if name in names]
    empty = data.forcings[..., chosen].isnan().flatten(1).all(1)
    flag[(empty if masked is None else empty | masked).numpy()] = MASKED
    return flag


def _extremes(data: CellData) -> dict[str, tuple[Tensor, Tensor]]:
    """Lowest and greatest value [N] of each input in each cell; where all are missing, infinities
    that lie in every range.
    """
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for names, steps in (
        (data.forcing_names, data.forcings),
        (data.static_names, data.statics[:, None]),
    ):
        # One variable at a time: copies of a whole table would double the memory in use.
        for name, values in zip(names, steps.unbind(-1), strict=True):
            missing = values.isnan()
            lowest = values.masked_fill(missing, math.inf).amin(1)
            found[name] = lowest, values.masked_fill(missing, -math.inf).amax(1)
    return found


def _outside(member: Ranged, extremes: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
    """Mask [N] of the cells with an input outside the range of the member's training cells."""
    outside = torch.zeros(len(next(iter(extremes.values()))[0]), dtype=torch.bool)
    for name, (low, high) in (member.ranges or {}).items():
        if name in extremes:
            lowest, greatest = extremes[name]
            outside |= (lowest < low) | (greatest > high)
    return outside
