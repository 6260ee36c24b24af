"""ESA WorldCover as in its bucket: tiles of 3°, codes of classes, 0 over the sea."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.packaged import catalog_path
from pipeline.fetch.order import make_order
from pipeline.fetch.run import fetch
from tests.loopback import serving
from tests.pipeline.fetch.products import fast
from tests.products.common import cube, faults, same
from tests.products.rasters import raster

SIZE = 12
"""Rows and columns of a tile in this fixture; there are 36000."""
NAMES = ("ESA_WorldCover_10m_2021_v200_S03E036_Map", "ESA_WorldCover_10m_2021_v200_N00E036_Map")


def make_worldcover(folder: Path) -> None:
    """Two tiles around the equator: trees and crops of equal area in the south, water, sea."""
    south = np.full((SIZE, SIZE), 10)
    south[:, ::2] = 40
    south[8:, 8:] = 0  # the sea
    north = np.full((SIZE, SIZE), 80)
    north[:, :6] = 95
    for name, data, edge in zip(NAMES, (south, north), (0, 3), strict=True):
        raster(folder / f"{name}.tif", np.uint8(data), 36, edge, (0.25, 0.25), nodata=0,
               tiled=True, blockxsize=16, blockysize=16, compress="deflate")  # fmt: skip


def test_fractions_of_classes_on_both_sides_of_a_seam(tmp_path: Path) -> None:
    make_worldcover(tmp_path / "worldcover")
    found = cube("worldcover", tmp_path, (36, -3, 39, 3), 1.5)
    # Rows of cells from 3° N to 3° S; latitudes change areas by less than a thousandth here.
    part = {name: found[f"landcover_fraction_{name}"] for name in
            ("tree_cover", "cropland", "mangroves", "water", "shrubland")}  # fmt: skip
    same(part["mangroves"], [[1, 0], [1, 0], [0, 0], [0, 0]])
    same(part["water"], [[0, 1], [0, 1], [0, 0], [0, 0]])
    # In the southeast 20 of 36 cells are land, half of them in each class.
    same(part["cropland"], [[0, 0], [0, 0], [0.5, 0.5], [0.5, 0.5]], rtol=1e-3)
    same(part["tree_cover"], [[0, 0], [0, 0], [0.5, 0.5], [0.5, 0.5]], rtol=1e-3)
    same(part["shrubland"], np.zeros((4, 2)))
    assert not faults("worldcover", tmp_path)
    # A mean of the codes 10 and 40 would be 25, which is no class.
    assert "landcover" not in found


def test_a_cell_of_more_sea_than_land_is_missing(tmp_path: Path) -> None:
    make_worldcover(tmp_path / "worldcover")
    found = cube("worldcover", tmp_path, (38, -3, 39, -2), 1.0)
    assert np.isnan(found["landcover_fraction_cropland"].values).all()


def test_tiles_are_fetched_but_for_those_of_the_sea(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = tmp_path / "served" / "esa-worldcover" / "v200" / "2021" / "map"
    make_worldcover(bucket)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    with serving(tmp_path / "served", lists=True) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        order = make_order("worldcover", tmp_path / "data", catalog=str(catalog_path("worldcover")),
                           bounds=(37, -1, 41, 1))  # fmt: skip
        records = fetch(order, fast())
    assert [record.path for record in records] == [
        f"worldcover/{name}.tif" for name in sorted(NAMES)
    ]
