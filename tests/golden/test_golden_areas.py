"""The conservative warp against Shapely's exact overlaps, in float64 on an equal-area plane."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from shapely import STRtree, area, intersection, polygons

from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding.regrid import regrid
from tests.gridded import grid, source

LCC = "+proj=lcc +lat_1=30 +lat_2=60 +lat_0=39 +lon_0=-97 +R=6370000 +type=crs"
LAEA = "+proj=laea +lat_0=39 +lon_0=-97 +R=6370000 +type=crs"
SIZE = 20_000.0
X_EDGES, Y_EDGES = -500_000 + SIZE * np.arange(51), 400_000 - SIZE * np.arange(41)


def cells(
    x_edges: np.ndarray, y_edges: np.ndarray, crs: str, plane: str, parts: int
) -> np.ndarray:  # fmt: skip
    """Polygons of the cells in an equal-area plane, `parts` points a side; dims (cell,)."""
    steps = np.arange(parts) / parts
    left, top = (v.ravel() for v in np.meshgrid(x_edges[:-1], y_edges[:-1]))
    wide, high = x_edges[1] - x_edges[0], y_edges[0] - y_edges[1]
    along = np.concatenate([steps, np.ones(parts), 1 - steps, np.zeros(parts)])
    down = np.concatenate([np.zeros(parts), steps, np.ones(parts), 1 - steps])
    x, y = left[:, None] + wide * along, top[:, None] - high * down
    place = pyproj.Transformer.from_crs(crs, plane, always_xy=True).transform
    return np.asarray(polygons(np.stack(place(x, y), axis=-1)))


def overlaps(
    targets: np.ndarray, sources: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the source's values over each target cell and its covered share; dims (cell,)."""
    target, found = STRtree(sources).query(targets)
    shared = area(intersection(targets[target], sources[found]))
    covered = np.bincount(target, shared, targets.size)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(target, shared * values[found], targets.size) / covered
    return mean, covered / area(targets)


@pytest.mark.parametrize(
    ("crs", "plane", "parts", "tolerance", "integral"),
    [
        # The sides of target cells above 20 km have four straight parts. Against such cells, in
        # the source's own equal-area plane, only rounding is left;
        ("EPSG:5070", "EPSG:5070", 4, 1e-12, 1e-9),
        # against cells with their true, bent sides the chords cut off up to 3e-4 of a cell (noise
        # of 0..1 shows that in full, a smooth field a thousandth of it).
        ("EPSG:5070", "EPSG:5070", 32, 3e-4, 1e-6),
        # Overlaps are measured in the source's plane. Where that is not equal-area its scale varies
        # within a target cell, here by 0.3 % at most, and the weights with it.
        (LCC, LAEA, 32, 4e-4, 3e-5),
    ],
)  # fmt: skip
def test_conservative_is_polygon_overlap_on_an_equal_area_plane(
    crs: str, plane: str, parts: int, tolerance: float, integral: float
) -> None:
    values = np.random.default_rng(0).random((40, 50))
    shift = 1_800_000 if crs == "EPSG:5070" else 0
    x, y = X_EDGES[:-1] + SIZE / 2, Y_EDGES[:-1] - SIZE / 2 + shift
    target: TargetGrid = grid(-105, 32, -89, 44, 0.5)
    sources = cells(X_EDGES, Y_EDGES + shift, crs, plane, 1 if crs == plane else 8)
    targets = cells(target.x_edges, target.y_edges, "EPSG:4326", plane, parts)
    mean, covered = overlaps(targets, sources, values.ravel())

    result = regrid(source(values, y, x, crs=crs), target, "conservative", 0)
    found, coverage = result["v"].values.ravel(), result["v_coverage"].values.ravel()
    there = covered > 1e-3
    assert there.sum() > 300
    np.testing.assert_allclose(found[there], mean[there], rtol=0, atol=tolerance)
    np.testing.assert_allclose(coverage, covered, rtol=0, atol=max(tolerance, 1e-7))
    handed = np.nansum(found * coverage * area(targets))
    np.testing.assert_allclose(handed, (values.ravel() * area(sources)).sum(), rtol=integral)
