"""Soil profiles: tables of layers as means over a depth interval (driver `profiles`).

The file is a CSV with a row per layer, as WoSIS and NCSS publish them. WoSIS: Batjes et al. 2024,
doi 10.5194/essd-16-4735-2024.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import Field, model_validator

from pipeline.core.archives.unpacked_files import member_copy
from pipeline.core.errors import Faults, bad_input, listed
from pipeline.core.settings import Frozen
from pipeline.core.units import linear_conversion
from pipeline.entries.source import Source
from pipeline.readers.common.site_table import check_columns, numeric, read_options, site_table
from pipeline.readers.driver import Driver

TEXTURE = ("sand", "silt", "clay")


class ProfileOptions(Frozen):
    """Options of an entry: columns of the layers' limits, and rules for the mean of a profile."""

    depth: tuple[float, float] = (0.0, 30.0)
    """Upper and lower end of the depth interval, in the unit of the columns (mostly cm)."""
    upper: str = "upper_depth"
    """Column with the upper limit of a layer."""
    lower: str = "lower_depth"
    """Column with the lower limit of a layer."""
    min_share: float = Field(0.5, gt=0, le=1)
    """Minimum fraction of the interval that layers with a value must cover; else it is missing."""
    texture_tolerance: float = Field(5.0, gt=0)
    """Largest difference of sand + silt + clay from 100 %, in percent."""

    @model_validator(mode="after")
    def _downwards(self) -> ProfileOptions:
        if not 0 <= self.depth[0] < self.depth[1]:
            raise ValueError(
                f"depth from {self.depth[0]:g} to {self.depth[1]:g}, which is not downwards"
            )
        return self


def open_profiles(source: Source) -> xr.Dataset:
    """Return thickness-weighted means over the depth interval, (cell,), in file units; float64.

    Profiles without any value there are left out and counted in the attribute `left_out_profiles`.
    Raises `InputError` with all of: unknown columns, profiles with several coordinates, layers that
    are upside down, overlap or are duplicates, sand + silt + clay far from 100 %.
    """
    options = read_options(source, ProfileOptions)
    where = f'source "{source.name}", {source.address}'
    layers = _layers(source, options, where)
    names = list(dict.fromkeys(variable.name for variable in source.variables.values()))
    values = numeric(layers[names], where)
    limits = numeric(layers[[options.upper, options.lower]], where)
    positions = numeric(layers[[str(source.lat), str(source.lon)]], where)
    faults = Faults()
    _check_positions(positions, where, faults)
    _check_layers(limits, where, faults)
    _check_texture(source, values, options.texture_tolerance, where, faults)
    faults.raise_if_any()
    means = interval_means(values, limits, options.depth, options.min_share)
    kept = means.notna().any(axis=1)
    first = positions[~layers.index.duplicated()].set_axis(["lat", "lon"], axis=1).loc[means.index]
    ds = site_table(source, first[kept], means[kept])
    return ds.assign_attrs(left_out_profiles=int((~kept).sum()))


def interval_means(
    values: pd.DataFrame, limits: pd.DataFrame, depth: tuple[float, float], min_share: float
) -> pd.DataFrame:
    """Return thickness-weighted means by profile; NaN if layers with values cover too little.

    `values` and `limits` (upper, lower) have a row per layer and the profile as index. Only the
    part of a layer within `depth` is used.
    """
    bounds = limits.clip(*depth)
    thickness = bounds.iloc[:, 1] - bounds.iloc[:, 0]
    known = values.notna().mul(thickness, axis=0).groupby(level=0, sort=False).sum()
    weighted = values.mul(thickness, axis=0).groupby(level=0, sort=False).sum(min_count=1)
    return (weighted / known).where(known >= min_share * (depth[1] - depth[0]) - 1e-9)


def _layers(source: Source, options: ProfileOptions, where: str) -> pd.DataFrame:
    """Return the table by profile id; raises `InputError` with all missing columns."""
    try:
        # The separator is detected: releases of WoSIS have used tabs, commas and semicolons.
        layers = pd.read_csv(
            member_copy(source.files[0]), sep=None, engine="python", dtype={str(source.cell): str}
        )
    except (OSError, ValueError) as error:
        raise bad_input(where, f"a file that cannot be read ({error})", "a table") from None
    faults = Faults()
    names = [variable.name for variable in source.variables.values()]
    needed = [source.cell, source.lat, source.lon, options.upper, options.lower, *names]
    check_columns([str(name) for name in needed], layers.columns, where, faults)
    faults.raise_if_any()
    return layers.set_index(str(source.cell))


def _check_positions(positions: pd.DataFrame, where: str, faults: Faults) -> None:
    moved = positions.groupby(level=0).nunique(dropna=False).gt(1).any(axis=1)
    if moved.any():
        faults.add(where, f"profiles with several coordinates, {listed(moved.index[moved])}",
                   "one latitude and longitude per profile")  # fmt: skip


def _check_layers(limits: pd.DataFrame, where: str, faults: Faults) -> None:
    upper, lower = limits.iloc[:, 0], limits.iloc[:, 1]
    wrong = ~(upper >= 0) | ~(lower > upper)
    if wrong.any():
        faults.add(
            where,
            f"layers that do not go down in profiles, {listed(limits.index[wrong].unique())}",
            "upper depth < lower depth, from 0",
        )  # fmt: skip
        return
    order = limits.set_axis(["upper", "lower"], axis=1).assign(profile=limits.index.to_numpy())
    order = order.sort_values(["profile", "upper", "lower"])
    overlap = order["upper"] < order.groupby("profile")["lower"].shift()
    if overlap.any():
        faults.add(
            where, f"overlapping or duplicate layers in profiles, "
            f"{listed(order['profile'][overlap].unique())}", "each depth once",
            "Keep one layer for each depth.",
        )  # fmt: skip


def _check_texture(
    source: Source, values: pd.DataFrame, tolerance: float, where: str, faults: Faults
) -> None:
    """Add a fault for layers whose sand, silt and clay do not sum to 100 %."""
    if not all(name in source.variables for name in TEXTURE):
        return
    total = np.zeros(len(values))
    for name in TEXTURE:
        entry = source.variables[name]
        try:
            factor, _ = linear_conversion(entry.units or "", "%")
        except ValueError:
            faults.add(f"{where}: {name}", f'units "{entry.units}"', 'a fraction, "%" or "1"')
            return
        total += values[entry.name].to_numpy() * entry.scale * factor
    far = np.abs(total - 100) > tolerance
    if far.any():
        faults.add(
            where, f"sand + silt + clay from {total[far].min():g} to {total[far].max():g} % in "
            f"{int(far.sum())} layers of profiles, {listed(values.index[far].unique())}",
            f"100 % within {tolerance:g}", "Correct these layers, or the units of the entry.",
        )  # fmt: skip


DRIVER = Driver(
    name="profiles",
    open=open_profiles,
    returns="sites",
    needs=("lat", "lon", "cell"),
    options=ProfileOptions,
)
