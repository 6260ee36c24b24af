"""Formulas of hydrometeorology that expressions of catalog entries may call, by name.

Most are those of FAO Irrigation and Drainage Paper 56 (Allen et al. 1998, FAO-56), whose numbers of
equations the docstrings give. All take float64 arrays in the units of `FORMULAS` and return NaN
where an argument is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

GRAVITY = 9.80665
"""Standard acceleration of gravity, m s-2, by which ECMWF and WMO define geopotential height."""
STEFAN_BOLTZMANN = 5.670374419e-8
"""W m-2 K-4 (CODATA 2018)."""
SOLAR_CONSTANT = 0.0820
"""MJ m-2 min-1, as in FAO-56."""
VAPOUR_RATIO = 0.622
"""Ratio of the molecular weights of water vapour and dry air, as in FAO-56."""
LATENT_HEAT = 2.45
"""MJ kg-1, of vaporisation, as in FAO-56."""
DAILY_BOLTZMANN = 4.903e-9
"""Stefan and Boltzmann's constant, MJ K-4 m-2 day-1, as in FAO-56."""
GRASS_ALBEDO = 0.23
"""Albedo of the reference crop of FAO-56."""
PRIESTLEY_TAYLOR = 1.26


@dataclass(frozen=True)
class Formula:
    """A function of arrays, the units of its parameters and of its result."""

    compute: Callable[..., Any]
    parameters: tuple[str, ...]
    units: str
    optional: int = 0
    """Number of parameters at the end that have defaults."""

    POSSIBLE: ClassVar[dict[str, tuple[float, float]]] = {
        "degC": (-130.0, 90.0), "kPa": (-0.01, 120.0), "degree": (-90.0, 90.0),
        "kg kg-1": (-0.01, 0.2), "hour": (-0.01, 24.01),
    }  # fmt: skip
    """Lowest and highest possible values in some units, beyond which an argument has others."""


def saturation_vapour_pressure(temperature: Any) -> Any:
    """Return the saturation vapour pressure over water, kPa, of temperatures (FAO-56 eq. 11).

    >>> round(float(saturation_vapour_pressure(15.0)), 3)
    1.705
    """
    return 0.6108 * np.exp(17.27 * temperature / (temperature + 237.3))


def vapour_pressure_from_dew_point(dew_point: Any) -> Any:
    """Return the actual vapour pressure, kPa (FAO-56 eq. 14)."""
    return saturation_vapour_pressure(dew_point)


def vapour_pressure_from_specific_humidity(humidity: Any, pressure: Any) -> Any:
    """Return the actual vapour pressure, kPa: e = q p / (0.622 + 0.378 q).

    Source: Wallace and Hobbs, Atmospheric Science (2006), section 3.5.
    """
    return humidity * pressure / (VAPOUR_RATIO + (1.0 - VAPOUR_RATIO) * humidity)


def vapour_pressure_from_relative_humidity(relative_humidity: Any, temperature: Any) -> Any:
    """Return the actual vapour pressure, kPa, of a relative humidity in % (FAO-56 eq. 10)."""
    return relative_humidity / 100.0 * saturation_vapour_pressure(temperature)


def relative_humidity_from_dew_point(dew_point: Any, temperature: Any) -> Any:
    """Return the relative humidity, %: the ratio of vapour pressures (FAO-56 eq. 10 and 14).

    >>> round(float(relative_humidity_from_dew_point(15.0, 24.5)), 1)
    55.5
    """
    return 100.0 * vapour_pressure_from_dew_point(dew_point) / (
        saturation_vapour_pressure(temperature)
    )  # fmt: skip


def relative_humidity_from_specific_humidity(
    humidity: Any, pressure: Any, temperature: Any
) -> Any:  # fmt: skip
    """Return the relative humidity, % (FAO-56 eq. 10 and the vapour pressure of the air)."""
    vapour = vapour_pressure_from_specific_humidity(humidity, pressure)
    return 100.0 * vapour / saturation_vapour_pressure(temperature)


