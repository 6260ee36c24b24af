"""HDF5 files of the layout of SMAP: groups, arrays without named dimensions, fill values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

CELLS = {"EASE2_M36": ((406, 964), 36032.220840584), "EASE2_M09": ((1624, 3856), 9008.055210146)}
"""Rows and columns of each grid, and the size of a cell in metres."""
NORTH, EAST = 7314540.830638599, 17367530.445161376


def bounds_of(grid: str, row: int, col: int, rows: int, cols: int) -> tuple[float, ...]:
    """West, south, east and north of some cells of a grid from that at (row, col), metres."""
    size = CELLS[grid][1]
    west, north = -EAST + col * size, NORTH - row * size
    return west, north - rows * size, west + cols * size, north


def write(
    file: h5py.File, name: str, values: Mapping[tuple[int, int], float], fill: float, grid: str,
    dtype: str = "f4", **attrs: Any,
) -> None:  # fmt: skip
    """Write an array of a whole grid, fill but for some cells."""
    data = file.create_dataset(name, shape=CELLS[grid][0], dtype=dtype, fillvalue=fill,
                               chunks=(29, 241), compression="gzip")  # fmt: skip
    for (row, col), value in values.items():
        data[row, col] = value
    data.attrs["_FillValue"] = np.array(fill, dtype)
    for key, value in attrs.items():
        data.attrs[key] = np.bytes_(value) if isinstance(value, str) else np.array(value, dtype)


def h5(path: Path) -> h5py.File:
    """A new file, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return h5py.File(path, "w")
