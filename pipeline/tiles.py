"""Tiles: the rectangles of a grid that are worked on, stored and resumed one at a time.

Upstream: `grid`. Downstream: `run`, `cube` and `regrid` by way of `grid.window(tile.rows, ...)`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.grid import TargetGrid
from stefaland.errors import bad_input


@dataclass(frozen=True)
class Tile:
    """One rectangle of a grid: `rows` and `cols` are its core, `halo` the cells read around it.

    `row` and `col` count tiles, not cells; `grid_shape` is the grid's, (y, x).
    """

    index: int
    rows: slice
    cols: slice
    halo: int
    row: int
    col: int
    grid_shape: tuple[int, int]
    periodic: bool = False

    @property
    def name(self) -> str:
        """Short unique name such as `r000_c003`; sorts like the index."""
        return f"r{self.row:03d}_c{self.col:03d}"

    @property
    def shape(self) -> tuple[int, int]:
        """Cells of the core, (y, x)."""
        return self.rows.stop - self.rows.start, self.cols.stop - self.cols.start

    @property
    def halo_rows(self) -> slice:
        """Rows of core and halo, clipped to the grid."""
        return slice(
            max(0, self.rows.start - self.halo), min(self.grid_shape[0], self.rows.stop + self.halo)
        )

    @property
    def halo_cols(self) -> slice:
        """Columns of core and halo, clipped to the grid; see `halo_col_index` across the seam."""
        return slice(
            max(0, self.cols.start - self.halo), min(self.grid_shape[1], self.cols.stop + self.halo)
        )

    @property
    def halo_col_index(self) -> np.ndarray:
        """Column numbers of core and halo; on a periodic grid the halo goes on across the seam."""
        if not self.periodic:
            return np.arange(self.halo_cols.start, self.halo_cols.stop)
        width = self.grid_shape[1]
        halo = min(self.halo, (width - self.shape[1]) // 2)
        return np.arange(self.cols.start - halo, self.cols.stop + halo) % width

    @property
    def core(self) -> tuple[slice, slice]:
        """Where the core lies in an array over (`halo_rows`, `halo_cols`)."""
        row, col = self.rows.start - self.halo_rows.start, self.cols.start - self.halo_cols.start
        return slice(row, row + self.shape[0]), slice(col, col + self.shape[1])


def padded_window(grid: TargetGrid, tile: Tile, halo: int) -> tuple[TargetGrid, Tile]:
    """The grid of a tile and `halo` cells round it, and where the tile's core lies in that.

    Rows end at the grid's edge; columns go on across the seam of a grid that goes round.
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
    return window, replace(tile, rows=rows, cols=cols, grid_shape=window.shape)


def tile_grid(grid: TargetGrid, size: tuple[int, int] | int, halo: int = 0) -> list[Tile]:
    """Tiles of `size` (rows, cols) that cover the grid once, row by row; the last may be less."""
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1 or halo < 0:
        raise bad_input(
            "tile", f"size {size}, halo {halo}", "a positive size and a halo of 0 or more"
        )
    n_rows, n_cols = grid.shape
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
            halo,
            row,
            col,
            (n_rows, n_cols),
            grid.is_periodic,
        )
        for index, (row, col, top, left) in enumerate(corners)
    ]


def land_cells(mask: np.ndarray, tile: Tile) -> np.ndarray:
    """Row-major flat indices into the grid of the tile's cells where `mask` (y, x) is True."""
    if mask.shape != tile.grid_shape:
        raise bad_input("land mask", f"shape {mask.shape}", f"the grid's shape {tile.grid_shape}")
    rows, cols = np.nonzero(mask[tile.rows, tile.cols])
    return (rows + tile.rows.start) * mask.shape[1] + cols + tile.cols.start
