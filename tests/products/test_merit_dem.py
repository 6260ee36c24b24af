"""MERIT DEM and MERIT Hydro as unpacked: tiles of 5° in folders of 30°, half a cell off."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.products.common import cube, faults, same
from tests.products.rasters import raster

SIZE = 20
"""Rows and columns of a tile in this fixture; there are 6000."""
CELL = 5 / SIZE


def tile(path: Path, south: int, west: int, values: object) -> None:
    """A tile whose cell in the southwest has its centre at whole degrees."""
    data = np.broadcast_to(np.float32(values), (SIZE, SIZE))
    raster(path, data, west - CELL / 2, south + 5 - CELL / 2, (CELL, CELL), nodata=-9999)


def make_merit_dem(folder: Path) -> None:
    """Two neighbours in different packages, of which one has sea in its rows in the north."""
    west, east = np.full((SIZE, SIZE), 10.0), np.full((SIZE, SIZE), 30.0)
    west[:4] = -9999
    tile(folder / "dem_tif_n30w120" / "n30w095_dem.tif", 30, -95, west)
    tile(folder / "dem_tif_n30w090" / "n30w090_dem.tif", 30, -90, east)
    height = np.full((SIZE, SIZE), 2.0)
    height[:, 10:] = 6.0
    tile(folder / "hnd_n30w120" / "n30w095_hnd.tif", 30, -95, height)
    area = np.full((SIZE, SIZE), 0.01)
    area[12, 10] = 35000.5  # the river, whose cell has its centre at 31.75° N, 92.5° W
    tile(folder / "upa_n30w120" / "n30w095_upa.tif", 30, -95, area)


def test_elevation_across_packages(tmp_path: Path) -> None:
    make_merit_dem(tmp_path / "merit_dem")
    found = cube("merit_dem", tmp_path, (-91.0, 32.0, -89.0, 35.0), 1.0)["elevation"]
    # The tiles meet half a cell (1/8°) west of 90° W, and sea begins at 33.875° N.
    south, coast, north = np.sin(np.deg2rad([33, 33.875, 34]))
    land = 0.875 * (coast - south) / (north - south)
    same(found, [[np.nan, 30], [(10 * land + 30 * 0.125) / (land + 0.125), 30],
                 [10 * 0.875 + 30 * 0.125, 30]])  # fmt: skip
    assert not faults("merit_dem", tmp_path, "merit_dem", "merit_dem_hydro", "merit_dem_upstream")


def test_height_is_averaged_and_the_upstream_area_is_that_of_one_cell(tmp_path: Path) -> None:
    make_merit_dem(tmp_path / "merit_dem")
    height = cube("merit_dem", tmp_path, (-93.0, 31.0, -92.0, 32.0), 1.0,
                  sources=["merit_dem_hydro"])["height_above_drainage"]  # fmt: skip
    # Heights change at 92.625° W.
    same(height, [[2 * 0.375 + 6 * 0.625]])
    area = cube("merit_dem", tmp_path, (-92.75, 31.5, -92.25, 32.0), 0.5,
                sources=["merit_dem_upstream"])["upstream_area"]  # fmt: skip
    assert area.values[0, 0] == np.float32(35000.5)
    assert area.attrs["units"] == "km2"
