"""AlphaEarth as on Source Cooperative: int8, rows from the south, tiles of two UTM zones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import rasterio

from tests.products.common import cube, faults, same

CELL = 1000.0
"""Width of a cell of this fixture, m; there are 8192 by 8192 of 10 m in a tile."""
UNPACKED = (90 / 127.5) ** 2
"""Value of the stored number 90 (0.498), so that four of them have norm 1 (0.997)."""


def pattern(*bands: int) -> np.ndarray:
    """A vector, of which four bands are 90, or -90 if they are listed as negative numbers."""
    vector = np.zeros(64, np.int8)
    for band in bands:
        vector[abs(band)] = 90 if band > 0 else -90
    return vector


def tile(folder: Path, zone: int, name: str, west: float, south: float, data: np.ndarray) -> None:
    """A tile of a UTM zone, stored from south to north; `data` (band, y, x) begins in the north."""
    folder = folder / f"{zone}N"
    folder.mkdir(parents=True, exist_ok=True)
    transform = rasterio.Affine(CELL, 0, west, 0, CELL, south)
    with rasterio.open(
        folder / f"{name}-0000000000-0000000000.tiff", "w", "GTiff", data.shape[2], data.shape[1],
        64, f"EPSG:{32600 + zone}", transform, "int8", nodata=-128, tiled=True, blockxsize=16,
        blockysize=16, compress="deflate",
    ) as file:  # fmt: skip
        file.write(data[:, ::-1])
        file.descriptions = tuple(f"A{band:02d}" for band in range(64))


def make_alphaearth(folder: Path) -> None:
    """Tiles on both sides of 6° E, with other vectors north and south of 45° N."""
    for zone, sign in ((31, 1), (32, -1)):
        data = np.empty((64, 60, 60), np.int8)
        data[:, :30] = pattern(5, 6, 7, sign * 8)[:, None, None]
        data[:, 30:] = pattern(1, 2, 3, 4)[:, None, None]
        data[:, 30::2] = pattern(-1, 2, 3, -4)[:, None, None]
        data[:, 50:] = -128
        to_utm = pyproj.Transformer.from_crs("EPSG:4326", f"EPSG:{32600 + zone}", always_xy=True)
        x, y = to_utm.transform(6, 45)
        west = x - 60 * CELL if zone == 31 else x
        tile(folder / "2024", zone, f"x{zone}abcdefgh", round(west, -3), round(y - 30 * CELL, -3),
             data)  # fmt: skip
    (folder / "2024" / "31N" / "x31abcdefgh-0000000000-0000000000.vrt").write_text("<VRTDataset/>")


def test_vectors_are_unpacked_before_means_in_both_zones(tmp_path: Path) -> None:
    make_alphaearth(tmp_path / "alphaearth")
    found = cube("alphaearth", tmp_path, (5.5, 44.85, 6.5, 45.25), 0.1)
    part = [found[f"embedding_{band:02d}"] for band in range(64)]
    # The tiles reach from 44.73° N to 45.27° N: northern rows are of one pattern each zone.
    north = slice(0, 2)
    same(part[5][north], np.full((2, 10), UNPACKED), rtol=1e-3)
    west, east = [UNPACKED] * 4, [-UNPACKED] * 4
    for row in part[8].values[north]:
        np.testing.assert_allclose(row, [*west, row[4], row[5], *east], rtol=1e-3)
    # South of 45° N every second row has the other sign: 0 for two of the four, 0.498 for two. A
    # square of the mean number would be the same for one sign, and none is for both.
    south = slice(3, 4)
    assert (abs(part[1].values[south]) < 0.06).all()
    same(part[2][south], np.full((1, 10), UNPACKED), rtol=1e-3)
    assert not faults("alphaearth", tmp_path)


def test_a_mean_of_stored_numbers_would_be_another_vector(tmp_path: Path) -> None:
    data = np.zeros((64, 20, 20), np.int8)
    data[:, :, ::2] = pattern(1, 2, 3, 4)[:, None, None]
    data[:, :, 1::2] = pattern(1, 5, 6, 7)[:, None, None]
    data[:, :2] = -128
    tile(tmp_path / "alphaearth" / "2024", 33, "xabc", 500000, 5000000, data)
    found = cube("alphaearth", tmp_path, (500000, 5000000, 520000, 5020000), 10000,
                 crs="EPSG:32633")  # fmt: skip
    same(found["embedding_01"], np.full((2, 2), UNPACKED))
    # Half of the cells are 0.498 and half are 0; the square of 45 / 127.5 is half of that mean.
    for band in (2, 3, 4, 5, 6, 7):
        same(found[f"embedding_{band:02d}"], np.full((2, 2), UNPACKED / 2))
    same(found["embedding_63"], np.zeros((2, 2)))
    np.testing.assert_allclose(found["embedding_01_coverage"], [[0.8, 0.8], [1, 1]], rtol=1e-5)
