"""Soil profiles: tables of layers as means over a depth interval (driver `profiles`).

The file is a CSV with a row per layer, as WoSIS and NCSS publish them. WoSIS: Batjes et al. 2024,
doi 10.5194/essd-16-4735-2024.
"""

from __future__ import annotations

from functools import partial, reduce
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import Field, model_validator

from pipeline.core.archives.unpacked_files import member_copy
from pipeline.core.errors import LIBRARY_ERRORS, Faults, bad_input, listed
from pipeline.core.settings import Frozen, later
from pipeline.core.units import linear_conversion
from pipeline.entries.source import Source
from pipeline.readers.common.first_bytes import ROWS
from pipeline.readers.common.refusals import check_format, unreadable
from pipeline.readers.common.site_table import (
    check_columns,
    in_degrees,
    numeric,
    read_options,
    site_table,
)
from pipeline.readers.driver import Driver
from pipeline.readers.tables.text_table import marks_of

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
    decimal: Literal[".", ","] | None = later(None)
    """Decimal mark; by default it is recognised."""
    value: str | None = later(None)
    """Column of values, such as value_avg, if the `uri` lists a table of layers for each property:
    a variable sand is read from the file whose name ends with _sand."""
    faulty: Literal["refuse", "leave_out"] = later("refuse")
    """Treatment of profiles with several coordinates, overlapping or duplicate layers, or fractions
    far from 100 %, and of layers that do not go down, such as litter above the soil."""

    @model_validator(mode="after")
    def _downwards(self) -> ProfileOptions:
        if not 0 <= self.depth[0] < self.depth[1]:
            raise ValueError(
                f"depth from {self.depth[0]:g} to {self.depth[1]:g}, which is not downwards"
            )
        return self


def open_profiles(source: Source) -> xr.Dataset:
    """Return thickness-weighted means over the depth interval, (cell,), in file units; float64.

    Profiles without any value there are left out and counted in the attribute `left_out_profiles`,
    faulty ones, if the entry leaves them out, in `left_out_faulty`.
    Raises `InputError` with all of: unknown columns, profiles with several coordinates, layers that
    are upside down, overlap or are duplicates, sand + silt + clay far from 100 %.
    """
    options = read_options(source, ProfileOptions)
    where = f'source "{source.name}", {source.address}'
    layers = _layers(source, options, where)
    names = list(dict.fromkeys(variable.name for variable in source.variables.values()))
    values = numeric(layers[names], where)
    limits = numeric(layers[[options.upper, options.lower]], where)
    positions = in_degrees(numeric(layers[[str(source.lat), str(source.lon)]], where), source)
    if options.faulty == "leave_out":
        down = _goes_down(limits)
        values, limits, positions = values[down], limits[down], positions[down]
    faults = Faults()
    wrong = [
        *_check_positions(positions, where, faults),
        *_check_layers(limits, where, faults),
        *_check_texture(source, values, options.texture_tolerance, where, faults),
    ]
    if options.faulty == "refuse" or not _are_percent(source):
        faults.raise_if_any()
    if wrong:
        right = ~limits.index.isin(wrong)
        values, limits, positions = values[right], limits[right], positions[right]
    means = interval_means(values, limits, options.depth, options.min_share)
    kept = means.notna().any(axis=1)
    first = (
        positions[~positions.index.duplicated()].set_axis(["lat", "lon"], axis=1).loc[means.index]
    )
    ds = site_table(source, first[kept], means[kept])
    counts = {"left_out_profiles": int((~kept).sum())}
    if options.faulty == "leave_out":
        counts["left_out_faulty"] = len(set(wrong))
    return ds.assign_attrs(counts)


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
    names = list(dict.fromkeys(variable.name for variable in source.variables.values()))
    keys = [str(n) for n in (source.cell, source.lat, source.lon, options.upper, options.lower)]
    if options.value is None and len(source.files) > 1:
        raise bad_input(where, f"{len(source.files)} files without `options: {{value: …}}`",
                        "one table of layers, or one for each property and its column of values",
                        )  # fmt: skip
    if options.value is None:
        layers = _table(source.files[0], source, [*keys, *names], options.decimal, where)
    else:
        tables = [
            _table(
                _file_of(name, source, where),
                source,
                [*keys, options.value],
                options.decimal,
                where,
            )
            for name in names
        ]
        parts = [
            table[[*keys, options.value]].rename(columns={options.value: name})
            for name, table in zip(names, tables, strict=True)
        ]
        layers = reduce(partial(pd.merge, on=keys, how="outer"), parts)
    return layers.set_index(str(source.cell))


