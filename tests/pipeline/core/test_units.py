"""Unit conversion: known pairs, months, refusals, and properties of linear conversions."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.core.units import convert, linear_conversion, same_units

TEMPERATURES = st.sampled_from(["K", "degC", "degF"])


@pytest.mark.parametrize(
    ("found", "wanted", "value", "expected"),
    [
        ("kg m-2", "mm", 3.0, 3.0),
        ("m", "mm", 0.5, 500.0),
        ("m3 m-3", "1", 0.3, 0.3),
        ("%", "m3 m-3", 30.0, 0.3),
        ("kg m-2 day-1", "mm/day", 2.0, 2.0),
        ("mm/hour", "mm/day", 1.0, 24.0),
        ("degF", "degC", -40.0, -40.0),
        ("km2", "m2", 2.0, 2e6),
    ],
)
def test_known_pairs(found: str, wanted: str, value: float, expected: float) -> None:
    values = convert(np.float32([value]), found, wanted, "x")
    np.testing.assert_allclose(values, [expected], rtol=1e-5, atol=1e-4)
    assert values.dtype == np.float32


def test_units_are_the_same_where_a_value_is() -> None:
    assert same_units("kg m-2 day-1", "mm/day")
    assert same_units("degC", "degree_Celsius")
    assert not same_units("degC", "K")
    assert not same_units("mm/day", "m/day")
    with pytest.raises(ValueError, match="convert"):
        same_units("mm", "K")


def test_loading_the_units_of_cf_logs_nothing_and_waits_for_the_first_use() -> None:
    script = (
        "import logging, sys; logging.basicConfig()\n"
        "from pipeline.core.units import linear_conversion\n"
        "assert 'pint' not in sys.modules\n"
        "linear_conversion('degC', 'K')\n"
        "assert logging.getLogger('pint.util').level == logging.NOTSET\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


@given(TEMPERATURES, TEMPERATURES, TEMPERATURES, st.floats(-90, 60))
@settings(max_examples=30, deadline=None)
def test_two_steps_are_one(first: str, second: str, third: str, value: float) -> None:
    def through(found: str, wanted: str, x: float) -> float:
        factor, offset = linear_conversion(found, wanted)
        return factor * x + offset

    two = through(second, third, through(first, second, value))
    assert two == pytest.approx(through(first, third, value), abs=1e-8)


def test_the_same_units_give_the_same_array() -> None:
    values = np.float32([1.5, np.nan])
    assert convert(values, "mm/day", "mm/day", "x") is values


def test_missing_stays_missing() -> None:
    found = convert(np.float32([np.nan, 32.0]), "degF", "degC", "x")
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("units", ["mm/month", "kg m-2 month-1", "inch/month"])
def test_amounts_per_month_use_the_length_of_each(units: str) -> None:
    amounts = np.full((3, 2, 2), 28.0, np.float32)
    found = convert(amounts, units, "mm/day", "x", np.array([28.25, 31, 30]))
    depth = 25.4 if units.startswith("inch") else 1.0
    for step, days in enumerate((28.25, 31.0, 30.0)):
        np.testing.assert_allclose(found[step], 28.0 * depth / days, rtol=1e-6)
    np.testing.assert_array_equal(amounts, 28.0)


@pytest.mark.parametrize("found", ["furlong_per_fish", "kg", "", "mm/day/day"])
def test_units_that_cannot_become_the_wanted_are_refused(found: str) -> None:
    with pytest.raises(InputError) as caught:
        convert(np.float32([1.0]), found, "degC", "rain.nc: rain")
    text = str(caught.value)
    assert "rain.nc: rain" in text
    assert f'"{found}"' in text
    assert '"degC"' in text
    assert "catalog" in text


def test_amounts_per_month_without_months_are_refused() -> None:
    with pytest.raises(InputError, match="a monthly time axis"):
        convert(np.float32([1.0]), "mm/month", "mm/day", "rain.nc")
    with pytest.raises(InputError, match="a monthly time axis"):
        convert(np.float32([1.0]), "mm/month", "mm/day", "rain.nc", np.array([np.nan]))
