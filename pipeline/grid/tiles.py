"""Tiles: the rectangles of a grid that are processed, stored and resumed one at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from pipeline.core.errors import bad_input
from pipeline.grid.target_grid import TargetGrid

MAX_TILES = 2_000_000
"""Tiles of 256 cells of the whole earth at 100 m; each has a file and a marker."""
SIDES = 64, 128
"""Least and greatest side of a tile by default: smaller ones are mostly overhead, larger ones take
memory and are few to share among workers."""
SHARED = 64
"""Number of tiles, for as many workers, that a grid has by default unless they were too small."""
MOST_VALUES = 1 << 27
"""Values of one variable in a tile by default: prediction holds whole series of several."""
STEP = 16
"""Sides are multiples of it, because chunks within a tile have equal sides."""


@dataclass(frozen=True)
class Tile:
    """A rectangle of a grid; `row` and `col` count tiles, not cells."""

    index: int
    rows: slice
    cols: slice
    row: int
    col: int

    @property
    def name(self) -> str:
        """Short unique name such as `r000_c003`, which sorts like the index."""
        return f"r{self.row:03d}_c{self.col:03d}"

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells along (y, x)."""
        return self.rows.stop - self.rows.start, self.cols.stop - self.cols.start


def padded_window(grid: TargetGrid, tile: Tile, halo: int) -> tuple[TargetGrid, Tile]:
    """Return the grid of a tile with a halo of `halo` cells, and the position of the tile in it.

    Rows end at the grid's edge; columns of a periodic grid continue across its first meridian.
    """
    top = max(0, tile.rows.start - halo)
    bottom = min(grid.shape[0], tile.rows.stop + halo)
    left, right = tile.cols.start - halo, tile.cols.stop + halo
    if grid.is_periodic:
        spare = (grid.shape[1] - tile.shape[1]) // 2
        left = max(left, tile.cols.start - spare)
        right = min(right, tile.cols.stop + spare)
    else:
        left, right = max(0, left), min(grid.shape[1], right)
    offset = grid.offset[0] + top, grid.offset[1] + left
    window = replace(grid, shape=(bottom - top, right - left), offset=offset)
    rows = slice(tile.rows.start - top, tile.rows.stop - top)
    cols = slice(tile.cols.start - left, tile.cols.stop - left)
    return window, replace(tile, rows=rows, cols=cols)


def default_tile(shape: tuple[int, int], steps: int = 1) -> tuple[int, int]:
    """Return the size (rows, cols) of the tiles of a grid of `shape`, for series of `steps` times.

    >>> default_tile((1800, 3600), 365)
    (144, 144)
    >>> default_tile((1800, 3600), 40 * 365)
    (96, 96)
    """
    side = min(max(math.sqrt(math.prod(shape) / SHARED), SIDES[0]), SIDES[1])
    side = min(side, max(math.sqrt(MOST_VALUES / steps), STEP))
    rows, cols = (math.ceil(size / max(1, round(size / side))) for size in shape)
    return -(-rows // STEP) * STEP, -(-cols // STEP) * STEP


def tile_grid(grid: TargetGrid, size: tuple[int, int] | int) -> list[Tile]:
    """Return tiles of `size` (rows, cols) that cover the grid, row by row; the last are smaller.

    Raises `InputError` for a size that is not positive or makes too many tiles.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise bad_input("tile", f"size {size}", "a positive size")
    n_rows, n_cols = grid.shape
    if (count := -(-n_rows // height) * -(-n_cols // width)) > MAX_TILES:
        raise bad_input("tile", f"size {size}, of which the grid {grid.name} has {count:,}",
                        f"at most {MAX_TILES:,} tiles", "Set a larger size.")  # fmt: skip
    corners = [
        (row, col, top, left)
        for row, top in enumerate(range(0, n_rows, height))
        for col, left in enumerate(range(0, n_cols, width))
    ]
    return [
        Tile(
            index,
            slice(top, min(top + height, n_rows)),
            slice(left, min(left + width, n_cols)),
            row,
            col,
        )
        for index, (row, col, top, left) in enumerate(corners)
    ]


def land_cells(mask: np.ndarray, tile: Tile) -> np.ndarray:
    """Return flat (row-major) grid indices of the tile's cells where `mask` (y, x) is True."""
    inside = mask[tile.rows, tile.cols]
    if inside.shape != tile.shape:
        raise bad_input(f"land mask of tile {tile.name}", f"shape {mask.shape}", "the grid's shape")
    rows, cols = np.nonzero(inside)
    return (rows + tile.rows.start) * mask.shape[1] + cols + tile.cols.start


def cells_within(tile: Tile, cells: np.ndarray, n_cols: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns within the tile of flat indices in a grid of `n_cols` columns.

    >>> tile = Tile(0, slice(2, 4), slice(5, 9), 1, 1)
    >>> rows, cols = cells_within(tile, np.array([25, 38]), 10)
    >>> rows.tolist(), cols.tolist()
    ([0, 1], [0, 3])
    """
    rows, cols = np.divmod(cells, n_cols)
    return rows - tile.rows.start, cols - tile.cols.start