def specific_humidity_from_dew_point(dew_point: Any, pressure: Any) -> Any:
    """Return the specific humidity, kg kg-1: q = 0.622 e / (p − 0.378 e).

    Source: Wallace and Hobbs, Atmospheric Science (2006), section 3.5.
    """
    vapour = vapour_pressure_from_dew_point(dew_point)
    return VAPOUR_RATIO * vapour / (pressure - (1.0 - VAPOUR_RATIO) * vapour)


def vapour_pressure_deficit(vapour_pressure: Any, temperature: Any) -> Any:
    """Return the vapour pressure deficit, kPa: that of saturation less the actual one."""
    return saturation_vapour_pressure(temperature) - vapour_pressure


def wind_speed(eastward: Any, northward: Any) -> Any:
    """Return the speed, m s-1, of a wind by its components."""
    return np.hypot(eastward, northward)


def wind_speed_at_2m(speed: Any, height: Any) -> Any:
    """Return the wind speed at 2 m, m s-1, from that at a height in m (FAO-56 eq. 47).

    >>> round(float(wind_speed_at_2m(3.2, 10.0)), 1)
    2.4
    """
    return speed * 4.87 / np.log(67.8 * height - 5.42)


def pressure_from_elevation(elevation: Any) -> Any:
    """Return the mean air pressure, kPa, at an elevation in m (FAO-56 eq. 7).

    >>> round(float(pressure_from_elevation(1800.0)), 1)
    81.8
    """
    return 101.3 * ((293.0 - 0.0065 * elevation) / 293.0) ** 5.26


def elevation_from_pressure(pressure: Any) -> Any:
    """Return the elevation, m, at which the mean air pressure is one in kPa (FAO-56 eq. 7).

    >>> round(float(elevation_from_pressure(81.756)))
    1800
    """
    return (293.0 - 293.0 * (pressure / 101.3) ** (1.0 / 5.26)) / 0.0065


def height_from_geopotential(geopotential: Any) -> Any:
    """Return the geopotential height, m, of a geopotential in m2 s-2."""
    return geopotential / GRAVITY


def _sun(latitude: Any, day_of_year: Any) -> tuple[Any, Any, Any]:
    """Return latitude, declination and sunset hour angle, radians (FAO-56 eq. 22, 24 and 25)."""
    phi = np.deg2rad(latitude)
    declination = 0.409 * np.sin(2.0 * np.pi * day_of_year / 365.0 - 1.39)
    angle = np.arccos(np.clip(-np.tan(phi) * np.tan(declination), -1.0, 1.0))
    return phi, declination, angle


def extraterrestrial_radiation(latitude: Any, day_of_year: Any) -> Any:
    """Return the daily extraterrestrial radiation, MJ m-2 day-1 (FAO-56 eq. 21 and 23).

    >>> round(float(extraterrestrial_radiation(-20.0, 246)), 1)
    32.2
    """
    phi, declination, angle = _sun(latitude, day_of_year)
    distance = 1.0 + 0.033 * np.cos(2.0 * np.pi * day_of_year / 365.0)
    height = angle * np.sin(phi) * np.sin(declination)
    height = height + np.cos(phi) * np.cos(declination) * np.sin(angle)
    return np.maximum(24.0 * 60.0 / np.pi * SOLAR_CONSTANT * distance * height, 0.0)


def daylight_hours(latitude: Any, day_of_year: Any) -> Any:
    """Return the hours between sunrise and sunset (FAO-56 eq. 34).

    >>> round(float(daylight_hours(-20.0, 246)), 1)
    11.7
    """
    return 24.0 / np.pi * _sun(latitude, day_of_year)[2]


def radiation_from_sunshine(
    hours: Any, latitude: Any, day_of_year: Any, a: Any = 0.25, b: Any = 0.50
) -> Any:
    """Return the daily solar radiation, MJ m-2 day-1, from hours of sunshine (FAO-56 eq. 35).

    `a` and `b` are the coefficients of Ångström and Prescott. During a polar night there is none.

    >>> round(float(radiation_from_sunshine(7.1, -22.9, 135)), 1)
    14.5
    """
    possible = daylight_hours(latitude, day_of_year)
    fraction = np.where(possible > 0.0, hours / np.where(possible > 0.0, possible, 1.0), 0.0)
    fraction = np.where(np.isnan(hours), np.nan, np.minimum(fraction, 1.0))
    return (a + b * fraction) * extraterrestrial_radiation(latitude, day_of_year)


