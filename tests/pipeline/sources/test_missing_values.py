"""Missing values of NetCDF and Zarr: by the file's attributes, the library and the entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr

from pipeline.core.errors import Faults
from pipeline.entries.source import Source, Variable
from pipeline.readers.common.packing import stored_value
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_source, open_source

VARIABLES = {
    "free": Variable(long_name="free", units="1"),
    "kind": Variable(long_name="kind", units="1"),
}


def written(path: Path, kind: str, stored: list[Any], fill: Any = None, **attrs: Any) -> Path:
    """Write a file of two equal rows of stored numbers; cells of None are never written."""
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("lat", 2), ("lon", len(stored))):
            file.createDimension(name, size)
            file.createVariable(name, "f8", (name,))[:] = np.arange(size, dtype=float)
        values = file.createVariable("v", kind, ("lat", "lon"), fill_value=fill)
        values.set_auto_maskandscale(False)
        values.setncatts({"units": "1", **attrs})
        for column, value in enumerate(stored):
            if value is not None:
                values[:, column] = np.full(2, value, kind)
    return path


def source_of(path: Path, canonical: str = "free", **settings: Any) -> Source:
    variable = {"name": "v", **settings.pop("variable", {})}
    return Source.model_validate(
        {"name": "src", "uri": str(path), "driver": "netcdf", "variables": {canonical: variable},
         **settings}
    )  # fmt: skip


def faults_of(source: Source) -> str:
    faults = Faults()
    check_source(source, faults, VARIABLES)
    return "\n".join(map(str, faults.faults))


def row(source: Source, canonical: str = "free") -> np.ndarray:
    """Return the first row of canonical values of a source without faults."""
    assert not faults_of(source)
    values = canonicalise(open_source(source), source, VARIABLES)[canonical].values
    assert values.dtype == np.float32
    return values.reshape(-1, values.shape[-1])[0]


NAN, INF = np.nan, np.inf
TENTH = {"scale_factor": 0.1, "add_offset": 0.0}
UNSIGNED = {"_Unsigned": "true", "scale_factor": 0.5}


@pytest.mark.parametrize(
    ("kind", "stored", "fill", "attrs", "values"),
    [
        # Attributes that name missing values, in the type of the data and in another.
        ("i2", [-9999, 100], -9999, TENTH, [NAN, 10]),
        ("i2", [-9999, -8888, 100], -9999, {**TENTH, "missing_value": np.int16([-9999, -8888])},
         [NAN, NAN, 10]),
        ("f4", [1e20, -5, 3], None, {"missing_value": 1e20}, [NAN, -5, 3]),
        ("f4", [NAN, 1e20, 3], NAN, {"missing_value": np.array([1e20, NAN])}, [NAN, NAN, 3]),
        ("i2", [100, 7], None, {"scale_factor": np.int16(2)}, [200, 14]),
        # Unsigned bytes in the signed type of classic files.
        ("i1", [-1, -56, 3], -1, UNSIGNED, [NAN, 100, 1.5]),
        ("i1", [-1, -2, 3], -1, {**UNSIGNED, "missing_value": np.int8([-1, -2])}, [NAN, NAN, 1.5]),
        ("i2", [-1, -7, -6, 0], -1, {**UNSIGNED, "valid_range": np.int16([0, -7])},
         [NAN, 32764.5, NAN, 0]),
        # Valid ranges, which are of stored numbers, or of unpacked ones where they are floats.
        ("f4", [-1, 0, 100, 101], None, {"valid_range": np.float32([0, 100])}, [NAN, 0, 100, NAN]),
        ("f4", [-1, 0, 0.1], None, {"valid_max": 0.1, "valid_min": 0.0}, [NAN, 0, 0.1]),
        ("f8", [-1, 0, 300], None, {"valid_max": 100.0}, [-1, 0, NAN]),
        ("u1", [0, 100, 101, 255], None, {"valid_range": np.uint8([0, 100])}, [0, 100, NAN, NAN]),
        ("i2", [-1, 0, 1000, 1001], None, {**TENTH, "valid_range": np.int16([0, 1000])},
         [NAN, 0, 100, NAN]),
        ("i2", [-1, 0, 3, 4], None, {**TENTH, "valid_range": np.array([0.0, 0.3])},
         [NAN, 0, 0.3, NAN]),
        ("i2", [1, 2, 3], None, {"scale_factor": -0.1, "valid_min": np.int16(2)},
         [NAN, -0.2, -0.3]),
        # Cells never written, which only bytes leave open.
        ("f4", [None, 5], None, {}, [NAN, 5]),
        ("f8", [None, 5], None, {"missing_value": -9.0}, [NAN, 5]),
        ("f4", [None, 5], None, TENTH, [NAN, 0.5]),
        ("i2", [None, 5], None, {}, [NAN, 5]),
        ("i2", [None, 50], None, TENTH, [NAN, 5]),
        ("i4", [None, 5], None, {}, [NAN, 5]),
        ("u2", [None, 5], None, {}, [NAN, 5]),
        ("u1", [255, 5], None, {}, [255, 5]),
        ("i1", [-127, 5], None, {}, [-127, 5]),
        ("i2", [-32767, 5], -9999, {}, [-32767, 5]),
    ],
)  # fmt: skip
def test_attributes_of_a_file(
    tmp_path: Path, kind: str, stored: list, fill: Any, attrs: dict, values: list
) -> None:
    found = row(source_of(written(tmp_path / "a.nc", kind, stored, fill, **attrs)))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values))
    np.testing.assert_allclose(found, values, rtol=1e-6)


def test_an_entry_names_the_stored_number(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", "i2", [-9999, 50, 0], **TENTH)
    source = source_of(path, variable={"nodata": -9999})
    np.testing.assert_allclose(row(source), [np.nan, 5, 0], rtol=1e-6)
    path = written(tmp_path / "b.nc", "i1", [-1, 50], **UNSIGNED)
    np.testing.assert_array_equal(row(source_of(path, variable={"nodata": 255})), [np.nan, 25])
    # What the type cannot hold marks nothing: -9999 is no byte, and not the 241 it wraps to.
    path = written(tmp_path / "c.nc", "u1", [241, 50])
    np.testing.assert_array_equal(row(source_of(path, variable={"nodata": -9999})), [241, 50])


@pytest.mark.parametrize(
    ("kind", "stored", "attrs", "nodata", "values"),
    [
        ("u1", [239, 240, 245, 250, 251, 254], {}, [254, [240, 250]], [239, *[NAN] * 3, 251, NAN]),
        ("u1", [249, 100, 0], {"scale_factor": 0.1}, [[248.5, 300]], [NAN, 10, 0]),
        ("i1", [-56, -16, -6, 50], UNSIGNED, [[240, 250]], [100, NAN, NAN, 25]),
        ("i2", [-32768, -2, -1, 7], TENTH, [[-INF, -2]], [NAN, NAN, -0.1, 0.7]),
        ("f4", [-9999, -8888, -0.5, 7], {}, [-9999, [-9000, -8000]], [NAN, NAN, -0.5, 7]),
        ("f8", [1e20, -1, 7], {"missing_value": 1e20}, [[-5, -1]], [NAN, NAN, 7]),
        ("u1", [3, 4, 5], {}, [[300, 400], [4.2, 4.8], 5], [3, 4, NAN]),
    ],
)  # fmt: skip
def test_several_codes_and_ranges(
    tmp_path: Path, kind: str, stored: list, attrs: dict, nodata: list, values: list
) -> None:
    path = written(tmp_path / "a.nc", kind, stored, **attrs)
    np.testing.assert_allclose(row(source_of(path, variable={"nodata": nodata})), values, rtol=1e-6)


def test_codes_and_ranges_of_a_raster(tmp_path: Path) -> None:
    def raster(name: str, stored: list[int], nodata: int | None, **settings: Any) -> Source:
        place = rasterio.transform.from_origin(0, 2, 1, 1)
        profile = {"driver": "GTiff", "width": len(stored), "height": 2, "count": 1}
        with rasterio.open(tmp_path / name, "w", **profile, dtype="int16", nodata=nodata,
                           crs="EPSG:4326", transform=place) as file:  # fmt: skip
            file.write(np.array([stored] * 2, "i2"), 1)
        return source_of(tmp_path / name, settings.pop("canonical", "free"), driver="raster",
                         **settings)  # fmt: skip

    band = {"name": "band_1", "units": "1", "nodata": [-9999, [240, 250]]}
    found = row(raster("a.tif", [-9999, 7, 240, 245, 251], None, variable=band))
    np.testing.assert_array_equal(found, [NAN, 7, NAN, NAN, 251])
    found = row(raster("b.tif", [245, 7, -9999], 245, variable=band))
    np.testing.assert_array_equal(found, [NAN, 7, NAN])
    text = faults_of(raster("c.tif", [1, 7], 1, variable=band))
    assert "found nodata 1 in the file; expected -9999, 240 to 250 as in the entry" in text
    classes = {"a": [7, 251], "b": [240, 1]}
    kind = {"kind": "categorical", "method": "fractions", "classes": classes}
    codes = raster("d.tif", [7, 240, 1, 251], None, canonical="kind", variable=band, **kind)
    found = row(codes, "kind")
    np.testing.assert_array_equal(found, [0, NAN, 1, 0])


def test_a_range_of_nodata_must_ascend(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the range \[250, 240\] of nodata"):
        source_of(tmp_path / "a.nc", variable={"nodata": [[250, 240]]})


def test_an_entry_and_its_file_agree_in_the_type_of_the_data(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", "f4", [1e20, 5], np.float32(1e20))
    np.testing.assert_array_equal(row(source_of(path, variable={"nodata": 1e20})), [np.nan, 5])
    found = faults_of(source_of(path, variable={"nodata": 2e20}))
    assert "free: found nodata 1e+20 in the file; expected 2e+20 as in the entry" in found
    path = written(tmp_path / "b.nc", "i1", [-1, 50], -1, **UNSIGNED)
    np.testing.assert_array_equal(row(source_of(path, variable={"nodata": 255})), [np.nan, 25])


def test_a_file_that_is_wrong_about_missing_values(tmp_path: Path) -> None:
    attrs = {**TENTH, "missing_value": np.int16(10), "valid_max": np.int16(40)}
    path = written(tmp_path / "a.nc", "i2", [-1, 0, 10, 50], 0, **attrs)
    np.testing.assert_allclose(row(source_of(path)), [-0.1, np.nan, np.nan, np.nan], rtol=1e-6)
    source = source_of(path, variable={"nodata": -1}, wrong_in_file=["nodata"])
    np.testing.assert_allclose(row(source), [np.nan, 0, 1, 5], rtol=1e-6)


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"valid_range": "0, 100"}, 'found valid_range "0, 100"; expected numbers'),
        (
            {"valid_min": 5.0, "valid_max": 2.0},
            "found valid values from 5 to 2; expected the lower",
        ),
        ({"valid_range": np.float32([0, 1, 2])}, "expected two numbers"),
        ({"scale_factor": "0.1"}, 'found scale_factor "0.1"; expected numbers'),
    ],
)
def test_attributes_that_are_no_numbers(tmp_path: Path, attrs: dict, message: str) -> None:
    path = written(tmp_path / "a.nc", "f4", [1, 2], **attrs)
    found = faults_of(source_of(path))
    assert message in found
    assert f'"src", {path}: v: found' in found


def test_zarr_is_read_alike(tmp_path: Path) -> None:
    stored = np.array([[-1, 0, 1000, 1001, -9999]] * 2, np.int16)
    attrs = {"units": "1", "scale_factor": 0.1, "valid_range": [0, 1000]}
    ds = xr.Dataset({"v": (("lat", "lon"), stored, attrs)},
                    {"lat": [1.0, 0.0], "lon": np.arange(5.0)})  # fmt: skip
    ds.to_zarr(tmp_path / "a", zarr_format=2)
    source = source_of(tmp_path / "a", driver="zarr", variable={"nodata": 1000})
    np.testing.assert_allclose(row(source), [np.nan, 0, np.nan, np.nan, np.nan], rtol=1e-6)


def test_codes_of_classes_stay_as_they_are(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", "u1", [0, 210, 255, 7], valid_range=np.uint8([1, 200]))
    source = source_of(path, "kind", kind="categorical", method="fractions",
                       variable={"nodata": 0}, classes={"a": [0, 210], "b": [255]})  # fmt: skip
    assert open_source(source)["v"].dtype == np.uint8
    np.testing.assert_array_equal(row(source, "kind"), [np.nan, 0, 1, np.nan])


def test_files_of_a_series_are_unpacked_each_by_its_own(tmp_path: Path) -> None:
    for year, scale, fill in ((2001, 0.1, -9999), (2002, 0.01, -32768)):
        values = np.full((3, 2, 2), 10.0)
        values[:, 0, 0] = np.nan
        days = pd.date_range(f"{year}-12-30", periods=3) if year == 2001 else None
        days = pd.date_range("2002-01-02", periods=3) if days is None else days
        ds = xr.Dataset({"v": (("time", "lat", "lon"), values, {"units": "1"})},
                        {"time": days, "lat": [1.0, 0.0], "lon": [0.0, 1.0]})  # fmt: skip
        packing = {"dtype": "int16", "scale_factor": scale, "add_offset": 5.0, "_FillValue": fill}
        ds.to_netcdf(tmp_path / f"a_{year}.nc", encoding={"v": packing})
    source = source_of(tmp_path / "a_{year}.nc", time={"years": [2001, 2002], "gaps": "missing"})
    assert not faults_of(source)
    values = canonicalise(open_source(source), source, VARIABLES)["free"].values
    assert np.isnan(values[:, 0, 0]).all()
    np.testing.assert_allclose(values[[0, -1], 0, 1], 10, rtol=1e-6)


def test_numbers_that_a_type_can_hold() -> None:
    assert stored_value(1e20, np.dtype("f4")) == np.float32(1e20)
    assert stored_value(255, np.dtype("u1")) == 255
    assert stored_value(-1, np.dtype("u2")) == 65535
    assert stored_value(-9999, np.dtype("u1")) is None
    assert stored_value(0.5, np.dtype("i2")) is None
