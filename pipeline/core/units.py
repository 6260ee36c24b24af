"""Unit conversion with pint in CF spelling, including amounts per month to amounts per day."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import numpy as np

from pipeline.core.errors import bad_input

SECONDS_A_DAY = 86400.0
CUBIC_FOOT_M3 = 0.028316846592
PER_MONTH = ("/month", " month-1")
WATER = "kg m-2"
"""Units of an amount of liquid water: 1 kg m-2 is 1 mm."""


@cache
def _registry() -> Any:
    """Return the pint registry of CF units, loaded at the first use because that is slow."""
    log = logging.getLogger("pint.util")
    level = log.level
    # CF units redefine some of pint's on purpose, and pint warns about it.
    log.setLevel(logging.ERROR)
    try:
        import cf_xarray.units
    finally:
        log.setLevel(level)
    return cf_xarray.units.units


@cache
def linear_conversion(found: str, wanted: str) -> tuple[float, float]:
    """Return (factor, offset) from units `found` to `wanted`; `ValueError` if there is none."""
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
    """Whether a value is the same in both units; raises `ValueError` if they do not convert."""
    factor, offset = linear_conversion(first, second)
    return bool(np.isclose(factor, 1.0, rtol=1e-6)) and abs(offset) <= 1e-9


def _spelt(units: str) -> str:
    """Return units as pint spells them, amounts of water as lengths."""
    spelt = units.replace(WATER, "mm").replace("m3 m-3", "1")
    names = {"degC": "degree_Celsius", "degF": "degree_Fahrenheit", "1": "dimensionless"}
    return names.get(spelt, spelt)


def convert(values: Any, found: str, wanted: str, where: str, days: Any = None) -> Any:
    """Return `values` in `wanted` units, float32 where they are converted.

    Amounts per month are divided by the `days` [T] of the month of each step along axis 0. Raises
    `InputError` for units that cannot be converted.
    """
    for ending in PER_MONTH:
        if found.endswith(ending):
            if days is None or not np.isfinite(days).all():
                raise bad_input(where, f'units "{found}" without months', "a monthly time axis")
            values = values / np.asarray(days, np.float32).reshape(-1, *[1] * (values.ndim - 1))
            found = found.removesuffix(ending) + "/day"
    try:
        factor, offset = linear_conversion(found, wanted)
    except ValueError:
        raise bad_input(
            where,
            f'units "{found}"',
            f'units that can be converted to "{wanted}"',
            "Correct `units` of this variable in the catalog.",
        ) from None
    if factor == 1.0 and offset == 0.0:
        return values
    return values * np.float32(factor) + np.float32(offset)