def shortwave_from_net(net: Any, albedo: Any) -> Any:
    """Return the downward shortwave radiation of its net value and an albedo (FAO-56 eq. 38)."""
    return net / (1.0 - albedo)


def net_radiation(
    shortwave: Any, highest: Any, lowest: Any, vapour_pressure: Any, latitude: Any,
    day_of_year: Any, elevation: Any,
) -> Any:  # fmt: skip
    """Return the daily net radiation of short grass, MJ m-2 day-1 (FAO-56 eq. 37 to 40).

    `shortwave` is in MJ m-2 day-1, `vapour_pressure` in kPa; its ratio to that of a clear sky is
    held between 0.3 and 1.

    >>> round(float(net_radiation(14.5, 25.1, 19.1, 2.1, -22.9, 135, 0.0)), 1)
    7.6
    """
    clear = (0.75 + 2e-5 * elevation) * extraterrestrial_radiation(latitude, day_of_year)
    ratio = np.where(clear > 0.0, shortwave / np.where(clear > 0.0, clear, 1.0), 1.0)
    ratio = np.where(np.isnan(shortwave + clear), np.nan, np.clip(ratio, 0.3, 1.0))
    emitted = DAILY_BOLTZMANN * ((highest + 273.16) ** 4 + (lowest + 273.16) ** 4) / 2.0
    longwave = emitted * (0.34 - 0.14 * np.sqrt(vapour_pressure)) * (1.35 * ratio - 0.35)
    return (1.0 - GRASS_ALBEDO) * shortwave - longwave


def longwave_from_net(net: Any, temperature: Any, emissivity: Any = 1.0) -> Any:
    """Return the downward longwave radiation, W m-2, of its net value, positive downwards.

    L = net / ε + σ T⁴ with the temperature of the surface: the balance of a grey surface
    (Brutsaert, Evaporation into the Atmosphere, 1982, section 6.3).
    """
    return net / emissivity + STEFAN_BOLTZMANN * (temperature + 273.15) ** 4


def pet_oudin(temperature: Any, latitude: Any, day_of_year: Any) -> Any:
    """Return the potential evapotranspiration, mm/day: Ra / λ · (T + 5) / 100, 0 below −5 °C.

    Source: Oudin et al. 2005, doi 10.1016/j.jhydrol.2004.08.026.
    """
    energy = extraterrestrial_radiation(latitude, day_of_year) / LATENT_HEAT
    return energy * np.maximum(temperature + 5.0, 0.0) / 100.0


def pet_hargreaves(highest: Any, lowest: Any, latitude: Any, day_of_year: Any) -> Any:
    """Return the reference evapotranspiration, mm/day, of the day's extremes (FAO-56 eq. 52).

    0.0023 (T + 17.8) √(Tmax − Tmin) Ra / λ with T = (Tmax + Tmin) / 2; 0 below −17.8 °C.
    """
    mean = (highest + lowest) / 2.0
    width = np.sqrt(np.maximum(highest - lowest, 0.0))
    energy = extraterrestrial_radiation(latitude, day_of_year) / LATENT_HEAT
    return 0.0023 * np.maximum(mean + 17.8, 0.0) * width * energy


def _slope(temperature: Any) -> Any:
    """Return the slope of the saturation vapour pressure, kPa K-1 (FAO-56 eq. 13)."""
    return 4098.0 * saturation_vapour_pressure(temperature) / (temperature + 237.3) ** 2


def _psychrometric(pressure: Any) -> Any:
    """Return the psychrometric constant, kPa K-1 (FAO-56 eq. 8)."""
    return 0.665e-3 * pressure


def pet_priestley_taylor(temperature: Any, net_radiation: Any, pressure: Any) -> Any:
    """Return the potential evapotranspiration, mm/day: 1.26 Δ / (Δ + γ) · Rn / λ, at least 0.

    Source: Priestley and Taylor 1972, Monthly Weather Review 100, 81-92. Net radiation in
    MJ m-2 day-1, no ground heat.
    """
    slope = _slope(temperature)
    part = slope / (slope + _psychrometric(pressure))
    return PRIESTLEY_TAYLOR * part * np.maximum(net_radiation, 0.0) / LATENT_HEAT


