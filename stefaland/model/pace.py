"""How fast each parameter of a network is trained."""

from __future__ import annotations

from typing import NamedTuple


class Pace(NamedTuple):
    """How fast a parameter is trained; networks with a method `pace(name)` decide it for each."""

    factor: float = 1.0
    """Factor of the learning rate."""
    begin: float = 0.0
    """Fraction of the steps before which the parameter keeps its value."""


USUAL = Pace()
"""The pace of parameters that are trained from the first step at the full rate."""
