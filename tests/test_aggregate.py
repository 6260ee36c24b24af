from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.aggregate import AGGREGATES, aggregate, aggregated_time, check_aggregate, step_days
from pipeline.bands import names_of_bands
from stefaland.errors import InputError
from tests.maps import months

DAYS = pd.date_range("2000-11-05", "2002-04-10").values.astype("datetime64[ns]")


def daily() -> xr.DataArray:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(DAYS.size, 3, 4)).astype(np.float32)
    return xr.DataArray(values, dims=("time", "y", "x"), coords={"time": DAYS}, name="v")


def monthly() -> xr.DataArray:
    values = np.arange(12, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    return xr.DataArray(values, dims=("time", "y", "x"), coords={"time": months()}, name="v")


@pytest.mark.parametrize("how, rule", [("monthly", "MS"), ("annual", "YS"), ("seasonal", "QS-DEC")])
def test_periods_are_those_of_pandas(how: str, rule: str) -> None:
    found = aggregate(daily(), how)
    wanted = daily().astype(np.float64).resample(time=rule).mean()
    np.testing.assert_array_equal(found["time"].values, wanted["time"].values)
    np.testing.assert_allclose(found.values, wanted.values, atol=1e-6)


def test_climatology_and_anomaly_make_the_series() -> None:
    da = daily()
    climatology, anomaly = aggregate(da, "climatology"), aggregate(da, "anomaly")
    wanted = da.astype(np.float64).groupby("time.month").mean()
    np.testing.assert_allclose(climatology.values, wanted.values, atol=1e-6)
    month = da["time.month"].values - 1
    np.testing.assert_allclose(anomaly.values + climatology.values[month], da.values, atol=1e-6)


def test_the_mean_of_months_weighs_their_days() -> None:
    days = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    np.testing.assert_array_equal(step_days(months()), days)
    mean = aggregate(monthly(), "mean")
    assert mean.dims == ("y", "x")
    np.testing.assert_allclose(mean.values, (days * np.arange(12)).sum() / 365, rtol=1e-6)


def test_a_climatology_is_a_closed_year() -> None:
    seasons = aggregate(monthly(), "seasonal")
    assert names_of_bands(seasons) == ["DJF", "MAM", "JJA", "SON"]
    winter = (11 * 31 + 0 * 31 + 1 * 28) / 90
    np.testing.assert_allclose(seasons.values[0], winter, rtol=1e-6)


def test_percentiles_are_those_of_numpy() -> None:
    da = daily()
    np.testing.assert_allclose(
        aggregate(da, "p10").values, np.percentile(da, 10, axis=0), atol=1e-6
    )


def test_half_a_period_must_be_valid() -> None:
    da = monthly()
    da[:6, 0, 0], da[:7, 0, 1] = np.nan, np.nan
    for how in ("mean", "p50"):
        found = aggregate(da, how).values
        assert np.isfinite(found[0, 0])
        assert np.isnan(found[0, 1])


@pytest.mark.parametrize("how", [*AGGREGATES, "p90"])
def test_the_time_axis_is_known_before(how: str) -> None:
    found, wanted = aggregate(daily(), how), aggregated_time(daily()["time"], how)
    assert (wanted is None) == ("time" not in found.dims)
    if wanted is not None:
        np.testing.assert_array_equal(found["time"].values, wanted.values)
        assert found["time"].attrs == wanted.attrs


def test_an_unknown_aggregate_is_told() -> None:
    with pytest.raises(InputError, match='Did you mean "annual"'):
        check_aggregate("anual")
