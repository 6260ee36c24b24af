"""Footprints of grids as GeoJSON: split at the antimeridian, closed over a pole (RFC 7946).

Upstream: `grid`. Downstream: `stac` and `verify`. A box with west > east crosses the antimeridian.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyproj
import shapely
from shapely.geometry.polygon import orient

from pipeline.grid.target_grid import TargetGrid

_DIGITS = 7  # of a degree: a centimetre
_ALONG = 16
"""Points along each edge of a projected grid, whose edges are curves in degrees."""


def footprint(grid: TargetGrid) -> tuple[dict[str, Any], list[float]]:
    """GeoJSON outline of the grid in degrees, and its (west, south, east, north) box.

    A Polygon, or a MultiPolygon where it crosses the antimeridian. The box where the outline is
    not on the globe, as that of a world map with round edges.
    """
    west, south, east, north = grid.bounds
    if grid.is_geographic:
        ring = np.array([[west, south], [east, south], [east, north], [west, north]])
        return _geometry(ring), _rounded([*_wrapped(west, east), south, north])
    to_lonlat = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    w, s, e, n = (float(v) for v in to_lonlat.transform_bounds(*grid.bounds, densify_pts=101))
    if not np.isfinite([w, s, e, n]).all():
        w, s, e, n = -180.0, -90.0, 180.0, 90.0
    outline = _outline(grid, to_lonlat)
    if outline is None:
        far = e if w <= e else e + 360
        outline = np.array([[w, s], [far, s], [far, n], [w, n]])
    return _geometry(outline), _rounded([w, e, s, n])


def union_box(boxes: Sequence[Sequence[float]]) -> list[float]:
    """The smallest (west, south, east, north) box round all boxes, of the same convention."""
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


def _outline(grid: TargetGrid, to_lonlat: pyproj.Transformer) -> np.ndarray | None:
    """The grid's edges in degrees, dims (point, 2), longitudes running on past ±180.

    Over the pole and back where they go once round it. None where they are not on the globe.
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
    round_ = np.unwrap(np.append(lon, lon[0]), period=360)
    if abs(round_[-1] - round_[0]) < 180:
        return np.stack([round_[:-1], lat], axis=1)
    poles = [pole for pole in (-90.0, 90.0) if _holds(grid, to_lonlat, pole)]
    if len(poles) != 1:
        return None
    over = np.array([[round_[-1], lat[0]], [round_[-1], poles[0]], [round_[0], poles[0]]])
    return np.concatenate([np.stack([round_[:-1], lat], axis=1), over])


def _holds(grid: TargetGrid, to_lonlat: pyproj.Transformer, pole: float) -> bool:
    west, south, east, north = grid.bounds
    x, y = to_lonlat.transform(0.0, pole, direction="INVERSE")
    return bool(west <= x <= east and south <= y <= north)


def _geometry(ring: np.ndarray) -> dict[str, Any]:
    """GeoJSON of an outline whose longitudes may run past ±180."""
    ring = np.round(ring, _DIGITS)
    if ring[:, 0].min() >= -180 and ring[:, 0].max() <= 180:
        points = ring.tolist()
        return {"type": "Polygon", "coordinates": [[*points, points[0]]]}
    shape = shapely.make_valid(shapely.Polygon(ring))
    first, last = (int(np.floor((lon + 180) / 360)) for lon in (shape.bounds[0], shape.bounds[2]))
    globe = shapely.box(-180, -90, 180, 90)
    turned = [shapely.transform(shape, lambda xy, k=k: xy - [360 * k, 0])
              for k in range(first, last + 1)]  # fmt: skip
    pieces = [piece.intersection(globe) for piece in turned]
    # Snapped, so that the two sides of a seam away from the antimeridian become one again.
    whole = shapely.union_all(pieces, grid_size=10.0**-_DIGITS)
    parts = [orient(part) for part in shapely.get_parts(whole) if part.geom_type == "Polygon"]
    rings = [[np.round(r.coords, _DIGITS).tolist() for r in (part.exterior, *part.interiors)]
             for part in parts]  # fmt: skip
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def _wrapped(west: float, east: float) -> tuple[float, float]:
    """The same span of longitudes within ±180; west > east where it crosses the antimeridian."""
    if west >= -180 and east <= 180:
        return west, east
    if east - west >= 360 - 10.0**-_DIGITS:
        return -180.0, 180.0
    begin = (west + 180) % 360 - 180
    end = begin + (east - west)
    return begin, end if end <= 180 else end - 360


def _rounded(spans: Sequence[float]) -> list[float]:
    west, east, south, north = (round(float(v), _DIGITS) for v in spans)
    return [west, south, east, north]
