"""Inverse of curvilinear grids: points to indices and back, at the pole and the antimeridian."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.grid.curvilinear import Locator, unit_vectors
from pipeline.grid.target_grid import TargetGrid


@pytest.mark.parametrize(
    ("crs", "bounds"),
    [
        ("EPSG:5070", (-6e5, 9e5, 6e5, 2.1e6)),
        ("EPSG:3413", (-1e6, -1e6, 1e6, 1e6)),
        ("EPSG:3460", (1.2e6, 3.2e6, 2.4e6, 4.4e6)),
    ],
)
def test_centres_are_found_again_and_points_between_lie_between(
    crs: str, bounds: tuple[float, float, float, float]
) -> None:
    grid = TargetGrid.from_bounds("c", crs, bounds, 40_000)
    lon, lat = grid.lonlat()
    locator = Locator(lon, lat)
    col, row = locator.locate(lon.ravel(), lat.ravel())
    rows, cols = np.indices(grid.shape)
    np.testing.assert_allclose(col.reshape(grid.shape), cols, atol=1e-6)
    np.testing.assert_allclose(row.reshape(grid.shape), rows, atol=1e-6)
    middle = unit_vectors(lon[:-1, :-1], lat[:-1, :-1]) + unit_vectors(lon[1:, 1:], lat[1:, 1:])
    between = np.rad2deg(np.arctan2(middle[..., 1], middle[..., 0]))
    up = np.rad2deg(np.arctan2(middle[..., 2], np.hypot(middle[..., 0], middle[..., 1])))
    col, row = locator.locate(between.ravel(), up.ravel())
    np.testing.assert_allclose(col.reshape(middle.shape[:2]) - cols[:-1, :-1], 0.5, atol=5e-3)
    np.testing.assert_allclose(row.reshape(middle.shape[:2]) - rows[:-1, :-1], 0.5, atol=5e-3)


def test_points_that_are_nowhere_and_centres_that_are_missing() -> None:
    grid = TargetGrid.from_bounds("c", "EPSG:5070", (-6e5, 9e5, 6e5, 2.1e6), 40_000)
    lon, lat = grid.lonlat()
    lon[5, 5] = np.nan
    col, row = Locator(lon, lat).locate(
        np.array([np.nan, lon[20, 20]]), np.array([40, lat[20, 20]])
    )
    assert np.isnan(col[0])
    assert np.isnan(row[0])
    np.testing.assert_allclose([col[1], row[1]], 20, atol=1e-6)


def test_areas_follow_the_spacing() -> None:
    lon, lat = np.meshgrid(np.arange(-180, -100, 2.0), np.arange(60, 20, -2.0))
    area = Locator(lon, lat).cell_area()
    expected = np.cos(np.deg2rad(lat))
    ratio = (area / expected)[1:-1, 1:-1]
    np.testing.assert_allclose(ratio / ratio.mean(), 1, rtol=1e-3)
