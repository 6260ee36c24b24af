"""Exact overlap of outlines (of polygons, of cells of a mesh) with the cells of a target grid.

Called from `elements`. Outlines are rings of straight sides in the CRS of their file. Where the
target's cells are rectangles in degrees, areas are those of the sphere; in any other projection
they are those of the plane, and sides get more vertices before they are transformed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pyproj
import scipy.sparse
import shapely

from pipeline.core.errors import bad_input
from pipeline.grid.axes import edges_in_degrees
from pipeline.grid.crs import EARTH_RADIUS, is_geographic_crs, parsed, unit_vectors
from pipeline.grid.same_crs import same_crs
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.window import source_window

DEGREES = "EPSG:4326"
_METRES = 111_195.0  # a degree of latitude
Bounds = tuple[float, float, float, float]
_BEND = 1e-5  # largest distance of a side from the curve that it stands for, in target cells
_TORN = 100.0  # a side longer than on the globe by this factor crosses a discontinuity
_TURN = 360.0
_INSET = 1e-9  # degrees (0.1 mm) from the edge of a projection, where PROJ takes either side
_AT_POLE = 1e-4  # degrees: vertices nearer to a pole lie on it but for rounding
_ARC = 0.125  # degrees of a great circle that are taken as straight in longitude and latitude
_MOST_PARTS = 64
_SAME = 1e-9  # degrees between latitudes of one parallel


@dataclass(frozen=True, eq=False, kw_only=True)
class Rings:
    """Rings of polygons: ring r has the vertices `begin[r]:begin[r + 1]` and belongs to `owner[r]`.

    `x`, `y` (vertex,), `begin` (ring + 1,), `owner` (ring,) and `is_hole` (ring,).
    """

    x: np.ndarray
    y: np.ndarray
    begin: np.ndarray
    owner: np.ndarray
    is_hole: np.ndarray


def rings_of(polygons: np.ndarray, owner: np.ndarray | None = None) -> Rings:
    """The rings of polygons and multipolygons; by default each polygon is its own owner."""
    parts, polygon = shapely.get_parts(polygons, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    at, ring = shapely.get_coordinates(rings, return_index=True)
    begin = np.searchsorted(ring, np.arange(rings.size + 1))
    is_hole = np.concatenate([[False], part[1:] == part[:-1]])[: part.size]
    of = polygon[part]
    x, y = (np.ascontiguousarray(at[:, axis]) for axis in (0, 1))
    return Rings(x=x, y=y, begin=begin, owner=of if owner is None else owner[of], is_hole=is_hole)


def parts_of_sides(count: int) -> int:
    """Number of straight parts that stand for a great circle, in a mesh of `count` cells."""
    size = np.rad2deg(np.sqrt(4 * np.pi / count))
    return int(np.clip(np.ceil(size / _ARC), 1, _MOST_PARTS))


def rings_of_bounds(
    lon: np.ndarray, lat: np.ndarray, owner: np.ndarray, parts: int = 1
) -> Rings:  # fmt: skip
    """The rings of cells with corners `lon`, `lat` (cell, vertex) in degrees; NaN is no corner.

    Sides are great circles in `parts` straight parts. Two corners are those of a box between two
    meridians and two parallels, which any cell is that has only such sides.
    """
    from pipeline.regridding.kernels.overlay import unrolled

    if lon.shape[1] == 2:
        lon, lat = lon[:, [0, 1, 1, 0]], lat[:, [0, 0, 1, 1]]
        half = (lon[:, :1] + lon[:, 1:2]) / 2  # boxes of up to a whole turn need a middle
        lon = np.concatenate([lon[:, :1], half, lon[:, 1:3], half, lon[:, 3:]], axis=1)
        lat = lat[:, [0, 0, 1, 2, 2, 3]]
    lat = np.where(np.abs(lat) > 90.0 - _AT_POLE, np.copysign(90.0, lat), lat)
    if parts > 1:
        lon, lat = _on_great_circles(lon, lat, parts)
    known = np.isfinite(lon) & np.isfinite(lat)
    begin = np.concatenate([[0], np.cumsum(known.sum(axis=1))])
    x, y, begin = unrolled(lon[known], lat[known], begin)
    return Rings(x=x, y=y, begin=begin, owner=owner, is_hole=np.zeros(owner.size, bool))


def _on_great_circles(
    lon: np.ndarray, lat: np.ndarray, parts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Corners (cell, vertex) with further points, so that each side has `parts` straight parts."""
    # A missing corner at the end stands for the first: the side of the last one closes the ring.
    known = np.isfinite(lon) & np.isfinite(lat)
    following = np.roll(np.arange(lon.shape[1]), -1)
    follows = np.where(np.roll(known, -1, axis=1), following, 0)
    rows = np.arange(lon.shape[0])[:, None]
    begin, end = unit_vectors(lon, lat), unit_vectors(lon[rows, follows], lat[rows, follows])
    share = np.arange(parts) / parts
    x, y, z = np.moveaxis(
        begin[:, :, None] * (1 - share)[:, None] + end[:, :, None] * share[:, None], -1, 0
    )
    turn = (lon[rows, follows] - lon + _TURN / 2) % _TURN - _TURN / 2
    # Cells of latitudes and longitudes have sides along both; a triangle at a pole has them too.
    along_parallel = np.abs(lat[rows, follows] - lat) < _SAME
    is_box = (along_parallel | (np.abs(turn) < _SAME) | ~known).all(axis=1)
    is_box &= known.sum(axis=1) > 3
    # A corner keeps its exact position, which its neighbours share.
    parallel = (along_parallel & is_box[:, None])[..., None] | (share == 0)
    arc_lon, arc_lat = np.rad2deg(np.arctan2(y, x)), np.rad2deg(np.arctan2(z, np.hypot(x, y)))
    lon = np.where(parallel, lon[..., None] + share * turn[..., None], arc_lon)
    lat = np.where(parallel, lat[..., None], arc_lat)
    return lon.reshape(rows.size, -1), lat.reshape(rows.size, -1)


