"""GMTED2010 as published: tiles of 20° by 30° from 10°, whole metres, sea at 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.core.packaged import catalog_path
from pipeline.fetch.listing import remote_files
from pipeline.fetch.order import make_order
from tests.pipeline.fetch.products import fast
from tests.products.common import cube, faults, same
from tests.products.rasters import raster

OFF = 0.5 / 3600
"""Distance in degrees of a tile's edges from whole degrees, to the south and west."""


def tile(folder: Path, name: str, south: int, west: int, values: object, cell: float = 1.0) -> None:
    shape = (round(20 / cell), round(30 / cell))
    raster(folder / name, np.broadcast_to(np.int16(values), shape), west - OFF, south + 20 - OFF,
           (cell, cell), nodata=-32768)  # fmt: skip


def make_gmted2010(folder: Path) -> None:
    """Four tiles around 10° N, 0° E, with a different elevation each; the sea is in one."""
    sea = np.full((20, 30), -20)
    sea[:, :29] = 0
    tile(folder, "10S030W_20101117_gmted_mea075.tif", -10, -30, sea)
    tile(folder, "10S000E_20101117_gmted_mea075.tif", -10, 0, 100)
    tile(folder, "10N030W_20101117_gmted_mea075.tif", 10, -30, 200)
    unknown = np.full((20, 30), 300)
    unknown[18:, 2:] = -32768
    tile(folder, "10N000E_20101117_gmted_mea075.tif", 10, 0, unknown)
    tile(folder, "10N000E_20101117_gmted_mea300.tif", 10, 0, 500, cell=2.0)


def test_tiles_around_a_corner(tmp_path: Path) -> None:
    make_gmted2010(tmp_path / "gmted2010")
    found = cube("gmted2010", tmp_path, (-2, 8, 2, 12), 2.0)["elevation"]
    # A thousandth of each cell is of its neighbours.
    np.testing.assert_allclose(found.values, [[200, 300], [-10, 100]], atol=0.03)
    coarse = cube("gmted2010", tmp_path, (0, 12, 4, 14), 2.0, sources=["gmted2010_30s"])
    same(coarse["elevation"], [[500, 500]])
    assert not faults("gmted2010", tmp_path, "gmted2010", "gmted2010_30s")


def test_missing_values_are_no_depths(tmp_path: Path) -> None:
    make_gmted2010(tmp_path / "gmted2010")
    found = cube("gmted2010", tmp_path, (1, 10, 3, 12), 1.0)
    same(found["elevation"], [[300, np.nan], [300, np.nan]])


def test_files_of_an_order_have_the_names_of_the_server(tmp_path: Path) -> None:
    order = make_order("gmted2010", tmp_path, catalog=str(catalog_path("gmted2010")),
                       bounds=(-125, 25, -100, 49))  # fmt: skip
    found = [file.address.rpartition("mea/")[2] for file in remote_files(order, fast())]
    assert found == [
        f"W{lon}/{lat}N{lon}W_20101117_gmted_mea075.tif" for lat in (10, 30) for lon in (120, 150)
    ]
