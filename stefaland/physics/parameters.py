"""Parameters of HBV and of its routing: ranges, units, and values from unbounded numbers.

The ranges are those of differentiable HBV (Feng et al. 2022, doi 10.1029/2022WR032404; Song et al.,
doi 10.1029/2025WR040414).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Parameter:
    """Range, unit and meaning of a parameter."""

    low: float
    high: float
    unit: str
    meaning: str


PARAMETERS: dict[str, Parameter] = {
    "tt": Parameter(-2.5, 2.5, "degC", "temperature below which precipitation is snow"),
    "cfmax": Parameter(0.5, 10.0, "mm/day/degC", "melt per degree"),
    "cfr": Parameter(0.0, 0.1, "1", "refreezing, as a fraction of the melt per degree"),
    "cwh": Parameter(0.0, 0.2, "1", "liquid water that snow holds, as a fraction of its ice"),
    "fc": Parameter(50.0, 1000.0, "mm", "largest soil water"),
    "beta": Parameter(1.0, 6.0, "1", "exponent of recharge"),
    "lp": Parameter(0.2, 1.0, "1", "soil wetness from which evaporation is potential"),
    "betaet": Parameter(0.3, 5.0, "1", "exponent of evaporation"),
    "c": Parameter(0.0, 1.0, "1/day", "capillary rise into a dry soil, of the lower store"),
    "k0": Parameter(0.05, 0.9, "1/day", "outflow above the threshold of the upper store"),
    "k1": Parameter(0.01, 0.5, "1/day", "outflow of the upper store"),
    "k2": Parameter(0.001, 0.2, "1/day", "outflow of the lower store"),
    "uzl": Parameter(0.0, 100.0, "mm", "threshold of the upper store"),
    "perc": Parameter(0.0, 10.0, "mm/day", "largest percolation to the lower store"),
}
"""Parameters of a component of HBV, in the order of the last dim of its tensors."""

ROUTING: dict[str, Parameter] = {
    "a": Parameter(0.1, 3.0, "1", "shape of the gamma unit hydrograph"),
    "b": Parameter(0.5, 7.0, "day", "scale of the gamma unit hydrograph"),
}
"""Parameters of routing, in the order of the last dim of their tensor."""


def in_range(numbers: Tensor, parameters: Mapping[str, Parameter] = PARAMETERS) -> Tensor:
    """Parameters [..., n] within their ranges from unbounded numbers [..., n], by a sigmoid.

    >>> in_range(torch.zeros(1, 2), ROUTING)
    tensor([[1.5500, 3.7500]])
    """
    low = numbers.new_tensor([parameter.low for parameter in parameters.values()])
    high = numbers.new_tensor([parameter.high for parameter in parameters.values()])
    return low + (high - low) * torch.sigmoid(numbers)
