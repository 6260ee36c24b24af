"""Copernicus DEM as in its buckets: tiles of a degree, columns by latitude, none of open sea."""

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

ROWS = 12
"""Rows of a tile in this fixture; there are 3600 (GLO-30) and 1200 (GLO-90)."""


def tile(folder: Path, name: str, south: int, west: int, columns: int, values: object) -> None:
    """A tile whose first cell has its centre at the corner in the northwest."""
    dx, dy = 1 / columns, 1 / ROWS
    data = np.broadcast_to(np.float32(values), (ROWS, columns))
    raster(folder / f"{name}.tif", data, west - dx / 2, south + 1 + dy / 2, (dx, dy), point=True,
           tiled=True, blockxsize=16, blockysize=16, compress="deflate", predictor=3)  # fmt: skip


def make_copernicus_dem(folder: Path, arc: int) -> None:
    """Tiles on both sides of 50° N, where columns become wider, and a neighbour at sea."""
    low, high = np.full((ROWS, 12), 100.0), np.full((ROWS, 8), 400.0)
    low[:, :6] = 0.0  # water within a tile is 0
    tile(folder, f"Copernicus_DSM_COG_{arc}_N49_00_W002_00_DEM", 49, -2, 12, low)
    tile(folder, f"Copernicus_DSM_COG_{arc}_N50_00_W002_00_DEM", 50, -2, 8, high)


@pytest.mark.parametrize(
    ("source", "part", "arc"),
    [("copernicus_dem", "glo30", 10), ("copernicus_dem_90m", "glo90", 30)],
)
def test_tiles_of_both_zones_are_one_map(source: str, part: str, arc: int, tmp_path: Path) -> None:
    make_copernicus_dem(tmp_path / "copernicus_dem" / part, arc)
    bounds = (-2.0, 49.25, -0.5, 50.75)
    found = cube("copernicus_dem", tmp_path, bounds, 0.5, sources=[source])["elevation"]
    # The tile in the south ends half a row (1/24°) north of 50°.
    south, seam, north = np.sin(np.deg2rad([49.75, 50 + 1 / 24, 50.25]))
    of_south = (seam - south) / (north - south)
    # Water ends half a column (1/24°) west of 1.5° W, and tiles half a column west of 1° W.
    land = 1 / 24 / 0.5
    low, high = of_south * (0.5 - 1 / 24), (1 - of_south) * (0.5 - 1 / 16)
    same(found, [[400, 400, np.nan],
                 [400 - of_south * (400 - 100 * land), (low * 100 + high * 400) / (low + high),
                  np.nan],
                 [100 * land, 100, np.nan]])  # fmt: skip
    assert not faults("copernicus_dem", tmp_path, source)


def test_tiles_are_fetched_but_for_those_of_the_sea(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    make_copernicus_dem(made, 10)
    for path in made.iterdir():
        (tmp_path / "served" / "copernicus-dem-30m" / path.stem).mkdir(parents=True)
        path.rename(tmp_path / "served" / "copernicus-dem-30m" / path.stem / path.name)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    with serving(tmp_path / "served", lists=True) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        order = make_order("copernicus_dem", tmp_path / "data",
                           catalog=str(catalog_path("copernicus_dem")),
                           bounds=(-2.5, 49.5, -0.5, 50.5))  # fmt: skip
        records = fetch(order, fast())
    assert [record.path for record in records] == [
        f"copernicus_dem/glo30/Copernicus_DSM_COG_10_{name}_00_W002_00_DEM.tif"
        for name in ("N49", "N50")
    ]
