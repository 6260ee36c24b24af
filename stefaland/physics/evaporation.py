"""Potential evapotranspiration after Oudin et al. (2005), from temperature, latitude and season.

It is `pet_oudin` of `pipeline.core.formulas.meteorology` for tensors on any device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.core.formulas.meteorology import LATENT_HEAT, SOLAR_CONSTANT


def extraterrestrial_radiation(latitude: Tensor, year_fraction: Tensor) -> Tensor:
    """Radiation [B, T] at the top of the atmosphere in MJ m-2 day-1 (FAO-56, eq. 21).

    `latitude` [B] is in degrees, `year_fraction` [B, T] the elapsed fraction of the year, 0 to 1.
    """
    # The tangent of a pole's latitude has either sign in float32.
    phi = torch.deg2rad(latitude.clamp(-89.9, 89.9))[:, None]
    angle = 2 * math.pi * (year_fraction + 1 / 365)
    declination = 0.409 * torch.sin(angle - 1.39)
    distance = 1.0 + 0.033 * torch.cos(angle)
    # Within the polar circles the sun stays up or down all day.
    sunset = torch.acos((-phi.tan() * declination.tan()).clamp(-1.0, 1.0))
    high = sunset * phi.sin() * declination.sin()
    low = phi.cos() * declination.cos() * sunset.sin()
    return (24 * 60 / math.pi * SOLAR_CONSTANT * distance * (high + low)).clamp(min=0.0)


def oudin(temperature: Tensor, latitude: Tensor, year_fraction: Tensor) -> Tensor:
    """Potential evapotranspiration [B, T] in mm/day (Oudin et al. 2005,
    doi 10.1016/j.jhydrol.2004.08.026).

    `temperature` [B, T] is the daily mean in degC; below -5 degC nothing evaporates.

    >>> july = oudin(torch.tensor([[20.0]]), torch.tensor([45.0]), torch.tensor([[0.5]]))
    >>> round(float(july), 1)
    4.2
    """
    radiation = extraterrestrial_radiation(latitude, year_fraction)
    return radiation / LATENT_HEAT * (temperature + 5.0).clamp(min=0.0) / 100.0
