"""Means that no climate has are reported by the check, and are no fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import Faults
from pipeline.entries.source import Source, Variable
from pipeline.sources.open import check_source

AT = {"lat": [1.5, 0.5], "lon": [0.5, 1.5]}


def notes(folder: Path, name: str, value: float, units: str, days: int | None = 400) -> str:
    """The notes of a check on a field that has the value everywhere, but for missing cells."""
    values, dims, coords = np.full((2, 2), value), ("lat", "lon"), dict(AT)
    values[0, 0] = np.nan
    if days is not None:
        values, dims = values + np.zeros((days, 1, 1)), ("time", *dims)  # type: ignore[assignment]
        coords["time"] = pd.date_range("2019-01-01", periods=days)  # type: ignore[assignment]
    xr.DataArray(values, coords, dims, "v", {"units": units}).to_netcdf(folder / "v.nc")
    entry = {"name": "s", "uri": str(folder / "v.nc"), "driver": "netcdf",
             "variables": {name: {"name": "v"}}}  # fmt: skip
    faults = Faults()
    info = check_source(Source.model_validate(entry), faults)
    faults.raise_if_any()
    assert info is not None
    return "; ".join(info.notes)


@pytest.mark.parametrize(
    ("name", "value", "units", "days", "said"),
    [
        ("precipitation", 13.0, "mm/day", 366, "a mean of 13 mm/day over 366 days"),
        ("precipitation", 3e-6, "mm/day", 366, "from 0.02 to 12 mm/day"),
        ("air_temperature", 25 - 273.15 + 200, "K", 31, "implausible"),
        ("relative_humidity", 0.7, "%", 40, "a mean of 0.7 %"),
        ("elevation", 7000.0, "m", None, "a mean of 7e+03 m, which"),
    ],
)
def test_an_implausible_mean_is_noted(
    tmp_path: Path, name: str, value: float, units: str, days: int | None, said: str
) -> None:
    value = max(value, 180.0) if units == "K" else value
    found = notes(tmp_path, name, value, units, days)
    assert found.startswith(f"{name}: ")
    assert said in found
    assert "`units` and `scale`" in found


@pytest.mark.parametrize(
    ("name", "value", "units", "days"),
    [
        ("precipitation", 2.7, "mm/day", 366),
        ("precipitation", 80.0, "mm/day", 5),
        ("air_temperature", 281.0, "K", 366),
        ("elevation", 1200.0, "m", None),
        ("landslide", 0.0, "1", None),
    ],
)
def test_usual_means_and_short_series_are_not(
    tmp_path: Path, name: str, value: float, units: str, days: int | None
) -> None:
    assert notes(tmp_path, name, value, units, days) == ""


def test_plausible_means_change_no_fingerprint() -> None:
    variable = read_variables()["precipitation"]
    assert variable.plausible_mean is not None
    assert "plausible_mean" not in variable.model_dump()


def test_plausible_means_are_possible_values() -> None:
    for name, variable in read_variables().items():
        if variable.plausible_mean is not None and variable.valid_range is not None:
            low, high = variable.plausible_mean
            assert variable.valid_range[0] <= low < high <= variable.valid_range[1], name


def test_own_variables_may_have_them() -> None:
    own = Variable(long_name="acidity", units="1", plausible_mean=(3, 9))
    assert own.plausible_mean == (3, 9)
