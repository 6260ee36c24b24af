"""TESSERA: GeoTIFFs of geotessera, and int8 vectors with a factor for each cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio

from tests.products.common import cube, same

CELL = 100.0
"""Width of a cell of this fixture, m; there is one every 10 m."""
WEST, NORTH = 500000, 5800000


def made(bands: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Stored numbers (y, x, band) and factors (y, x) of 4 by 8 cells, some of them without data."""
    stored = np.zeros((4, 8, bands), np.int8)
    stored[..., 0], stored[..., 1], stored[..., 127] = 100, -50, 7
    stored[:, ::2, 1] = 50
    factors = np.full((4, 8), 0.01, np.float32)
    factors[:, ::2] = 0.03
    factors[0, :2], factors[1, :2] = np.nan, np.inf
    factors[2:, 6:] = 0
    return stored, factors


def write(path: Path, data: np.ndarray, west: float) -> None:
    """Write (y, x, band) on the grid of the tile's landmask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", "GTiff", data.shape[1], data.shape[0], data.shape[2], "EPSG:32633",
        rasterio.Affine(CELL, 0, west, 0, -CELL, NORTH), data.dtype.name, compress="lzw",
        tiled=True, blockxsize=256, blockysize=256,
    ) as file:  # fmt: skip
        file.write(np.moveaxis(data, 2, 0))
        file.descriptions = tuple(f"Tessera_Band_{band}" for band in range(data.shape[2]))


def make_tessera(folder: Path) -> None:
    """A tile in both forms, and a neighbour of which all factors are 0.02."""
    stored, factors = made()
    tiles = {
        "grid_15.05_52.35": (stored, factors, WEST),
        "grid_15.15_52.35": (stored, np.full_like(factors, 0.02), WEST + 8 * CELL),
    }
    for name, (numbers, factor, west) in tiles.items():
        year = folder / "global_0.1_degree_representation" / "2024"
        values = numbers.astype(np.float32) * np.nan_to_num(factor, posinf=0)[..., None]
        write(year / name / f"{name}_2024.tiff", values, west)
        write(folder / "int8" / f"{name}.tif", numbers, west)
        write(folder / "int8" / f"{name}_scales.tif", factor[..., None], west)


def bounds(west: int, cells: int) -> tuple[float, float, float, float]:
    left = WEST + west * CELL
    return left, NORTH - 4 * CELL, left + cells * CELL, NORTH


def test_geotiffs_of_two_tiles(tmp_path: Path) -> None:
    make_tessera(tmp_path / "tessera")
    found = cube("tessera", tmp_path, bounds(2, 12), 4 * CELL, crs="EPSG:32633")
    # Columns 2 to 5; 6 and 7, where half of the cells are 0, and two of the neighbour; the rest.
    same(found["embedding_00"], [[2, 1.5, 2]])
    same(found["embedding_01"][:, [0, 2]], [[0.5, 0]])
    same(found["embedding_127"][:, [0, 2]], [[0.14, 0.14]])
    names = [str(name) for name in found.data_vars if not str(name).endswith("coverage")]
    assert sum(name.startswith("embedding_") for name in names) == 128


def test_numbers_are_multiplied_before_means(tmp_path: Path) -> None:
    make_tessera(tmp_path / "tessera")
    found = cube("tessera", tmp_path, bounds(0, 10), 2 * CELL, sources=["tessera_int8"],
                 crs="EPSG:32633")  # fmt: skip
    # Water, and cells without data at both ends of the first tile, are missing.
    nan = np.nan
    same(found["embedding_00"], [[nan, 2, 2, 2, 2], [2, 2, 2, nan, 2]])
    # 50 times 0.03 and -50 times 0.01 have the mean 0.5; the mean number is 0.
    same(found["embedding_01"], [[nan, 0.5, 0.5, 0.5, 0], [0.5, 0.5, 0.5, nan, 0]])
