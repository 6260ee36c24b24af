"""climate_statics(): signatures of the climate of each cell from its forcings, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.climate import kernels
from pipeline.climate.signatures import (
    ClimateSettings,
    Step,
    amplitude_name,
    derivable,
    mean_name,
    operands,
    signature_names,
    step_of,
)
from pipeline.core.errors import bad_input
from pipeline.entries.variable import Variable

YEAR = 365.25
LEAST = 0.8
"""Least fraction of the days (or months) of a year on which a cell must have values."""
HIGH, LOW = 5.0, 1.0
"""High precipitation as a multiple of the mean, and low precipitation in mm/day."""
FREEZING = 0.0
"""Air temperature in degC below which precipitation is snow."""
STEPS, CELLS = 1024, 1 << 14
"""Time steps and cells of a block: 64 MiB of float32, and a chunk of a cube in time."""


@dataclass(frozen=True)
class Axis:
    """The time steps that are used, dims (t,), and their position in the year."""

    steps: slice
    kind: Step
    weight: np.ndarray
    """Days of each month; 1 for other steps."""
    sine: np.ndarray
    cosine: np.ndarray
    slot: np.ndarray
    """Day of the year of daily steps, else the month, counted from 0."""

    @property
    def slots(self) -> int:
        """Number of slots of a year."""
        return 366 if self.kind == "days" else 12

    @property
    def needed(self) -> int:
        """Number of slots that must have a value."""
        return int(np.ceil(LEAST * (365 if self.kind == "days" else 12)))

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Return blocks of steps, as positions in the cube and among the used steps."""
        # They begin where chunks do, so that no chunk is decoded twice.
        first, last = self.steps.start, self.steps.stop
        for begin in range(first - first % STEPS, last, STEPS):
            low, high = max(begin, first), min(begin + STEPS, last)
            yield slice(low, high), slice(low - first, high - first)


@dataclass(frozen=True)
class Cycle:
    """Mean and annual cycle of a variable, dims (cell,); NaN without enough days.

    The cycle is `sine` sin φ + `cosine` cos φ about the mean, by least squares.
    """

    mean: np.ndarray
    sine: np.ndarray
    cosine: np.ndarray

    @property
    def amplitude(self) -> np.ndarray:
        """Half of the range of the annual cycle."""
        return np.asarray(np.hypot(self.sine, self.cosine))


def axis_of(time: np.ndarray, period: tuple[str, str] | None, where: str) -> Axis:
    """Return the steps of a time axis within a period of days.

    Raises `InputError` where they cover too few days of a year for any cell to have a signature.
    """
    kind = step_of(time, where)
    steps = slice(0, time.size)
    if period is not None:
        days = time.astype("datetime64[D]")
        inside = (days >= np.datetime64(period[0], "D")) & (days <= np.datetime64(period[1], "D"))
        found = np.flatnonzero(inside)
        steps = slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0)
    dates = pd.DatetimeIndex(time[steps])
    ends = np.datetime_as_string(time[[0, -1]], unit="D")
    month, day = dates.month.to_numpy(), dates.day_of_year.to_numpy()
    # The middle of the month, wherever in it the time stamp is.
    turn = (month - 0.5) / 12 if kind == "months" else day / YEAR
    axis = Axis(
        steps, kind,
        weight=dates.days_in_month.to_numpy(float) if kind == "months" else np.ones(month.size),
        sine=np.sin(2 * np.pi * turn), cosine=np.cos(2 * np.pi * turn),
        slot=(day if kind == "days" else month) - 1,
    )  # fmt: skip
    present = np.unique(axis.slot).size
    if present < axis.needed:
        unit = "days" if kind == "days" else "months"
        during = f"from {period[0]} to {period[1]}" if period else "in all"
        raise bad_input(
            where, f"{present} {unit} of a year {during}, among times from {ends[0]} to {ends[1]}",
            f"at least {axis.needed} different ones, for climate statics of the training period",
            "Read more of the sources, or lengthen folds.train_period.",
        )  # fmt: skip
    return axis


def chosen(
    settings: ClimateSettings, known: Sequence[str], time: xr.DataArray | None, where: str
) -> tuple[tuple[str, ...], Axis]:
    """Return the signatures of a cube with these time-varying variables, and the steps used."""
    if time is None or not known:
        raise bad_input(
            where, "no forcing with a time axis", f"one of {', '.join(settings.forcings)}, for "
            "climate statics",
        )  # fmt: skip
    axis = axis_of(time.values, settings.period, where)
    return signature_names(settings, known, axis.kind, where), axis


