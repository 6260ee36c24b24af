"""Aggregation in time by the CF attribute `cell_methods` of a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.core.errors import Faults
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_source, open_source
from pipeline.times.cell_methods import method_of_time
from tests.pipeline.sources.test_bad_sources import VARIABLES, entry, field


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("time: maximum", "maximum"),
        ("area: mean time: maximum", "maximum"),
        ("time: minimum area: mean", "minimum"),
        ("time: maximum (interval: 1 hour)", "maximum"),
        ("time: sum (interval: 1 hr comment: of a mean: rate)", "sum"),
        ("lat: lon: mean time: sum", "sum"),
        ("lat: lon: standard_deviation time: sum", "sum"),
        ("area: time: mean", "mean"),
        ("area: mean where land time: max", "maximum"),
        ("area: mean where land over all_area_types time:min", "minimum"),
        ("time: mean within days", "mean"),
        ("time: mean within days time: mean over days", "mean"),
        ("step: sum", "sum"),
        ("mean", "mean"),
        ("time: maximum within days time: mean over days", None),
        ("time: point", None),
        ("area: mean", None),
        ("height: sum time: point", None),
        ("area: sum (of time: mean)", None),
        ("", None),
    ],
)
def test_the_method_of_time_counts(text: str, method: str | None) -> None:
    assert method_of_time(text, ("time", "step")) == method


def test_days_of_a_daily_maximum_are_maxima(tmp_path: Path) -> None:
    ds = field(pd.date_range("2001-06-01", periods=48, freq="h"), units="degC",
               cell_methods="area: mean time: maximum")  # fmt: skip
    ds["v"].values[:] = (np.arange(48) % 24)[:, None, None]
    ds.to_netcdf(tmp_path / "a.nc")
    source = entry(tmp_path / "a.nc", time={"daily": True})
    faults = Faults()
    check_source(source, faults, VARIABLES)
    assert not faults.faults
    days = canonicalise(open_source(source), source, VARIABLES)["warmth"]
    np.testing.assert_array_equal(days.values, np.full((2, 6, 8), 23, np.float32))
