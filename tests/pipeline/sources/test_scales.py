"""Scales and offsets with which no value can be computed, in files and in entries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr

from pipeline.core.errors import Faults, InputError
from pipeline.core.settings import validated
from pipeline.entries.source import Source
from pipeline.sources.open import check_source

AT = {"lat": np.arange(3.0), "lon": np.arange(4.0)}
CODES = np.arange(12, dtype="i2").reshape(3, 4)


def entry(path: Path, driver: str, **settings: Any) -> Source:
    name = "band_1" if driver == "raster" else "rain"
    variables = {"precipitation": {"name": name, "units": "mm/day", **settings}}
    value = {"name": "s", "uri": str(path), "driver": driver, "variables": variables}
    return validated(Source, value, "my.yml")


def faults_of(source: Source) -> list[str]:
    faults = Faults()
    check_source(source, faults)
    return [str(fault) for fault in faults.faults]


WRONG = [("scale_factor", 0.0), ("scale_factor", np.nan), ("scale_factor", np.inf),
         ("add_offset", np.nan), ("scale_factor", np.int32(0))]  # fmt: skip


@pytest.mark.parametrize("driver", ["netcdf", "zarr"])
@pytest.mark.parametrize(("key", "number"), WRONG)
def test_a_file_without_a_usable_scale_is_one_fault(
    tmp_path: Path, driver: str, key: str, number: Any
) -> None:
    ds = xr.Dataset({"rain": (("lat", "lon"), CODES, {key: number})}, AT)
    path = tmp_path / f"rain.{driver}"
    if driver == "netcdf":
        ds.to_netcdf(path)
    else:
        ds.to_zarr(path, zarr_format=2)
    (fault,) = faults_of(entry(path, driver))
    assert f"{key} {number:g} in the file" in fault
    assert "as_stored" in fault
    assert faults_of(entry(path, driver, as_stored=True, scale=0.5)) == []


def test_a_raster_without_a_usable_scale_is_one_fault(tmp_path: Path) -> None:
    path = tmp_path / "rain.tif"
    place = {"crs": "EPSG:4326", "transform": rasterio.transform.from_origin(0, 3, 1, 1)}
    with rasterio.open(
        path, "w", driver="GTiff", height=3, width=4, count=1, dtype="int16", **place
    ) as file:
        file.write(CODES, 1)
        file.scales = (0.0,)
    (fault,) = faults_of(entry(path, "raster"))
    assert "scale_factor 0 in the file" in fault
    assert faults_of(entry(path, "raster", as_stored=True)) == []


@pytest.mark.parametrize("settings", [
    {"scale": 0}, {"scale": float("nan")}, {"scale": float("inf")}, {"offset": float("inf")},
])  # fmt: skip
def test_an_entry_without_a_usable_scale_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"with which no value is known|expected a finite number"):
        entry(Path("rain.nc"), "netcdf", **settings)


@pytest.mark.parametrize("settings", [
    {"scale": 0.1}, {"offset": 1}, {"above_is_missing": 200}, {"clip": 1.0},
])  # fmt: skip
def test_codes_of_classes_have_no_scale(settings: dict[str, float]) -> None:
    variable = {"name": "band_1", "define": {"long_name": "cover", "units": "1"}}
    value = {"name": "s", "uri": "cover.tif", "driver": "raster", "kind": "categorical",
             "classes": {"forest": 1}}  # fmt: skip
    validated(Source, {**value, "variables": {"cover": variable}}, "my.yml")
    with pytest.raises(InputError, match=f"{next(iter(settings))} of cover beside `classes`"):
        validated(Source, {**value, "variables": {"cover": {**variable, **settings}}}, "my.yml")
