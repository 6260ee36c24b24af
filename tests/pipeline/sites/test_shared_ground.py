from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from pipeline.grid.target_grid import TargetGrid
from pipeline.sites.shared_ground import cells_over_cells, cells_with_sites, sites_in_cells

FINE = TargetGrid.from_bounds("fine", "EPSG:4326", (-125, 24, -65, 50), 1)
COARSE = TargetGrid.from_bounds("coarse", "EPSG:4326", (-180, -60, 180, 85), 2.5)


def boxes(grid: TargetGrid, cells: np.ndarray) -> np.ndarray:
    row, col = np.divmod(cells, grid.shape[1])
    return shapely.box(
        grid.x_edges[col], grid.y_edges[row + 1], grid.x_edges[col + 1], grid.y_edges[row]
    )


@given(st.integers(0, 59), st.integers(0, 25), st.booleans())
def test_cells_of_one_crs_overlap_as_their_polygons_do(col: int, row: int, wider: bool) -> None:
    grid, other = (FINE, COARSE) if wider else (COARSE, FINE)
    cell = row * 60 + col if wider else (14 + row % 10) * 144 + 22 + col % 24
    found = cells_over_cells(grid, np.array([cell]), other)
    polygons = boxes(other, np.arange(other.shape[0] * other.shape[1]))
    area = shapely.area(shapely.intersection(polygons, boxes(grid, np.array([cell]))[0]))
    np.testing.assert_array_equal(found, area > 1e-6)


def test_a_grid_that_begins_elsewhere_meets_itself_across_the_date_line() -> None:
    pacific = TargetGrid.from_bounds("pacific", "EPSG:4326", (150, -12, 210, 12), 2)
    whole = TargetGrid.from_bounds("whole", "EPSG:4326", (-180, -12, 180, 12), 3)
    found = cells_over_cells(pacific, np.array([14, 15]), whole).reshape(whole.shape)
    # 178 to 182 degrees east.
    assert np.flatnonzero(found.any(0)).tolist() == [0, 119]
    back = cells_over_cells(whole, np.array([0]), pacific).reshape(pacific.shape)
    assert np.flatnonzero(back.any(0)).tolist() == [15, 16]


@pytest.mark.parametrize("crs", ["EPSG:5070", "EPSG:6933", "EPSG:3031"])
def test_no_overlapping_cell_of_another_crs_is_left_out(crs: str) -> None:
    bounds, size = {
        "EPSG:5070": ((-2400000, 200000, 2400000, 3200000), 200000),
        "EPSG:6933": ((-12000000, 2500000, -6000000, 6000000), 250000),
        "EPSG:3031": ((-3000000, -3000000, 3000000, 3000000), 400000),
    }[crs]
    projected = TargetGrid.from_bounds("projected", crs, bounds, size)
    degrees = TargetGrid.from_bounds("degrees", "EPSG:4326", (-180, -90, 180, 90), 3)
    rng = np.random.default_rng(0)
    # Points within each cell show which cells overlap.
    for cell in rng.integers(0, projected.shape[0] * projected.shape[1], 25):
        inside = rng.random((4000, 2))
        row, col = divmod(int(cell), projected.shape[1])
        x = projected.x_edges[col] + inside[:, 0] * size
        y = projected.y_edges[row] - inside[:, 1] * size
        lon, lat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
        sites = np.stack([lon, lat], 1)
        assert sites_in_cells(projected, np.array([cell]), sites).all()
        touched = cells_with_sites(sites, degrees)
        found = cells_over_cells(projected, np.array([cell]), degrees)
        assert not (touched & ~found).any()
        assert found.sum() <= 3 * touched.sum() + 12 or np.abs(lat).max() > 85
    # And the other way round.
    for cell in np.flatnonzero(touched):
        found = cells_over_cells(degrees, np.array([cell]), projected)
        within = sites[sites_in_cells(degrees, np.array([cell]), sites)]
        assert not (cells_with_sites(within, projected) & ~found).any()


def test_sites_and_cells() -> None:
    sites = np.array([[-124.5, 49.5], [-124.5, 24.5], [10.0, 10.0]])
    assert np.flatnonzero(cells_with_sites(sites, FINE)).tolist() == [0, 25 * 60]
    assert sites_in_cells(FINE, np.array([0, 7]), sites).tolist() == [True, False, False]
