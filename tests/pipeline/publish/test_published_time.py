"""Published time of a map without dates of its own."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.cube.template import cube_template
from pipeline.cube.write import create_cube
from pipeline.maps.mosaic import create_map
from pipeline.times.axis import TimeAxis
from tests.maps import GRID, months
from workflows.products.collection import covered_time
from workflows.products.predicted_maps import series_time

DAYS = pd.date_range("2015-04-01", "2018-03-31").values.astype("datetime64[ns]")


def cube(path: Path, time: Any) -> Path:
    dims = ("y", "x") if time is None else ("time", "y", "x")
    create_cube(path, cube_template(GRID, time, {"v": {"dims": dims}}, 64), {})
    return path


def published(folder: Path, how: str, time: Any, forcings: Any) -> list[str]:
    prediction = cube(folder / "prediction.zarr", time)
    create_map(prediction, GRID, folder / "map.zarr", aggregate=how)
    stores = (folder / "map.zarr", prediction, cube(folder / "cube.zarr", forcings))
    return [str(moment)[:10] for moment in covered_time(stores)]


@pytest.mark.parametrize(
    "how, covered",
    [
        ("none", ["2015-04-01", "2018-03-31"]),
        ("p10,p90", ["2015-04-01", "2018-03-31"]),
        ("mean", ["2015-04-01", "2018-03-31"]),
        ("climatology", ["2015-04-01", "2018-03-31"]),
        ("annual", ["2015-01-01", "2017-12-31"]),
    ],
)
def test_an_aggregate_is_of_its_series(tmp_path: Path, how: str, covered: list[str]) -> None:
    assert published(tmp_path, how, DAYS, DAYS) == covered


def test_a_map_without_time_is_of_the_time_of_its_inputs(tmp_path: Path) -> None:
    assert published(tmp_path, "none", None, DAYS) == ["2015-04-01", "2018-03-31"]


def test_a_climatology_is_of_the_years_in_the_catalog() -> None:
    def dated(**axis: Any) -> xr.DataArray:
        source: Any = SimpleNamespace(time=TimeAxis(kind="months", **axis), variables={"v": None})
        return series_time(months(), [source], ("v",))

    known = dated(period=(date(1981, 1, 1), date(2010, 12, 31)))
    assert known.attrs["climatology_period"] == "1981-01-01/2010-12-31"
    np.testing.assert_array_equal(known.values, months().values)
    assert dated().attrs == months().attrs
