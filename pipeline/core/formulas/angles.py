"""period_of(): the period of directions and other cyclic values."""

from __future__ import annotations

import numpy as np

from pipeline.core.errors import InputError, bad_input
from pipeline.core.units import is_dimensionless, linear_conversion

FULL_TURN = 360.0
"""Period of values without units, which is that of angles in degrees."""
MOST = 31.0
"""Largest of values without units that may be hours, days or months as well as degrees."""


def without_period(where: str, found: str) -> InputError:
    """Return the error for cyclic values whose period is not known."""
    return bad_input(
        where, found, "degrees or radians, or the period of the values",
        "Set `period` of the entry, such as 24 for hours of the day, 12 for months or 360.",
    )  # fmt: skip


def period_of(units: str, period: float | None, where: str) -> float:
    """Return the period of cyclic values in their `units`: the given one, or else a full turn.

    That is 360 for values without units. Raises `InputError` for other units that are not of
    angles, if no period is given.

    >>> period_of("degree", None, "aspect"), period_of("1", 12, "month of the flood")
    (360.0, 12.0)
    """
    if period is not None:
        return float(period)
    try:
        if is_dimensionless(units):
            return FULL_TURN
        turn, _ = linear_conversion("radian", units)
    except ValueError:
        raise without_period(where, f'cyclic values in "{units}"') from None
    return 2 * np.pi if turn == 1.0 else round(2 * np.pi * turn, 9)
