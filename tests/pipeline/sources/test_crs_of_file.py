"""`crs: file`: the CRS that each file declares, of which tiles may have several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.build import build_cube
from pipeline.catalog.catalog import read_catalog
from pipeline.core.errors import Faults, InputError
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.open import check_source
from tests.products.rasters import raster

ENTRY = """
height:
  uri: {uri}
  driver: {driver}
  crs: file
  method: nearest
  variables: {{elevation: {{name: {name}, units: m}}}}
"""


def cube(folder: Path, text: str, bounds: tuple[float, float, float, float]) -> np.ndarray:
    (folder / "c.yml").write_text(text)
    entries = read_catalog(folder / "c.yml").select("height")
    faults = Faults()
    check_source(entries[0], faults)
    faults.raise_if_any()
    grid = TargetGrid.from_bounds("small", "EPSG:4326", bounds, 1.0)
    return build_cube(folder / "cube.zarr", grid, entries)["elevation"].values


def test_one_file_in_metres(tmp_path: Path) -> None:
    raster(tmp_path / "a.tif", np.full((40, 40), 7, "i2"), 400000, 5100000, (10000, 10000),
           crs="EPSG:32633")  # fmt: skip
    text = ENTRY.format(uri=tmp_path / "a.tif", driver="raster", name="band_1")
    np.testing.assert_array_equal(cube(tmp_path, text, (15, 44, 17, 45)), [[7, 7]])


def test_tiles_of_two_zones_and_one_in_degrees(tmp_path: Path) -> None:
    for zone, value in ((32, 1), (33, 2)):
        west = {32: 500000, 33: 260000}[zone]
        raster(tmp_path / f"t{zone}.tif", np.full((30, 24), value, "i2"), west, 5100000,
               (10000, 10000), crs=f"EPSG:326{zone}")  # fmt: skip
    raster(tmp_path / "t99.tif", np.full((20, 20), 3, "i2"), 20, 46, (0.1, 0.1))
    text = ENTRY.format(uri=tmp_path / "t*.tif", driver="raster", name="band_1")
    found = cube(tmp_path, text, (9, 44, 22, 45))[0]
    np.testing.assert_array_equal(found[[0, 1, 4, 5, 10, 11, 12]], [1, 1, 2, 2, np.nan, 3, 3])


def test_a_file_without_a_crs_is_refused(tmp_path: Path) -> None:
    at = np.arange(4) + 0.5
    da = xr.DataArray(np.ones((4, 4)), {"lat": at, "lon": at}, ("lat", "lon"), "h")
    da.to_netcdf(tmp_path / "a.nc")
    text = ENTRY.format(uri=tmp_path / "a.nc", driver="netcdf", name="h")
    with pytest.raises(InputError, match="crs: found none in the file; expected that of each"):
        cube(tmp_path, text, (0, 0, 2, 2))


def test_tables_name_their_crs(tmp_path: Path) -> None:
    text = ENTRY.format(uri=tmp_path / "a.csv", driver="table", name="h")
    (tmp_path / "c.yml").write_text(text.replace("  crs", "  lat: y\n  lon: x\n  crs"))
    with pytest.raises(InputError, match='crs: found "file" for the driver table'):
        read_catalog(tmp_path / "c.yml")
