"""Areas of polygons in cells: against GEOS in the plane, and against fine strips on the sphere."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.regridding.kernels.overlay import overlay, unrolled
from pipeline.regridding.outlines import rings_of

X, Y = np.array([-3.0, -1.0, -0.5, 0.5, 2.0, 3.5]), np.array([-2.0, -0.75, 0.0, 1.0, 2.5])


def areas(
    polygon: shapely.Geometry, x: np.ndarray, y: np.ndarray, turn: float = 0.0, sphere: bool = False
) -> np.ndarray:
    """[y, x] area of a polygon in each cell, rows from the lowest y."""
    rings = rings_of(np.array([polygon]))
    cell, element, area = overlay(
        rings.x, rings.y, rings.begin, rings.owner, rings.is_hole, x, y, turn, sphere
    )
    assert (element == 0).all()
    found = np.bincount(cell, area, (x.size - 1) * (y.size - 1))
    return found.reshape(y.size - 1, x.size - 1)


def by_geos(polygon: shapely.Geometry, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    boxes = shapely.box(x[:-1], y[:-1, None], x[1:], y[1:, None])
    return np.asarray(shapely.area(shapely.intersection(boxes, polygon)))


# Rounded: with coordinates of 1e-41 GEOS counts whole cells outside a polygon as covered.
coordinates = st.one_of(
    st.floats(-4, 4, width=32).map(lambda value: round(value, 6)),
    st.sampled_from([*X.tolist(), *Y.tolist()]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(coordinates, coordinates), min_size=4, max_size=12), coordinates)
def test_areas_in_the_plane_are_those_of_geos(points: list, at: float) -> None:
    outline = shapely.concave_hull(shapely.multipoints(points), ratio=0.2)
    polygon = shapely.difference(outline, shapely.box(at - 0.3, -0.4, at + 0.6, 0.7))
    if shapely.get_type_id(polygon) not in (3, 6):
        return
    np.testing.assert_allclose(areas(polygon, X, Y), by_geos(polygon, X, Y), atol=1e-12)


def test_a_hole_and_a_second_part_count_once_in_either_direction() -> None:
    ring, hole = [(-3, -2), (3, -2), (3, 2), (-3, 2)], [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    for outer, inner in ((ring, hole), (ring[::-1], hole), (ring, hole[::-1])):
        polygon = shapely.MultiPolygon(
            [(outer, [inner]), (shapely.box(3, 2, 3.5, 2.5).exterior, [])]
        )
        np.testing.assert_allclose(areas(polygon, X, Y), by_geos(polygon, X, Y), atol=1e-12)


def test_areas_on_the_sphere_are_those_of_fine_strips() -> None:
    polygon = shapely.Polygon([(-2.5, -70), (3.1, -20), (2.2, 55), (0.4, 12), (-1.0, 86)])
    y = np.array([-90.0, -60, -20, 5, 30, 60, 90])
    fine = shapely.transform(
        shapely.segmentize(polygon, 0.01),
        lambda at: np.stack([at[:, 0], np.sin(np.deg2rad(at[:, 1]))], axis=1),
    )
    found = areas(polygon, X, y, sphere=True)
    np.testing.assert_allclose(found, by_geos(fine, X, np.sin(np.deg2rad(y))), atol=1e-8)


def test_a_box_has_the_area_between_its_parallels_to_the_last_digits() -> None:
    y = np.array([40.0, 40.001, 40.002])
    found = areas(shapely.box(0, 40, 0.001, 40.0015), np.array([0.0, 0.001]), y, sphere=True)
    width = np.diff(np.sin(np.deg2rad([40.0, 40.001, 40.0015]))) * 0.001
    np.testing.assert_allclose(found.ravel(), width, rtol=1e-9)


@pytest.mark.parametrize("west", [-180.0, 0.0, 180.0, 330.0])
def test_longitudes_may_be_any_number_of_turns_away(west: float) -> None:
    x, y = west + np.arange(0, 361, 30.0), np.array([0.0, 10.0])
    for turn in (-360, 0, 720):
        found = areas(shapely.box(165 + turn, 0, 195 + turn, 10), x, y, 360.0, True)
        half = np.sin(np.deg2rad(10)) * 15
        at = np.mod(x[:-1], 360)
        np.testing.assert_allclose(found[0], np.isin(at, [150, 180]) * half, atol=1e-12)


def test_a_ring_around_a_pole_is_closed_along_it() -> None:
    lon, lat = np.array([0.0, 90, 180, 270]), np.full(4, 80.0)
    x, y, begin = unrolled(lon, lat, np.array([0, 4]))
    edges = np.arange(-180, 181, 45.0)
    found = overlay(x, y, begin, np.zeros(1, int), np.zeros(1, bool), edges,
                    np.array([60.0, 90.0]), 360.0, True)[2]  # fmt: skip
    np.testing.assert_allclose(found.sum(), 360 * (1 - np.sin(np.deg2rad(80))), rtol=1e-12)


def test_rings_outside_or_with_missing_vertices_have_no_entries() -> None:
    assert not areas(shapely.box(10, 0, 11, 1), X, Y).any()
    assert not areas(shapely.box(0, 10, 1, 11), X, Y).any()
    x, y = np.array([0.0, 1, np.nan]), np.array([0.0, 0, 1])
    found = overlay(x, y, np.array([0, 3]), np.zeros(1, int), np.zeros(1, bool), X, Y, 0.0, False)
    assert found[0].size == 0
