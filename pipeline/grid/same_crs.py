"""same_crs(): whether two CRS are the same, by what they do to points and not by their names.

The same projection is written in many ways: PROJ strings, WKT and CF grid mappings differ in names,
and many of them name no datum. `crs_distance` is how far apart two CRS put the same coordinates.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyproj

from pipeline.grid.crs import EARTH_RADIUS, is_rotated, parsed, unit_vectors

SMALLEST = 1e-3
"""Distance in metres up to which two CRS are the same, whatever the size of the cells."""
OF_CELL = 0.01
"""Fraction of a cell up to which the CRS of a file and of its entry may differ."""
_SAME_POINT = 1e-5  # fraction of the Earth's radius: the size of datum shifts
_SIDE = 7  # points along each side of the extent that is compared

Bounds = tuple[float, float, float, float]


@lru_cache
def same_crs(first: str, second: str) -> bool:
    """Whether two CRS have the same axes; true geographic CRS on any datum count as equal.

    Datum shifts are tens of metres at most, which is below the resolution of fields in degrees.
    Rotated poles are equal if they map points to the same coordinates, and projections if they put
    all coordinates within a millimetre, however they are written.
    """
    a, b = parsed(first), parsed(second)
    if a.is_geographic != b.is_geographic:
        return False
    if not a.is_geographic:
        return a.equals(b, ignore_axis_order=True) or crs_distance(first, second) <= SMALLEST
    if not (is_rotated(first) or is_rotated(second)):
        return True
    lon, lat = (v.ravel() for v in np.meshgrid([-90.0, 0.0, 60.0], [-40.0, 0.0, 50.0]))
    points = [
        unit_vectors(*(np.asarray(v) for v in transform))
        for transform in (
            pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
            for crs in (first, second)
        )
    ]
    return bool(np.abs(points[0] - points[1]).max() < _SAME_POINT)


@lru_cache(maxsize=256)
def crs_distance(
    first: str, second: str, bounds: Bounds | None = None, *, in_metres: bool = False
) -> float:
    """Return the largest distance in metres between the points with equal coordinates in two CRS.

    Points are spread over `bounds` (west, south, east, north in units of the first CRS), by default
    over the globe. With `in_metres` coordinates are equal if they are the same lengths, else if
    they are the same numbers: a CRS in km and one in m then differ. Infinite if no point is within
    the domain of both.
    """
    a, b = parsed(first), parsed(second)
    if a.is_geographic != b.is_geographic:
        return float("inf")
    x, y = _lattice(bounds) if bounds else _everywhere(first)
    lon, lat = _degrees(first, x, y)
    factor = _metres(a) / _metres(b) if in_metres else 1.0
    other_lon, other_lat = _degrees(second, x * factor, y * factor)
    finite = np.isfinite(lon) & np.isfinite(lat) & np.isfinite(other_lon) & np.isfinite(other_lat)
    if not finite.any():
        return float("inf")
    here = unit_vectors(lon[finite], lat[finite])
    there = unit_vectors(other_lon[finite], other_lat[finite])
    half_chord = np.minimum(np.linalg.norm(here - there, axis=-1) / 2, 1.0)
    return float((2 * np.arcsin(half_chord)).max() * EARTH_RADIUS)


def _lattice(bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
    west, south, east, north = bounds
    x, y = np.meshgrid(np.linspace(west, east, _SIDE), np.linspace(south, north, _SIDE))
    return x.ravel(), y.ravel()


def _everywhere(crs: str) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates of points of the globe that the CRS maps there and back."""
    lon, lat = _lattice((-175.0, -85.0, 170.0, 85.0))
    to_crs = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = (np.asarray(v) for v in to_crs.transform(lon, lat))
    back_lon, back_lat = _degrees(crs, x, y)
    with np.errstate(invalid="ignore"):
        kept = np.hypot((back_lon - lon + 180) % 360 - 180, back_lat - lat) < 1e-3
    return x[kept], y[kept]


def _degrees(crs: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    to_degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(x, y)
    return np.asarray(lon), np.asarray(lat)


def _metres(crs: pyproj.CRS) -> float:
    """Return the length of the CRS's unit in metres (or radians for degrees)."""
    return float(crs.axis_info[0].unit_conversion_factor)
