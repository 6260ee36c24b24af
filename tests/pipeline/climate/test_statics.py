"""Climate statics against a plain float64 reference of the definitions of Addor et al. 2017."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from pipeline.catalog.catalog import read_variables
from pipeline.climate import statics
from pipeline.climate.signatures import METEOROLOGY, ClimateSettings, climate_variables
from pipeline.climate.statics import climate_statics, note_of
from pipeline.core.errors import InputError

KNOWN = {**read_variables()}
PERIOD = ("2001-03-01", "2003-02-28")
TIME = pd.date_range("2000-10-01", "2003-09-30").values


def chosen(*names: str, period: tuple[str, str] | None = PERIOD) -> ClimateSettings:
    forcings = METEOROLOGY
    return ClimateSettings(forcings, climate_variables(forcings, KNOWN), period, names or None)


def weather(seed: int, missing: float, cells: int = 3, time: np.ndarray = TIME) -> xr.Dataset:
    """Seasonal rain, temperature and evapotranspiration with gaps; dims (time, cell)."""
    random = np.random.default_rng(seed)
    shape = (time.size, cells)
    turn = 2 * np.pi * (pd.DatetimeIndex(time).day_of_year.to_numpy()[:, None] / 365.25)
    fields = {
        "precipitation": random.gamma(0.3, 6, shape)
        * (1 + random.uniform(0, 0.9, cells) * np.sin(turn - random.uniform(0, 6, cells))),
        "air_temperature": random.uniform(-5, 20, cells) - 12 * np.cos(turn)
        + random.normal(0, 4, shape),
        "reference_evapotranspiration": 3 - 2 * np.cos(turn) + random.random(shape),
    }  # fmt: skip
    gaps = {name: random.random(shape) < missing for name in fields}
    return xr.Dataset(
        {
            name: (("time", "cell"), np.where(gaps[name], np.nan, values).astype(np.float32))
            for name, values in fields.items()
        },
        {"time": time, "cell": np.arange(cells)},
    )


def lengths(days: np.ndarray) -> list[int]:
    return [len([*run]) for is_such, run in groupby(days) if is_such]


def reference(ds: xr.Dataset, cell: int) -> dict[str, float]:
    """The definitions, one cell at a time, with sine curves fitted by an optimiser."""
    p, t, e = (ds[name].values[:, cell].astype(float) for name in ds.data_vars)
    day = ds["time"].dt.dayofyear.values

    def cycle(values: np.ndarray) -> tuple[float, float, float]:
        seen = ~np.isnan(values)
        mean = values[seen].mean()
        (a, b), _ = curve_fit(
            lambda d, a, b: (mean + a * np.sin(2 * np.pi * d / 365.25)
                             + b * np.cos(2 * np.pi * d / 365.25)),
            day[seen], values[seen], (1, 1),
        )  # fmt: skip
        return mean, float(np.hypot(a, b)), float(np.arctan2(-b, a) / 2 / np.pi * 365.25)

    rain, warmth, pet = cycle(p), cycle(t), cycle(e)
    both = ~np.isnan(p) & ~np.isnan(t)
    high, low = p >= 5 * rain[0], p < 1
    years = (~np.isnan(p)).sum() / 365.25
    return {
        "climate_precipitation_mean": rain[0],
        "climate_air_temperature_mean": warmth[0],
        "climate_air_temperature_amplitude": warmth[1],
        "climate_reference_evapotranspiration_mean": pet[0],
        "climate_reference_evapotranspiration_amplitude": pet[1],
        "climate_aridity": pet[0] / rain[0],
        "climate_precipitation_seasonality": rain[1] / rain[0]
        * np.cos(2 * np.pi * (rain[2] - warmth[2]) / 365.25),
        "climate_snow_fraction": p[both & (t < 0)].sum() / p[both].sum(),
        "climate_high_precipitation_frequency": high.sum() / years,
        "climate_high_precipitation_duration": np.mean(lengths(high) or [0]),
        "climate_low_precipitation_frequency": low.sum() / years,
        "climate_low_precipitation_duration": np.mean(lengths(low) or [0]),
    }  # fmt: skip


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.1]), st.sampled_from([7, 400, 1024]))
def test_signatures_are_those_of_the_definitions(seed: int, missing: float, steps: int) -> None:
    ds = weather(seed, missing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statics, "STEPS", steps)  # runs of days go on from block to block
        patch.setattr(statics, "CELLS", 2)
        found = climate_statics(ds, chosen())
    training = ds.sel(time=slice(*PERIOD))
    for cell in range(3):
        wanted = reference(training, cell)
        assert set(wanted) == set(found.data_vars)
        for name, value in wanted.items():
            assert found[name].values[cell] == pytest.approx(value, rel=2e-5, abs=1e-6), name
            low, high = chosen().variables[name].valid_range or (-np.inf, np.inf)
            assert low <= found[name].values[cell] <= high


def test_days_after_the_training_period_change_no_bit() -> None:
    ds = weather(1, 0.05)
    other = ds.where(ds.time <= np.datetime64(PERIOD[1]), 77.0)
    other = other.where(ds.time >= np.datetime64(PERIOD[0]), np.nan)
    first, second = climate_statics(ds, chosen()), climate_statics(other, chosen())
    assert all(first[name].values.tobytes() == second[name].values.tobytes() for name in first)
    whole = climate_statics(ds, chosen(period=None))
    assert not np.allclose(whole["climate_aridity"], first["climate_aridity"])


def test_monthly_means_give_those_signatures_that_need_no_days() -> None:
    ds = weather(2, 0)
    monthly = ds.sel(time=slice(*PERIOD)).resample(time="MS").mean()
    found, daily = climate_statics(monthly, chosen()), climate_statics(ds, chosen())
    assert {*daily} - {*found} == {
        "climate_snow_fraction", "climate_high_precipitation_frequency",
        "climate_high_precipitation_duration", "climate_low_precipitation_frequency",
        "climate_low_precipitation_duration",
    }  # fmt: skip
    for name in found:
        # Months are weighted by their days; the mean of a month flattens its cycle a little.
        assert np.allclose(found[name], daily[name], rtol=0.02, atol=0.01), name
    assert np.allclose(found["climate_aridity"], daily["climate_aridity"], rtol=1e-6)
    note = note_of(monthly.merge(found), chosen())
    assert note.startswith("7 climate statics from 2001-03-01 to 2003-02-01; without climate_snow_")
    with pytest.raises(InputError, match="climate_snow_fraction: found time steps other than days"):
        climate_statics(monthly, chosen("climate_snow_fraction"))


def test_too_few_days_are_missing_and_temperature_may_be_of_extremes() -> None:
    ds = weather(3, 0)
    warmth = ds["air_temperature"]
    both = ds.drop_vars("air_temperature").assign(
        air_temperature_max=warmth + 4, air_temperature_min=warmth - 4
    )
    summers = ds["time"].dt.month.isin(range(4, 10)) & (ds["cell"] == 1)
    found = climate_statics(both.where(~summers), chosen())
    plain = climate_statics(ds, chosen())
    for name in ("climate_snow_fraction", "climate_precipitation_seasonality", "climate_aridity"):
        assert np.isnan(found[name].values).tolist() == [False, True, False]
        assert np.allclose(found[name].values[[0, 2]], plain[name].values[[0, 2]], rtol=1e-5)


def test_a_cell_without_rain_has_no_ratios() -> None:
    ds = weather(4, 0)
    found = climate_statics(ds.assign(precipitation=ds["precipitation"] * 0), chosen())
    assert np.isnan(found["climate_aridity"]).all()
    assert np.isnan(found["climate_snow_fraction"]).all()
    assert (found["climate_high_precipitation_duration"] == 0).all()
    assert np.allclose(found["climate_low_precipitation_frequency"], 365.25)


@pytest.mark.parametrize(
    ("names", "period", "message"),
    [
        (("climate_ariditiy",), PERIOD, 'no such signature; .*Did you mean "climate_aridity"'),
        (("climate_air_temperature_max_mean",), PERIOD, "air_temperature_max, from which"),
        ((), ("2001-03-01", "2001-09-30"), "found 214 days of a year from 2001-03-01"),
        ((), ("1990-01-01", "1999-09-30"), "found 0 days of a year .* 2000-10-01 to 2003-09-30"),
    ],
)
def test_what_cannot_be_derived_is_one_clear_error(
    names: tuple[str, ...], period: tuple[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        climate_statics(weather(5, 0), chosen(*names, period=period))
