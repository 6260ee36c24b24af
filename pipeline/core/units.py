"""Unit conversion by dimension: amounts per time, water as depth or mass, heights, slopes.

`unit_notation` reads how units are written; pint, with the names of CF, knows what they are.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Any

import numpy as np

from pipeline.core.errors import bad_input
from pipeline.core.notation.unit_notation import UnknownUnitsError, read_notation

SECONDS_A_DAY = 86400.0
CUBIC_FOOT_M3 = 0.028316846592
STANDARD_GRAVITY = 9.80665
"""Gravity in m s-2 by which a geopotential is divided to be a height."""
PERIODS = {"month": (28.0, 31.0), "dekad": (8.0, 11.0), "pentad": (3.0, 6.0), "step": (0.0, 1e9)}
"""Periods that have no length of their own, and the days that a step of each may have."""

Dims = Mapping[str, float]
DEPTH: Dims = {"[length]": 1}
MASS_PER_AREA: Dims = {"[mass]": 1, "[length]": -2}
ENERGY_PER_AREA: Dims = {"[mass]": 1, "[time]": -2}
VOLUME: Dims = {"[length]": 3}
GEOPOTENTIAL: Dims = {"[length]": 2, "[time]": -2}
VOLUME_BY_MASS: Dims = {"[length]": 3, "[mass]": -1}
MASS_BY_VOLUME: Dims = {"[length]": -3, "[mass]": 1}
ANGLE: Dims = {"radian": 1}


@dataclass(frozen=True)
class Conversion:
    """The way from one unit to another: value · factor + offset, after one of two other steps."""

    factor: float
    offset: float
    per: str | None = None
    """Period, one of `PERIODS`, by whose days in the source the values are divided first."""
    slope: float | None = None
    """Factor by which a slope becomes a ratio, of which the angle is taken first; negative for the
    ratio of an angle in units of that factor to radians."""


@dataclass(frozen=True)
class _Unit:
    """A number times a unit of pint, and what pint does not know about it."""

    number: float
    unit: Any
    names: tuple[tuple[str, float], ...]
    """Pint's name of each part as written, and its exponent."""
    per: str | None
    """Period of `PERIODS` that the unit is an amount of."""
    is_of_water: bool

    @property
    def dims(self) -> dict[str, float]:
        """Exponent of each dimension that the unit has; angles have one, unlike in pint."""
        found = {**self.unit.dimensionality, **_registry().get_root_units(self.unit)[1]._units}
        known = {name: power for name, power in found.items() if power}
        return {name: power for name, power in known.items() if name[0] == "[" or name == "radian"}

    @property
    def is_water(self) -> bool:
        """Whether it measures an amount or rate of water: kg m-2, or a depth as water is measured.

        Water is measured in millimetres, inches, lengths per day, or in what is called water.
        """
        amount = {name: power for name, power in self.dims.items() if name != "[time]"}
        is_usual = {("millimeter", 1), ("inch", 1), ("day", -1)} & {*self.names}
        is_depth = amount == DEPTH and (self.is_of_water or bool(is_usual))
        return is_depth or amount == MASS_PER_AREA

    @property
    def is_gradient(self) -> bool:
        """Whether it is percent, or one length by another, as slopes are measured."""
        lengths = [power for name, power in self.names if _part(name).dimensionality == DEPTH]
        is_ratio = len(self.names) == 2 and sorted(lengths) == [-1, 1]
        return is_ratio or self.names == (("percent", 1),)


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
def _read(text: str) -> _Unit:
    """Return the units that a text states; `UnknownUnitsError` if it cannot be read."""
    notation = read_notation(text)
    periods = [(name.lower(), power) for name, power in notation.powers if name.lower() in PERIODS]
    if len(periods) > 1 or any(power != -1 for _, power in periods):
        raise UnknownUnitsError(f'"{text}" counts in {periods[0][0]}s, which differ in length')
    parts = [(_part(n), p) for n, p in notation.powers if n.lower() not in PERIODS]
    if len(parts) > 1 or any(power != 1 for _, power in parts):
        parts = [(_difference(unit), power) for unit, power in parts]
    try:
        unit = prod((u ** (int(p) if p.is_integer() else p) for u, p in parts), start=_part("1"))
    except Exception as error:
        raise UnknownUnitsError(f'"{text}": {error}') from None
    names = tuple((str(unit), power) for unit, power in parts)
    per = periods[0][0] if periods else None
    return _Unit(notation.number, unit, names, per, notation.is_of_water)


def _part(name: str) -> Any:
    """Return the unit of one name, in lower case if only that is known (as in KG M-2)."""
    for spelt in (name, name.lower()) if len(name) > 1 else (name,):
        try:
            prefixes = {prefix for prefix, _, _ in _registry().parse_unit_name(spelt)}
            if spelt != name and prefixes == {"milli"} and not spelt.startswith("milli"):
                continue  # M may mean mega
            return _registry().Unit(spelt)
        except Exception:  # whatever pint stumbles over is not the name of a unit
            continue
    raise UnknownUnitsError(f'"{name}" is not defined')


