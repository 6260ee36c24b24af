"""MODIS land cover: GeoTIFFs and NetCDF of AppEEARS, and the 0.05° map converted from HDF4."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.products.appeears import write_netcdf
from tests.products.common import cube, faults, same
from tests.products.rasters import raster

CELL = 1 / 240
FINE = 463.3127165277778
"""Width of a cell of the native projection, m."""


def make_mcd12(folder: Path) -> None:
    """Two areas of an order in 2022, one year before, and a file of another layer."""
    codes = np.array([[1, 1, 17, 255], [4, 4, 17, 17], [12, 13, 16, 16], [12, 12, 16, 10]])
    for area, west, data in (("aid0001", 7, codes), ("aid0002", 7 + 4 * CELL, codes[::-1])):
        name = f"MCD12Q1.061_LC_Type1_doy2022001000000_{area}.tif"
        raster(folder / name, np.uint8(data), west, 45, (CELL, CELL), nodata=255)
    old = np.full_like(codes, 11)
    raster(folder / "MCD12Q1.061_LC_Type1_doy2021001_aid0001.tif", np.uint8(old), 7, 45,
           (CELL, CELL), nodata=255)  # fmt: skip
    raster(folder / "MCD12Q1.061_QC_doy2022001000000_aid0001.tif", np.uint8(old), 7, 45,
           (CELL, CELL), nodata=255)  # fmt: skip


def make_native(folder: Path) -> None:
    """Two years on the equator, of which the last has forest in the west and water in the east."""
    codes = np.full((2, 8, 8), 11, np.uint8)
    codes[1, :, :4], codes[1, :, 4:] = 2, 17
    codes[1, :4, 4:] = 255
    write_netcdf(
        folder / "MCD12Q1.061_500m_aid0001.nc", [7671, 8036],
        {"ydim": FINE * (3.5 - np.arange(8)), "xdim": FINE * (np.arange(8) - 3.5)},
        {"LC_Type1": (codes, {"_FillValue": 255, "units": "class", "valid_min": np.uint8(1),
                              "valid_max": np.uint8(17)})},
    )  # fmt: skip


def make_cmg(folder: Path) -> None:
    """Water is 0; the CRS is that of HDF-EOS, without a datum."""
    data = np.uint8([[0, 0, 12, 12], [0, 0, 12, 12], [255, 255, 1, 0], [255, 16, 1, 12]])
    raster(folder / "MCD12C1.A2022001.061.2023244164746.tif", data, 10, 50, (0.05, 0.05),
           crs="+proj=longlat +ellps=clrk66 +no_defs", nodata=255)  # fmt: skip


def test_geotiffs_of_two_areas_are_one_map(tmp_path: Path) -> None:
    make_mcd12(tmp_path / "mcd12")
    found = cube("mcd12", tmp_path, (7, 45 - 4 * CELL, 7 + 8 * CELL, 45), 2 * CELL)
    part = {name: found[f"landcover_fraction_{name}"] for name in
            ("evergreen_needleleaf_forest", "deciduous_broadleaf_forest", "cropland", "water",
             "wetland")}  # fmt: skip
    half = [[0.5, 0, 0, 0], [0, 0, 0.5, 0]]
    same(part["evergreen_needleleaf_forest"], half, rtol=1e-3)
    same(part["deciduous_broadleaf_forest"], half, rtol=1e-3)
    same(part["cropland"], [[0, 0, 0.75, 0], [0.75, 0, 0, 0]], rtol=1e-3)
    # A quarter of a cell is missing, all that is valid is water.
    same(part["water"], [[0, 1, 0, 0], [0, 0, 0, 1]])
    same(part["wetland"], np.zeros((2, 4)))
    assert not faults("mcd12", tmp_path)


def test_the_last_year_of_a_native_file(tmp_path: Path) -> None:
    make_native(tmp_path / "mcd12")
    # Four cells of the sphere are 1/60° of the ellipsoid on the equator, where x is longitude.
    degrees = 4 * FINE / (6371007.181 * np.pi / 180)
    found = cube("mcd12", tmp_path, (-degrees, -degrees, degrees, degrees), degrees,
                 sources=["mcd12_netcdf"])  # fmt: skip
    assert "time" not in found.dims
    same(found["landcover_fraction_evergreen_broadleaf_forest"], [[1, np.nan], [1, 0]], rtol=1e-3)
    same(found["landcover_fraction_water"], [[0, np.nan], [0, 1]], rtol=1e-3)
    assert not faults("mcd12", tmp_path, "mcd12_netcdf")


def test_water_of_the_coarse_map_is_0(tmp_path: Path) -> None:
    make_cmg(tmp_path / "mcd12")
    found = cube("mcd12", tmp_path, (10, 49.8, 10.2, 50), 0.1, sources=["mcd12_cmg"])
    same(found["landcover_fraction_water"], [[1, 0], [np.nan, 0.25]], rtol=1e-3)
    same(found["landcover_fraction_cropland"], [[0, 1], [np.nan, 0.25]], rtol=1e-3)
    assert not faults("mcd12", tmp_path, "mcd12_cmg")
