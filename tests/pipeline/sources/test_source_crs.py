"""The CRS in a file against that of its entry: the same points, whatever the names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr

from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source, Variable
from pipeline.sources.axes import axes_of
from pipeline.sources.open import check_source, open_source

VARIABLES = {"v": Variable(long_name="v", units="1")}
MAPPING = {
    "grid_mapping_name": "lambert_conformal_conic", "longitude_of_central_meridian": -97.0,
    "latitude_of_projection_origin": 40.0, "standard_parallel": np.array([30.0, 50.0]),
    "false_easting": 0.0, "false_northing": 0.0,
}  # fmt: skip
WGS84 = {"semi_major_axis": 6378137.0, "inverse_flattening": 298.257223563}
SPHERE = {"earth_radius": 6370000.0}
ENTRY = "+proj=lcc +lat_0=40 +lon_0=-97 +lat_1=30 +lat_2=50 +x_0=0 +y_0=0"


def found(
    path: Path, mapping: dict[str, Any], crs: str, cell: float = 1000.0, unit: str = "m"
) -> str:
    """The faults of a file with this grid mapping, against an entry with this CRS."""
    x = (np.arange(9) - 4) * cell + 7e5
    attrs = {"units": unit} if unit else {}
    ds = xr.Dataset(
        {"v": (("y", "x"), np.ones((9, 9), "f4"), {"grid_mapping": "lcc", "units": "1"}),
         "lcc": ((), np.int16(0), mapping)},
        {"y": ("y", -x, attrs), "x": ("x", x, attrs)},
    )  # fmt: skip
    file = path / f"{len(list(path.iterdir()))}.nc"
    ds.to_netcdf(file)
    entry = {"name": "grid", "uri": str(file), "driver": "netcdf", "crs": crs,
             "variables": {"v": {"name": "v"}}}  # fmt: skip
    faults = Faults()
    check_source(Source.model_validate(entry), faults, VARIABLES)
    return str(InputError(faults.faults))


@pytest.mark.parametrize("datum", ["+ellps=WGS84", "+datum=WGS84", "+ellps=GRS80", "+datum=NAD83"])
def test_a_grid_mapping_without_a_datum_is_that_of_the_entry(tmp_path: Path, datum: str) -> None:
    assert found(tmp_path, {**MAPPING, **WGS84}, f"{ENTRY} {datum}") == ""


def test_another_datum_is_a_fault_with_its_distance_where_cells_are_small(tmp_path: Path) -> None:
    message = found(tmp_path, {**MAPPING, **WGS84}, f"{ENTRY} +datum=NAD27")
    assert "+datum=NAD27" in message
    assert " m apart" in message
    assert found(tmp_path, {**MAPPING, **WGS84}, f"{ENTRY} +datum=NAD27", cell=25_000) == ""


def test_a_sphere_is_not_an_ellipsoid(tmp_path: Path) -> None:
    assert "apart" in found(tmp_path, {**MAPPING, **SPHERE}, f"{ENTRY} +ellps=WGS84", 12_000)
    assert "apart" in found(tmp_path, {**MAPPING, **WGS84}, f"{ENTRY} +R=6370000", 12_000)
    assert found(tmp_path, {**MAPPING, **SPHERE}, f"{ENTRY} +R=6370000", 12_000) == ""


def test_other_parallels_are_a_fault(tmp_path: Path) -> None:
    other = {**MAPPING, **WGS84, "standard_parallel": np.array([33.0, 45.0])}
    assert "apart" in found(tmp_path, other, f"{ENTRY} +ellps=WGS84")


def test_an_entry_in_km_needs_coordinates_that_declare_them(tmp_path: Path) -> None:
    crs = f"{ENTRY} +ellps=WGS84 +units=km"
    assert found(tmp_path, {**MAPPING, **WGS84}, crs, unit="m") == ""
    assert "km apart" in found(tmp_path, {**MAPPING, **WGS84}, crs, unit="")


@pytest.mark.parametrize(
    ("crs", "degrees", "same"),
    [("EPSG:4269", 1 / 10800, True), ("OGC:CRS84", 1 / 1200, True), ("EPSG:4267", 0.25, True),
     ("EPSG:4267", 1 / 1200, False), ("EPSG:5070", 1 / 1200, False)],
)  # fmt: skip
def test_another_datum_of_latitudes_is_a_fault_where_cells_are_small(
    tmp_path: Path, crs: str, degrees: float, same: bool
) -> None:
    origin = rasterio.transform.from_origin(-100, 40, degrees, degrees)
    profile = {"driver": "GTiff", "width": 4, "height": 4, "count": 1, "dtype": "float32"}
    with rasterio.open(tmp_path / "a.tif", "w", crs=crs, transform=origin, **profile) as file:
        file.write(np.ones((1, 4, 4), "f4"))
    faults = Faults()
    entry = {"name": "dem", "uri": str(tmp_path / "a.tif"), "driver": "raster",
             "variables": {"v": {"name": "band_1", "units": "1"}}}  # fmt: skip
    check_source(Source.model_validate(entry), faults, VARIABLES)
    assert bool(faults.faults) != same


UTM = pyproj.CRS.from_epsg(32633)


@pytest.mark.parametrize("mapping", [
    {"proj4": "+proj=utm +zone=33 +datum=WGS84"}, {"proj4_params": UTM.to_proj4()},
    {"epsg_code": "EPSG:32633"}, {"epsg_code": np.int32(32633)}, {"EPSG_code": "32633"},
    {"spatial_ref": UTM.to_wkt()}, {"crs_wkt": UTM.to_wkt()},
    {"esri_pe_string": UTM.to_wkt("WKT1_ESRI")},
    {"grid_mapping_name": "utm33", "proj4": "+proj=utm +zone=33 +datum=WGS84"},
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:You will likely lose important")
def test_one_text_is_enough_as_a_grid_mapping(tmp_path: Path, mapping: dict[str, Any]) -> None:
    assert found(tmp_path, mapping, "EPSG:32633") == ""
    assert "crs" in found(tmp_path, mapping, "EPSG:32634")
    file = sorted(tmp_path.iterdir())[0]
    source = Source.model_validate(
        {"name": "grid", "uri": str(file), "driver": "netcdf", "crs": "file",
         "variables": {"v": {"name": "v"}}}
    )  # fmt: skip
    axes = axes_of(open_source(source), source)
    assert axes is not None
    assert axes.crs == "EPSG:32633"


def swapped(path: Path, lat: np.ndarray, lon: np.ndarray, attrs: bool, **dims: str) -> str:
    """The faults of a file with latitudes and longitudes against an entry with these `dims`."""
    names = {"lat": "degrees_north", "lon": "degrees_east"}
    ds = xr.Dataset(
        {"v": (("lon", "lat"), np.ones((lon.size, lat.size), "f4"), {"units": "1"})},
        {name: (name, at, {"units": names[name]} if attrs else {})
         for name, at in (("lat", lat), ("lon", lon))},
    )  # fmt: skip
    file = path / f"{len(list(path.iterdir()))}.nc"
    ds.to_netcdf(file)
    entry = {"name": "grid", "uri": str(file), "driver": "netcdf", "dims": dims,
             "variables": {"v": {"name": "v"}}}  # fmt: skip
    faults = Faults()
    check_source(Source.model_validate(entry), faults, VARIABLES)
    return str(InputError(faults.faults))


@pytest.mark.parametrize("attrs", [False, True])
def test_latitudes_as_x_have_a_way_out(tmp_path: Path, attrs: bool) -> None:
    lat, lon = np.arange(40, 50.0), np.arange(-10, 20.0)
    assert swapped(tmp_path, lat, lon, attrs) == ""
    assert swapped(tmp_path, lat, lon, attrs, y="lat", x="lon") == ""
    assert "`dims: {y: lat, x: lon}`" in swapped(tmp_path, lat, lon, attrs, y="lon", x="lat")


def test_coordinates_under_each_others_names_have_a_way_out(tmp_path: Path) -> None:
    lat, lon = np.arange(-10, 20.0), np.arange(100, 130.0)
    assert "`dims: {y: lon, x: lat}`" in swapped(tmp_path, lon, lat, False)
    assert swapped(tmp_path, lon, lat, False, y="lon", x="lat") == ""