def _difference(unit: Any) -> Any:
    """Return the unit of temperature differences for a temperature, as in degC km-1."""
    differences = {"degree_Celsius": "kelvin", "degree_Fahrenheit": "degree_Rankine"}
    return _part(differences[str(unit)]) if str(unit) in differences else unit


@cache
def conversion(found: str, wanted: str) -> Conversion:
    """Return how values in `found` become values in `wanted`.

    An amount is converted to a rate by the length of its step: depths of water, energy by area and
    volumes. Raises `UnknownUnitsError` for a text that cannot be read, and `ValueError` if there is
    no conversion.

    >>> conversion("kg m**-2 s**-1", "mm/day").factor
    86400.0
    >>> conversion("m of water equivalent", "mm/day").per
    'step'
    """
    if found == wanted:
        return Conversion(1.0, 0.0)
    first, second = _read(found), _read(wanted)
    if second.per and second.per != first.per:
        raise ValueError(f'Cannot convert "{found}" to an amount per {second.per}, "{wanted}"')
    if first.per and not second.per:
        return Conversion(*_linear(_by_day(first), second), per=first.per)
    if first.is_gradient and second.dims == ANGLE:
        (ratio, _), (angle, _) = _linear(first, _read("1")), _linear(_read("radian"), second)
        return Conversion(angle, 0.0, slope=ratio)
    if first.dims == ANGLE and second.is_gradient:
        (angle, _), (ratio, _) = _linear(first, _read("radian")), _linear(_read("1"), second)
        return Conversion(ratio, 0.0, slope=-angle)
    is_water = second.is_water and first.dims in (DEPTH, MASS_PER_AREA)
    is_amount = is_water or first.dims in (ENERGY_PER_AREA, VOLUME)
    if is_amount and second.dims.get("[time]", 0) == first.dims.get("[time]", 0) - 1:
        return Conversion(*_linear(_by_day(first), second), per="step")
    return Conversion(*_linear(first, second))


def _by_day(amount: _Unit) -> _Unit:
    return replace(amount, unit=amount.unit / _part("day"))


def _linear(found: _Unit, wanted: _Unit) -> tuple[float, float]:
    """Return (factor, offset); `ValueError` if the dimensions differ by more than is known."""
    unit = found.unit
    missing = {
        name: wanted.dims.get(name, 0) - found.dims.get(name, 0)
        for name in {*wanted.dims, *found.dims}
        if wanted.dims.get(name, 0) != found.dims.get(name, 0)
    }
    if missing == VOLUME_BY_MASS and wanted.is_water:
        unit = unit * (_part("mm") * _part("m") ** 2 / _part("kg"))
    elif missing == MASS_BY_VOLUME and wanted.is_water:
        unit = unit * (_part("kg") / _part("m") ** 2 / _part("mm"))
    elif found.dims == GEOPOTENTIAL and wanted.dims == DEPTH and not wanted.is_water:
        factor, _ = _linear(replace(found, unit=unit * _part("s") ** 2 / _part("m")), wanted)
        return factor / STANDARD_GRAVITY, 0.0
    elif missing:
        raise ValueError(f'Cannot convert from "{found.unit}" to "{wanted.unit}"')
    try:
        zero, one = (
            float(_registry().Quantity(value * found.number, unit).to(wanted.unit).magnitude)
            / wanted.number
            for value in (0.0, 1.0)
        )
    except Exception as error:
        raise ValueError(f"Cannot convert: {error}") from None
    return one - zero, zero


@cache
def linear_conversion(found: str, wanted: str) -> tuple[float, float]:
    """Return (factor, offset) from units `found` to `wanted`; `ValueError` if there is none.

    >>> linear_conversion("hPa", "mb")
    (1.0, 0.0)
    """
    way = conversion(found, wanted)
    if way.per or way.slope:
        raise ValueError(f'Cannot convert "{found}" to "{wanted}" by a factor alone')
    return way.factor, way.offset


def same_units(first: str, second: str, lengths: Any = None) -> bool:
    """Whether a value is the same in both units; raises `ValueError` if they do not convert.

    With the `lengths` [T] of steps in days, the amount of a step is the same as its equal rate.
    """
    found, wanted = _read(first), _read(second)
    if wanted.per and not found.per and lengths is not None:
        low, high = PERIODS[wanted.per]
        factor, offset = _linear(found, wanted)
        fits = (np.asarray(lengths) >= low) & (np.asarray(lengths) <= high)
        return bool(fits.all()) and bool(np.isclose(factor, 1.0, rtol=1e-6)) and not offset
    way = conversion(first, second)
    if way.slope or (way.per and lengths is None):
        return False
    factors = way.factor / (np.asarray(lengths) if way.per else 1.0)
    return bool(np.allclose(factors, 1.0, rtol=1e-6)) and abs(way.offset) <= 1e-9


