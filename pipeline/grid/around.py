"""grid_around(): the grid of whole cells in any CRS that holds a region given in degrees."""

from __future__ import annotations

from math import ceil, floor

import pyproj
from rasterio.warp import transform_bounds

from pipeline.core.errors import bad_input
from pipeline.grid.crs import is_geographic_crs, parsed
from pipeline.grid.target_grid import TargetGrid

EDGE_POINTS = 51
"""Points on each side of the region, which bend in other projections."""
TINY = 1e-9
"""Fraction of a cell within which an edge lies on the lattice of the cells."""


def grid_around(
    name: str, crs: str, degrees: tuple[float, float, float, float], resolution: float
) -> TargetGrid:
    """Return the grid around (west, south, east, north) in degrees, widened to whole cells.

    Edges are multiples of the `resolution`, so that grids of one resolution share their cells.
    Raises `InputError` for an unknown CRS, and for a region that it cannot show.

    >>> grid_around("alps", "EPSG:3035", (10, 46, 12, 48), 5000).shape
    (46, 32)
    """
    where = f'grid "{name}"'
    checked_crs(crs, where)
    west, south, east, north = degrees
    if not (-180 <= west < east <= 360 and -90 <= south < north <= 90):
        raise bad_input(
            where, "bounds {:g}, {:g}, {:g}, {:g}".format(*degrees),
            "west, south, east and north in degrees, the lower ones first",
        )  # fmt: skip
    if resolution <= 0:
        raise bad_input(where, f"a resolution of {resolution:g}", "a positive cell size")
    bounds = degrees
    if not is_geographic_crs(crs):
        bounds = transform_bounds("EPSG:4326", crs, *degrees, densify_pts=EDGE_POINTS)
        if not all(abs(edge) < float("inf") for edge in bounds):
            raise bad_input(where, f"a region that {crs} cannot show", "one within its area",
                            "Choose another CRS.")  # fmt: skip
    low = [floor(edge / resolution + TINY) * resolution for edge in bounds[:2]]
    high = [ceil(edge / resolution - TINY) * resolution for edge in bounds[2:]]
    if is_geographic_crs(crs):
        low[1], high[1] = max(low[1], -90.0), min(high[1], 90.0)
    edges = tuple(float(f"{edge:.12g}") for edge in (*low, *high))
    return TargetGrid.from_bounds(name, crs, edges, resolution)  # type: ignore[arg-type]


def checked_crs(crs: str, where: str) -> str:
    """Return the CRS; `InputError` where PROJ does not know it."""
    try:
        parsed(crs)
    except pyproj.exceptions.CRSError:
        raise bad_input(f"{where}: crs", f'"{crs}"', "a CRS that PROJ knows, such as EPSG:3035") \
            from None  # fmt: skip
    return crs
