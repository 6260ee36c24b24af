"""The CRS in a file against that of its entry: the same points, whatever the names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr

from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source, Variable
from pipeline.sources.open import check_source

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