def may_be_total(units: str) -> bool:
    """Whether values may be amounts, such as depths of water or energy by area, or are unknown.

    >>> may_be_total("m"), may_be_total("J m**-2"), may_be_total("mm/hr"), may_be_total("K")
    (True, True, False, False)
    """
    try:
        dims = _read(units).dims
    except UnknownUnitsError:
        return True
    return not dims or dims in (DEPTH, MASS_PER_AREA, ENERGY_PER_AREA, VOLUME)


def is_dimensionless(units: str) -> bool:
    """Whether values are numbers, fractions or percent; angles and unknown units are not."""
    try:
        return not _read(units).dims
    except UnknownUnitsError:
        return False


def convert(
    values: Any,
    found: str,
    wanted: str,
    where: str,
    days: Any = None,
    *,
    lengths: Any = None,
    is_sum: bool = False,
    is_slope: bool = False,
) -> Any:
    """Return `values` in `wanted` units, float32 where they are converted.

    Amounts per month are divided by the `days` [T] of the month of each step along axis 0, those
    per year of yearly steps and other amounts by the `lengths` [T] of the steps in days. Amounts of
    steps longer than a day must be declared as sums (`is_sum`), because many monthly files hold
    means of daily amounts. Percent becomes an angle, or back, for a slope alone (`is_slope`).
    Raises `InputError` for units that cannot be converted.

    >>> convert(np.float32([31.0, 56.5]), "mm/month", "mm/day", "rain.nc", [31.0, 28.25]).tolist()
    [1.0, 2.0]
    """
    try:
        way = conversion(found, wanted)
        if way.slope and not is_slope:
            raise ValueError("a slope that is not of the terrain")
    except ValueError as error:
        raise _refusal(found, wanted, where, error) from None
    if way.per:
        known = days if way.per == "month" else lengths
        length = _checked(way.per, known, found, wanted, where, is_sum)
        values = values / length.reshape(-1, *[1] * (values.ndim - 1))
    if (factor := _of_own_years(found, wanted, lengths)) is not None:
        values = values * factor.reshape(-1, *[1] * (values.ndim - 1))
    if way.slope:
        inner = values * np.float32(abs(way.slope))
        values = np.arctan(inner) if way.slope > 0 else np.tan(inner)
    if way.factor == 1.0 and way.offset == 0.0:
        return values
    return values * np.float32(way.factor) + np.float32(way.offset)


def _of_own_years(found: str, wanted: str, lengths: Any) -> np.ndarray | None:
    """Return the factors [T] that make amounts of calendar years those of mean years; else None."""
    by_year = [("year", -1.0) in _read(text).names for text in (found, wanted)]
    days = np.asarray(np.nan if lengths is None else lengths, np.float64)
    if by_year != [True, False] or not ((days >= 360) & (days <= 366)).all():
        return None
    mean = float(_registry().Quantity(1, "year").to("day").magnitude)
    return np.asarray(mean / days, np.float32)


def _checked(
    per: str, known: Any, found: str, wanted: str, where: str, is_sum: bool
) -> np.ndarray:  # fmt: skip
    """Return the days [T] of each period, float32; `InputError` if they do not fit it."""
    rate = f'the units of a rate, such as "{wanted}"'
    length = np.asarray(np.nan if known is None else known, np.float32)
    if not np.isfinite(length).all():
        expected = "a monthly time axis" if per == "month" else "steps of a known length"
        raise bad_input(
            where, f'units "{found}" without {per}s', f"{expected}, or {rate}",
            "Set `time: {step: ...}`, or `units` of the variable if its values are rates.",
        )  # fmt: skip
    low, high = PERIODS[per]
    if ((length < low - 0.01) | (length > high + 0.01)).any():
        raise bad_input(
            where, f'units "{found}" of steps of {length.min():g} to {length.max():g} days',
            f"steps of a {per} or {rate}", "Set `units` of the variable in the catalog.",
        )  # fmt: skip
    is_implied = _read(found).per is None and not is_sum
    if is_implied and length.size and length.max() > 1.01:
        raise bad_input(
            where, f'units "{found}" of steps of up to {length.max():g} days', rate,
            "Set `cell_method: sum` of the variable if a value is the amount of its whole step, or "
            f'`units: {found}/day` if it is the mean amount of a day.',
        )  # fmt: skip
    return length


def _refusal(found: str, wanted: str, where: str, error: ValueError) -> Exception:
    """Return the `InputError` for units without a conversion, with the hint for the reason."""
    is_read = not isinstance(error, UnknownUnitsError)
    hint = "Correct `units` of this variable in the catalog."
    if re.search(r"\b(log|ln|pow)|log10", found):
        hint = "Set `transform: power10` and the `units` of the number in the logarithm."
    elif is_read and _read(wanted).dims == ANGLE:
        hint += " A slope is in percent or m/m, an angle in degree or radian."
    elif not is_read:
        hint = f"Set `units` (and `scale`) of this variable in the catalog: {error}."
    return bad_input(where, f'units "{found}"', f'units that can be converted to "{wanted}"', hint)
