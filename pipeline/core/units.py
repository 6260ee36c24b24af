"""Unit conversion with pint, in CF spelling, and amounts per month made amounts per day.

Downstream: canonical.py.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import numpy as np

from pipeline.core.errors import bad_input

SECONDS_A_DAY = 86400.0
CUBIC_FOOT_M3 = 0.028316846592
PER_MONTH = ("/month", " month-1")
DAYS_IN_MONTH = (31.0, 28.25, 31.0, 30.0, 31.0, 30.0, 31.0, 31.0, 30.0, 31.0, 30.0, 31.0)
"""February with its leap days, so that twelve climatological months make a year."""
WATER = "kg m-2"
"""An amount of liquid water: 1 kg m-2 is 1 mm."""


@cache
def _registry() -> Any:
    """The pint registry of CF's units, which is loaded at the first use: that takes a while."""
    log = logging.getLogger("pint.util")
    level = log.level
    # CF's units redefine some of pint's own on purpose, of which pint warns.
    log.setLevel(logging.ERROR)
    try:
        import cf_xarray.units
    finally:
        log.setLevel(level)
    return cf_xarray.units.units


@cache
def linear_conversion(found: str, wanted: str) -> tuple[float, float]:
    """(factor, offset) from `found` to `wanted`; `ValueError` where there is none."""
    if found == wanted:
        return 1.0, 0.0
    registry = _registry()
    from pint.errors import PintError

    try:
        unit, target = registry.Unit(_spelt(found)), registry.Unit(_spelt(wanted))
        zero, one = (registry.Quantity(v, unit).to(target).magnitude for v in (0.0, 1.0))
    except (PintError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(str(error)) from None
    return float(one - zero), float(zero)


def same_units(first: str, second: str) -> bool:
    """Whether a value is the same in both units; `ValueError` where they do not convert."""
    factor, offset = linear_conversion(first, second)
    return bool(np.isclose(factor, 1.0, rtol=1e-6)) and abs(offset) <= 1e-9


def _spelt(units: str) -> str:
    """Amounts of water as lengths, temperatures and fractions as pint spells them."""
    spelt = units.replace(WATER, "mm").replace("m3 m-3", "1")
    names = {"degC": "degree_Celsius", "degF": "degree_Fahrenheit", "1": "dimensionless"}
    return names.get(spelt, spelt)


def convert(values: Any, found: str, wanted: str, where: str, months: Any = None) -> Any:
    """`values` in `wanted` units; `months` [T] (1 to 12) divide amounts per month along axis 0.

    Raises `InputError` for units that cannot become one another.
    """
    for ending in PER_MONTH:
        if found.endswith(ending):
            if months is None:
                raise bad_input(where, f'units "{found}" without months', "a monthly time axis")
            days = np.asarray(DAYS_IN_MONTH, dtype=np.float32)[np.asarray(months) - 1]
            values = values / days.reshape(-1, *[1] * (values.ndim - 1))
            found = found.removesuffix(ending) + "/day"
    try:
        factor, offset = linear_conversion(found, wanted)
    except ValueError:
        raise bad_input(
            where,
            f'units "{found}"',
            f'units that can become "{wanted}"',
            "Correct `units` of this variable in the catalog.",
        ) from None
    if factor == 1.0 and offset == 0.0:
        return values
    return values * np.float32(factor) + np.float32(offset)
