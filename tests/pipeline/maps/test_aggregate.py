from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.maps.aggregate import (
    AGGREGATES,
    aggregate,
    aggregate_attrs,
    aggregated_time,
    check_aggregate,
    step_days,
)
from pipeline.publish.bands import names_of_bands
from tests.maps import months

DAYS = pd.date_range("2000-11-05", "2002-04-10").values.astype("datetime64[ns]")


def daily() -> xr.DataArray:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(DAYS.size, 3, 4)).astype(np.float32)
    return xr.DataArray(values, dims=("time", "y", "x"), coords={"time": DAYS}, name="v")


def monthly() -> xr.DataArray:
    values = np.arange(12, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    return xr.DataArray(values, dims=("time", "y", "x"), coords={"time": months()}, name="v")


def series(first: str, last: str, freq: str = "D") -> xr.DataArray:
    time = pd.date_range(first, last, freq=freq).values.astype("datetime64[ns]")
    values = np.random.default_rng(1).normal(size=(time.size, 1, 1)).astype(np.float32)
    return xr.DataArray(values, dims=("time", "y", "x"), coords={"time": time}, name="v")


@pytest.mark.parametrize(
    "how, rule, ends",
    [
        ("monthly", "MS", ("2000-11-01", "2002-03-01")),
        ("annual", "YS", ("2001-01-01", "2001-01-01")),
        ("seasonal", "QS-DEC", ("2000-12-01", "2001-12-01")),
    ],
)
def test_periods_are_those_of_pandas(how: str, rule: str, ends: tuple[str, str]) -> None:
    """All periods except those at the ends of which the series has less than half."""
    found = aggregate(daily(), how)
    wanted = daily().astype(np.float64).resample(time=rule).mean().sel(time=slice(*ends))
    np.testing.assert_array_equal(found["time"].values, wanted["time"].values)
    np.testing.assert_allclose(found.values, wanted.values, atol=1e-6)


def test_one_day_stands_for_no_year_nor_season() -> None:
    da = series("2000-12-31", "2002-01-01")
    assert names_of_bands(aggregate(da, "annual")) == ["2001"]
    assert names_of_bands(aggregate(da, "seasonal")) == [
        "DJF 2001", "MAM 2001", "JJA 2001", "SON 2001",
    ]  # fmt: skip
    assert aggregate(da, "monthly").sizes["time"] == 12
    assert names_of_bands(aggregate(da, "annual", 1 / 365)) == ["2001", "2002"]


def test_a_month_too_short_has_no_climatology_and_no_anomaly() -> None:
    da = series("2001-06-29", "2002-01-02")
    found = aggregate(da, "climatology")
    assert names_of_bands(found) == ["July", "August", "September", "October", "November",
                                     "December"]  # fmt: skip
    anomaly = aggregate(da, "anomaly")
    assert anomaly.sizes["time"] == da.sizes["time"]
    kept = np.isfinite(anomaly.values[:, 0, 0])
    np.testing.assert_array_equal(kept, [7 <= m <= 12 for m in da["time.month"].values])


@pytest.mark.parametrize("how", ["monthly", "climatology", "mean", "p50"])
def test_days_that_are_absent_count_like_missing_ones(how: str) -> None:
    da = series("2001-01-01", "2001-03-31")
    missing = da.where(~((da["time.month"] == 2) & (da["time.day"] > 13)))
    absent = missing.dropna("time")
    for share in (0.4, 0.5, 0.8):
        wanted = aggregate(missing, how, share)
        found = aggregate(absent, how, share)
        if how == "climatology" and share > 0.46:
            wanted = wanted.dropna("time")
        np.testing.assert_array_equal(found.values, wanted.values)


@pytest.mark.parametrize(
    "first, last, freq, years",
    [
        ("2001-07-01", "2003-06-01", "MS", ["2001", "2002"]),  # 184, 365 and 151 days
        ("2000-02-10", "2001-06-01", "8D", ["2000"]),
        ("2000-12-30T00", "2001-12-31T23", "h", ["2001"]),
        ("2000-01-01", "2003-01-01", "12MS", ["2000", "2001", "2002", "2003"]),
    ],
)
def test_the_fraction_of_a_year_is_counted_in_steps(
    first: str, last: str, freq: str, years: list[str]
) -> None:
    assert names_of_bands(aggregate(series(first, last, freq), "annual")) == years


def test_months_around_a_gap_are_weighted_by_their_days() -> None:
    time = np.array(["2001-01-01", "2001-02-01", "2001-04-01"], "datetime64[ns]")
    np.testing.assert_array_equal(step_days(xr.DataArray(time, dims="time")), [31, 28, 30])
    two_days = np.array(["2001-01-31", "2001-02-01"], "datetime64[ns]")
    np.testing.assert_array_equal(step_days(xr.DataArray(two_days, dims="time")), [1, 1])


def test_a_series_too_short_for_any_period_is_reported() -> None:
    with pytest.raises(InputError) as error:
        aggregated_time(series("2001-03-01", "2001-05-31")["time"], "annual")
    assert "92 time steps in 2001-03-01/2001-05-31, which make 25 % of a whole year" in str(error)
    assert "at least 50 %" in str(error)


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


def test_the_smallest_valid_fraction_of_a_season_can_be_set() -> None:
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
        (
            "climatology",
            "t, mean of each calendar month",
            "area: mean time: mean within years time: mean over years",
        ),
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


def test_an_unknown_aggregate_is_reported() -> None:
    with pytest.raises(InputError, match='Did you mean "annual"'):
        check_aggregate("anual")