def polygons_of(rings: Rings) -> np.ndarray:
    """The rings as polygons, none of which is a hole; objects of shapely, dims (ring,)."""
    at = np.stack([rings.x, rings.y], axis=-1)
    ring = np.repeat(np.arange(rings.owner.size), np.diff(rings.begin))
    return np.asarray(shapely.polygons(shapely.linearrings(at, indices=ring)))


def overlap(
    outlines: np.ndarray | Rings, crs: str, grid: TargetGrid, count: int, where: str
) -> scipy.sparse.csr_array:
    """Fractions of the cells of `grid` that each element covers: sparse matrix (cell, element).

    `outlines` are polygons or rings in `crs`. Cells count row by row from the north, and `count` is
    the number of elements. `InputError`, located at `where`, for outlines that the target's CRS
    cuts in two.
    """
    from pipeline.regridding.kernels.overlay import overlay

    edges = edges_in_degrees(grid)
    on_sphere = edges is not None
    if edges is not None:
        rings = _in_degrees(outlines, crs, grid)
    else:
        edges = grid.x_edges, grid.y_edges
        rings = _in_plane(outlines, crs, grid, where)
    x_edges, y_edges = np.ascontiguousarray(edges[0]), np.ascontiguousarray(edges[1][::-1])
    turn = _TURN if on_sphere else 0.0
    cell, element, area = overlay(
        rings.x, rings.y, rings.begin, rings.owner, rings.is_hole, x_edges, y_edges, turn, on_sphere
    )
    row, col = np.divmod(cell, grid.shape[1])
    heights = np.diff(np.sin(np.deg2rad(y_edges)) if on_sphere else y_edges)
    weight = area / (heights[row] * np.diff(x_edges)[col])
    cell = (grid.shape[0] - 1 - row) * grid.shape[1] + col
    shape = (grid.shape[0] * grid.shape[1], count)
    matrix = scipy.sparse.coo_array((weight, (cell, element)), shape).tocsr()
    # Rounded, so that a cell's weights do not depend on the tile in which it lies, and neither
    # holes nor polygons that only touch a cell leave the rounding errors of their areas.
    matrix.data = np.round(matrix.data, 12)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def _in_degrees(outlines: np.ndarray | Rings, crs: str, grid: TargetGrid) -> Rings:
    """Rings in longitude and latitude."""
    from pipeline.regridding.kernels.overlay import unrolled

    if isinstance(outlines, Rings):
        return outlines
    if same_crs(crs, DEGREES):
        return rings_of(outlines)
    rings = rings_of(shapely.segmentize(outlines, _longest_side(crs, grid)))
    to_degrees = pyproj.Transformer.from_crs(crs, DEGREES, always_xy=True)
    lon, lat = (np.asarray(v) for v in to_degrees.transform(rings.x, rings.y))
    lat = np.where(np.abs(lat) > 90.0 - 1e-9, np.copysign(90.0, lat), lat)
    x, y, begin = unrolled(lon, lat, rings.begin)
    return Rings(x=x, y=y, begin=begin, owner=rings.owner, is_hole=rings.is_hole)


