"""Rasters of tests, written by GDAL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin


def raster(
    path: Path, values: Any, west: float, north: float, cell: tuple[float, float],
    crs: str = "EPSG:4326", point: bool = False, **profile: Any,
) -> Path:  # fmt: skip
    """Write one band of cells (dx, dy) from the corner in the northwest, and return its path.

    With `point` the file states that its coordinates are those of the centres of cells.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.asarray(values)
    settings = {"driver": "GTiff", "dtype": data.dtype.name, "count": 1, "crs": crs,
                "height": data.shape[0], "width": data.shape[1],
                "transform": from_origin(west, north, *cell), **profile}  # fmt: skip
    with rasterio.open(path, "w", **settings) as file:
        if point:
            file.update_tags(AREA_OR_POINT="Point")
        file.write(data, 1)
    return path
