"""period_of(): the period of directions and other cyclic values."""

from __future__ import annotations

import numpy as np

from pipeline.core.errors import bad_input
from pipeline.core.units import linear_conversion


def period_of(units: str, period: float | None, where: str) -> float:
    """Return the period of cyclic values in their `units`: the given one, or else a full turn.

    Raises `InputError` for units that are not of angles, if no period is given.

    >>> period_of("degree", None, "aspect"), period_of("1", 12, "month of the flood")
    (360.0, 12.0)
    """
    if period is not None:
        return float(period)
    try:
        turn, _ = linear_conversion("radian", units)
    except ValueError:
        raise bad_input(
            where, f'cyclic values in "{units}"', "degrees or radians, or the period of the values",
            "Set `period` of the entry, such as 24 for hours of the day, 12 for months or 360.",
        ) from None  # fmt: skip
    return 2 * np.pi if turn == 1.0 else round(2 * np.pi * turn, 9)
