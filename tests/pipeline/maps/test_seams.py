"""Seams in time of map series, from the changes at window boundaries."""

from __future__ import annotations

import numpy as np
import xarray as xr

from pipeline.maps.seams import seam_ratio, stands_out

TIME = np.arange("2001-01-01", "2002-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
BOUNDARIES = TIME[[120, 240]]


def series(jump: float = 0.0, storms: bool = False) -> xr.DataArray:
    """A year of maps that drift at random, with a jump at each boundary."""
    rng = np.random.default_rng(0)
    changes = rng.normal(0, 1, (365, 3, 4)) * (1 + rng.exponential(1, (365, 1, 1)))
    if storms:
        changes[rng.choice(365, 30, replace=False)] += 40
    changes[[120, 240]] += jump
    values = changes.cumsum(0).astype(np.float32)
    values[:, 0, 0] = np.nan
    return xr.DataArray(values, {"time": TIME}, ("time", "y", "x"))


def test_a_jump_at_boundaries_stands_out() -> None:
    assert stands_out(series(), BOUNDARIES) is None
    ratio = stands_out(series(jump=20.0), BOUNDARIES)
    assert ratio == seam_ratio(series(jump=20.0), BOUNDARIES)
    assert ratio is not None
    assert ratio > 5


def test_weather_as_large_as_the_jump_is_no_seam() -> None:
    assert seam_ratio(series(jump=20.0, storms=True), BOUNDARIES) > 5
    assert stands_out(series(jump=20.0, storms=True), BOUNDARIES) is None


def test_without_boundaries_or_with_too_many_there_is_no_ratio() -> None:
    for boundaries in (TIME[:0], TIME[1:200], np.array(["1999-01-01"], "datetime64[ns]")):
        assert np.isnan(seam_ratio(series(), boundaries))
    one = series().isel(time=[0])
    assert stands_out(one, TIME[:1]) is None
