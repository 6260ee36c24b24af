"""CRS compared by what they do to points: names, datums, ellipsoids and units."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest

from pipeline.grid.same_crs import crs_distance, same_crs

LCC = "+proj=lcc +lat_0=42.5 +lon_0=-100 +lat_1=25 +lat_2=60 +x_0=0 +y_0=0"
BOUNDS = (-1.5e6, -1e6, 1.5e6, 1e6)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (f"{LCC} +ellps=WGS84 +units=m", f"{LCC} +datum=WGS84 +units=m"),
        ("EPSG:5070", "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +ellps=GRS80"),
        ("EPSG:3035", "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80"),
        ("EPSG:6933", "+proj=cea +lat_ts=30 +ellps=WGS84"),
        ("ESRI:54008", "+proj=sinu +ellps=WGS84"),
    ],
)
def test_one_projection_in_other_words_is_the_same(first: str, second: str) -> None:
    assert same_crs(first, second)
    assert same_crs(second, pyproj.CRS(first).to_wkt())
    assert crs_distance(first, second) < 1e-3


@pytest.mark.parametrize(
    ("change", "least", "most"),
    [
        ("+datum=NAD27", 5, 200),  # a datum
        ("+ellps=clrk66", 5, 200),  # an ellipsoid without a datum
        ("+R=6370000", 1000, 30_000),  # the sphere of WRF
        ("+ellps=WGS84 +x_0=10", 9, 11),
        ("+ellps=WGS84 +units=km", 1e6, 2e7),  # the same numbers are other lengths
    ],
)
def test_other_points_are_another_crs(change: str, least: float, most: float) -> None:
    other = f"{LCC.replace('+x_0=0 ', '') if '+x_0' in change else LCC} {change}"
    assert least < crs_distance(f"{LCC} +datum=WGS84", other, BOUNDS) < most
    assert not same_crs(f"{LCC} +datum=WGS84", other)


def test_the_distance_is_that_between_the_points() -> None:
    """Two spheres put coordinates at angles in inverse proportion to their radii."""
    first, second = (f"+proj=laea +lat_0=0 +lon_0=0 +R={r}" for r in (6370000, 6371229))
    x = 2e6
    angle = [2 * np.arcsin(x / (2 * r)) for r in (6370000, 6371229)]
    found = crs_distance(first, second, (-x, 0.0, x, 1.0))
    assert np.isclose(found, (angle[0] - angle[1]) * 6371007.180918475, rtol=1e-3)


def test_equal_lengths_in_other_units_are_the_same() -> None:
    kilometres = tuple(v / 1000 for v in BOUNDS)
    first, second = f"{LCC} +ellps=WGS84 +units=km", f"{LCC} +ellps=WGS84"
    assert crs_distance(first, second, kilometres, in_metres=True) < 1e-3
    assert crs_distance(first, second, kilometres) > 1e5


def test_degrees_are_never_the_same_as_metres() -> None:
    assert crs_distance("EPSG:4326", LCC) == np.inf
    assert not same_crs("EPSG:4326", LCC)
    assert not same_crs(LCC, "EPSG:4326")
    assert same_crs("EPSG:4326", "EPSG:4269")
