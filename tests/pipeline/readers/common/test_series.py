"""Files of one series: differences that are accepted, and errors that name both files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr

from pipeline.entries.source import Source
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import open_source
from tests.pipeline.sources.test_bad_sources import VARIABLES, entry, faults_of, field

YEARS = {"years": [2001, 2003]}
MAPPING = {"grid_mapping_name": "latitude_longitude", "semi_major_axis": 6378137.0,
           "inverse_flattening": 298.257223563}  # fmt: skip
ALBERS = {"grid_mapping_name": "albers_conical_equal_area", "standard_parallel": [29.5, 45.5],
          "longitude_of_central_meridian": -96.0, "latitude_of_projection_origin": 23.0,
          "false_easting": 0.0, "false_northing": 0.0}  # fmt: skip


def years(folder: Path, change: Any, **settings: Any) -> Source:
    """Write three files of hourly values, the second and third of them changed."""
    for year in range(2001, 2004):
        hours = pd.date_range(f"{year}-01-01", periods=48, freq="h")
        ds = field(hours, cell_methods="time: mean", grid_mapping="crs").assign(crs=0)
        ds["crs"].attrs = dict(MAPPING)
        if year > 2001:
            ds = change(ds)
        ds.to_netcdf(folder / f"a_{year}.nc")
    return entry(folder / "a_{year}.nc", time={**YEARS, "gaps": "missing"}, **settings)


def with_attrs(name: str, **attrs: Any) -> Any:
    return lambda ds: ds.assign({name: ds[name].assign_attrs(attrs)})


@pytest.mark.parametrize(
    ("change", "what", "found", "first"),
    [
        (with_attrs("v", units="degC"), "warmth: units", "degC", "K"),
        (with_attrs("v", units=""), "warmth: units", "", "K"),
        (with_attrs("v", units="warmths"), "warmth: units", "warmths", "K"),
        (lambda ds: ds.isel(time=0, drop=True), "warmth: dimensions", "lat, lon",
         "time, lat, lon"),
    ],
)  # fmt: skip
def test_files_that_say_something_else(
    tmp_path: Path, change: Any, what: str, found: str, first: str
) -> None:
    text = faults_of(years(tmp_path, change))
    wanted = f'{tmp_path / "a_2002.nc"}: {what}: found "{found}" and in 1 more files; expected'
    assert wanted in text
    assert f'expected "{first}" as in {tmp_path / "a_2001.nc"}. ' in text


def test_files_in_other_projections(tmp_path: Path) -> None:
    x = np.arange(0.0, 8e5, 1e5)
    for year, parallels in ((2001, [29.5, 45.5]), (2002, [29.5, 45.5]), (2003, [20.0, 60.0])):
        days = pd.date_range(f"{year}-01-01", periods=3)
        attrs = {"units": "K", "grid_mapping": "crs"}
        ds = xr.Dataset({"v": (("time", "y", "x"), np.full((3, 8, 8), 290.0), attrs),
                         "crs": ((), 0, {**ALBERS, "standard_parallel": parallels})},
                        {"time": days, "y": x, "x": x})  # fmt: skip
        ds.to_netcdf(tmp_path / f"a_{year}.nc")
    settings = {"crs": "EPSG:5070", "time": {**YEARS, "gaps": "missing"}}
    text = faults_of(entry(tmp_path / "a_{year}.nc", **settings))
    assert f'{tmp_path / "a_2003.nc"}: crs: found "PROJCRS' in text
    assert f"as in {tmp_path / 'a_2001.nc'}" in text
    trusted = entry(tmp_path / "a_{year}.nc", wrong_in_file=["crs"], **settings)
    assert not faults_of(trusted)


def test_cell_methods_differ_where_days_are_made_by_them(tmp_path: Path) -> None:
    source = years(tmp_path, with_attrs("v", cell_methods="area: mean time: maximum"))
    assert not faults_of(source)
    daily = source.model_copy(update={"time": source.time.model_copy(update={"daily": True})})
    text = faults_of(daily)
    assert 'warmth: cell_methods: found "area: mean time: maximum" and in 1 more files' in text
    assert 'expected "time: mean" as in' in text


@pytest.mark.parametrize(
    "change",
    [
        with_attrs("v", units="kelvin"),
        with_attrs("v", long_name="another"),
        with_attrs("crs", long_name="another"),
        lambda ds: ds.drop_vars("crs"),
        lambda ds: ds.transpose("lon", "lat", "time"),
    ],
)
def test_files_that_say_the_same_in_other_words(tmp_path: Path, change: Any) -> None:
    source = years(tmp_path, change)
    assert not faults_of(source)
    values = canonicalise(open_source(source), source, VARIABLES)["warmth"].values
    np.testing.assert_allclose(values[[0, -1], 0, 0], 290 - 273.15, rtol=1e-6)


def test_units_of_the_entry_hold_where_files_say_none(tmp_path: Path) -> None:
    variables = {"warmth": {"name": "v", "units": "K"}}
    assert not faults_of(years(tmp_path, with_attrs("v", units=""), variables=variables))


def test_all_that_differs_comes_together(tmp_path: Path) -> None:
    def change(ds: xr.Dataset) -> xr.Dataset:
        return ds.assign_coords(lat=ds["lat"] + 0.5).assign(v=ds["v"].assign_attrs(units="degC"))

    text = faults_of(years(tmp_path, change))
    assert 'found "lat" that differs from' in text
    assert 'units: found "degC"' in text


def rasters(folder: Path, *packings: dict[str, Any], crs: str = "EPSG:4326") -> Source:
    """Write one file per year; the first cell is nodata, the others are stored as 100."""
    for year, packing in enumerate(packings, start=2001):
        transform = rasterio.transform.from_origin(-10, 50, 1, 1)
        with rasterio.open(folder / f"r_{year}.tif", "w", "GTiff", 4, 2, 1,
                           packing.get("crs", crs), transform, "int16",
                           nodata=packing["nodata"]) as file:  # fmt: skip
            file.write(np.array([[packing["nodata"], 100, 100, 100], [100] * 4], np.int16), 1)
            file.scales, file.offsets = (packing["scale"],), (packing.get("offset", 0.0),)
    return entry(folder / "r_{year}.tif", "raster", time={"years": [2001, 2000 + len(packings)]},
                 variables={"warmth": {"name": "band_1", "units": "degC"}})  # fmt: skip


def test_rasters_are_unpacked_each_by_its_own(tmp_path: Path) -> None:
    source = rasters(tmp_path, {"nodata": -9999, "scale": 0.1}, {"nodata": -32768, "scale": 0.01},
                     {"nodata": -9999, "scale": 0.1, "offset": 2.0})  # fmt: skip
    assert not faults_of(source)
    values = canonicalise(open_source(source), source, VARIABLES)["warmth"].values
    assert np.isnan(values[:, 0, 0]).all()
    np.testing.assert_allclose(values[:, 0, 1], [10, 1, 12], rtol=1e-6)
    # The stored number that an entry names is not looked for among the values.
    update = {"variables": {"warmth": source.variables["warmth"].model_copy(update={"nodata": 10})}}
    values = canonicalise(open_source(source), source.model_copy(update=update), VARIABLES)
    np.testing.assert_allclose(values["warmth"].values[:, 0, 1], [10, 1, 12], rtol=1e-6)


def test_rasters_in_another_crs(tmp_path: Path) -> None:
    source = rasters(tmp_path, {"nodata": -1, "scale": 1.0},
                     {"nodata": -1, "scale": 1.0, "crs": "EPSG:4267"})  # fmt: skip
    text = faults_of(source)
    assert f'{tmp_path / "r_2002.tif"}: crs: found "GEOGCS["NAD27"' in text
    assert 'expected "GEOGCS["WGS 84"' in text
