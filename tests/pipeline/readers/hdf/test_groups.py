"""Variables in groups of HDF5 files: IMERG, SMAP, HDF-EOS5, plain HDF5 and NetCDF-4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.core.settings import validated
from pipeline.entries.source import Source, Variable
from pipeline.readers.common.dims import layout
from pipeline.readers.netcdf import NetcdfOptions
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import open_source

VARIABLES = {"rain": Variable(long_name="rain", units="mm/day", valid_range=(0, 500)),
             "sm": Variable(long_name="moisture", units="m3 m-3", valid_range=(0, 1))}  # fmt: skip
LAT, LON = np.array([10.5, 11.5, 12.5]), np.array([20.5, 21.5, 22.5, 23.5])
FIELD = np.arange(12.0).reshape(3, 4)  # by LAT, LON: rows from south to north


def entry(path: Path, names: str | dict[str, Any] = "precipitation", **settings: Any) -> Source:
    named = names if isinstance(names, dict) else {"rain": {"name": names}}
    return Source.model_validate(
        {"name": "test", "uri": str(path), "driver": "netcdf", "variables": named, **settings}
    )


def values(source: Source) -> np.ndarray:
    """Return the canonical values without time; rows from north to south."""
    ds = canonicalise(open_source(source), source, VARIABLES)
    return np.asarray(ds[next(iter(source.variables))].values.squeeze())


def write_imerg(path: Path, extra: str | None = None) -> None:
    """Write time, lon, lat in a group, with DimensionNames and the fill value as a text."""
    with h5py.File(path, "w") as file:
        for group in filter(None, ("Grid", extra)):
            grid = file.create_group(group)
            grid["lat"], grid["lon"], grid["time"] = LAT, LON, np.array([946684800])
            grid["time"].attrs["units"] = "seconds since 1970-01-01"
            stored = FIELD.T[None].copy()
            stored[0, 0, 0] = -9999.9
            data = grid.create_dataset("precipitation", data=stored.astype("f4"))
            data.attrs["units"], data.attrs["CodeMissingValue"] = "mm/day", "-9999.9"
            data.attrs["DimensionNames"] = "time,lon,lat"


def expected() -> np.ndarray:
    field = FIELD.copy()
    field[0, 0] = np.nan
    return field[::-1]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("precipitation", {}), ("Grid/precipitation", {}), ("/Grid/precipitation", {}),
     ("precipitation", {"options": {"group": "/Grid"}})],
)  # fmt: skip
def test_a_variable_in_a_group_is_named_or_found(
    tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    write_imerg(tmp_path / "a.HDF5")
    source = entry(tmp_path / "a.HDF5", name, **settings)
    np.testing.assert_array_equal(values(source), expected())
    ds = open_source(source)
    assert str(ds["time"].values[0])[:10] == "2000-01-01"
    assert not ds[name].variable._in_memory


def test_a_name_in_several_groups_is_refused_with_their_paths(tmp_path: Path) -> None:
    write_imerg(tmp_path / "a.HDF5", "Grid/Intermediate")
    path = tmp_path / "a.HDF5"
    with pytest.raises(InputError, match=r"Grid/Intermediate/precipitation, Grid/precipitation"):
        open_source(entry(path))
    found = values(entry(path, "precipitation", options={"group": "Grid/Intermediate"}))
    np.testing.assert_array_equal(found, expected())
    with pytest.raises(InputError, match=r'expected a variable "precip"\. Did you mean "precip'):
        open_source(entry(path, "precip"))
    with pytest.raises(InputError, match="unknown key"):
        validated(NetcdfOptions, {"groups": "Grid"}, "options")


def test_axes_of_a_file_without_any_names_are_recognised_by_size(tmp_path: Path) -> None:
    path = tmp_path / "smap_l4.h5"
    with h5py.File(path, "w") as file:
        file["x"], file["y"] = np.arange(4) * 9000.0, np.arange(3)[::-1] * 9000.0
        data = file.create_dataset("Geophysical_Data/sm_surface", data=FIELD.astype("f4") / 20)
        data.attrs["_FillValue"], data.attrs["units"] = np.float32(-9999), "m3 m-3"
        file["Geophysical_Data/other"] = np.ones((5, 5))
    source = entry(path, {"sm": {"name": "sm_surface"}}, crs="EPSG:6933")
    ds = canonicalise(open_source(source), source, VARIABLES)
    np.testing.assert_allclose(ds["sm"].values, FIELD / 20, rtol=1e-6)
    np.testing.assert_array_equal(ds["y"].values, [18000, 9000, 0])
    np.testing.assert_array_equal(ds["x"].values, np.arange(4) * 9000.0)


def test_axes_of_one_size_must_be_declared(tmp_path: Path) -> None:
    path, square = tmp_path / "a.h5", np.arange(9.0).reshape(3, 3)
    with h5py.File(path, "w") as file:
        file["g/lat"], file["g/lon"], file["g/rain"] = LAT, LON[:3], square
        file["g/rain"].attrs["units"] = "mm/day"
    with pytest.raises(InputError, match=r"dims: \{y: phony_dim_0, x: phony_dim_1\}"):
        open_source(entry(path, "rain"))
    declared = entry(path, "rain", dims={"y": "phony_dim_1", "x": "phony_dim_0"})
    np.testing.assert_array_equal(values(declared), square.T[::-1])


def test_latitudes_of_unseen_cells_are_missing(tmp_path: Path) -> None:
    path, name = tmp_path / "smap_l3.h5", "Soil_Moisture_Retrieval_Data_AM"
    lat, lon = np.meshgrid(LAT[::-1], LON, indexing="ij")
    lat[0, 1] = lon[0, 1] = -9999
    with h5py.File(path, "w") as file:
        for key, array in (("latitude", lat), ("longitude", lon), ("soil_moisture", FIELD / 20)):
            data = file.create_dataset(f"{name}/{key}", data=array.astype("f4"))
            data.attrs["_FillValue"] = np.float32(-9999)
        file[f"{name}/soil_moisture"].attrs["units"] = "cm**3/cm**3"
    entry_of = {"sm": {"name": "soil_moisture", "units": "m3 m-3"}}
    for settings in ({}, {"lat": "latitude", "lon": "longitude"},
                     {"lat": f"{name}/latitude", "lon": f"{name}/longitude"}):  # fmt: skip
        source = entry(path, entry_of, dims={"y": "phony_dim_0", "x": "phony_dim_1"}, **settings)
        ds = open_source(source)
        axes = layout(ds, source)
        assert axes.is_curvilinear
        assert np.isnan(ds[axes.lat].values[0, 1])
        np.testing.assert_allclose(ds["soil_moisture"].values, FIELD / 20, rtol=1e-6)


METADATA = """GROUP=SwathStructure
END_GROUP=SwathStructure
GROUP=GridStructure
\tGROUP=GRID_1
\t\tGridName="Column Amount"
\t\tXDim=4
\t\tYDim=3
\t\tUpperLeftPointMtrs={upper}
\t\tLowerRightMtrs={lower}
\t\tProjection={projection}
{origin}\t\tGROUP=DataField
\t\t\tOBJECT=DataField_1
\t\t\t\tDataFieldName="rain"
\t\t\t\tDimList=("YDim","XDim")
\t\t\tEND_OBJECT=DataField_1
\t\tEND_GROUP=DataField
\tEND_GROUP=GRID_1
END_GROUP=GridStructure
"""


@pytest.mark.parametrize(
    ("corners", "origin", "projection", "y", "x"),
    [
        (("(-10000000.000000,6030000.000000)", "(10000000.000000,3000000.000000)"), "",
         "HE5_GCTP_GEO", [5.9166667, 4.75, 3.5833333], [-7.5, -2.5, 2.5, 7.5]),
        (("(-10000000.0,-30000000.0)", "(10000000.0,0.0)"), "HE5_HDFE_GD_LL",
         "HE5_GCTP_GEO", [-25, -15, -5], [-7.5, -2.5, 2.5, 7.5]),
        (("(-10.0,6.0)", "(10.0,3.0)"), "HE5_HDFE_GD_UL",
         "HE5_GCTP_GEO", [5.5, 4.5, 3.5], [-7.5, -2.5, 2.5, 7.5]),
        (("(-10000000.0,6000000.0)", "(10000000.0,3000000.0)"), "HE5_HDFE_GD_UR",
         "HE5_GCTP_GEO", [5.5, 4.5, 3.5], [7.5, 2.5, -2.5, -7.5]),
        (("(-10000000.0,6000000.0)", "(10000000.0,3000000.0)"), "HE5_HDFE_GD_LR",
         "HE5_GCTP_GEO", [3.5, 4.5, 5.5], [7.5, 2.5, -2.5, -7.5]),
        (("(1000.0,9000.0)", "(5000.0,6000.0)"), "HE5_HDFE_GD_UL",
         "HE5_GCTP_SNSOID", [8500, 7500, 6500], [1500, 2500, 3500, 4500]),
    ],
)  # fmt: skip
def test_hdf_eos_names_the_corners_of_its_grid(
    tmp_path: Path, corners: tuple[str, str], origin: str, projection: str, y: list[float],
    x: list[float],
) -> None:  # fmt: skip
    path = tmp_path / "omi.he5"
    with h5py.File(path, "w") as file:
        text = METADATA.format(upper=corners[0], lower=corners[1], projection=projection,
                               origin=f"\t\tGridOrigin={origin}\n" if origin else "")  # fmt: skip
        file["HDFEOS INFORMATION/StructMetadata.0"] = np.bytes_(text)
        data = file.create_dataset("HDFEOS/GRIDS/Column Amount/Data Fields/rain",
                                   data=(FIELD * 10).astype("i2"))  # fmt: skip
        data.attrs["Units"], data.attrs["ScaleFactor"] = np.bytes_("mm/day"), 0.1
        data.attrs["MissingValue"] = np.int16(110)
    source = entry(path, "rain", crs="EPSG:4326" if "GEO" in projection else "EPSG:6933")
    ds = open_source(source)
    np.testing.assert_allclose(ds["YDim"].values, [5 + 55 / 60, 4.75, 3 + 35 / 60]
                               if y[0] == 5.9166667 else y)  # fmt: skip
    np.testing.assert_allclose(ds["XDim"].values, x)
    field = FIELD.copy()
    field[2, 3] = np.nan
    np.testing.assert_allclose(ds["rain"].values, field, atol=1e-5)


@pytest.mark.parametrize("corner", ["(0.0,3000000.0)", "DEFAULT"])
def test_hdf_eos_has_the_axes_of_dimensions_with_a_name_alone(tmp_path: Path, corner: str) -> None:
    path = tmp_path / "viirs.h5"
    text = METADATA.format(upper=corner, lower="(4000000.0,0.0)", projection="HE5_GCTP_GEO",
                           origin="")  # fmt: skip
    with h5py.File(path, "w") as file:
        file["HDFEOS INFORMATION/StructMetadata.0"] = np.bytes_(text)
        data = file.create_dataset("HDFEOS/GRIDS/Column Amount/Data Fields/rain", data=FIELD)
        data.attrs["units"] = "mm/day"
        for index, (name, size) in enumerate((("YDim", 3), ("XDim", 4))):
            scale = file.create_dataset(f"HDFEOS/GRIDS/Column Amount/{name}", data=np.zeros(size))
            scale.make_scale(f"This is a netCDF dimension but not a netCDF variable.{size:10d}")
            data.dims[index].attach_scale(scale)
    source = entry(path, "rain")
    if corner == "DEFAULT":
        with pytest.raises(InputError, match='no coordinate "YDim"'):
            values(source)
        return
    ds = open_source(source)
    np.testing.assert_allclose(ds["YDim"].values, [2.5, 1.5, 0.5])
    np.testing.assert_allclose(ds["XDim"].values, [0.5, 1.5, 2.5, 3.5])


def test_groups_of_netcdf_use_dimensions_of_groups_above(tmp_path: Path) -> None:
    path = tmp_path / "sentinel.nc"
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("lat", 3)
        file.createDimension("lon", 4)
        file.createVariable("lat", "f8", ("lat",))[:] = LAT
        file.createVariable("lon", "f8", ("lon",))[:] = LON
        for number, name in enumerate(("PRODUCT", "PRODUCT/SUPPORT")):
            variable = file.createGroup(name).createVariable(f"v{number}", "f4", ("lat", "lon"))
            variable[:], variable.units = FIELD + number, "mm/day"
        group = file.createGroup("COARSE")
        group.createDimension("lat", 2)
        group.createVariable("lat", "f8", ("lat",))[:] = LAT[:2]
        coarse = group.createVariable("v2", "f4", ("lat", "lon"))
        coarse[:] = FIELD[:2]
    both = entry(path, {"rain": {"name": "v0"}, "sm": {"name": "PRODUCT/SUPPORT/v1"}})
    ds = open_source(both)
    np.testing.assert_array_equal(ds["PRODUCT/SUPPORT/v1"].values, FIELD + 1)
    np.testing.assert_array_equal(ds["lat"].values, LAT)
    with pytest.raises(InputError, match="groups on different grids"):
        open_source(entry(path, {"rain": {"name": "v0"}, "sm": {"name": "v2"}}))


def test_a_series_of_grouped_files(tmp_path: Path) -> None:
    for day in (1, 2):
        write_imerg(tmp_path / f"imerg_{day}.HDF5")
        with h5py.File(tmp_path / f"imerg_{day}.HDF5", "a") as file:
            file["Grid/time"][:] += 86400 * day
    ds = open_source(entry(tmp_path / "imerg_*.HDF5", "Grid/precipitation"))
    assert [str(t)[:10] for t in ds["time"].values] == ["2000-01-02", "2000-01-03"]
    assert isinstance(ds, xr.Dataset)


@pytest.mark.parametrize("group", ["AM", "PM"])
def test_rows_and_columns_are_those_of_2d_latitudes(tmp_path: Path, group: str) -> None:
    path = tmp_path / "swath.h5"
    lon, lat = np.meshgrid(LON, LAT)
    with h5py.File(path, "w") as file:
        for name, factor in (("AM", 1), ("PM", 2)):
            inside = file.create_group(name)
            inside["latitude"], inside["longitude"] = lat, lon
            inside["moisture"] = factor * FIELD / 100
            inside["moisture"].attrs["units"] = "cm**3/cm**3"
    source = entry(path, {"sm": {"name": f"{group}/moisture"}}, method="nearest")
    ds = canonicalise(open_source(source), source, VARIABLES)
    wanted = FIELD / 100 * (2 if group == "PM" else 1)
    np.testing.assert_allclose(ds["sm"].values, wanted, rtol=1e-6)
    np.testing.assert_array_equal(ds["lat"].values, lat)
