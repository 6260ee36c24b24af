"""Units as they are written in published data sets, and the factor and offset of each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.core.notation.unit_notation import is_silent, read_notation
from pipeline.core.units import conversion, convert, linear_conversion, same_units

INCH_A_DAY = 25.4
CUBIC_FOOT = 0.028316846592
Q = 86400.0

PUBLISHED = [
    # (wanted, factor, offset, spellings); without a factor a spelling is refused.
    ("mm/day", Q, 0,
     "kg m**-2 s**-1; kg m-2 s-1; kg m^-2 s^-1; kg/m2/s; kg/m^2/s; kg/m**2/s; kg/(m^2 s); "
     "kg/(m2*s); kg.m-2.s-1; kg m⁻² s⁻¹; kg·m⁻²·s⁻¹; kg m−2 s−1; kg m^{-2} s^{-1}; "
     "kg m^(-2) s^(-1); kg of water m-2 s-1; kg H2O m-2 s-1; mm/s; mm s-1; mm s**-1"),
    ("mm/day", None, None,
     "KG M-2 S-1; kg m{-2} s^{-1}"),
    ("mm/day", 1, 0,
     "kg m-2 d-1; kg m-2 day-1; kg/m2/day; mm/day; mm day-1; mm d-1; mm/d; mm d^-1; "
     "mm day^-1; mm per day; mm.day-1; mm*day-1; mm day**-1; mm/24h; [mm/day]; (mm/day); "
     "MM/DAY; millimeters per day; millimetres/day; mm of water equivalent per day; "
     "mm w.e. day-1; mm/dy"),
    ("mm/day", 1000 * Q, 0,
     "m s**-1"),
    ("mm/day", 24, 0,
     "mm/hr; mm/h; mm h-1; mm hr-1; mm hour-1; mm/hour; mm per hour; mm h⁻¹"),
    ("mm/day", 8, 0,
     "mm/3h; mm/3hr; mm/3 hours; mm 3h-1; mm/(3 h); kg m-2 3h-1"),
    ("mm/day", 48, 0,
     "mm/30min"),
    ("mm/day", 144, 0,
     "mm/10 min"),
    ("mm/day", 1000, 0,
     "m/day; m d-1; m of water equivalent day-1; m of water equivalent per day"),
    ("mm/day", 10, 0,
     "cm/day; cm d-1"),
    ("mm/day", 0.1, 0,
     "0.1 mm/day; tenths of mm per day; 0.1 mm d-1"),
    ("mm/day", INCH_A_DAY, 0,
     "inch/day; inches/day; in/day; in d-1"),
    ("mm/day", 24 * INCH_A_DAY, 0,
     "in/hr"),
    ("mm/day", 25.4, 0,
     "inches per day"),
    ("mm/day", 0.254, 0,
     "hundredths of an inch per day"),
    ("mm/day", 1 / 365.25, 0,
     "mm/yr; mm yr-1; mm a-1; mm/year"),
    ("mm/day", 0.0864, 0,
     "l s-1 km-2; L/s/km2; l/(s km2)"),
    ("mm/day", 86.4, 0,
     "m3 s-1 km-2"),
    ("mm/day", CUBIC_FOOT * Q * 1000 / 1609.344 ** 2, 0,
     "ft3/s/mi2"),
    ("kg m-2", 1, 0,
     "kg m-2; kg m**-2; kg/m^2; kg/m2; mm; mm of water equivalent; mm w.e.; "
     "mm (water equivalent); Kg/m^2"),
    ("kg m-2", 1000, 0,
     "m of water equivalent; m w.e.; m"),
    ("kg m-2", 10, 0,
     "cm; g/cm2"),
    ("kg m-2", 25.4, 0,
     "in; inches; in."),
    ("kg m-2", None, None,
     "mm SWE"),
    ("kg m-2", 0.1, 0,
     "t/ha"),
    ("degC", 1, -273.15,
     "K; Kelvin; kelvin; degK; deg K; degrees K; Degrees Kelvin; °K"),
    ("degC", 1, 0,
     "C; degC; deg C; deg_C; degrees C; degree C; degree_C; degrees_C; °C; ° C; º C; ℃; "
     "Celsius; celsius; celcius; degrees Celsius; degree_Celsius; Degree C; "
     "degree Celsius; deg. C; DEGC; Deg C; [°C]"),
    ("degC", 5 / 9, -160 / 9,
     "degF; F; deg F; degrees F; Fahrenheit; °F"),
    ("degC", 0.1, 0,
     "0.1 degC; 0.1 °C; tenths of degrees C; °C/10"),
    ("degC", 0.1, -273.15,
     "K/10; 0.1 K"),
    ("degC", None, None,
     "C*10; K*10; 10 x degC; ; coulomb; kJ"),
    ("W m-2", 1, 0,
     "W m-2; W m**-2; W/m^2; W/m2; W m^-2; W/m²; W m⁻²; W/m**2; watt/m2; "
     "watts per square meter; Watts/m^2; W·m-2; J s-1 m-2; J m-2 s-1; J m**-2 s**-1"),
    ("W m-2", None, None,
     "Wm-2; w/m2; W; W/m-2; ly/day; mm/day"),
    ("W m-2", 1000, 0,
     "kW m-2"),
    ("W m-2", 1 / Q, 0,
     "J m-2 d-1; J m-2 day-1"),
    ("W m-2", 1000000.0 / Q, 0,
     "MJ m-2 day-1; MJ m-2 d-1; MJ/m2/day; MJ m^-2 d^-1"),
    ("W m-2", 1000.0 / Q, 0,
     "kJ m-2 day-1"),
    ("W m-2", 1000 / 24, 0,
     "kWh/m2/day; kW-hr/m^2/day"),
    ("W m-2", 1 / 24, 0,
     "Wh m-2 day-1"),
    ("W m-2", 41840 / Q, 0,
     "langley/day; cal cm-2 day-1"),
    ("Pa", 100, 0,
     "hPa; mb; mbar; millibar; millibars"),
    ("Pa", 1000, 0,
     "kPa"),
    ("Pa", 100000.0, 0,
     "bar"),
    ("Pa", 1, 0,
     "Pascals; pascal; N m-2; kg m-1 s-2"),
    ("Pa", None, None,
     "PA; log10(kPa)"),
    ("Pa", 133.322387415, 0,
     "mmHg"),
    ("kg kg-1", 1, 0,
     "kg/kg; kg kg**-1; kg kg^-1; g/g; 1; mass fraction"),
    ("kg kg-1", 0.001, 0,
     "g kg-1; g/kg; g kg**-1"),
    ("m s-1", 1, 0,
     "m s**-1; m/s; m/sec; m.s-1; meters per second"),
    ("m s-1", None, None,
     "ms-1; m; kg m-2 s-1"),
    ("m s-1", 1 / 3.6, 0,
     "km/h; km hr-1"),
    ("m s-1", 1852 / 3600, 0,
     "knots; kt; kts"),
    ("m s-1", 0.44704, 0,
     "mph; mile/hour"),
    ("m s-1", 0.01, 0,
     "cm/s"),
    ("1", 1, 0,
     "(0 - 1); (0-1); 0-1; [0-1]; 0 to 1; 1; -; [-]; (-); --; ~; fraction; Fraction; "
     "fractions; proportion; Proportion; ratio; unitless; Unitless; dimensionless; "
     "Dimensionless; non-dimensional; nondimensional; No unit; no units; none; None; N/A; "
     "index; count; class; m**2 m**-2; m2/m2"),
    ("1", 0.01, 0,
     "%; percent; Percent; per cent; percentage; pct; % vol; % weight; vol. %; %vol; wt%; "
     "% wt; percent of area; g/100g"),
    ("1", 0.001, 0,
     "‰; permille; g/kg; g kg-1; 0.001; 1e-3; 10^-3"),
    ("1", 0.0001, 0,
     "dg/kg"),
    ("1", 1e-05, 0,
     "cg/kg"),
    ("1", 1 / Q, 0,
     "s/day"),
    ("1", None, None,
     "pH*10; pHx10; log(cm/day); log10(%); degree; dB; m"),
    ("m3 m-3", 1, 0,
     "m3 m-3; m**3 m**-3; m3/m3; m^3/m^3; m³/m³; m³ m⁻³; m^3 m^-3; m3.m-3; cm3/cm3; "
     "cm³/cm³; cm**3/cm**3; v/v; m3 of water m-3"),
    ("m3 m-3", 0.001, 0,
     "cm³/dm³; 10^-3 cm^3 cm^-3; 10⁻³ cm³ cm⁻³; 10-3 cm3 cm-3"),
    ("m3 m-3", None, None,
     "cm³ cm⁻³ *1000; mm; kg m-2"),
    ("m3 m-3", 0.01, 0,
     "%; volumetric %"),
    ("m", 1, 0,
     "m; meters; metres; Meter; meter; gpm; m a.s.l.; m asl; masl; m.a.s.l.; m amsl; "
     "meters above sea level; m above mean sea level; (m a.s.l.)"),
    ("m", 1 / 9.80665, 0,
     "m**2 s**-2; m2 s-2; m^2/s^2; J/kg"),
    ("m", 0.3048, 0,
     "ft; feet; feet above sea level"),
    ("m", 1200 / 3937, 0,
     "US_survey_foot; US survey feet"),
    ("m", 0.1, 0,
     "dm; 0.1 m"),
    ("m", 1000, 0,
     "km"),
    ("m", 0.01, 0,
     "cm"),
    ("m", 1e-06, 0,
     "µm; um; μm"),
    ("m", None, None,
     "kg m-2; mb; m below surface; m above ground"),
    ("degree", 1, 0,
     "degree; degrees; deg; °; decimal degrees; Degrees; degrees true; "
     "Degrees Clockwise from north; degrees clockwise from true north; degrees_north"),
    ("degree", 180 / np.pi, 0,
     "radians; radian; rad"),
    ("degree", None, None,
     "1; fraction; K"),
    ("degree", 0.01, 0,
     "0.01 degree"),
    ("m3 s-1", 1, 0,
     "m3/s; m^3/s; m³/s; m**3 s**-1; cms; m3 s-1; m³ s⁻¹; cumecs; cubic meters per second"),
    ("m3 s-1", CUBIC_FOOT, 0,
     "cfs; ft3/s; ft^3/s; cubic feet per second; ft3 s-1"),
    ("m3 s-1", 0.001, 0,
     "l/s; L s-1"),
    ("m3 s-1", 1000 / Q, 0,
     "ML/d; ML/day; ML d-1"),
    ("m3 s-1", 1233.4892384681 / Q, 0,
     "acre-ft/day"),
    ("m3 s-1", 1000000000.0 / Q, 0,
     "cubic kilometers per day"),
    ("m3 s-1", None, None,
     "Mm3/day; mm/day"),
    ("g cm-3", 1, 0,
     "g/cm3; g/cm³; g cm^-3; kg/dm³; Mg/m3; t/m3"),
    ("g cm-3", 0.01, 0,
     "cg/cm³"),
    ("g cm-3", 0.001, 0,
     "kg m-3; kg/m3"),
    ("g cm-3", 0.0001, 0,
     "hg/m³"),
    ("km2", 1, 0,
     "km^2; km²; sq km; square kilometers"),
    ("km2", 0.01, 0,
     "ha"),
    ("km2", 1e-06, 0,
     "m2"),
    ("km2", 2.589988110336, 0,
     "mi2; square miles; sq. mi"),
    ("km2", 0.004046872609874, 0,
     "acre"),
    ("km-2", 1, 0,
     "people/km2; persons per square kilometer; km-2; inhabitants km-2"),
    ("km-2", 100, 0,
     "people/ha"),
    ("m/day", 86.4, 0,
     "kg m-2 s-1; mm/s of water"),
    ("m/day", None, None,
     "W m-2"),
    ("mm/day", Q * 1e-6, 0,
     "1.0e-6 kg m-2 s-1; mg m-2 s-1; 10**-6 kg m-2 s-1"),
    ("mm/day", 48, 0,
     "mm/0.5h; mm/30 minutes"),
    ("mm/day", 4, 0,
     "mm/6-hour; mm 6h-1; mm/(6h); kg m-2 (6 h)-1"),
    ("mm/day", 0.1, 0,
     "1/10 mm/day; 0.1*mm/day; mm/day/10"),
    ("mm/day", None, None,
     "MCM/day; mcm/day; 10*mm/day; mm/day (x10); mm/day (*10)"),
    ("degC", 1, 0,
     "degrees-C; oC; deg C.; degree Centigrade"),
    ("degC", None, None,
     "10*°C; °C (*10); °C (0.1); °C·10"),
    ("m3 m-3", 1, 0,
     "volumetric; Volumetric; volumetric water content; fraction (0-1); L/L"),
    ("m3 m-3", 0.01, 0,
     "m3/100m3; cm3/100cm3; Vol.-%; % volumetric; % (v/v); %v/v"),
    ("1", 0.01, 0,
     "% (w/w); mass-%; g/100 g"),
    ("1", 1, 0,
     "[0,1]; 0–1; 0 … 1; fraction [0-1]; Proportion (0-1); frac; decimal; unit less;"
     " fraction of grid cell"),
    ("1", 0.001, 0,
     "permil; per mil; promille; 1/1000"),
    ("1", None, None,
     "10*%; gr/kg; cmol(c)/kg; meq/100g; days since 1900-01-01; months"),
    ("Pa", 25.4 * 133.322387415, 0,
     "inHg; in Hg; inches of mercury; in. Hg"),
    ("Pa", 133.322387415, 0,
     "mm Hg; mm of Hg"),
    ("m", 1, 0,
     "geopotential meters; m above MSL; m above EGM96; m (NAVD88); m above the geoid"),
    ("degree", 1 / 60, 0,
     "arc minutes; minutes of arc; arc-minutes; arcmin"),
    ("degree", 1 / 3600, 0,
     "arc-second; arc_second; seconds of arc"),
    ("m3 s-1", 1e6 / Q, 0,
     "million m3/day; 10^6 m3/day; hm3/day"),
    ("m3 s-1", 0.003785411784 * 1e6 / Q, 0,
     "MGD; mgd; Mgal/d; million gallons per day"),
    ("m3 s-1", CUBIC_FOOT, 0,
     "CFS; cuft/s; cu. ft/sec"),
    ("m3 s-1", 0.001, 0,
     "lps"),
    ("km2", 1, 0,
     "sqkm; square-kilometers"),
    ("g cm-3", 0.001, 0,
     "kg/cubic-meter"),
    ("kg m-2", None, None,
     "ton/ha; tons/ha"),
    ("W m-2", None, None,
     "Mj/m2/day"),
    ("degC km-1", 1, 0,
     "K km-1"),
    ("degC km-1", 1000, 0,
     "K/m"),
    ("degC km-1", 10, 0,
     "°C/100 m"),
]  # fmt: skip
CASES = [
    (found, wanted, factor, offset)
    for wanted, factor, offset, spellings in PUBLISHED
    for found in spellings.split("; ")
]


@pytest.mark.parametrize(("found", "wanted", "factor", "offset"), CASES)
def test_a_published_spelling_has_its_factor_or_is_refused(
    found: str, wanted: str, factor: float | None, offset: float | None
) -> None:
    if factor is None:
        with pytest.raises(ValueError, match=r"\w"):
            linear_conversion(found, wanted)
        with pytest.raises(InputError, match="units"):
            convert(np.float32([1.0]), found, wanted, "a.nc: x")
        return
    assert linear_conversion(found, wanted) == pytest.approx((factor, offset), rel=1e-9, abs=1e-9)


def test_a_total_of_each_step_becomes_a_rate_by_the_length_of_the_step() -> None:
    rain, energy = np.float32([[6.0], [6.0]]), np.float32([3.6e6, 3.6e6])
    in_days = {"lengths": [1.0, 0.25]}
    for found in ("mm", "kg m-2", "kg/m^2", "mm/step", "mm per time step"):
        rates = convert(rain, found, "mm/day", "rain.nc", **in_days)
        np.testing.assert_allclose(rates, [[6.0], [24.0]], rtol=1e-6)
    fluxes = convert(energy, "J m**-2", "W m-2", "ssrd.nc", lengths=[1 / 24, 1 / 24])
    np.testing.assert_allclose(fluxes, 1000.0, rtol=1e-6)
    volumes = convert(np.float32([86400.0]), "m3", "m3 s-1", "q.nc", lengths=[1.0])
    np.testing.assert_allclose(volumes, 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("found", "wanted"), [("m", "m s-1"), ("mm", "W m-2"), ("K", "degC/day"), ("m", "km/h")]
)
def test_other_values_without_time_are_no_totals(found: str, wanted: str) -> None:
    with pytest.raises(InputError, match="units"):
        convert(np.float32([1.0]), found, wanted, "a.nc", lengths=[1.0])


def test_an_amount_of_water_in_a_state_is_not_divided() -> None:
    snow = convert(np.float32([2.0]), "mm", "kg m-2", "swe.nc", lengths=[0.125])
    np.testing.assert_array_equal(snow, [2.0])
    with pytest.raises(InputError, match="mm/day"):
        convert(np.float32([2.0]), "mm/day", "kg m-2", "swe.nc", lengths=[0.125])


def test_a_total_needs_steps_of_a_known_length() -> None:
    for lengths in (None, [np.nan]):
        with pytest.raises(InputError, match="steps of a known length"):
            convert(np.float32([1.0]), "mm", "mm/day", "rain.nc", lengths=lengths)


def test_amounts_of_long_steps_must_be_declared_as_sums() -> None:
    months = np.float32([31.0, 62.0])
    with pytest.raises(InputError, match=r"cell_method: sum[\s\S]*mm/day"):
        convert(months, "mm", "mm/day", "rain.nc", lengths=[31.0, 31.0])
    found = convert(months, "mm", "mm/day", "rain.nc", lengths=[31.0, 31.0], is_sum=True)
    np.testing.assert_allclose(found, [1.0, 2.0])


def test_dekads_and_pentads_have_the_length_of_their_steps() -> None:
    found = convert(np.float32([20.0, 22.0]), "mm/dekad", "mm/day", "c.nc", lengths=[10.0, 11.0])
    np.testing.assert_allclose(found, 2.0)
    found = convert(np.float32([10.0]), "mm/pentad", "mm/day", "c.nc", lengths=[5.0])
    np.testing.assert_allclose(found, 2.0)
    with pytest.raises(InputError, match="steps of a dekad"):
        convert(np.float32([20.0]), "mm/dekad", "mm/day", "c.nc", lengths=[1.0])


@pytest.mark.parametrize("found", ["%", "percent", "m/m", "m km-1"])
def test_a_slope_is_an_arctangent_and_nothing_else_is(found: str) -> None:
    gradients = np.float32([0.0, 0.2, 1.0, np.nan]) * {"%": 100, "percent": 100}.get(found, 1)
    gradients = gradients * (1000 if found == "m km-1" else 1)
    angles = convert(gradients, found, "degree", "dem.tif", is_slope=True)
    np.testing.assert_allclose(angles, [0.0, 11.309932, 45.0, np.nan], rtol=1e-6)
    back = convert(angles, "degree", found, "dem.tif", is_slope=True)
    np.testing.assert_allclose(back, gradients, rtol=1e-6)
    with pytest.raises(InputError, match="percent or m/m"):
        convert(gradients, found, "degree", "aspect.tif")


def test_a_slope_in_radians_is_no_gradient() -> None:
    found = convert(np.float32([np.pi / 4]), "radians", "degree", "dem.tif", is_slope=True)
    np.testing.assert_allclose(found, [45.0], rtol=1e-6)
    for unclear in ("1", "-", "fraction", "g/kg", "m3/m3"):
        with pytest.raises(InputError, match="m/m"):
            convert(np.float32([1.0]), unclear, "degree", "dem.tif", is_slope=True)


def test_a_logarithm_has_a_hint_of_its_own() -> None:
    with pytest.raises(InputError, match="transform: power10"):
        convert(np.float32([1.0]), "log10(cm/hr)", "mm/day", "ksat.tif")


def test_a_factor_behind_the_units_has_a_hint_of_its_own() -> None:
    with pytest.raises(InputError, match="`scale`"):
        convert(np.float32([1.0]), "cm³ cm⁻³ *1000", "m3 m-3", "wv.tif")


def test_files_that_state_no_units() -> None:
    assert all(is_silent(text) for text in ("", " ", "-", "[-]", "none", "N/A", "~", "unknown"))
    assert not any(is_silent(text) for text in ("1", "mm", "m-2", "fraction"))


def test_the_same_units_in_files_and_entries() -> None:
    assert same_units("mm", "mm/day", [1.0, 1.0])
    assert same_units("kg m-2", "mm/hour", [1 / 24])
    assert not same_units("kg m-2", "mm/day", [1 / 24])
    assert not same_units("mm", "mm/day")
    assert same_units("m**2 s**-2", "J kg-1")
    assert same_units("mm", "mm/month", [31.0, 28.0])
    assert not same_units("mm", "mm/month", [1.0, 1.0])


NAMES = st.sampled_from(["kg", "m", "s", "W", "K", "mm", "day", "Pa", "J", "mol"])
POWERS = st.lists(
    st.tuples(NAMES, st.integers(-3, 3).filter(bool)),
    min_size=1, max_size=4, unique_by=lambda item: item[0],
)  # fmt: skip
SUPER = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
NOTATIONS = {
    "stars": (" ", lambda n, p: f"{n}**{p}"), "carets": (" ", lambda n, p: f"{n}^{p}"),
    "braces": (" ", lambda n, p: f"{n}^{{{p}}}"), "dots": (".", lambda n, p: f"{n}{p}"),
    "middle dots": ("·", lambda n, p: n + str(p).translate(SUPER)),
    "products": ("*", lambda n, p: f"{n}^{p}"),
    "minus": (" ", lambda n, p: f"{n}{p}".replace("-", "−")),
}  # fmt: skip


@given(POWERS, st.sampled_from(sorted(NOTATIONS)))
@settings(max_examples=100, deadline=None)
def test_all_notations_of_one_unit_are_the_same(powers: list[tuple[str, int]], style: str) -> None:
    join, power = NOTATIONS[style]
    normal = " ".join(f"{name}{exponent}" for name, exponent in powers)
    other = join.join(power(name, exponent) for name, exponent in powers)
    assert read_notation(other) == read_notation(normal)
    assert linear_conversion(other, normal) == (1.0, 0.0)
    below = [f"{name}{-exponent}" for name, exponent in powers if exponent < 0]
    above = [f"{name}{exponent}" for name, exponent in powers if exponent > 0]
    quotient = "/".join([" ".join(above) or "1", *below])
    assert linear_conversion(quotient, normal) == pytest.approx((1.0, 0.0))


ONE_WAY = {"mm/day", "kg m-2", "m", "degC km-1"}
"""Units to which water, heights and temperature differences are converted, but not from."""


@given(st.sampled_from([case for case in CASES if case[2] is not None]), st.floats(-1e3, 1e3))
@settings(max_examples=200, deadline=None)
def test_there_and_back_is_where_it_began(
    case: tuple[str, str, float, float], value: float
) -> None:
    found, wanted, *_ = case
    factor, offset = linear_conversion(found, wanted)
    try:
        back, shift = linear_conversion(wanted, found)
    except ValueError:
        assert wanted in ONE_WAY
        return
    assert back * (factor * value + offset) + shift == pytest.approx(value, rel=1e-9, abs=1e-6)


@given(st.text(max_size=12))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        way = conversion(text, "mm/day")
    except ValueError:
        return
    assert np.isfinite([way.factor, way.offset]).all()
