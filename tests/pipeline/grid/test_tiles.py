"""Tiles cover a grid once; halos end at the edges or continue across the first meridian."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import (
    MOST_VALUES,
    SHARED,
    SIDES,
    STEP,
    cells_within,
    default_tile,
    land_cells,
    padded_window,
    tile_grid,
)

GRID = TargetGrid.from_bounds("g", "EPSG:4326", (-10, 0, 13, 17), 1.0)
GLOBE = TargetGrid.from_bounds("g", "EPSG:4326", (-180, -60, 180, 84), 4.0)


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 20), width=st.integers(1, 30), halo=st.integers(0, 5))
def test_tiles_cover_every_cell_once(height: int, width: int, halo: int) -> None:
    count = np.zeros(GRID.shape, int)
    area = 0.0
    tiles = tile_grid(GRID, (height, width))
    for tile in tiles:
        count[tile.rows, tile.cols] += 1
        window = GRID.window(tile.rows, tile.cols)
        area += window.cell_area().sum()
        padded, inside = padded_window(GRID, tile, halo)
        np.testing.assert_array_equal(padded.y[inside.rows], window.y)
        np.testing.assert_array_equal(padded.x[inside.cols], window.x)
        assert padded.shape[0] == min(GRID.shape[0], tile.rows.stop + halo) - max(
            0, tile.rows.start - halo
        )
    assert (count == 1).all()
    np.testing.assert_allclose(area, GRID.cell_area().sum(), rtol=1e-13)
    assert [tile.index for tile in tiles] == list(range(len(tiles)))
    assert len({tile.name for tile in tiles}) == len(tiles)


def test_halo_of_a_periodic_grid_goes_across_the_seam() -> None:
    tile = tile_grid(GLOBE, 30)[0]
    assert tile.name == "r000_c000"
    padded, inside = padded_window(GLOBE, tile, 2)
    np.testing.assert_allclose(padded.x[:3], [-186, -182, -178])
    assert (inside.rows, inside.cols) == (slice(0, 30), slice(2, 32))
    whole, _ = padded_window(GLOBE, tile_grid(GLOBE, (36, 90))[0], 3)
    np.testing.assert_array_equal(whole.x, GLOBE.x)
    clipped, _ = padded_window(GRID, tile_grid(GRID, 10)[0], 2)
    np.testing.assert_array_equal(clipped.x, GRID.x[:12])


def test_land_cells_are_flat_indices_of_the_grid() -> None:
    mask = np.random.default_rng(0).random(GRID.shape) < 0.4
    cells = np.concatenate([land_cells(mask, tile) for tile in tile_grid(GRID, 5)])
    np.testing.assert_array_equal(np.sort(cells), np.flatnonzero(mask))
    assert land_cells(np.zeros(GRID.shape, bool), tile_grid(GRID, 5)[0]).size == 0


def test_cells_lie_in_their_tile_where_the_mask_has_them() -> None:
    mask = np.random.default_rng(0).random(GRID.shape) < 0.4
    for tile in tile_grid(GRID, 5):
        found = np.zeros(tile.shape, bool)
        found[cells_within(tile, land_cells(mask, tile), GRID.shape[1])] = True
        np.testing.assert_array_equal(found, mask[tile.rows, tile.cols])


def test_bad_sizes_and_masks_are_refused() -> None:
    with pytest.raises(InputError, match="positive size"):
        tile_grid(GRID, 0)
    with pytest.raises(InputError, match=r"land mask of tile r000_c000: found shape \(2, 2\)"):
        land_cells(np.ones((2, 2), bool), tile_grid(GRID, 5)[0])


@given(st.tuples(st.integers(1, 20_000), st.integers(1, 40_000)), st.integers(1, 40_000))
def test_default_tiles_are_neither_large_nor_few(shape: tuple[int, int], steps: int) -> None:
    tile = default_tile(shape, steps)
    assert tile[0] % STEP == tile[1] % STEP == 0
    # A side is rounded to a whole number of tiles, by at most half, and to a multiple of `STEP`.
    largest = max(STEP, min(SIDES[1], math.sqrt(MOST_VALUES / steps)))
    assert max(tile) <= 1.5 * largest + STEP
    counts = [math.ceil(size / side) for size, side in zip(shape, tile, strict=True)]
    if min(shape) >= 8 * SIDES[0]:
        assert math.prod(counts) >= SHARED / 4


@pytest.mark.parametrize(
    ("shape", "steps", "tile", "count"),
    [
        ((1, 1), 1, (16, 16), 1),
        ((104, 236), 365, (64, 64), 8),  # CONUS at 0.25 degrees
        ((180, 360), 12, (64, 64), 18),
        ((1800, 3600), 365, (144, 144), 325),
        ((1440, 3600), 40 * 365, (96, 96), 570),
    ],
)
def test_default_tiles_of_known_grids(
    shape: tuple[int, int], steps: int, tile: tuple[int, int], count: int
) -> None:
    assert default_tile(shape, steps) == tile
    grid = TargetGrid.from_bounds("g", "EPSG:32632", (0, 0, shape[1], shape[0]), 1.0)
    assert len(tile_grid(grid, tile)) == count
