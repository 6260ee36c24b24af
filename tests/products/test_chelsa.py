"""CHELSA as published: a GeoTIFF for each month, packed, on a grid a part of a cell off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio

from tests.products.common import cube, faults, same
from tests.products.rasters import raster

CELL = 0.0083333333
WEST, NORTH = 7.0 - 0.00013888885, 45.0 - 0.00013958485
"""Corner of the cells, which begin 0.0001389 degrees west and 0.0001396 south of whole degrees."""
BOUNDS = (WEST, NORTH - 2 * CELL, WEST + 3 * CELL, NORTH)
SHAPE = np.array([[1, 2, 3], [4, 5, 6]], "u2")


def make_chelsa(folder: Path, name: str, months: list[np.ndarray], offset: float = 0.0) -> None:
    """Write the stored numbers of twelve months, in tenths, 65535 missing.

    Older files, with an offset, declare a missing value that their type cannot hold.
    """
    for number, stored in enumerate(months, 1):
        path = folder / "chelsa" / f"CHELSA_{name}_{number:02d}_1981-2010_V.2.1.tif"
        raster(path, stored.astype("u2"), WEST, NORTH, (CELL, CELL), nodata=65535, compress="lzw")
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = (0.1,), (offset,)
            if offset:
                file.nodata = -2147483647


def test_rain_of_a_month_is_divided_by_its_days(tmp_path: Path) -> None:
    months = [10 * days * SHAPE for days in (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)]
    months[1] = np.array([[565, 565, 565], [565, 565, 65535]])
    make_chelsa(tmp_path, "pr", months)
    ds = cube("chelsa", tmp_path, BOUNDS, CELL)
    assert ds.sizes["time"] == 12
    # 31 mm in January are 1 mm a day, 56.5 mm in a mean February of 28.25 days are 2.
    same(ds["precipitation"][0], SHAPE)
    same(ds["precipitation"][1], [[2.0, 2.0, 2.0], [2.0, 2.0, np.nan]])
    same(ds["precipitation"][8], SHAPE)
    assert ds["time"].attrs["climatology"] == "months"
    assert faults("chelsa", tmp_path) == []


def test_temperature_in_k(tmp_path: Path) -> None:
    make_chelsa(tmp_path, "tas", [2726 + 10 * month + 0 * SHAPE for month in range(12)])
    ds = cube("chelsa", tmp_path, BOUNDS, CELL, sources=["chelsa_temperature"])
    same(ds["air_temperature"][:, 0, 0], [-0.55 + month for month in range(12)])


def test_temperature_of_older_files_in_degc(tmp_path: Path) -> None:
    make_chelsa(tmp_path, "tas", [2726 + 10 * month + 0 * SHAPE for month in range(12)], -273.15)
    ds = cube("chelsa", tmp_path, BOUNDS, CELL, sources=["chelsa_temperature_degc"])
    same(ds["air_temperature"][:, 0, 0], [-0.55 + month for month in range(12)])
    # Read as K, they are refused.
    assert "air_temperature" in faults("chelsa", tmp_path, "chelsa_temperature")[0]
