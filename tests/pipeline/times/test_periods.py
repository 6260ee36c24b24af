from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.maps.aggregate import aggregated_time
from pipeline.publish.bands import describe, names_of_bands
from pipeline.times.periods import (
    climatology_note,
    climatology_year,
    month_step,
    time_bounds,
    time_coverage,
)
from tests.maps import months


def axis(first: str, last: str, freq: str, **attrs: str) -> xr.DataArray:
    time = pd.date_range(first, last, freq=freq).values.astype("datetime64[ns]")
    return xr.DataArray(time, dims="time", attrs=attrs)


def covered(time: xr.DataArray) -> str:
    return "/".join(str(moment) for moment in time_coverage(time))


@pytest.mark.parametrize(
    "time, end",
    [
        (axis("2016-01-01", "2018-01-01", "YS", period="year"), "2018-12-31T23:59:59"),
        (axis("2016-01-01", "2016-01-01", "YS", period="year"), "2016-12-31T23:59:59"),
        (axis("2015-12-01", "2016-12-01", "QS-DEC", period="season"), "2017-02-28T23:59:59"),
        (axis("2016-01-15", "2016-03-15", "SMS")[::2], "2016-03-31T23:59:59"),
        (axis("2016-01-01T12", "2016-03-31T12", "D"), "2016-03-31T23:59:59"),
        (axis("2016-01-01", "2016-01-02T23", "h"), "2016-01-02T23:59:59"),
        (axis("2016-02-28", "2016-02-28", "D"), "2016-02-28T23:59:59"),
        (months(), "2001-12-31T23:59:59"),
    ],
)
def test_a_time_axis_ends_with_its_last_period(time: xr.DataArray, end: str) -> None:
    assert str(time_coverage(time)[1]) == end
    bounds = time_bounds(time)
    assert (bounds[:, 0] <= time.values).all()
    assert (time.values < bounds[:, 1]).all()
    assert (bounds[1:, 0] >= bounds[:-1, 1]).all()


def test_the_climatology_of_a_series_tells_its_years() -> None:
    series = axis("2015-04-01", "2018-03-31", "D")
    time = aggregated_time(series, "climatology")
    assert time is not None
    assert covered(time) == covered(series) == "2015-04-01T00:00:00/2018-03-31T23:59:59"
    assert climatology_note(time) == "climatology of 2015-04-01/2018-03-31"
    # Its dates are in the middle of what it is of.
    assert climatology_year(series) == 2016
    assert str(time.values[0])[:10] == "2016-01-01"
    da = xr.DataArray(np.zeros((12, 1, 1)), dims=("time", "y", "x"), coords={"time": time})
    assert names_of_bands(da)[::11] == ["January", "December"]


def test_dates_of_unknown_years_are_nominal() -> None:
    assert "the year of its dates is nominal" in climatology_note(months())
    assert climatology_note(axis("2015-04-01", "2018-03-31", "D")) == ""
    known = months().assign_attrs(climatology_period="1981-01-01/2010-12-31")
    assert covered(known) == "1981-01-01T00:00:00/2010-12-31T23:59:59"
    seasons = aggregated_time(known, "seasonal")
    assert seasons is not None
    assert covered(seasons) == covered(known)


class Tags:
    """The tags that are set on a raster."""

    def __init__(self) -> None:
        self.bands: dict[int, dict[str, str]] = {}

    def update_tags(self, number: int = 0, **tags: str) -> None:
        self.bands[number] = tags

    def set_band_description(self, number: int, name: str) -> None: ...

    def set_band_unit(self, number: int, unit: str) -> None: ...


def test_bands_tell_the_days_of_their_period() -> None:
    def tags(time: xr.DataArray) -> dict[str, str]:
        zeros = np.zeros((time.size, 1, 1))
        da = xr.DataArray(zeros, dims=("time", "y", "x"), coords={"time": time})
        raster = Tags()
        describe(raster, da, names_of_bands(da), "1", {})
        return raster.bands[1]

    annual = aggregated_time(axis("2015-04-01", "2018-03-31", "D"), "annual")
    assert annual is not None
    assert tags(annual) == {"time": "2015-01-01T00:00:00", "time_bounds": "2015-01-01/2015-12-31"}
    assert tags(months()) == {"time": "2001-01-16T00:00:00",
                              "climatology": climatology_note(months())}  # fmt: skip
    assert tags(axis("2015-04-01", "2015-04-09", "D")) == {"time": "2015-04-01T00:00:00"}


@pytest.mark.parametrize(
    "times, step",
    [
        (["2001-01-31", "2001-02-28", "2001-03-31"], 1),
        (["2001-01-01", "2001-04-01"], 3),
        (["2001-01-01", "2002-01-01", "2004-01-01"], 12),
        (["2001-01-31", "2001-02-01"], 0),
        (["2001-01-01", "2001-02-15", "2001-04-01", "2001-05-16"], 0),
        (["2001-01-01"], 0),
    ],
)
def test_months_are_distinguished_from_days(times: list[str], step: int) -> None:
    assert month_step(xr.DataArray(np.array(times, "datetime64[ns]"), dims="time")) == step