def _file_of(name: str, source: Source, where: str) -> Path:
    """Return the one file whose name ends with that of a property."""
    found = [path for path in source.files if path.stem.endswith(f"_{name}") or path.stem == name]
    if len(found) != 1:
        files = listed([path.name for path in source.files])
        raise bad_input(where, f"{len(found)} files of {name} among {files}",
                        f"one whose name ends with _{name}")  # fmt: skip
    return found[0]


def _table(
    path: Path, source: Source, needed: list[str], decimal: str | None, where: str
) -> pd.DataFrame:
    """Return a table of layers; raises `InputError` with all missing columns."""
    check_format(where, path, "a table", *ROWS)
    try:
        copy = member_copy(path)
        # The separator is detected: releases of WoSIS have used tabs, commas and semicolons.
        separator, mark = marks_of(copy, "utf-8", where, decimal)
        table = pd.read_csv(
            copy, sep=separator, decimal=mark, dtype={str(source.cell): str}, low_memory=False
        )
    except LIBRARY_ERRORS as error:
        raise unreadable(where, path, error, "a table", *ROWS) from None
    faults = Faults()
    check_columns(needed, table.columns, where, faults)
    faults.raise_if_any()
    return table


def _check_positions(positions: pd.DataFrame, where: str, faults: Faults) -> list[str]:
    """Return the profiles with several coordinates, for which a fault is added."""
    moved = positions.groupby(level=0).nunique(dropna=False).gt(1).any(axis=1)
    wrong = moved.index[moved].tolist()
    if wrong:
        faults.add(where, f"profiles with several coordinates, {listed(wrong)}",
                   "one latitude and longitude per profile")  # fmt: skip
    return wrong


def _goes_down(limits: pd.DataFrame) -> np.ndarray:
    upper, lower = limits.iloc[:, 0], limits.iloc[:, 1]
    return np.asarray((upper >= 0) & (lower > upper))


def _check_layers(limits: pd.DataFrame, where: str, faults: Faults) -> list[str]:
    """Return the profiles with overlapping layers, for which a fault is added."""
    down = _goes_down(limits)
    if not down.all():
        wrong = limits.index[~down].unique()
        faults.add(
            where,
            f"layers that do not go down in profiles, {listed(wrong)}",
            "upper depth < lower depth, from 0",
        )  # fmt: skip
        return list(wrong)
    order = limits.set_axis(["upper", "lower"], axis=1).assign(profile=limits.index.to_numpy())
    order = order.sort_values(["profile", "upper", "lower"])
    overlap = order["upper"] < order.groupby("profile")["lower"].shift()
    wrong = pd.Index(order["profile"][overlap].unique())
    if len(wrong):
        faults.add(
            where, f"overlapping or duplicate layers in profiles, {listed(wrong)}",
            "each depth once", "Keep one layer for each depth.",
        )  # fmt: skip
    return list(wrong)


def _are_percent(source: Source) -> bool:
    """Whether the units of the fractions are those of fractions, if all three are read."""
    units = [source.variables[name].units for name in TEXTURE if name in source.variables]
    for text in units:
        try:
            linear_conversion(text or "", "%")
        except ValueError:
            return len(units) < len(TEXTURE)
    return True


def _check_texture(
    source: Source, values: pd.DataFrame, tolerance: float, where: str, faults: Faults
) -> list[str]:
    """Return the profiles whose sand, silt and clay are not 100 %, for which a fault is added."""
    if not all(name in source.variables for name in TEXTURE):
        return []
    total = np.zeros(len(values))
    for name in TEXTURE:
        entry = source.variables[name]
        try:
            factor, _ = linear_conversion(entry.units or "", "%")
        except ValueError:
            faults.add(f"{where}: {name}", f'units "{entry.units}"', 'a fraction, "%" or "1"')
            return []
        total += values[entry.name].to_numpy() * entry.scale * factor
    far = np.abs(total - 100) > tolerance
    wrong = values.index[far].unique()
    if far.any():
        faults.add(
            where, f"sand + silt + clay from {total[far].min():g} to {total[far].max():g} % in "
            f"{int(far.sum())} layers of profiles, {listed(wrong)}",
            f"100 % within {tolerance:g}", "Correct these layers, or the units of the entry.",
        )  # fmt: skip
    return list(wrong)


DRIVER = Driver(
    name="profiles",
    open=open_profiles,
    returns="sites",
    is_series=True,
    needs=("lat", "lon", "cell"),
    options=ProfileOptions,
)
