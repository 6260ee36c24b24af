from __future__ import annotations

import numpy as np
import pytest
import shapely
from shapely.geometry import shape

from pipeline.grid.footprint import footprint, union_box
from pipeline.grid.target_grid import TargetGrid
from tests.maps import ALBERS

WORLD = (-180, -60, 180, 84)


def of(crs: str, bounds: tuple[float, float, float, float], step: float) -> TargetGrid:
    return TargetGrid.from_bounds("g", crs, bounds, step)


ARCTIC = of("EPSG:3413", (-3850000, -5350000, 3750000, 5850000), 50000)
ANTARCTIC = of("EPSG:3031", (-3000000, -3000000, 3000000, 3000000), 50000)
PACIFIC = of("EPSG:3832", (-5000000, -3000000, 5000000, 3000000), 50000)
ARCTIC_HALF = of("EPSG:3413", (-1000000, 0, 1000000, 1000000), 25000)
FIJI = of("EPSG:4326", (170, -20, 190, 0), 1)
WIDE = of("EPSG:4326", (0, -20, 300, 10), 1)
HEMISPHERE = of("EPSG:6931", (-9000000, -9000000, 9000000, 9000000), 200000)
MOLLWEIDE = of("ESRI:54009", (-18040000, -9020000, 18040000, 9020000), 40000)


def test_the_outline_follows_the_projection() -> None:
    geometry, box = footprint(ALBERS)
    ring = geometry["coordinates"][0]
    assert ring[0] == ring[-1]
    assert len(ring) == 65
    assert box[0] < -125 < -66 < box[2]
    assert footprint(of("EPSG:4326", WORLD, 1))[1] == list(WORLD)


@pytest.mark.parametrize(
    "grid",
    [ALBERS, ARCTIC, ANTARCTIC, ARCTIC_HALF, PACIFIC, FIJI, WIDE, HEMISPHERE, MOLLWEIDE],
    ids=lambda g: f"{g.crs} {g.bounds[2]:.0f}",
)
def test_cells_lie_in_the_outline_and_in_the_box(grid: TargetGrid) -> None:
    geometry, (west, south, east, north) = footprint(grid)
    outline = shape(geometry)
    assert outline.is_valid
    assert outline.bounds[0] >= -180
    assert outline.bounds[2] <= 180
    assert all(part.exterior.is_ccw for part in shapely.get_parts(outline))
    with np.errstate(invalid="ignore"):
        lon, lat = (values.ravel() for values in grid.lonlat())
    on_globe = np.isfinite(lat)
    lon, lat = lon[on_globe], lat[on_globe]
    # Edges are chords of 16 points.
    assert shapely.contains_xy(outline.buffer(0.2), lon, lat).all()
    in_span = (lon >= west) & (lon <= east) if west <= east else (lon >= west) | (lon <= east)
    assert (in_span & (lat >= south) & (lat <= north)).all()


@pytest.mark.parametrize("grid, pole", [(ARCTIC, 90), (ANTARCTIC, -90), (HEMISPHERE, 90)])
def test_an_outline_round_a_pole_holds_it(grid: TargetGrid, pole: int) -> None:
    geometry, box = footprint(grid)
    assert geometry["type"] == "Polygon"
    for lon in (-179, -45, 0, 100, 179):
        assert shape(geometry).covers(shapely.Point(lon, pole * 0.999))
    assert (box[0], box[2]) == (-180, 180)
    assert pole in box
    assert not shape(footprint(ARCTIC)[0]).covers(shapely.Point(0, 20))


def test_an_outline_across_the_antimeridian_is_split() -> None:
    geometry, box = footprint(PACIFIC)
    assert geometry["type"] == "MultiPolygon"
    west, east = sorted((part.bounds for part in shape(geometry).geoms), reverse=True)
    assert (west[2], east[0]) == (180, -180)
    assert box[0] == pytest.approx(west[0]) == pytest.approx(105.08, abs=0.01)
    assert box[2] == pytest.approx(east[2]) == pytest.approx(-165.08, abs=0.01)


def test_degrees_beyond_the_antimeridian_are_wrapped() -> None:
    geometry, box = footprint(FIJI)
    assert box == [170, -20, -170, 0]
    found = {part.bounds for part in shape(geometry).geoms}
    assert found == {(170, -20, 180, 0), (-180, -20, -170, 0)}
    assert footprint(of("EPSG:4326", (180, -20, 190, 0), 1))[1] == [-180, -20, -170, 0]
    whole = footprint(of("EPSG:4326", (0, -90, 360, 90), 1))
    assert whole[1] == [-180, -90, 180, 90]
    assert shape(whole[0]).equals(shapely.box(-180, -90, 180, 90))


@pytest.mark.parametrize(
    "boxes, union",
    [
        ([[170, -20, -170, 0], [150, -10, 160, 5]], [150, -20, -170, 5]),
        ([[170, -20, -170, 0], [-175, -10, -160, 5]], [170, -20, -160, 5]),
        ([[170, -20, -170, 0], list(WORLD)], [-180, -60, 180, 84]),
        ([[-125, 24, -66.5, 50], [-10, 40, 30, 70]], [-125, 24, 30, 70]),
    ],
)
def test_boxes_are_joined_the_short_way(boxes: list[list[float]], union: list[float]) -> None:
    assert union_box(boxes) == union
