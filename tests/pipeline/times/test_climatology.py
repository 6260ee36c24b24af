"""Months of climatologies whose steps are in any order, by dates, numbers or names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.open import open_source
from pipeline.times.climatology import months_of

GRID = TargetGrid.from_bounds("two", "EPSG:4326", (0, 0, 2, 2), 1.0)
FROM_OCTOBER = [*range(10, 13), *range(1, 10)]
STARTS = pd.date_range("2000-10-01", periods=12, freq="MS")
MIDDLES = pd.date_range("2001-01-15", periods=12, freq=pd.DateOffset(months=1))


@pytest.mark.parametrize(
    ("values", "attrs", "months"),
    [
        (range(12, 0, -1), {}, list(range(12, 0, -1))),
        (range(12), {}, list(range(1, 13))),
        (np.arange(12) + 0.5, {"units": "months since 1960-01-01"}, list(range(1, 13))),
        ([274, 305, 335, 1, 32, 60, 91, 121, 152, 182, 213, 244],
         {"units": "days since 2000-12-31"}, FROM_OCTOBER),
        (STARTS.values, {}, FROM_OCTOBER),
        ([f"{date:%B}" for date in STARTS], {}, FROM_OCTOBER),
        # The ends of January to December.
        (pd.date_range("2001-02-01", periods=12, freq="MS").values, {}, list(range(1, 13))),
        (MIDDLES.values, {}, list(range(1, 13))),
        ([0.0] * 12, {}, None),
        ([15.0 * i for i in range(12)], {"units": "days since no date"}, None),
    ],
)  # fmt: skip
def test_months_are_those_of_the_coordinate(values: Any, attrs: dict, months: Any) -> None:
    found = months_of(xr.DataArray(list(values), dims="time", attrs=attrs))
    assert (None if found is None else found.tolist()) == months


def entry(path: Path, **settings: Any) -> Source:
    variables = {"precipitation": {"name": "v"}}
    return Source.model_validate(
        {"name": "s", "uri": str(path), "driver": "netcdf", "variables": variables, **settings}
    )


def written(path: Path, times: Any, dim: str = "time", **attrs: str) -> Path:
    values = np.arange(1.0, 13)[:, None, None] * np.ones((1, 2, 2))
    coords = {dim: (dim, times, attrs), "lat": [1.5, 0.5], "lon": [0.5, 1.5]}
    da = xr.DataArray(values, coords, (dim, "lat", "lon"), "v", {"units": "mm/day"})
    da.to_netcdf(path)
    return path


@pytest.mark.parametrize("dim", ["time", "month"])
def test_a_climatology_from_october_is_one_from_january(tmp_path: Path, dim: str) -> None:
    times = STARTS if dim == "time" else FROM_OCTOBER
    source = entry(written(tmp_path / "v.nc", times, dim), dims={"time": dim},
                   time={"kind": "months"})  # fmt: skip
    found = open_source(source, on=GRID)["precipitation"]
    assert found.values[:, 0, 0].tolist() == [4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 2, 3]
    assert found[::-1, 0, 0].values.tolist() == [3, 2, 1, 12, 11, 10, 9, 8, 7, 6, 5, 4]


def test_a_file_that_calls_its_times_a_climatology_is_no_series(tmp_path: Path) -> None:
    path = written(tmp_path / "v.nc", MIDDLES, climatology="climatology_bounds")
    with pytest.raises(InputError, match=r"`time: \{kind: months\}`"):
        open_source(entry(path), on=GRID)
    months = open_source(entry(path, time={"kind": "months"}), on=GRID)["precipitation"]
    assert months.values[:, 0, 0].tolist() == list(range(1, 13))
    series = open_source(entry(path, wrong_in_file=["bounds"]), on=GRID)["precipitation"]
    assert str(series["time"].values[0])[:10] == "2001-01-15"
