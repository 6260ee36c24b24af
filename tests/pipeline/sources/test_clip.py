"""Values just outside of the valid range, as GRIB packs zeros, are clipped by an entry's `clip`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source, Variable
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_source, open_source

VARIABLES = {"rain": Variable(long_name="rain", units="mm/day", valid_range=(0, 400))}


def source_of(path: Path, **variable: Any) -> Source:
    entry = {"name": "gauges", "uri": str(path), "driver": "netcdf", "time": {"daily": True},
             "variables": {"rain": {"name": "p", "cell_method": "sum", **variable}}}  # fmt: skip
    return Source.model_validate(entry)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two days of hours in m; cells: rain with one tiny negative hour, dry, noise around zero."""
    hours = np.full((48, 2, 2), 2e-4)
    hours[5, 0, 0] = -3e-11
    hours[:, 0, 1] = -1e-12
    hours[:, 1, 0] = np.tile([3e-11, -3e-11], 24)
    ds = xr.Dataset(
        {"p": (("time", "lat", "lon"), hours, {"units": "m"})},
        {"time": pd.date_range("2001-05-01", periods=48, freq="h"), "lat": [1.0, 0.0],
         "lon": [3.0, 4.0]},
    )  # fmt: skip
    ds.to_netcdf(tmp_path / "p.nc")
    return tmp_path / "p.nc"


def test_days_are_summed_before_they_are_clipped(path: Path) -> None:
    source = source_of(path, clip=1e-6)
    days = canonicalise(open_source(source), source, VARIABLES)["rain"].values
    np.testing.assert_allclose(days[:, 0, 0], [23 * 0.2, 24 * 0.2], rtol=1e-6)
    assert (days[:, 0, 1] == 0.0).all()
    # Clipped hours would add up to 24 times half the noise.
    np.testing.assert_allclose(days[:, 1, 0], 0, atol=1e-9)


def test_a_check_counts_what_is_clipped(path: Path) -> None:
    faults = Faults()
    info = check_source(source_of(path, clip=1e-6), faults, VARIABLES)
    assert not faults.faults
    assert info is not None
    assert info.notes == ("rain: 2 values clipped, by at most 2.4e-08 mm/day",)


def test_without_the_key_a_rounding_error_is_refused_with_the_way_out(path: Path) -> None:
    source = source_of(path)
    with pytest.raises(InputError, match=r"set `clip: 3.0e-08` of the variable"):
        canonicalise(open_source(source), source, VARIABLES)


def test_a_distance_above_the_tolerance_stays_an_error(path: Path) -> None:
    source = source_of(path, clip=1e-9)
    with pytest.raises(InputError, match=r"from -2.4e-08 to 4.8 mm/day; expected 0 to 400"):
        canonicalise(open_source(source), source, VARIABLES)
    far = source_of(path, units="cm", scale=-50, clip=1e-6)
    with pytest.raises(InputError) as error:
        canonicalise(open_source(far), far, VARIABLES)
    assert "Check units, scale, offset and nodata" in str(error.value)
    assert "clip" not in str(error.value)


def test_entries_without_the_key_have_the_dump_of_before(path: Path) -> None:
    assert "clip" not in source_of(path).model_dump()["variables"]["rain"]
    assert source_of(path, clip=1e-6).model_dump()["variables"]["rain"]["clip"] == 1e-6


def test_a_distance_below_zero_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        source_of(path, clip=-1.0e-6)
