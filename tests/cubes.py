"""Small cubes for tests: values that depend on place and time only, so that any tiling agrees."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.cube.write import CubeTemplate, create_cube, cube_template, write_tile
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import Tile

GRID = TargetGrid.from_bounds("test", "EPSG:4326", (-10, 0, 20, 25), 0.5)  # 50 rows, 60 columns
TIME = np.arange("2000-01-01", "2000-02-10", dtype="datetime64[D]")
VARIABLES: dict[str, dict[str, Any]] = {
    "rain": {"dims": ("time", "y", "x"), "attrs": {"units": "mm/day"}},
    "elevation": {"dims": ("y", "x"), "attrs": {"units": "m"}},
    "quality_flag": {"dims": ("y", "x"), "dtype": "uint8"},
}


def template(tile: tuple[int, int] = (20, 16), **kwargs: Any) -> CubeTemplate:
    return cube_template(GRID, TIME, VARIABLES, tile, **kwargs)


def field(tile: Tile, times: slice = slice(None)) -> xr.Dataset:
    """The tile's values: the north-west is sea (NaN), the rest a hash-like function of place."""
    window = GRID.window(tile.rows, tile.cols)
    y, x = np.meshgrid(window.y, window.x, indexing="ij")
    elevation = (np.sin(12.9898 * x + 78.233 * y) * 437.5).astype(np.float32)
    day = np.arange(TIME.size)[times, None, None]
    rain = (np.abs(np.sin(day * 0.37 + x * 3.1 - y * 1.7)) * 20).astype(np.float32)
    sea = (y > 15) & (x < -2)
    elevation[sea], rain[:, sea] = np.nan, np.nan
    flag = np.where(sea, 255, (elevation > 0).astype(np.uint8)).astype(np.uint8)
    return xr.Dataset(
        {
            "rain": (("time", "y", "x"), rain),
            "elevation": (("y", "x"), elevation),
            "quality_flag": (("y", "x"), flag),
        },
        {**window.coords(), "time": TIME[times].astype("datetime64[ns]")},
    )


def whole() -> xr.Dataset:
    """All of `field`."""
    return field(template((50, 60)).tiles[0])


def fill_tile(path: Path, tile: Tile) -> dict[str, Any]:
    """The step of a stage that fills a cube."""
    return write_tile(path, tile, field(tile))


def make_cube(path: Path, tile: tuple[int, int] = (20, 16), **kwargs: Any) -> CubeTemplate:
    made = template(tile, **kwargs)
    create_cube(path, made, {"title": "test"})
    return made


def filled_cube(path: Path, tile: tuple[int, int] = (20, 16), **kwargs: Any) -> CubeTemplate:
    made = make_cube(path, tile, **kwargs)
    for one in made.tiles:
        fill_tile(path, one)
    return made


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder, by relative path: what byte-identity compares."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
