from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.aggregate import (
    AGGREGATES,
    aggregate,
    aggregate_attrs,
    aggregated_time,
    check_aggregate,
    step_days,
)
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


def test_several_percentiles_are_those_of_each_alone() -> None:
    da = daily()
    da[: DAYS.size // 2 + 1, 0, 0] = np.nan
    found = aggregate(da, "p5,p50,p100")
    assert found.dims == ("band", "y", "x")
    assert names_of_bands(found) == ["p5", "p50", "p100"]
    assert "time" not in found.coords
    for name in ("p5", "p50", "p100"):
        alone = aggregate(da, name)
        np.testing.assert_array_equal(found.sel(band=name).values, alone.values)
        assert np.isnan(alone.values[0, 0])
    assert aggregate_attrs({"long_name": "t", "cell_methods": "area: mean"}, "p5,p50") == {
        "long_name": "t, percentiles 5, 50 over time", "cell_methods": "area: mean",
    }  # fmt: skip


@pytest.mark.parametrize("how", ["p90,p10", "p10,p10", "p10,mean", "p10,", "p101,p102"])
def test_percentiles_are_in_order_and_nothing_else(how: str) -> None:
    with pytest.raises(InputError, match="percentiles"):
        check_aggregate(how)


def test_half_a_period_must_be_valid() -> None:
    da = monthly()
    da[:6, 0, 0], da[:7, 0, 1] = np.nan, np.nan
    for how in ("mean", "p50"):
        found = aggregate(da, how).values
        assert np.isfinite(found[0, 0])
        assert np.isnan(found[0, 1])


def test_the_least_valid_share_of_a_season_can_be_told() -> None:
    da = monthly()
    da[6, 0, 0], da[5:7, 0, 1] = np.nan, np.nan
    summer = {share: aggregate(da, "seasonal", share).values[2] for share in (0.3, 0.5, 1.0)}
    np.testing.assert_allclose(summer[0.5][0, 0], (5 * 30 + 7 * 31) / 61, rtol=1e-6)
    np.testing.assert_allclose(summer[0.3][0, 1], 7, rtol=1e-6)
    assert np.isnan(summer[0.5][0, 1])
    assert np.isnan(summer[1.0]).tolist() == [[True, True], [False, False]]


@pytest.mark.parametrize(
    "how, name, methods",
    [
        ("seasonal", "t, seasonal mean", "area: mean time: mean"),
        ("mean", "t, mean over time", "area: mean time: mean"),
        ("p10", "t, percentile 10 over time", "area: mean"),
        ("p50", "t, percentile 50 over time", "area: mean time: median"),
        ("anomaly", "t, departure from the mean of its calendar month", "area: mean"),
    ],
)
def test_attributes_tell_the_aggregate(how: str, name: str, methods: str) -> None:
    attrs = {"long_name": "t", "standard_name": "air_temperature", "cell_methods": "area: mean"}
    found = aggregate(daily().assign_attrs(attrs), how).attrs
    assert found["long_name"] == name
    assert found["cell_methods"] == methods
    assert ("standard_name" in found) == (how != "anomaly")
    assert aggregate_attrs(attrs, "none") == attrs


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
