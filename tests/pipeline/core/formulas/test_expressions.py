"""Expressions of catalog entries: what they compute, and what they refuse to parse."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.core.formulas.expressions import Expression

NAN, INF = np.nan, np.inf
NUMBERS = st.floats(-100, 100) | st.just(NAN)


def value(text: str, **values: object) -> list[float]:
    arrays = {name: np.asarray(one, float) for name, one in values.items()}
    return Expression(text).value(arrays).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * c", [7, NAN]),
        ("(a - b) / c", [-1 / 3, NAN]),
        ("-a ** 2 + +b", [1, NAN]),
        ("2 ** -c", [0.125, 0.125]),
        ("abs(a - c) + sqrt(b + 2)", [4, NAN]),
        ("exp(log(b)) + log10(1000)", [5, NAN]),
        ("min(a, b, c) + max(b, c)", [4, NAN]),
        ("where(a > 0, b, c)", [2, NAN]),
        ("where(is_missing(b), c, b)", [2, 3]),
        ("where(not a > 0 or b >= 2 and c != 2, 1, 0)", [1, NAN]),
        ("where(1 <= a < b, 10, 20)", [10, NAN]),
        ("a == 1", [1, 1]),
        ("a / 0", [NAN, NAN]),
        ("log(0 * a)", [NAN, NAN]),
        ("1e-3 * a", [0.001, 0.001]),
    ],
)
def test_values(text: str, expected: list[float]) -> None:
    found = value(text, a=[1, 1], b=[2, NAN], c=[3, 3])
    np.testing.assert_allclose(found, expected, rtol=1e-15)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_operators_are_those_of_float64(a: float, b: float, c: float) -> None:
    assert value("a * b - c", a=a, b=b, c=c) == pytest.approx(a * b - c, nan_ok=True)
    bounded = value("where(a > b, a, b) + 0 * c", a=a, b=b, c=c)
    missing = math.isnan(a) or math.isnan(b) or math.isnan(c)
    assert bounded == pytest.approx(NAN if missing else max(a, b), nan_ok=True)


def test_arrays_broadcast() -> None:
    found = Expression("a * b").value({"a": np.ones((4, 1, 3)), "b": np.arange(2.0)[:, None]})
    assert found.shape == (4, 2, 3)
    assert found.dtype == np.float64


def test_names_are_those_of_variables_in_order() -> None:
    assert Expression("wind_speed(v10, u10) + u10 * exp(exp)").names == ("v10", "u10", "exp")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os').system('true')", "none of numbers, names"),
        ("a.real", "none of numbers, names"),
        ("a[0]", "none of numbers, names"),
        ("(lambda: 1)()", "none of numbers, names"),
        ("[a for a in b]", "none of numbers, names"),
        ("'text'", "none of numbers, names"),
        ("f'{a}'", "none of numbers, names"),
        ("True", "none of numbers, names"),
        ("1j", "none of numbers, names"),
        ("a if b else c", "none of numbers, names"),
        ("a @ b", "none of numbers, names"),
        ("a // b", "none of numbers, names"),
        ("~a", "none of numbers, names"),
        ("a in b", "none of numbers, names"),
        ("(a := 1)", "none of numbers, names"),
        ("sqrt(*a)", "none of numbers, names"),
        ("sqrt(x=a)", "none of numbers, names"),
        ("eval(a)", 'unknown function "eval"'),
        ("sqr(a)", 'Did you mean "sqrt"'),
        ("wind_speed(a)", "wind_speed with 1 arguments instead of 2"),
        ("radiation_from_sunshine(a)", "instead of 3 to 5"),
        ("a +", "cannot be parsed"),
        ("a; b", "cannot be parsed"),
        ("import os", "cannot be parsed"),
        ("", "cannot be parsed"),
        ("a" * 3000, "3,000 characters"),
        (" + ".join("a" * 250), "parts, more than 400"),
        ("(" * 600 + "a" + ")" * 600, "cannot be parsed"),
        ("-" * 1500 + "a", "cannot be parsed|parts, more than"),
        ("9" * 400, "none of numbers, names"),
    ],
)
def test_what_is_no_expression(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _ = Expression(text).names


def test_large_powers_take_no_time() -> None:
    assert math.isnan(value("9 ** 9 ** 9 ** a", a=9.0))  # type: ignore[arg-type]


def test_arguments_of_formulas_are_converted_from_their_units() -> None:
    expression = Expression("relative_humidity_from_dew_point(d2m, t2m)")
    kelvin = {"d2m": np.array([288.15]), "t2m": np.array([297.65])}
    celsius = {"d2m": np.array([15.0]), "t2m": np.array([24.5])}
    in_kelvin = expression.value(kelvin, {"d2m": "K", "t2m": "K"})
    in_celsius = expression.value(celsius, {"d2m": "degC", "t2m": "degC"})
    np.testing.assert_allclose(in_kelvin, in_celsius, rtol=1e-12)
    fahrenheit = expression.value({"d2m": np.array([59.0]), "t2m": np.array([297.65])},
                                  {"d2m": "degF", "t2m": "K"})  # fmt: skip
    np.testing.assert_allclose(fahrenheit, in_celsius, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "units", "message"),
    [
        ("saturation_vapour_pressure(t)", {}, "no units of t; expected units .* degC.*operands"),
        ("saturation_vapour_pressure(t)", {"t": ""}, "no units of t"),
        ("saturation_vapour_pressure(t)", {"t": "m"}, 't in "m"'),
        ("saturation_vapour_pressure(t + 1)", {"t": "K"}, r"t \+ 1 from 289 to 289; .* degC"),
        ("saturation_vapour_pressure(t)", {"t": "degC"}, "t from 288 to 288"),
    ],
)
def test_arguments_that_cannot_be_meant(text: str, units: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        Expression(text).value({"t": np.array([288.0])}, units, "here")
    assert str(error.value).startswith("here: saturation_vapour_pressure(t")


def test_an_argument_that_is_an_expression_has_the_units_of_the_formula() -> None:
    found = value("saturation_vapour_pressure((a + b) / 2)", a=20.0, b=10.0)
    assert found == pytest.approx(1.705, abs=5e-4)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("a.b * 2", "operands: {a: {name: a.b}}"), ("z ^ 2", "Powers are written with **"),
     ("(z > 0) & (z < 5)", "joined with and, or"), ("z if z > 3 else 0", "where(condition"),
     ("z * 0,5", "decimal mark is a point"), ("sin(z)", "none of abs, sqrt")],
)  # fmt: skip
def test_what_is_not_accepted_has_a_way_out(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(hint)):
        value(text, z=[1.0])


def test_an_expression_may_have_several_lines() -> None:
    assert value("z +\n 1\n", z=[1.0]) == [2.0]
