"""MSWX as shared: a folder for each variable, of which three have the same name in their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.products.common import cube, faults, same
from tests.products.gloh2o import BOUNDS, FIELD, make_gloh2o

DAYS = ("2004-02-29", "2004-03-01")


def make_mswx(folder: Path, part: str, name: str, units: str, factor: float) -> None:
    """Write two days of a variable, the second with twice the field of the first."""
    for number, day in enumerate(DAYS, 1):
        home = folder / "mswx" / "Past" / part / "Daily"
        make_gloh2o(home, day, name, units, number * factor * FIELD)


def test_three_temperatures_of_one_name(tmp_path: Path) -> None:
    for part, factor in (("Temp", 2.0), ("Tmax", 3.0), ("Tmin", 1.0)):
        make_mswx(tmp_path, part, "air_temperature", "degree_Celsius", factor)
    assert (tmp_path / "mswx" / "Past" / "Tmax" / "Daily" / "2004060.nc").exists()
    names = ("mswx", "mswx_temperature_max", "mswx_temperature_min")
    ds = cube("mswx", tmp_path, BOUNDS, 0.1, DAYS, sources=names)
    same(ds["air_temperature"], [2 * FIELD, 4 * FIELD])
    same(ds["air_temperature_max"], [3 * FIELD, 6 * FIELD])
    same(ds["air_temperature_min"], [FIELD, 2 * FIELD])
    assert faults("mswx", tmp_path) == []


@pytest.mark.parametrize(
    ("part", "name", "units", "source", "variable", "factor"),
    [
        ("P", "precipitation", "mm/d", "precipitation", "precipitation", 1.0),
        ("Pres", "surface_pressure", "Pa", "pressure", "surface_pressure", 2e4),
        ("RelHum", "relative_humidity", "%", "relative_humidity", "relative_humidity", 5.0),
        ("SpecHum", "specific_humidity", "kg kg-1", "specific_humidity", "specific_humidity", 1e-3),
        ("SWd", "downward_shortwave_radiation", "W m-2", "shortwave", "shortwave_radiation", 10.0),
        ("LWd", "downward_longwave_radiation", "W m-2", "longwave", "longwave_radiation", 60.0),
        ("Wind", "wind_speed", "m s-1", "wind", "wind_speed", 1.0),
    ],
)
def test_other_variables(
    part: str, name: str, units: str, source: str, variable: str, factor: float, tmp_path: Path
) -> None:
    field = np.where(np.isnan(FIELD), np.nan, 2.0)
    for number, day in enumerate(DAYS, 1):
        home = tmp_path / "mswx" / "Past" / part / "Daily"
        make_gloh2o(home, day, name, units, factor * number * field)
    ds = cube("mswx", tmp_path, BOUNDS, 0.1, DAYS, sources=[f"mswx_{source}"])
    np.testing.assert_allclose(ds[variable], [2 * factor + 0 * field, 4 * factor + 0 * field], 1e-5)
