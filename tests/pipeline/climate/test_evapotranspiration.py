"""Derived evapotranspiration against the worked example and the formulas of FAO-56."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.climate import evapotranspiration as pet
from pipeline.climate.derived import Derived
from pipeline.climate.evapotranspiration import METHODS, choices, potential_evapotranspiration
from pipeline.core.errors import InputError
from pipeline.core.formulas import meteorology as met

UCCLE = {
    "air_temperature_max": 21.5, "air_temperature_min": 12.3, "relative_humidity_max": 84.0,
    "relative_humidity_min": 63.0, "wind_speed": 2.78, "shortwave_radiation": 22.07 / 0.0864,
}  # fmt: skip
"""Example 18 of FAO-56: 6 July, at 50.8 degrees north and 100 m; the wind at 10 m."""
JULY = np.array(["2001-07-06", "2001-07-07"], "datetime64[ns]")


def day(values: dict[str, float], **statics: float) -> xr.Dataset:
    """Two days and three cells with the same values."""
    fields = {name: (("time", "cell"), np.full((2, 3), x)) for name, x in values.items()}
    fields |= {name: (("cell",), np.full(3, x)) for name, x in statics.items()}  # type: ignore
    return xr.Dataset(fields, {"time": JULY})


def first(ds: xr.Dataset, method: pet.MethodName) -> float:
    found = potential_evapotranspiration(ds, method, np.full(3, 50.8))
    assert found.dtype == np.float32
    assert found.dims == ("time", "cell")
    return float(found[0, 0])


def test_the_worked_example_of_fao_56_from_canonical_variables() -> None:
    ds = day(UCCLE, elevation=100.0)
    assert first(ds, "fao56") == pytest.approx(3.88, abs=0.005)
    # Components of the wind, pressure for elevation, and the dew point of the same vapour.
    other = {k: v for k, v in UCCLE.items() if k[:4] not in ("wind", "rela")}
    other |= {"eastward_wind": 2.78 * 0.6, "northward_wind": -2.78 * 0.8,
              "surface_pressure": 1000 * met.pressure_from_elevation(100.0),
              "dew_point_temperature": 12.0624}  # fmt: skip
    assert first(day(other), "fao56") == pytest.approx(3.88, abs=0.005)


@pytest.mark.parametrize("humidity", [
    {"vapour_pressure": 1409.0}, {"relative_humidity": 100 * 1.409 / 1.9975},
    {"specific_humidity": 0.622 * 1.409 / (100.12 - 0.378 * 1.409)},
])  # fmt: skip
def test_each_humidity_gives_the_same(humidity: dict[str, float]) -> None:
    other = {k: v for k, v in UCCLE.items() if not k.startswith("relative")}
    ds = day({**other, **humidity}, elevation=100.0)
    assert first(ds, "fao56") == pytest.approx(3.88, abs=0.01)
    expected = met.pet_priestley_taylor(16.9, 13.28, 100.1)
    assert first(ds, "priestley_taylor") == pytest.approx(float(expected), abs=0.01)


def test_pieces_change_no_bit_and_missing_inputs_stay_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(2)
    time = pd.date_range("2001-01-01", periods=40).values
    ds = xr.Dataset(
        {name: (("time", "y", "x"), (x * random.uniform(0.9, 1.1, (40, 5, 2))).astype(np.float32))
         for name, x in UCCLE.items()}, {"time": time},
    ).assign(elevation=(("y", "x"), random.uniform(0, 3000, (5, 2))))  # fmt: skip
    ds["wind_speed"][3, 2, 1] = np.nan
    latitude = np.linspace(-80, 80, 10).reshape(5, 2)
    for method in METHODS:
        whole = potential_evapotranspiration(ds, method, latitude)
        assert (whole.fillna(0) >= 0).all()
        assert int(whole.isnull().sum()) == (method == "fao56")
        with monkeypatch.context() as patch:
            patch.setattr(pet, "STEPS", 7)
            patch.setattr(pet, "VALUES", 30)
            parts = [potential_evapotranspiration(ds, method, latitude, slice(i, i + 16)).values
                     for i in (0, 16, 32)]  # fmt: skip
        assert np.concatenate(parts).tobytes() == whole.values.tobytes()


def test_months_are_those_of_their_middle_and_hours_are_refused() -> None:
    months = pd.date_range("2001-01-01", periods=12, freq="MS").values
    warm = xr.Dataset({"air_temperature": (("time", "cell"), np.full((12, 1), 15.0))},
                      {"time": months})  # fmt: skip
    found = potential_evapotranspiration(warm, "oudin", np.array([45.0]))
    assert found[6, 0] == pytest.approx(met.pet_oudin(15.0, 45.0, 197.0), rel=1e-6)
    hours = warm.assign_coords(time=pd.date_range("2001-01-01", periods=12, freq="3h").values)
    with pytest.raises(InputError, match="time steps of less than a day"):
        potential_evapotranspiration(hours, "oudin", np.array([45.0]))


def test_all_missing_quantities_are_one_error_and_targets_are_none() -> None:
    with pytest.raises(InputError, match=r"(?s)no wind speed.*no vapour pressure.*no shortwave"):
        choices("fao56", ["air_temperature_max", "air_temperature_min", "elevation"], "cube")
    derived = Derived("oudin", never=("air_temperature",))
    with pytest.raises(InputError, match="found no mean air temperature"):
        derived.added(day({"air_temperature": 3.0}), (np.zeros(3), np.zeros(3)), "cube")