def climate_statics(ds: xr.Dataset, settings: ClimateSettings, where: str = "cube") -> xr.Dataset:
    """Return the climate statics of `ds`, dims (y, x) or (cell,), float32.

    `ds` may be lazy: blocks of `STEPS` times and about `CELLS` cells are read, and summed in
    float64. Each forcing counts on the days with a value; a cell without values on 80 % of the days
    of a year (10 months for other steps) has none. The definitions are those of Addor et al. 2017
    (doi 10.5194/hess-21-5293-2017), and of Woods 2009 (doi 10.1016/j.advwatres.2009.06.011) for the
    seasonality of precipitation. Raises `InputError` as `signature_names` and `axis_of`.

    >>> from pipeline.climate.signatures import climate_variables
    >>> from pipeline.catalog.catalog import read_variables
    >>> time = np.arange("2001-01-01", "2002-01-01", dtype="datetime64[D]")
    >>> rain = np.where(np.arange(365) % 73 == 0, 10.0, 1.0)[:, None]
    >>> ds = xr.Dataset({"precipitation": (("time", "cell"), rain)}, {"time": time})
    >>> known = climate_variables(["precipitation"], read_variables())
    >>> climate = climate_statics(ds, ClimateSettings(("precipitation",), known))
    >>> climate["climate_high_precipitation_frequency"].values.round(2).tolist()
    [5.0]
    """
    known = [name for name in settings.forcings if name in ds and "time" in ds[name].dims]
    names, axis = chosen(settings, known, ds.get("time"), where)
    dims = [str(dim) for dim in ds[known[0]].dims if dim != "time"]
    sizes = [ds.sizes[dim] for dim in dims]
    out = {name: np.full(sizes, np.nan, np.float32) for name in names}
    rows = max(1, CELLS // max(1, int(np.prod(sizes[1:]))))
    for begin in range(0, sizes[0], rows):
        strip = slice(begin, begin + rows)
        part = ds.isel({dims[0]: strip})
        for name, values in _signatures(_Blocks(part[known], axis, dims), names).items():
            out[name][strip] = values.reshape(out[name][strip].shape)
    coords = {name: c for name, c in ds.coords.items() if "time" not in c.dims}
    arrays = {
        name: xr.DataArray(values, dims=dims, attrs=attributes(settings, name))
        for name, values in out.items()
    }
    return xr.Dataset(arrays, coords)


def attributes(settings: ClimateSettings, name: str) -> dict[str, str]:
    """Return the attributes of a signature as a variable of a cube."""
    variable: Variable = settings.variables[name]
    period = {"period": "/".join(settings.period)} if settings.period else {}
    return {"units": variable.units, "long_name": variable.long_name, **period}


@dataclass(frozen=True)
class _Blocks:
    """The values of some cells, block by block of time."""

    ds: xr.Dataset
    axis: Axis
    dims: Sequence[str]

    @property
    def cells(self) -> int:
        return int(np.prod([self.ds.sizes[dim] for dim in self.dims]))

    def read(self, names: Sequence[str], steps: slice) -> np.ndarray:
        """Return the mean of the variables at some steps, dims (t, cell)."""
        found = []
        for name in names:
            # As a Variable, because indexing coordinates costs more than the values.
            values = self.ds[name].variable.isel(time=steps)
            found.append(values.transpose("time", *self.dims).values.reshape(-1, self.cells))
        if len(found) == 1:
            return np.ascontiguousarray(found[0])
        return np.asarray(np.mean(found, axis=0, dtype=np.float64))

    def cycle(self, names: Sequence[str]) -> Cycle:
        """Return the mean and annual cycle of (the mean of) variables."""
        axis = self.axis
        sums = np.zeros((kernels.SUMS, self.cells))
        seen = np.zeros((axis.slots, self.cells), np.uint8)
        for steps, used in axis.blocks():
            kernels.add_cycle(
                self.read(names, steps), axis.weight[used], axis.sine[used], axis.cosine[used],
                axis.slot[used], sums, seen,
            )  # fmt: skip
        return _fitted(sums, seen.sum(axis=0) >= axis.needed)


def _fitted(sums: np.ndarray, is_enough: np.ndarray) -> Cycle:
    w, s, c, ss, cc, sc, x, xs, xc = sums
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(is_enough, x / w, np.nan)
        # Least squares of the sine curve about the mean of the days, as in Addor et al.
        of_sine, of_cosine = xs - mean * s, xc - mean * c
        determinant = ss * cc - sc * sc
        sine = (of_sine * cc - of_cosine * sc) / determinant
        cosine = (of_cosine * ss - of_sine * sc) / determinant
    return Cycle(mean, sine, cosine)


def _signatures(blocks: _Blocks, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the signatures of these cells by name, dims (cell,), float64."""
    known = [str(name) for name in blocks.ds.data_vars]
    wanted, at_hand = {*names}, operands(known)
    found: dict[str, np.ndarray] = {}
    cycles: dict[tuple[str, ...], Cycle] = {}

    def cycle(variables: tuple[str, ...]) -> Cycle:
        if variables not in cycles:
            cycles[variables] = blocks.cycle(variables)
        return cycles[variables]

    for forcing in known:
        if wanted & {mean_name(forcing), amplitude_name(forcing)}:
            found[mean_name(forcing)] = cycle((forcing,)).mean
            found[amplitude_name(forcing)] = cycle((forcing,)).amplitude
    with np.errstate(invalid="ignore", divide="ignore"):
        if "climate_aridity" in wanted:
            pet, rain = cycle(at_hand["evapotranspiration"]), cycle(at_hand["precipitation"])
            found["climate_aridity"] = _finite(pet.mean / rain.mean)
        if "climate_precipitation_seasonality" in wanted:
            rain, warmth = cycle(at_hand["precipitation"]), cycle(at_hand["temperature"])
            found["climate_precipitation_seasonality"] = _finite(
                # δp · sgn(δt) · cos(2π (sp − st) / year) of Woods 2009: the component of the cycle
                # of precipitation that is in phase with temperature, relative to the mean.
                (rain.sine * warmth.sine + rain.cosine * warmth.cosine)
                / warmth.amplitude / rain.mean
            )  # fmt: skip
        if "climate_snow_fraction" in wanted:
            pair = cycle(at_hand["precipitation"]), cycle(at_hand["temperature"])
            found["climate_snow_fraction"] = np.where(
                np.isnan(pair[0].mean + pair[1].mean), np.nan, _snow(blocks, at_hand["temperature"])
            )
        for extreme in ("high", "low"):
            frequency, duration = (f"climate_{extreme}_precipitation_{what}"
                                   for what in ("frequency", "duration"))  # fmt: skip
            if wanted & {frequency, duration}:
                rain = cycle(at_hand["precipitation"])
                found[frequency], found[duration] = _extremes(blocks, rain.mean, extreme == "high")
    return {name: found[name] for name in names}


def _finite(values: np.ndarray) -> np.ndarray:
    """Return ratios, missing where their denominator is 0."""
    return np.where(np.isfinite(values), values, np.nan)


def _snow(blocks: _Blocks, temperature: Sequence[str]) -> np.ndarray:
    """Return the fraction of precipitation on days below 0 degC; NaN without precipitation."""
    sums = np.zeros((2, blocks.cells))
    for steps, _ in blocks.axis.blocks():
        rain = blocks.read(("precipitation",), steps)
        kernels.add_snow(rain, blocks.read(temperature, steps), FREEZING, sums)
    return sums[1] / sums[0]


def _extremes(
    blocks: _Blocks, mean: np.ndarray, is_high: bool
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return days per year of high or low precipitation, and the mean length of their runs.

    Both are 0 where there is no such day, and NaN where there is no `mean`.
    """
    # Without any precipitation no day is high.
    limit = np.where(mean > 0, HIGH * mean, np.inf) if is_high else np.full(mean.size, LOW)
    before = np.zeros(mean.size, np.bool_)
    days, runs, valid = (np.zeros(mean.size, np.int64) for _ in range(3))
    for steps, _ in blocks.axis.blocks():
        rain = blocks.read(("precipitation",), steps)
        valid += np.count_nonzero(~np.isnan(rain), axis=0)
        kernels.add_runs(rain, limit, is_high, before, days, runs)
    frequency, duration = days / valid * YEAR, np.where(runs > 0, days / runs, 0.0)
    return np.where(np.isnan(mean), np.nan, frequency), np.where(np.isnan(mean), np.nan, duration)


def note_of(ds: xr.Dataset, settings: ClimateSettings) -> str:
    """Return one line on the climate statics of a cube: their number and days, and those left out.

    `ds` is the cube with its climate statics.
    """
    known = [name for name in settings.forcings if name in ds and "time" in ds[name].dims]
    names, axis = chosen(settings, known, ds["time"], "cube")
    days = np.datetime_as_string(ds["time"].values[axis.steps][[0, -1]], unit="D")
    text = f"{len(names)} climate statics from {days[0]} to {days[1]}"
    left_out = [name for name in derivable(settings, known) if name not in names]
    if settings.names is None and left_out:
        text += f"; without {', '.join(left_out)}, which need daily steps"
    return text
