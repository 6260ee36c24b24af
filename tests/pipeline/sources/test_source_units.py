"""Units from file to canonical values: totals of steps, states, slopes, heights, silent files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_source, open_source

FIELD = np.array([[3.0, 5.0], [7.0, 11.0], [0.0, 2.0]])
AT = {"lat": [12.5, 11.5, 10.5], "lon": [7.5, 8.5]}


def written(
    folder: Path, units: str | None, times: pd.DatetimeIndex | None = None, factor: float = 1.0,
    **attrs: str,
) -> Path:  # fmt: skip
    """A file of one field, the same at each of the times."""
    coords: dict[str, Any] = dict(AT)
    values, dims = FIELD * factor, ("lat", "lon")
    if times is not None:
        values, dims = values + np.zeros((times.size, 1, 1)), ("time", *dims)  # type: ignore[assignment]
        coords["time"] = times
    da = xr.DataArray(
        values, coords, dims, "v", attrs if units is None else {"units": units, **attrs}
    )
    path = folder / f"{len(list(folder.iterdir()))}.nc"
    da.to_netcdf(path)
    return path


def read(path: Path, name: str, time: dict[str, Any] | None = None, **variable: Any) -> np.ndarray:
    """The canonical values of the file, after a check that finds no fault."""
    source = Source.model_validate(
        {"name": "s", "uri": str(path), "driver": "netcdf", "time": time or {},
         "variables": {name: {"name": "v", **variable}}}
    )  # fmt: skip
    faults = Faults()
    check_source(source, faults)
    faults.raise_if_any()
    values: np.ndarray = canonicalise(open_source(source), source, read_variables())[name].values
    return values


def days(count: int = 3) -> pd.DatetimeIndex:
    return pd.date_range("2019-02-27", periods=count)


@pytest.mark.parametrize("units", ["mm", "kg m-2", "kg/m^2", "mm/day", "mm d**-1"])
@pytest.mark.parametrize("entry", [{}, {"units": "mm/day"}, {"cell_method": "sum"}])
def test_the_total_of_a_day_is_a_rate_per_day(tmp_path: Path, units: str, entry: Any) -> None:
    path = written(tmp_path, units, days(), cell_methods="time: sum (interval: 24 hours)")
    np.testing.assert_allclose(read(path, "precipitation", **entry), FIELD[None].repeat(3, 0))


def test_the_total_of_an_hour_is_a_rate_per_hour(tmp_path: Path) -> None:
    hours = pd.date_range("2019-02-27", periods=3, freq="h")
    path = written(tmp_path, "m of water equivalent", hours, 1e-3)
    np.testing.assert_allclose(read(path, "precipitation")[0], 24 * FIELD, rtol=1e-6)
    with pytest.raises(InputError, match=r'"m of water equivalent" in the file[\s\S]*mm/day'):
        read(path, "precipitation", units="mm/day")


def test_energy_of_a_step_is_a_flux(tmp_path: Path) -> None:
    hours = pd.date_range("2019-02-27", periods=48, freq="h")
    path = written(tmp_path, "J m**-2", hours, 36000.0)
    flux = read(path, "shortwave_radiation")
    np.testing.assert_allclose(flux[5], 10 * FIELD, rtol=1e-6)
    for method in ("sum", "mean"):
        flux = read(path, "shortwave_radiation", {"daily": True}, cell_method=method)
        assert flux.shape == (2, 3, 2)
        np.testing.assert_allclose(flux[0], 10 * FIELD, rtol=1e-6)


def test_the_total_of_a_month_must_be_called_a_sum(tmp_path: Path) -> None:
    months = pd.date_range("2020-01-01", periods=3, freq="MS")
    path = written(tmp_path, "mm", months)
    with pytest.raises(InputError, match=r"cell_method: sum[\s\S]*units: mm/day"):
        read(path, "precipitation")
    for entry in ({"cell_method": "sum"}, {"units": "mm/month"}):
        np.testing.assert_allclose(read(path, "precipitation", **entry)[1], FIELD / 29, rtol=1e-6)
    meant = written(tmp_path, "mm", months, cell_methods="time: sum")
    np.testing.assert_allclose(read(meant, "precipitation")[0], FIELD / 31, rtol=1e-6)


def test_a_state_is_not_divided_by_the_step(tmp_path: Path) -> None:
    hours = pd.date_range("2019-02-27", periods=24, freq="h")
    path = written(tmp_path, "mm", hours)
    np.testing.assert_allclose(read(path, "snow_amount")[3], FIELD)
    swe = read(path, "snow_amount", {"daily": True}, cell_method="mean")
    np.testing.assert_allclose(swe, FIELD[None])


def test_a_single_time_needs_a_declared_step(tmp_path: Path) -> None:
    path = written(tmp_path, "mm", days(1))
    with pytest.raises(InputError, match=r"time: \{step: ...\}"):
        read(path, "precipitation")
    np.testing.assert_allclose(read(path, "precipitation", {"step": "daily"}), FIELD[None])


def test_a_geopotential_is_a_height(tmp_path: Path) -> None:
    path = written(tmp_path, "m**2 s**-2", factor=9.80665)
    np.testing.assert_allclose(read(path, "elevation"), FIELD, rtol=1e-6)
    with pytest.raises(InputError, match="mm/day"):
        read(path, "precipitation")


def test_the_slope_in_percent_is_an_angle_and_aspect_is_not(tmp_path: Path) -> None:
    path = written(tmp_path, "%", factor=10.0)
    np.testing.assert_allclose(read(path, "slope"), np.degrees(np.arctan(FIELD / 10)), rtol=1e-6)


@pytest.mark.parametrize("units", ["-", "", " ", "(0 - 1)", "fraction", "Proportion"])
def test_a_file_may_call_fractions_what_it_likes(tmp_path: Path, units: str) -> None:
    path = written(tmp_path, units, factor=0.01)
    np.testing.assert_allclose(read(path, "land_fraction"), FIELD / 100, rtol=1e-6)


def test_a_file_without_units_is_still_a_fault(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no units in the file"):
        read(written(tmp_path, None, factor=0.01), "land_fraction")


def test_an_entry_may_state_what_the_file_does_not(tmp_path: Path) -> None:
    for units in ("-", "unknown", "widgets"):
        path = written(tmp_path, units, days())
        np.testing.assert_allclose(read(path, "precipitation", units="mm/day")[0], FIELD)


@pytest.mark.parametrize("units", ["mm/year", "kg m-2 yr-1"])
def test_amounts_of_calendar_years_are_divided_by_their_own_days(
    tmp_path: Path, units: str
) -> None:
    years = pd.date_range("2003-01-01", periods=3, freq="YS")
    found = read(written(tmp_path, units, years), "precipitation")
    for index, of_year in enumerate((365, 366, 365)):
        np.testing.assert_allclose(found[index], FIELD / of_year, rtol=1e-6)
    # Rates of other steps, and maps without time, are those of a mean year.
    for times in (days(), None):
        found = read(written(tmp_path, units, times), "precipitation")
        np.testing.assert_allclose(found[..., 0, 0], FIELD[0, 0] / 365.25, rtol=1e-4)