def _in_plane(outlines: np.ndarray | Rings, crs: str, grid: TargetGrid, where: str) -> Rings:
    """Rings in the CRS of the grid, cut to what the grid needs before they are transformed."""
    owner = None
    if isinstance(outlines, Rings):
        owner = outlines.owner
        outlines = polygons_of(outlines)
    elif same_crs(crs, grid.crs):
        return rings_of(outlines)
    shapes, index = _cut(outlines, crs, grid)
    rings = rings_of(
        shapely.segmentize(shapes, _longest_side(crs, grid)),
        index if owner is None else owner[index],
    )
    lon, lat = rings.x, rings.y
    if not same_crs(crs, DEGREES):
        to_degrees = pyproj.Transformer.from_crs(crs, DEGREES, always_xy=True)
        lon, lat = (np.asarray(v) for v in to_degrees.transform(lon, lat))
    x, y = pyproj.Transformer.from_crs(crs, grid.crs, always_xy=True).transform(rings.x, rings.y)
    x, y = np.asarray(x), np.asarray(y)
    inner = np.ones(x.size, bool)
    inner[rings.begin[1:] - 1] = False  # no side begins at the last vertex, which is the first
    inner = inner[:-1]
    vectors = unit_vectors(lon, lat)
    metres = np.linalg.norm(np.diff(vectors, axis=0), axis=-1) * EARTH_RADIUS
    unit = parsed(grid.crs).axis_info[0].unit_conversion_factor
    sides = np.hypot(np.diff(x), np.diff(y)) * unit
    # A pole, which has no length on the globe, is a line in some projections.
    at_pole = np.minimum(np.abs(lat[:-1]), np.abs(lat[1:])) > 90.0 - _AT_POLE
    torn = inner & ~at_pole & ~(sides <= _TORN * metres + 1.0)
    if torn.any():
        ring = np.unique(np.searchsorted(rings.begin, np.flatnonzero(torn), side="right"))
        raise bad_input(
            where, f"{ring.size} outlines that the edge of the grid's CRS cuts in two",
            "outlines within the domain of the grid's CRS",
            "Choose a grid in degrees, or another CRS for it.",
        )  # fmt: skip
    return Rings(x=x, y=y, begin=rings.begin, owner=rings.owner, is_hole=rings.is_hole)


def _cut(polygons: np.ndarray, crs: str, grid: TargetGrid) -> tuple[np.ndarray, np.ndarray]:
    """The polygons cut to the window of a grid, and the index of each; in any turn of longitude."""
    shapes, indices = [np.empty(0, object)], [np.empty(0, np.int64)]
    bounds = shapely.bounds(polygons)
    for west, south, east, north in _windows(crs, grid):
        for turn in _turns(crs, west, east, bounds):
            near = (bounds[:, 0] + turn < east) & (bounds[:, 2] + turn > west)
            index = np.flatnonzero(near & (bounds[:, 1] < north) & (bounds[:, 3] > south))
            moved = polygons[index]
            if turn:
                moved = shapely.transform(moved, partial(np.add, (turn, 0.0)))
            parts, of = shapely.get_parts(
                shapely.clip_by_rect(moved, west, south, east, north), return_index=True
            )
            is_area = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
            shapes.append(parts[is_area])
            indices.append(index[of[is_area]])
    return np.concatenate(shapes), np.concatenate(indices)


def _windows(crs: str, grid: TargetGrid) -> list[Bounds]:
    """The window of a grid in `crs`, in two parts where the edge of the grid's CRS crosses it.

    Projections are cut half a turn from their central meridian.
    """
    west, south, east, north = source_window(grid, crs)
    operation = parsed(grid.crs).coordinate_operation
    if not is_geographic_crs(crs) or operation is None:
        return [(west, south, east, north)]
    named = (p.value for p in operation.params if p.name.startswith("Longitude"))
    centre, half = float(next(named, 0.0)), _TURN / 2 - _INSET
    turns = _TURN * np.arange(-2, 3)
    parts = [(max(west + turn, centre - half), min(east + turn, centre + half)) for turn in turns]
    return [(low, south, high, north) for low, high in parts if low < high]


def _turns(crs: str, west: float, east: float, bounds: np.ndarray) -> np.ndarray:
    """What to add to longitudes of polygons with the `bounds` to get from `west` to `east`."""
    if not is_geographic_crs(crs) or not np.isfinite(bounds).any():
        return np.zeros(1)
    first = np.ceil((west - np.nanmax(bounds[:, 2])) / _TURN)
    last = np.floor((east - np.nanmin(bounds[:, 0])) / _TURN)
    return np.arange(first, last + 1) * _TURN


def _longest_side(crs: str, grid: TargetGrid) -> float:
    """Length of sides, in units of `crs`, whose transformed curves are straight but for `_BEND`."""

    def metres(crs: str) -> float:
        if is_geographic_crs(crs):
            return _METRES
        return float(parsed(crs).axis_info[0].unit_conversion_factor)

    # The distance of an arc from its chord is length² / (8 radii).
    cell = min(grid.dx, grid.dy) * metres(grid.crs)
    return float(np.sqrt(8 * EARTH_RADIUS * _BEND * cell) / metres(crs))
