"""Formulas against the worked examples of FAO-56 and against pyet 1.5.0 (float64)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.formulas import meteorology as met
from pipeline.core.formulas.meteorology import FORMULAS


@pytest.mark.parametrize(
    ("found", "expected", "digits"),
    [
        # Example 2, altitude 1800 m; example 3, Tmax 24.5 and Tmin 15; example 4 (dew point 17 by
        # a psychrometer at 1200 m is 1.91 kPa, of which the dew point is 16.8).
        (met.pressure_from_elevation(1800.0), 81.8, 1),
        (met.saturation_vapour_pressure(24.5), 3.075, 3),
        (met.saturation_vapour_pressure(15.0), 1.705, 3),
        (met.vapour_pressure_from_dew_point(16.8), 1.91, 2),
        # Example 5: RH 54 % at 25 degC and 82 % at 18 degC.
        (met.vapour_pressure_from_relative_humidity(54.0, 25.0), 1.711, 3),
        (met.vapour_pressure_from_relative_humidity(82.0, 18.0), 1.69, 2),
        # Examples 8 and 9: 20 degrees south on 3 September; example 10: Rio de Janeiro in May.
        (met.extraterrestrial_radiation(-20.0, 246.0), 32.2, 1),
        (met.daylight_hours(-20.0, 246.0), 11.7, 1),
        (met.radiation_from_sunshine(7.1, -22.9, 135.0), 14.5, 1),
        # Example 14: 3.2 m s-1 at 10 m; example 18: Uccle on 6 July.
        (met.wind_speed_at_2m(3.2, 10.0), 2.4, 1),
        # Examples 11 and 12: Rio de Janeiro in May; example 18 again, from measurements.
        (met.net_radiation(14.5, 25.1, 19.1, 2.1, -22.9, 135.0, 0.0), 7.6, 1),
        (met.net_radiation(22.07, 21.5, 12.3, 1.409, 50.8, 187.0, 100.0), 13.28, 2),
        (met.pet_penman_monteith(21.5, 12.3, 1.409, 13.28, 2.078, 100.1), 3.9, 1),
    ],
)  # fmt: skip
def test_worked_examples_of_fao_56(found: float, expected: float, digits: int) -> None:
    assert round(float(found), digits) == expected


DAYS = np.array([15.0, 100.0, 185.0, 303.0])
MEAN = np.array([-7.2, 6.5, 21.3, 4.0])
HALF_RANGE = np.array([3.1, 6.0, 7.2, 4.4])
LATENT = 2.501 - 0.002361 * MEAN
"""Latent heat by temperature, with which pyet divides where FAO-56 and Oudin have 2.45 MJ kg-1."""


def test_radiation_and_evapotranspiration_are_those_of_pyet() -> None:
    radiation = [10.52332626975593, 31.132716112964715, 41.42001193025087, 14.79968305135793]
    found = met.extraterrestrial_radiation(47.3, DAYS)
    np.testing.assert_allclose(found, radiation, rtol=1e-9)
    hours = [8.68373443256478, 13.112242121163234, 15.622741058629547, 9.779419421254602]
    np.testing.assert_allclose(met.daylight_hours(47.3, DAYS), hours, rtol=1e-9)
    oudin = np.array([0.0, 1.4403706522212136, 4.445022065499604, 0.5345942353381635])
    found = met.pet_oudin(MEAN, 47.3, DAYS)
    np.testing.assert_allclose(found, oudin * LATENT / 2.45, rtol=1e-9)
    hargreaves = [0.2537038126919466, 2.4249408871396723, 5.767717917824823, 0.8835017775135693]
    found = met.pet_hargreaves(MEAN + HALF_RANGE, MEAN - HALF_RANGE, 47.3, DAYS)
    np.testing.assert_allclose(found, np.array(hargreaves) * LATENT / 2.45, rtol=1e-9)
    warmest, coldest, vapour = (
        MEAN + HALF_RANGE,
        MEAN - HALF_RANGE,
        np.array([0.25, 0.7, 1.5, 0.65]),
    )
    shortwave, pressure = np.array([4.0, 15.0, 26.0, 6.0]), met.pressure_from_elevation(650.0)
    net = met.net_radiation(shortwave, warmest, coldest, vapour, 47.3, DAYS, 650.0)
    expected = [0.9419178517567368, 8.182204839893616, 15.277665898572618, 2.2026093481976923]
    np.testing.assert_allclose(net, expected, rtol=1e-8)
    priestley = [0.14430540363590993, 2.143313502525632, 5.602426246905157, 0.5328679483736495]
    found = met.pet_priestley_taylor(MEAN, net, pressure)
    np.testing.assert_allclose(found, np.array(priestley) * LATENT / 2.45, rtol=1e-8)
    fao56 = [0.4468093648686867, 2.2231667142886327, 5.3133174864710035, 0.8784713018488239]
    wind = np.array([2.0, 3.0, 1.5, 2.5])
    found = met.pet_penman_monteith(warmest, coldest, vapour, net, wind, pressure)
    np.testing.assert_allclose(found, fao56, rtol=1e-8)
    found = met.pet_penman_monteith(21.5, 12.3, 1.409, 13.28, 2.078, 100.1)
    assert found == pytest.approx(3.8791395096530192, rel=1e-9)


@given(st.floats(-60, 45), st.floats(0, 60), st.floats(20, 110))
def test_humidities_agree_with_each_other(dew_point: float, more: float, pressure: float) -> None:
    temperature = dew_point + more
    vapour = met.vapour_pressure_from_dew_point(dew_point)
    humidity = met.specific_humidity_from_dew_point(dew_point, pressure)
    again = met.vapour_pressure_from_specific_humidity(humidity, pressure)
    assert again == pytest.approx(vapour, rel=1e-9)
    relative = met.relative_humidity_from_dew_point(dew_point, temperature)
    assert 0 < relative <= 100 + 1e-9
    by_humidity = met.relative_humidity_from_specific_humidity(humidity, pressure, temperature)
    assert by_humidity == pytest.approx(relative, rel=1e-9)
    back = met.vapour_pressure_from_relative_humidity(relative, temperature)
    assert back == pytest.approx(vapour, rel=1e-9)
    deficit = met.vapour_pressure_deficit(vapour, temperature)
    assert deficit == pytest.approx(met.saturation_vapour_pressure(temperature) - vapour)


@given(st.floats(-90, 90), st.integers(1, 366))
def test_the_sun_shines_up_to_a_day_and_never_less_than_not(latitude: float, day: int) -> None:
    hours = met.daylight_hours(latitude, day)
    assert 0 <= hours <= 24
    assert 0 <= met.extraterrestrial_radiation(latitude, day) < 50
    clear = met.radiation_from_sunshine(hours, latitude, day)
    overcast = met.radiation_from_sunshine(0.0, latitude, day)
    assert 0 <= overcast <= clear
    if hours > 0:
        assert clear == pytest.approx(0.75 * met.extraterrestrial_radiation(latitude, day))


def test_wind_radiation_and_height() -> None:
    assert met.wind_speed(3.0, -4.0) == 5.0
    assert met.height_from_geopotential(9806.65) == pytest.approx(1000.0)
    assert met.shortwave_from_net(160.0, 0.2) == pytest.approx(200.0)
    black = 5.670374419e-8 * 300.0**4
    assert met.longwave_from_net(-60.0, 26.85) == pytest.approx(black - 60.0)
    assert met.longwave_from_net(-60.0, 26.85, 0.95) == pytest.approx(black - 60.0 / 0.95)


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_a_missing_argument_makes_a_missing_result(name: str) -> None:
    formula = FORMULAS[name]
    usual = {"degC": 20.0, "kPa": 2.0, "degree": 30.0, "kg kg-1": 0.01, "hour": 5.0, "m": 10.0}
    arguments = [usual.get(unit, 0.5) for unit in formula.parameters]
    assert np.isfinite(formula.compute(*arguments))
    for index in range(len(arguments)):
        missing = [np.nan if i == index else a for i, a in enumerate(arguments)]
        assert np.isnan(formula.compute(*missing)), formula.parameters[index]
