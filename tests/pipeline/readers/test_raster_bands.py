"""Bands of a raster as the steps of a series, with times that the entry declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint

from pipeline.core.errors import InputError
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.open import open_source

GRID = TargetGrid.from_bounds("six", "EPSG:4326", (0, 0, 3, 2), 1.0)
VALUES = np.random.default_rng(1).integers(0, 300, (12, 2, 3)).astype("i2")


def written(path: Path, values: np.ndarray = VALUES, units: Any = None) -> Path:
    profile = {"driver": "GTiff", "width": 3, "height": 2, "count": len(values), "dtype": "int16",
               "crs": "EPSG:4326", "nodata": -1,
               "transform": rasterio.Affine(1, 0, 0, 0, -1, 2)}  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)
        file.units = units or ["mm/day"] * len(values)
    return path


def entry(path: Path | str, name: str = "band_[1-12]", **time: Any) -> Source:
    return Source.model_validate(
        {"name": "rain", "uri": str(path), "driver": "raster", "time": time,
         "variables": {"precipitation": {"name": name}}}
    )  # fmt: skip


def canonical(source: Source) -> Any:
    return open_source(source, on=GRID)["precipitation"].load()


def refusal(source: Source) -> str:
    with pytest.raises(InputError) as caught:
        canonical(source)
    return str(caught.value)


def test_twelve_bands_are_a_climatology(tmp_path: Path) -> None:
    found = canonical(entry(written(tmp_path / "a.tif"), kind="months"))
    np.testing.assert_array_equal(found.values, VALUES)
    assert found["time"].attrs["climatology"] == "months"
    part = open_source(entry(tmp_path / "a.tif", kind="months"), (1.2, 0.1, 1.8, 0.9))
    assert part["band_[1-12]"].sizes["time"] == 12


@pytest.mark.parametrize(
    ("time", "second"),
    [({"start": "2001-01-01", "step": "monthly"}, "2001-02-01"),
     ({"start": "2001-01-01", "step": "yearly"}, "2002-01-01"),
     ({"start": "2001-01-01", "step": "daily"}, "2001-01-02"),
     ({"start": "2001-01-01T03:00", "step": "3-hourly"}, "2001-01-01T06"),
     ({"dates": [f"2001-01-{day:02d}" for day in range(1, 24, 2)]}, "2001-01-03")],
)  # fmt: skip
def test_bands_have_declared_times(tmp_path: Path, time: dict[str, Any], second: str) -> None:
    found = canonical(entry(written(tmp_path / "a.tif"), **time))
    np.testing.assert_array_equal(found.values, VALUES)
    assert found["time"].values[1] == np.datetime64(second)


def test_some_bands_of_many_files(tmp_path: Path) -> None:
    for year in (2001, 2002):
        values = np.where(VALUES < 5, -1, VALUES + year - 2001)
        written(tmp_path / f"{year}.tif", values.astype("i2"))
    source = entry(tmp_path / "{year}.tif", years=[2001, 2002], start="2001-01-01", step="monthly",
                   period=["2001-06-01", "2002-12-01"])  # fmt: skip
    found = canonical(source)
    assert found.sizes["time"] == 19
    right = np.concatenate([VALUES, VALUES + 1])[5:]
    valid = np.concatenate([VALUES, VALUES])[5:] >= 5
    np.testing.assert_array_equal(found.values, np.where(valid, right, np.nan))


def test_faults_of_bands_and_declared_times(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif")
    assert "time: {start: 2001-01-01" in refusal(entry(path))
    assert "12 bands" in refusal(entry(path, "band_[1-13]", kind="months"))
    assert "12 steps" in refusal(entry(path, dates=["2001-01-01"]))
    odd = written(tmp_path / "b.tif", units=["mm/day"] * 11 + ["cm/day"])
    assert "cm/day" in refusal(entry(odd, kind="months"))
    for time, text in (({"start": "2001-01-01"}, "step"),
                       ({"start": "May", "step": "daily"}, "May"),
                       ({"kind": "months", "dates": ["2001-01-01"]}, "more than one")):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            entry(path, **time)


def test_times_of_files_are_not_replaced(tmp_path: Path) -> None:
    import pandas as pd
    import xarray as xr

    times = pd.date_range("2001-01-01", periods=3)
    xy = {"lat": [1.5, 0.5], "lon": [0.5, 1.5, 2.5]}
    ds = xr.Dataset({"v": (("time", "lat", "lon"), np.ones((3, 2, 3)), {"units": "mm/day"})},
                    {"time": times, **xy})  # fmt: skip
    ds.to_netcdf(tmp_path / "a.nc")
    source = entry(tmp_path / "a.nc", "v", start="1999-01-01", step="daily")
    source = source.model_copy(update={"driver": "netcdf"})
    assert "times in the files" in refusal(source)
    plain = ds.assign_coords(time=[0, 1, 2])
    plain.to_netcdf(tmp_path / "b.nc")
    source = entry(tmp_path / "b.nc", "v", start="1999-01-01", step="daily")
    found = canonical(source.model_copy(update={"driver": "netcdf"}))
    assert str(found["time"].values[2])[:10] == "1999-01-03"


def test_a_band_may_be_named_by_its_description(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", VALUES[:2])
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("rain of day", "snow")
    found = canonical(entry(path, name="snow"))
    np.testing.assert_array_equal(found.values.squeeze(), VALUES[1])
    assert 'Did you mean "rain of day"' in refusal(entry(path, name="rain of days"))
    assert "described as 2 (rain of day, snow)" in refusal(entry(path, name="xyz"))


def test_turned_rasters_and_control_points_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", VALUES[:1])
    with rasterio.open(path, "r+") as file:
        file.transform = rasterio.Affine(1, 0.3, 0, 0.2, -1, 2)
    assert "gdalwarp" in refusal(entry(path, name="band_1"))
    corners = [GroundControlPoint(0, 0, 0, 2), GroundControlPoint(0, 3, 3, 2),
               GroundControlPoint(2, 0, 0, 0)]  # fmt: skip
    with rasterio.open(tmp_path / "b.tif", "w", driver="GTiff", width=3, height=2, count=1,
                       dtype="int16", gcps=corners, crs="EPSG:4326") as file:  # fmt: skip
        file.write(VALUES[:1])
    assert "3 ground control points" in refusal(entry(tmp_path / "b.tif", name="band_1"))


def described(path: Path, texts: list[str], values: np.ndarray = VALUES) -> Path:
    written(path, values[: len(texts)])
    with rasterio.open(path, "r+") as file:
        file.descriptions = texts
    return path


@pytest.mark.parametrize(
    "texts", [["20010131_rain", "20010201_rain"], ["2001-01-31", "2001-02-01"],
              ["rain_2001_01_31", "rain_2001_02_01"]],
)  # fmt: skip
def test_dates_in_descriptions_of_bands_are_their_times(tmp_path: Path, texts: list[str]) -> None:
    path = described(tmp_path / "a.tif", texts)
    for time in ({}, {"start": "2001-01-31", "step": "daily"},
                 {"dates": ["2001-01-31", "2001-02-01T06:00"]}):  # fmt: skip
        found = canonical(entry(path, "band_[1-2]", **time))
        assert str(found["time"].values[0])[:10] == "2001-01-31"
        np.testing.assert_array_equal(found.values, VALUES[:2])


@pytest.mark.parametrize(
    ("time", "words"),
    [({"start": "2001-01-31", "step": "daily"}, "2001-02-03 in the description of band 2"),
     ({"start": "2011-01-01", "step": "monthly"}, "2001-01-31 in the description of band 1")],
)  # fmt: skip
def test_declared_times_that_descriptions_contradict(
    tmp_path: Path, time: dict[str, Any], words: str
) -> None:
    path = described(tmp_path / "a.tif", ["20010131", "20010203"])
    assert words in refusal(entry(path, "band_[1-2]", **time))


def test_descriptions_that_are_no_days_are_no_times(tmp_path: Path) -> None:
    path = described(tmp_path / "a.tif", ["20011331", "20011401"])
    found = canonical(entry(path, "band_[1-2]", start="2001-01-31", step="daily"))
    np.testing.assert_array_equal(found.values, VALUES[:2])
    assert "no times" in refusal(entry(path, "band_[1-2]"))


def test_files_of_other_years_than_the_start_are_refused(tmp_path: Path) -> None:
    for year in (2001, 2002):
        written(tmp_path / f"rain_{year}.tif")
    uri, months = tmp_path / "rain_{year}.tif", {"start": "2001-01-01", "step": "monthly"}
    found = canonical(entry(uri, years=[2001, 2002], **months))
    assert found.sizes["time"] == 24
    assert "although the first file" in refusal(entry(uri, years=[2002, 2002], **months))


def test_bands_in_another_order_are_named_by_description(tmp_path: Path) -> None:
    described(tmp_path / "a_2001.tif", ["rain", "snow"])
    described(tmp_path / "a_2002.tif", ["snow", "rain"], VALUES[1::-1])
    years = {"years": [2001, 2002]}
    assert 'the band "snow"' in refusal(entry(tmp_path / "a_{year}.tif", "band_1", **years))
    found = canonical(entry(tmp_path / "a_{year}.tif", "rain", **years))
    np.testing.assert_array_equal(found.values, VALUES[[0, 0]])