def pet_penman_monteith(
    highest: Any, lowest: Any, vapour_pressure: Any, net_radiation: Any, wind: Any, pressure: Any
) -> Any:
    """Return the daily reference evapotranspiration, mm/day (FAO-56 eq. 6, no ground heat).

    Net radiation in MJ m-2 day-1, the wind at 2 m.
    """
    mean = (highest + lowest) / 2.0
    saturation = (saturation_vapour_pressure(highest) + saturation_vapour_pressure(lowest)) / 2.0
    slope, psychrometric = _slope(mean), _psychrometric(pressure)
    dryness = psychrometric * 900.0 / (mean + 273.0) * wind * (saturation - vapour_pressure)
    below = slope + psychrometric * (1.0 + 0.34 * wind)
    return (0.408 * slope * net_radiation + dryness) / below


_SUN = ("degree", "1")
FORMULAS: dict[str, Formula] = {
    "saturation_vapour_pressure": Formula(saturation_vapour_pressure, ("degC",), "kPa"),
    "vapour_pressure_from_dew_point": Formula(vapour_pressure_from_dew_point, ("degC",), "kPa"),
    "vapour_pressure_from_specific_humidity": Formula(
        vapour_pressure_from_specific_humidity, ("kg kg-1", "kPa"), "kPa"
    ),
    "vapour_pressure_from_relative_humidity": Formula(
        vapour_pressure_from_relative_humidity, ("%", "degC"), "kPa"
    ),
    "relative_humidity_from_dew_point": Formula(
        relative_humidity_from_dew_point, ("degC", "degC"), "%"
    ),
    "relative_humidity_from_specific_humidity": Formula(
        relative_humidity_from_specific_humidity, ("kg kg-1", "kPa", "degC"), "%"
    ),
    "specific_humidity_from_dew_point": Formula(
        specific_humidity_from_dew_point, ("degC", "kPa"), "kg kg-1"
    ),
    "vapour_pressure_deficit": Formula(vapour_pressure_deficit, ("kPa", "degC"), "kPa"),
    "wind_speed": Formula(wind_speed, ("m s-1", "m s-1"), "m s-1"),
    "wind_speed_at_2m": Formula(wind_speed_at_2m, ("m s-1", "m"), "m s-1"),
    "pressure_from_elevation": Formula(pressure_from_elevation, ("m",), "kPa"),
    "elevation_from_pressure": Formula(elevation_from_pressure, ("kPa",), "m"),
    "height_from_geopotential": Formula(height_from_geopotential, ("m2 s-2",), "m"),
    "extraterrestrial_radiation": Formula(extraterrestrial_radiation, _SUN, "MJ m-2 day-1"),
    "daylight_hours": Formula(daylight_hours, _SUN, "hour"),
    "radiation_from_sunshine": Formula(
        radiation_from_sunshine, ("hour", *_SUN, "1", "1"), "MJ m-2 day-1", optional=2
    ),
    "shortwave_from_net": Formula(shortwave_from_net, ("W m-2", "1"), "W m-2"),
    "net_radiation": Formula(
        net_radiation, ("MJ m-2 day-1", "degC", "degC", "kPa", *_SUN, "m"), "MJ m-2 day-1"
    ),
    "longwave_from_net": Formula(
        longwave_from_net, ("W m-2", "degC", "1"), "W m-2", optional=1
    ),
    "pet_oudin": Formula(pet_oudin, ("degC", *_SUN), "mm/day"),
    "pet_hargreaves": Formula(pet_hargreaves, ("degC", "degC", *_SUN), "mm/day"),
    "pet_priestley_taylor": Formula(
        pet_priestley_taylor, ("degC", "MJ m-2 day-1", "kPa"), "mm/day"
    ),
    "pet_penman_monteith": Formula(
        pet_penman_monteith, ("degC", "degC", "kPa", "MJ m-2 day-1", "m s-1", "kPa"), "mm/day"
    ),
}  # fmt: skip
"""All formulas by name."""
