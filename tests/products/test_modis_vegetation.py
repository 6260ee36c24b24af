"""MODIS NDVI, leaf area and FPAR from AppEEARS: packed numbers, fill codes, quality flags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio

from tests.products.appeears import write_netcdf
from tests.products.common import cube, dates, faults, same
from tests.products.rasters import raster

CELL = 1 / 120
JANUARY, FEBRUARY, MARCH = 6940, 6971, 6999
"""Days from 2000-01-01 to the begins of months of 2019."""
NDVI = np.full((3, 4, 4), 5000, np.int16)
NDVI[:, :2, :2] = [[6000, 8000], [7000, -3000]]
NDVI[1] = 2000
RELIABILITY = np.zeros((3, 4, 4), np.int8)
RELIABILITY[:, 0, 0], RELIABILITY[:, 1, 1] = 1, -1
RELIABILITY[1, :, :2] = 3  # clouds in the west in February
RELIABILITY[2, 0, 1] = 2  # snow in March
BOUNDS = (7, 45 - 4 * CELL, 7 + 4 * CELL, 45)
nan = np.nan
WANTED = [[[0.7, 0.5], [0.5, 0.5]], [[nan, 0.2], [nan, 0.2]], [[0.65, 0.5], [0.5, 0.5]]]
"""Means of the two or three good cells of four: 0.6, 0.8 and 0.7; without snow 0.6 and 0.7."""


def make_modis_vegetation(folder: Path) -> None:
    """Three months of NDVI, and leaf area across the end of a year."""
    rows, columns = 45 - CELL * (np.arange(4) + 0.5), 7 + CELL * (np.arange(4) + 0.5)
    of_file = {"units": "NDVI", "scale_factor_err": 0.0, "add_offset_err": 0.0, "calibrated_nt": 5}
    write_netcdf(
        folder / "MOD13A3.061_1km_aid0001.nc", [JANUARY, FEBRUARY, MARCH],
        {"lat": rows, "lon": columns},
        {"_1_km_monthly_NDVI": (NDVI, {
            **of_file, "_FillValue": -3000, "scale_factor": 0.0001, "add_offset": 0.0,
            "valid_min": np.int16(-2000), "valid_max": np.int16(10000)}),
         "_1_km_monthly_pixel_reliability": (RELIABILITY, {
            "_FillValue": -1, "units": "rank", "valid_min": np.int8(0),
            "valid_max": np.int8(3)})},
    )  # fmt: skip
    lai, fpar = np.full((4, 4, 4), 20, np.uint8), np.full((4, 4, 4), 50, np.uint8)
    lai[:, :2, :2] = fpar[:, :2, :2] = [[10, 254], [30, 255]]  # water and fill
    lai[:, 2:, :2] = fpar[:, 2:, :2] = 250  # built-up
    flags = np.zeros((4, 4, 4), np.uint8)
    flags[1, :, 2:] = 0b00001000  # cloud
    flags[2, :, 2:] = 0b00011010  # Aqua, assumed clear
    flags[3, :, 2:] = 0b01100001  # the other algorithm
    packed = {"_FillValue": 255, "valid_min": np.uint8(0), "valid_max": np.uint8(100)}
    write_netcdf(
        folder / "MCD15A2H.061_500m_aid0001.nc", [6927, 6935, 6940, 6948],
        {"lat": rows, "lon": columns},
        {"Lai_500m": (lai, {**packed, "scale_factor": 0.1, "add_offset": 0.0,
                            "units": "m^2/m^2"}),
         "Fpar_500m": (fpar, {**packed, "scale_factor": 0.01, "add_offset": 0.0,
                              "units": "Percent"}),
         "FparLai_QC": (flags, {"_FillValue": 255, "units": "class-flag"})},
    )  # fmt: skip


def make_geotiffs(folder: Path, pattern: str, reliability: str, cell: float, scale: float) -> None:
    """A file for each month and layer, which declares another scale than the numbers have."""
    for step, (doy, stamp) in enumerate([("001", ""), ("032", ""), ("060", "000000")]):
        for name, data, fill in ((pattern, NDVI, -3000), (reliability, RELIABILITY, -1)):
            path = folder / name.format(doy=doy, stamp=stamp)
            raster(path, data[step], 7, 45, (cell, cell), nodata=fill)
            if name == pattern:
                with rasterio.open(path, "r+") as file:
                    file.scales = (scale,)


def test_ndvi_of_good_and_marginal_cells(tmp_path: Path) -> None:
    make_modis_vegetation(tmp_path / "modis_vegetation")
    found = cube("modis_vegetation", tmp_path, BOUNDS, 2 * CELL, ("2019-01-01", "2019-03-31"))
    assert dates(found) == ["2019-01-01", "2019-02-01", "2019-03-01"]
    same(found["ndvi"], WANTED, rtol=1e-3)
    assert not faults("modis_vegetation", tmp_path)


def test_geotiffs_are_scaled_by_the_entry(tmp_path: Path) -> None:
    make_geotiffs(
        tmp_path / "modis_vegetation",
        "MOD13A3.061__1_km_monthly_NDVI_doy2019{doy}{stamp}_aid0001.tif",
        "MOD13A3.061__1_km_monthly_pixel_reliability_doy2019{doy}{stamp}_aid0001.tif", CELL, 0.0001,
    )  # fmt: skip
    found = cube("modis_vegetation", tmp_path, BOUNDS, 2 * CELL, ("2019-01-01", "2019-03-31"),
                 sources=["modis_vegetation_geotiff"])  # fmt: skip
    assert dates(found) == ["2019-01-01", "2019-02-01", "2019-03-01"]
    same(found["ndvi"], WANTED, rtol=1e-3)


def test_converted_files_declare_a_scale_of_10000(tmp_path: Path) -> None:
    make_geotiffs(
        tmp_path / "modis_vegetation", "MOD13C2.A2019{doy}.061.2020286171229.NDVI.tif",
        "MOD13C2.A2019{doy}.061.2020286171229.reliability.tif", 0.05, 10000.0,
    )  # fmt: skip
    found = cube("modis_vegetation", tmp_path, (7, 44.8, 7.2, 45), 0.1,
                 ("2019-01-01", "2019-03-31"), sources=["modis_vegetation_cmg"])  # fmt: skip
    same(found["ndvi"], WANTED, rtol=1e-3)


def test_leaf_area_without_fill_codes_and_clouds_across_a_year(tmp_path: Path) -> None:
    make_modis_vegetation(tmp_path / "modis_vegetation")
    found = cube("modis_vegetation", tmp_path, BOUNDS, 2 * CELL, ("2018-12-19", "2019-01-16"),
                 sources=["modis_vegetation_lai"])  # fmt: skip
    assert dates(found) == ["2018-12-19", "2018-12-27", "2019-01-01", "2019-01-09"]
    # In the northwest two of four cells have values, 1 and 3; the southwest is built up.
    same(found["leaf_area_index"][:, 0], [[2, 2], [2, nan], [2, 2], [2, nan]], rtol=1e-3)
    same(found["leaf_area_index"][:, 1], [[nan, 2], [nan, nan], [nan, 2], [nan, nan]], rtol=1e-3)
    same(found["fapar"][:, 0], [[0.2, 0.5], [0.2, nan], [0.2, 0.5], [0.2, nan]], rtol=1e-3)
    assert not faults("modis_vegetation", tmp_path, "modis_vegetation_lai")
