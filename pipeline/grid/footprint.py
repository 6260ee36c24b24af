"""Footprints of grids as GeoJSON: split at the antimeridian, closed over a pole (RFC 7946).

A box with west > east crosses the antimeridian.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import antimeridian
import numpy as np
import pyproj
import shapely
from shapely.geometry.polygon import orient

from pipeline.grid.target_grid import TargetGrid

_DIGITS = 7  # decimals of degrees: a centimetre
_ALONG = 16
"""Number of points along each edge of a projected grid, whose edges are curves in degrees."""


def footprint(grid: TargetGrid) -> tuple[dict[str, Any], list[float]]:
    """Return the GeoJSON outline of the grid in degrees, and its (west, south, east, north) box.

    The outline is a Polygon, or a MultiPolygon if it crosses the antimeridian. It is the box if the
    grid's corners are not on the globe, as in world maps with curved outlines.
    """
    west, south, east, north = grid.bounds
    outline = None
    if grid.is_geographic:
        west, east = _wrapped(west, east)
    else:
        to_lonlat = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
        outline = _outline(grid, to_lonlat)
        west, south, east, north = to_lonlat.transform_bounds(*grid.bounds, densify_pts=101)
        if not np.isfinite([west, south, east, north]).all():
            west, south, east, north = -180.0, -90.0, 180.0, 90.0
    if outline is None:
        outline = _box(west, south, east, north)
    return _geometry(outline), [round(float(v), _DIGITS) for v in (west, south, east, north)]


def union_box(boxes: Sequence[Sequence[float]]) -> list[float]:
    """Return the smallest (west, south, east, north) box that contains all boxes."""
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    spans = [(box[0], box[2] if box[0] <= box[2] else box[2] + 360) for box in boxes]
    if all(east <= 180 for _, east in spans):
        return [min(west for west, _ in spans), south, max(east for _, east in spans), north]
    lengths = {
        start: max((west - start) % 360 + east - west for west, east in spans) for start, _ in spans
    }
    first = min(lengths, key=lambda start: lengths[start])
    west, east = _wrapped(first, first + lengths[first])
    return [west, south, east, north]


def _box(west: float, south: float, east: float, north: float) -> np.ndarray:
    """Return the corners of a box, with points between them if it crosses the antimeridian."""
    # A step of more than half the globe would be interpreted as the shorter way round.
    xs = np.array([west, east]) if west <= east else np.linspace(west, east + 360, 5)
    return np.array([*((x, south) for x in xs), *((x, north) for x in xs[::-1])])


def _outline(grid: TargetGrid, to_lonlat: pyproj.Transformer) -> np.ndarray | None:
    """Return the grid's edges in degrees, dims (point, 2), with longitudes continuous past ±180.

    Returns None if they are not on the globe.
    """
    west, south, east, north = grid.bounds
    along = np.linspace(0, 1, _ALONG, endpoint=False)
    xs = np.concatenate([west + (east - west) * along, np.full(_ALONG, east),
                         east - (east - west) * along, np.full(_ALONG, west)])  # fmt: skip
    ys = np.concatenate([np.full(_ALONG, south), south + (north - south) * along,
                         np.full(_ALONG, north), north - (north - south) * along])  # fmt: skip
    lon, lat = (np.asarray(v) for v in to_lonlat.transform(xs, ys))
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    # Rounding puts points of an edge along the antimeridian at 180 or -180; unwrapped, they agree.
    return np.stack([np.unwrap(lon, period=360), lat], axis=1)


def _geometry(ring: np.ndarray) -> dict[str, Any]:
    """Return GeoJSON of an outline whose longitudes may exceed ±180 and may encircle a pole."""
    ring = np.round(ring, _DIGITS)
    shape, lon = shapely.Polygon(ring), ring[:, 0]
    is_round_a_pole = abs(lon[-1] - lon[0]) > 180
    if is_round_a_pole or np.abs(lon).max() > 180:
        shape = antimeridian.fix_polygon(shape, fix_winding=True, great_circle=False)
        if not shape.is_valid:
            # The outline may touch itself at a pole or along another meridian.
            parts = shapely.get_parts(shapely.make_valid(shape))
            shape = shapely.union_all(parts, grid_size=10.0**-_DIGITS)
    rings = [[np.round(r.coords, _DIGITS).tolist() for r in (part.exterior, *part.interiors)]
             for part in map(orient, shapely.get_parts(shape))]  # fmt: skip
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def _wrapped(west: float, east: float) -> tuple[float, float]:
    """Return the same longitudes within ±180; west > east if they cross the antimeridian."""
    if west >= -180 and east <= 180:
        return west, east
    if east - west >= 360 - 10.0**-_DIGITS:
        return -180.0, 180.0
    begin = (west + 180) % 360 - 180
    end = begin + (east - west)
    return begin, end if end <= 180 else end - 360
