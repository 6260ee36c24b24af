"""Polygons as a source: exact fractions and means of columns, any CRS, and refusals of a check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely
import xarray as xr
from shapely.geometry import Polygon, box

import pipeline
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.check_metadata import SourceInfo
from pipeline.sources.open import check_source, read_bytes

DEGREES = TargetGrid.from_bounds("degrees", "EPSG:4326", (10.0, 50.0, 13.0, 52.0), 1.0)
ALBERS = TargetGrid.from_bounds("albers", "EPSG:5070", (-6e5, 15e5, 6e5, 24e5), 3e5)
ROCKS = {"landcover": {"name": "rock", "units": "1"}}
PERCENT = {"water_capacity": {"name": "porosity", "units": "%"}}


def written(
    folder: Path, outlines: list[Any], crs: str | None = "EPSG:4326", name: str = "rocks.gpkg",
    **columns: list[Any],
) -> Path:  # fmt: skip
    path = folder / name
    geopandas.GeoDataFrame(columns, geometry=outlines, crs=crs).to_file(path)
    return path


def entry(path: Path, variables: dict[str, Any], **more: Any) -> Source:
    return Source.model_validate(
        {"name": "rocks", "uri": str(path), "driver": "vector", "variables": variables,
         "method": "mean", **more}
    )  # fmt: skip


def classes(path: Path, **more: Any) -> Source:
    return entry(path, ROCKS, **{"kind": "categorical", "method": "fractions", **more})


def cube(folder: Path, source: Source, grid: TargetGrid, **more: Any) -> xr.Dataset:
    return pipeline.build_cube(folder / "cube.zarr", grid, [source], **more).load()


def checked(source: Source) -> SourceInfo:
    faults = Faults()
    info = check_source(source, faults)
    faults.raise_if_any()
    assert info is not None
    return info


def refusal(source: Source) -> str:
    """The message of the check, which a cube of the source must have too."""
    with pytest.raises(InputError) as by_check:
        checked(source)
    return str(by_check.value)


def columns(folder: Path, **more: Any) -> Path:
    """Three polygons: 1.25 columns of sand, then granite, and no rock in the last quarter."""
    parts = [box(10, 50, 11.25, 52), box(11.25, 50, 12, 52), box(12, 50, 12.75, 52)]
    return written(folder, parts, rock=["sand", "granite", "granite"], code=[7, 8, 8],
                   porosity=[40.0, 8.0, 20.0], **more)  # fmt: skip


@pytest.mark.parametrize("given", [
    {"sand": ["sand"], "hard": ["granite", "basalt"]}, {"sand": [1], "granite": [2]}, {},
])  # fmt: skip
def test_fractions_of_text_classes_are_exact(tmp_path: Path, given: dict[str, Any]) -> None:
    found = cube(tmp_path, classes(columns(tmp_path), classes=given), DEGREES)
    other = next((name for name in given if name != "sand"), "granite")
    sand, hard = (found[f"landcover_fraction_{name}"] for name in ("sand", other))
    np.testing.assert_allclose(sand, [[1, 0.25, 0]] * 2, atol=1e-7)
    np.testing.assert_allclose(hard, [[0, 0.75, 1]] * 2, atol=1e-7)
    np.testing.assert_allclose(found["landcover_coverage"], [[1, 1, 0.75]] * 2, atol=1e-7)


def test_codes_and_the_mode_of_a_column_of_numbers(tmp_path: Path) -> None:
    variables = {"landcover": {"name": "code", "units": "1"}}
    source = classes(columns(tmp_path), classes={"soft": [7], "hard": [8]}, method="mode")
    source = source.model_copy(update={"variables": entry(tmp_path, variables).variables})
    assert cube(tmp_path, source, DEGREES)["landcover"].values.tolist() == [[0, 1, 1]] * 2


def test_unlisted_classes_and_nodata_are_missing(tmp_path: Path) -> None:
    path = columns(tmp_path)
    found = cube(tmp_path, classes(path, classes={"sand": ["sand"]}, min_coverage=0.2), DEGREES)
    np.testing.assert_allclose(found["landcover_coverage"], [[1, 0.25, 0]] * 2, atol=1e-7)
    assert found["landcover_fraction_sand"].values[0, :2].tolist() == [1, 1]
    assert np.isnan(found["landcover_fraction_sand"].values[:, 2]).all()
    (tmp_path / "third").mkdir()
    codes = {"landcover": {"name": "code", "units": "1", "nodata": 7}}
    source = entry(path, codes, kind="categorical", method="mode")
    found = cube(tmp_path / "third", source, DEGREES)["landcover"].values
    assert np.nan_to_num(found[0], nan=-1).tolist() == [-1, 0, 0]
    source = entry(path, {"water_capacity": {"name": "porosity", "units": "%", "nodata": [8, 20]}})
    (tmp_path / "second").mkdir()
    found = cube(tmp_path / "second", source, DEGREES)
    np.testing.assert_allclose(found["water_capacity_coverage"], [[1, 0.25, 0]] * 2, atol=1e-7)


def test_means_of_a_column_are_weighted_by_area(tmp_path: Path) -> None:
    outlines = [
        box(10, 50, 10.5, 51),
        box(10.5, 50, 11, 51),
        box(11, 50, 12, 50.5),
        box(12, 50, 13, 51),
    ]
    path = written(tmp_path, outlines, porosity=[10.0, 30.0, 12.0, None])
    found = cube(tmp_path, entry(path, PERCENT, min_coverage=0.4), DEGREES)
    south = np.sin(np.deg2rad([50.0, 50.5, 51.0]))
    share = (south[1] - south[0]) / (south[2] - south[0])
    np.testing.assert_allclose(found["water_capacity"].values[1], [20, 12, np.nan], rtol=1e-6)
    np.testing.assert_allclose(found["water_capacity_coverage"][1], [1, share, 0], rtol=1e-6)
    assert not found["water_capacity_coverage"].values[0].any()


def test_holes_multipolygons_and_empty_outlines(tmp_path: Path) -> None:
    ring = box(10, 50, 13, 52).difference(box(11, 50.5, 12, 51))
    two = shapely.MultiPolygon([box(11, 50.5, 11.25, 51), box(11.75, 50.5, 12, 51)])
    path = written(tmp_path, [ring, two, Polygon(), None], rock=["a", "b", "a", "b"])
    found = cube(tmp_path, classes(path, min_coverage=0.1), DEGREES)
    heights = np.diff(np.sin(np.deg2rad([50.0, 50.5, 51.0])))
    upper = heights[1] / heights.sum()
    coverage = 1 - upper / 2
    np.testing.assert_allclose(found["landcover_coverage"][1], [1, coverage, 1], rtol=1e-6)
    np.testing.assert_allclose(
        found["landcover_fraction_b"][1], [0, upper / 2 / coverage, 0], atol=1e-7
    )


def sampled(outlines: list[Any], crs: str, grid: TargetGrid, per_cell: int = 120) -> np.ndarray:
    """[polygon, y, x] fraction of each cell that a polygon covers, from points within the cells."""
    at = (np.arange(per_cell) + 0.5) / per_cell
    x = (grid.x_edges[:-1, None] + at * grid.dx).ravel()
    if grid.is_geographic:  # equal areas: even steps of the sine
        top, bottom = np.sin(np.deg2rad(grid.y_edges[:-1])), np.sin(np.deg2rad(grid.y_edges[1:]))
        y = np.rad2deg(np.arcsin(top[:, None] + at * (bottom - top)[:, None])).ravel()
    else:
        y = (grid.y_edges[:-1, None] - at * grid.dy).ravel()
    x, y = (v.ravel() for v in np.meshgrid(x, y))
    to_file = pyproj.Transformer.from_crs(grid.crs, crs, always_xy=True)
    x, y = to_file.transform(x, y)
    rows, cols = grid.shape
    found = []
    for outline in outlines:
        shapely.prepare(outline)
        inside = shapely.contains_xy(outline, x, y).reshape(rows, per_cell, cols, per_cell)
        found.append(inside.mean(axis=(1, 3)))
    return np.array(found)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:5070", "EPSG:3978", "EPSG:6933"])
@pytest.mark.parametrize("grid", [
    TargetGrid.from_bounds("degrees", "EPSG:4326", (-100.0, 36.0, -92.0, 42.0), 2.0), ALBERS,
    TargetGrid.from_bounds("ease", "EPSG:6933", (-9.6e6, 43e5, -9.0e6, 49e5), 2e5),
])  # fmt: skip
def test_any_crs_agrees_with_points_within_cells(
    tmp_path: Path, grid: TargetGrid, crs: str
) -> None:
    """Straight sides are those of the file's CRS, and areas those of the target's cells."""
    long, small = (
        [(-104.0, 33.0), (-88.0, 35.5), (-95.0, 44.0)],
        [(-97.1, 38.0), (-95.2, 38.1), (-96.0, 39.7)],
    )
    to_file = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    shapes = [Polygon([to_file.transform(*point) for point in points]) for points in (long, small)]
    outlines = [shapes[0].difference(shapes[1]), shapes[1]]
    path = written(tmp_path, outlines, crs, rock=["big", "small"])
    found = cube(tmp_path, classes(path, min_coverage=0.0), grid)
    expected = sampled(outlines, crs, grid)
    coverage = found["landcover_coverage"].values
    np.testing.assert_allclose(coverage, expected.sum(0), atol=2e-3)
    for name, fraction in zip(("big", "small"), expected, strict=True):
        share = np.nan_to_num(found[f"landcover_fraction_{name}"].values) * coverage
        np.testing.assert_allclose(share, fraction, atol=2e-3)


def test_areas_are_kept_over_the_globe(tmp_path: Path) -> None:
    """The sum over cells of coverage times area is the area of the polygons, on seam and poles."""
    grid = TargetGrid.from_bounds("globe", "EPSG:4326", (-180.0, -90.0, 180.0, 90.0), 10.0)
    cap = box(-180, 70, 180, 90)
    outlines = [Polygon([(-50, 12), (20, -31), (95, 44)]), box(170, 50, 195, 60), cap]
    path = written(tmp_path, outlines, porosity=[1.0, 2.0, 3.0])
    found = cube(tmp_path, entry(path, PERCENT, min_coverage=0.0), grid, tile=(6, 12))
    coverage = found["water_capacity_coverage"].values
    area = grid.cell_area()
    z = np.sin(np.deg2rad([50, 60, 70, 90]))
    boxes = (z[1] - z[0]) * 25 / 360 + (z[3] - z[2])
    fine = shapely.transform(shapely.segmentize(outlines[0], 0.05), lambda at: np.stack(
        [at[:, 0], np.sin(np.deg2rad(at[:, 1]))], axis=1))  # fmt: skip
    expected = boxes + fine.area / 360
    assert (coverage * area).sum() / area.sum() == pytest.approx(expected / 2, rel=1e-6)
    values = np.nan_to_num(found["water_capacity"].values)
    assert (values * coverage * area)[2:].sum() > 0
    np.testing.assert_allclose(coverage[:2], 1, atol=1e-6)
    row = coverage[3]  # 50 to 60 degrees north, on both sides of the seam
    np.testing.assert_allclose(row[[0, 1, 2, -1]], [1, 0.5, 0, 1], atol=1e-6)


@pytest.mark.parametrize("target", ["EPSG:3031", "ESRI:54009", "+proj=robin +lon_0=150"])
def test_a_cap_over_the_pole_and_the_edge_of_a_projection(tmp_path: Path, target: str) -> None:
    path = written(
        tmp_path, [box(-180, -90, 180, -60), box(160, -60, 200, -40)], porosity=[1.0, 5.0]
    )
    grid = TargetGrid.from_bounds("cut", target, (-18e6, -9e6, 18e6, 9e6), 1e6)
    found = cube(tmp_path, entry(path, PERCENT, min_coverage=0.0), grid, tile=(8, 12))
    coverage = found["water_capacity_coverage"].values
    lon, lat = grid.lonlat()
    inside = np.isfinite(lon + lat) & (np.abs(lat) < 88)
    halves = [box(-180, -90, 180, -60), box(160, -60, 180, -40), box(-180, -60, -160, -40)]
    expected = sampled(halves, "EPSG:4326", grid, 40).sum(0)
    assert (expected > 0.5).sum() > 5
    np.testing.assert_allclose(coverage[inside], expected[inside], atol=0.04)


def test_polygons_of_a_polar_crs_on_degrees(tmp_path: Path) -> None:
    circle = shapely.Point(0, 0).buffer(2.5e6, quad_segs=90)
    path = written(tmp_path, [circle], "EPSG:3031", porosity=[6.0])
    grid = TargetGrid.from_bounds("south", "EPSG:4326", (-180.0, -90.0, 180.0, -60.0), 5.0)
    found = cube(tmp_path, entry(path, PERCENT, min_coverage=0.0), grid)
    to_degrees = pyproj.Transformer.from_crs("EPSG:3031", "EPSG:4326", always_xy=True)
    limit = to_degrees.transform(2.5e6, 0)[1]
    edges = np.sin(np.deg2rad(np.clip(grid.y_edges, -90, limit)))
    expected = -np.diff(edges) / -np.diff(np.sin(np.deg2rad(grid.y_edges)))
    rows = np.repeat(expected[:, None], grid.shape[1], axis=1)
    np.testing.assert_allclose(found["water_capacity_coverage"], rows, atol=1e-3)


def test_tiles_equal_the_whole_and_read_only_their_polygons(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    x, y = np.meshgrid(np.arange(10, 13, 0.25), np.arange(50, 52, 0.25))
    outlines = [box(a, b, a + 0.25, b + 0.25) for a, b in zip(x.ravel(), y.ravel(), strict=True)]
    path = written(tmp_path, outlines, porosity=rng.random(len(outlines)) * 100)
    grid = TargetGrid.from_bounds("fine", "EPSG:4326", (10.0, 50.0, 13.0, 52.0), 0.1)
    (tmp_path / "tiles").mkdir()
    whole = cube(tmp_path, entry(path, PERCENT), grid, tile=(20, 30))
    tiles = cube(tmp_path / "tiles", entry(path, PERCENT), grid, tile=(8, 7))
    np.testing.assert_array_equal(whole["water_capacity"], tiles["water_capacity"])
    np.testing.assert_array_equal(
        whole["water_capacity_coverage"], tiles["water_capacity_coverage"]
    )
    corner = grid.window(slice(0, 3), slice(0, 3))
    assert pipeline.open_source(entry(path, PERCENT), on=corner).sizes["cell"] < 12
    assert read_bytes(entry(path, PERCENT), grid.bounds, (2, 2)) == path.stat().st_size


def test_the_polygons_themselves_as_a_variable(tmp_path: Path) -> None:
    """Land of coast lines: 1 within the polygons and 0 outside of them, never missing."""
    path = written(tmp_path, [box(10, 50, 11.25, 51)], porosity=[30.0])
    variables = {"land_fraction": {"name": "geometry", "units": "1"}, **PERCENT}
    found = cube(tmp_path, entry(path, variables, min_coverage=0.2), DEGREES, tile=(1, 1))
    assert found["land_fraction"].values == pytest.approx(np.array([[0, 0, 0], [1, 0.25, 0]]))
    assert (found["land_fraction_coverage"].values == 1).all()
    np.testing.assert_allclose(found["water_capacity"][1], [30, 30, np.nan])


def test_invalid_outlines_are_repaired_and_noted(tmp_path: Path) -> None:
    bow = Polygon([(10, 50), (11, 51), (11, 50), (10, 51)])
    path = written(tmp_path, [bow, box(12, 50, 13, 51)], porosity=[30.0, 10.0])
    assert checked(entry(path, PERCENT)).notes == (
        "1 of 2 polygons are not valid (self-intersections) and are repaired",
    )
    found = cube(tmp_path, entry(path, PERCENT, min_coverage=0.1), DEGREES)
    np.testing.assert_allclose(found["water_capacity_coverage"][1], [0.5, 0, 1], atol=1e-5)


def test_nested_polygons_are_refused_or_normalised(tmp_path: Path) -> None:
    path = written(tmp_path, [box(10, 50, 13, 52), box(10, 50, 11, 52)], porosity=[10.0, 30.0])
    assert "overlap" in refusal(entry(path, PERCENT))
    with pytest.raises(InputError, match=r"overlaps: normalise"):
        cube(tmp_path, entry(path, PERCENT), DEGREES)
    source = entry(path, PERCENT, options={"overlaps": "normalise"})
    checked(source)
    (tmp_path / "second").mkdir()
    found = cube(tmp_path / "second", source, DEGREES)
    np.testing.assert_allclose(found["water_capacity"], [[20, 10, 10]] * 2, rtol=1e-6)
    np.testing.assert_allclose(found["water_capacity_coverage"], 1)


def test_slivers_of_an_overlap_do_not_count_twice(tmp_path: Path) -> None:
    outlines = [box(10, 50, 11.502, 52), box(11.5, 50, 13, 52)]
    found = cube(
        tmp_path, entry(written(tmp_path, outlines, porosity=[10.0, 30.0]), PERCENT), DEGREES
    )
    np.testing.assert_array_equal(found["water_capacity_coverage"], np.ones((2, 3), np.float32))


def test_an_entry_without_crs_takes_that_of_the_file(tmp_path: Path) -> None:
    path = columns(tmp_path)
    assert checked(entry(path, PERCENT)).crs == "EPSG:4326"
    assert "EPSG:5070" in refusal(entry(path, PERCENT, crs="EPSG:5070"))
    unknown = written(tmp_path, [box(10, 50, 13, 52)], None, "plain.shp", porosity=[5.0])
    assert "Set `crs`" in refusal(entry(unknown, PERCENT))
    assert checked(entry(unknown, PERCENT, crs="EPSG:4326")).shape == (1,)


@pytest.mark.parametrize(("change", "words"), [
    ({"variables": {"water_capacity": {"name": "porosty", "units": "%"}}}, 'mean "porosity"'),
    ({"variables": {"water_capacity": {"name": "rock", "units": "%"}}}, "kind: categorical"),
    ({"variables": {"water_capacity": {"name": "porosity"}}}, "no units"),
    ({"variables": {"water_capacity": {"name": "porosity", "units": "m"}}}, "units"),
    ({"variables": {"water_capacity": {"name": "porosity", "units": "1"}}}, "0 to 100"),
    ({"variables": ROCKS, "kind": "categorical", "method": "mode", "classes": {"loess": ["lo"]}},
     "values granite, sand"),
    ({"options": {"layer": "rivers"}}, "rivers"),
])  # fmt: skip
def test_a_check_finds_what_a_run_would(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    assert words in refusal(entry(columns(tmp_path), **{"variables": PERCENT, **change}))


def test_a_layer_is_named_by_an_option(tmp_path: Path) -> None:
    path = columns(tmp_path)
    frame = geopandas.GeoDataFrame(
        {"porosity": [77.0]}, geometry=[box(10, 50, 13, 52)], crs="EPSG:4326"
    )
    frame.to_file(path, layer="other")
    found = cube(tmp_path, entry(path, PERCENT, options={"layer": "other"}), DEGREES)
    np.testing.assert_allclose(found["water_capacity"], 77)


def test_sides_of_more_than_half_a_turn_are_refused(tmp_path: Path) -> None:
    wrong = written(
        tmp_path, [Polygon([(179, 50), (-179, 50), (-179, 52), (179, 52)])], porosity=[1.0]
    )
    assert "-wrapdateline" in refusal(entry(wrong, PERCENT))


def test_lines_and_points_are_no_polygons(tmp_path: Path) -> None:
    path = written(tmp_path, [shapely.LineString([(10, 50), (11, 51)])], porosity=[1.0])
    assert "LineString" in refusal(entry(path, PERCENT))


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_polygons_have_no_centres_to_interpolate(tmp_path: Path, method: str) -> None:
    with pytest.raises(InputError, match="fractions or mode"):
        cube(tmp_path, entry(columns(tmp_path), PERCENT, method=method), DEGREES)


def test_files_of_neighbours_are_merged(tmp_path: Path) -> None:
    west = written(tmp_path, [box(10, 50, 11.5, 52)], name="west.gpkg", porosity=[10.0])
    east = written(tmp_path, [box(11.5, 50, 13, 52)], name="east.gpkg", porosity=[30.0])
    parts = [entry(path, PERCENT).model_copy(update={"name": path.stem}) for path in (west, east)]
    source = Source.model_validate({"name": "both", "merge": parts})
    found = cube(tmp_path, source, DEGREES)
    np.testing.assert_allclose(found["water_capacity"], [[10, 20, 30]] * 2, rtol=1e-6)
    assert "Write an entry for each" in refusal(
        entry(west, PERCENT).model_copy(update={"uri": (str(west), str(east))})
    )


def test_a_tile_with_one_polygon_of_no_class_is_as_in_the_whole(tmp_path: Path) -> None:
    outlines = [box(10, 50, 12, 52), box(12, 50, 13, 51), box(12, 51, 13, 52)]
    path = written(tmp_path, outlines, rock=["su", " ", None])
    whole = cube(tmp_path, classes(path), DEGREES)
    (tmp_path / "tiles").mkdir()
    tiles = cube(tmp_path / "tiles", classes(path), DEGREES, tile=(1, 1))
    xr.testing.assert_equal(whole.drop_attrs(), tiles.drop_attrs())
    assert [name for name in whole.data_vars if "fraction" in str(name)] == [
        "landcover_fraction_su"
    ]
    np.testing.assert_allclose(tiles["landcover_coverage"].values, [[1, 1, 0]] * 2, atol=1e-6)
    np.testing.assert_array_equal(tiles["landcover_fraction_su"].values, [[1, 1, np.nan]] * 2)


def test_parts_on_both_sides_of_the_date_line_are_no_long_sides(tmp_path: Path) -> None:
    parts = shapely.MultiPolygon([box(178.5, 0, 180, 2), box(-180, 0, -179, 2)])
    path = written(tmp_path, [parts], porosity=[30.0])
    grid = TargetGrid.from_bounds("line", "EPSG:4326", (178.0, 0.0, 182.0, 2.0), 1.0)
    source = entry(path, PERCENT, min_coverage=0.4)
    assert not checked(source).notes
    found = cube(tmp_path, source, grid)["water_capacity"].values
    np.testing.assert_array_equal(found, [[30, 30, 30, np.nan]] * 2)


def test_points_are_refused_when_they_are_regridded(tmp_path: Path) -> None:
    path = written(tmp_path, [shapely.Point(10.5, 50.5)], rock=["su"])
    with pytest.raises(InputError, match="found geometries Point; expected polygons"):
        cube(tmp_path, classes(path), DEGREES)


def test_labels_of_several_words(tmp_path: Path) -> None:
    path = written(tmp_path, [box(10, 50, 13, 52)], rock=["Sand, fine"])
    source = classes(path, classes=["Sand, fine", "Gravel"])
    found = cube(tmp_path, source, DEGREES)
    np.testing.assert_allclose(found["landcover_fraction_sand_fine"].values, 1, atol=1e-6)
    np.testing.assert_allclose(found["landcover_fraction_gravel"].values, 0, atol=1e-6)


def test_areas_of_polygons_that_overlap_are_divided_by_their_sum(tmp_path: Path) -> None:
    # In the first cell one covers all and one a half: 2/3 and 1/3; the second and third have one.
    path = written(tmp_path, [box(10, 50, 12.5, 52), box(10, 50, 10.5, 52)], rock=["lava", "sand"])
    found = cube(tmp_path, classes(path, options={"overlaps": "normalise"}), DEGREES)
    np.testing.assert_allclose(found["landcover_fraction_lava"], [[2 / 3, 1, 1]] * 2, rtol=1e-6)
    np.testing.assert_allclose(found["landcover_fraction_sand"], [[1 / 3, 0, 0]] * 2, rtol=1e-6)
    np.testing.assert_allclose(found["landcover_coverage"], [[1, 1, 0.5]] * 2, rtol=1e-6)


@pytest.mark.parametrize("shift", [0.0, 180.0, -360.0])
def test_coverage_is_the_area_of_the_union(tmp_path: Path, shift: float) -> None:
    """Two polygons on one half of a cell, a nested pair in the next, neighbours in the last."""
    outlines = [
        *(box(10, 50, 10.5, 52), box(10, 50, 10.5, 52)),
        *(box(11, 50, 11.75, 52), box(11, 50, 11.5, 52)), *(box(12, 50, 12.25, 52),
          box(12.25, 50, 12.5, 52)),
    ]  # fmt: skip
    values = [10.0, 30.0, 10.0, 35.0, 4.0, 8.0]
    moved = [shapely.affinity.translate(one, shift) for one in outlines]
    grid = DEGREES if shift != 180 else TargetGrid.from_bounds(
        "east", "EPSG:4326", (190.0, 50.0, 193.0, 52.0), 1.0
    )  # fmt: skip
    path = written(tmp_path, moved, porosity=values)
    assert "overlap" in refusal(entry(path, PERCENT))
    source = entry(path, PERCENT, options={"overlaps": "normalise"}, min_coverage=0.1)
    checked(source)
    found = cube(tmp_path, source, grid)
    np.testing.assert_allclose(found["water_capacity_coverage"], [[0.5, 0.75, 0.5]] * 2, rtol=1e-6)
    np.testing.assert_allclose(found["water_capacity"], [[20, 20, 6]] * 2, rtol=1e-6)


def test_the_union_is_that_of_a_projected_grid_too(tmp_path: Path) -> None:
    outlines = [box(1e5, 1e5, 1.5e5, 3e5), box(1e5, 1e5, 1.5e5, 3e5), box(1.25e5, 1e5, 1.5e5, 3e5)]
    path = written(tmp_path, outlines, "EPSG:5070", porosity=[10.0, 30.0, 20.0])
    albers = TargetGrid.from_bounds("albers", "EPSG:5070", (1e5, 1e5, 3e5, 3e5), 1e5)
    source = entry(path, PERCENT, options={"overlaps": "normalise"}, min_coverage=0.1)
    found = cube(tmp_path, source, albers)
    np.testing.assert_allclose(found["water_capacity_coverage"][:, 0], 0.5, rtol=1e-6)
    np.testing.assert_allclose(found["water_capacity"][:, 0], 20, rtol=1e-6)


def test_what_lies_outside_of_overlapping_polygons_is_the_rest(tmp_path: Path) -> None:
    path = written(tmp_path, [box(10, 50, 10.5, 52)] * 2 + [box(12, 50, 13, 52)])
    inside = {"land_fraction": {"name": "geometry", "units": "1"}}
    found = cube(tmp_path, entry(path, inside, options={"overlaps": "normalise"}), DEGREES)
    np.testing.assert_allclose(found["land_fraction"], [[0.5, 0, 1]] * 2, rtol=1e-6)


def test_small_polygons_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    lakes = [box(x, y, x + 0.01, y + 0.01) for x in (10.0, 11.5, 12.9) for y in (50.0, 51.9)]
    checked(entry(written(tmp_path, lakes, porosity=[1.0] * 6), PERCENT))
    path = written(tmp_path, lakes * 2, porosity=[1.0] * 12)
    assert "overlap" in refusal(entry(path, PERCENT))


def test_the_areas_of_a_collection_are_used(tmp_path: Path) -> None:
    mixed = shapely.GeometryCollection([box(10, 50, 11, 52), shapely.Point(12.5, 51)])
    path = written(tmp_path, [mixed, box(11, 50, 13, 52)], porosity=[10.0, 30.0])
    found = cube(tmp_path, entry(path, PERCENT), DEGREES)
    np.testing.assert_allclose(found["water_capacity"], [[10, 30, 30]] * 2, rtol=1e-6)


def test_layers_are_listed_where_the_choice_is_unclear(tmp_path: Path) -> None:
    path = columns(tmp_path)
    frame = geopandas.GeoDataFrame({"q": [7.0]}, geometry=[box(10, 50, 13, 52)], crs="EPSG:4326")
    frame.to_file(path, layer="other")
    assert "the first layer" in " ".join(checked(entry(path, PERCENT)).notes)
    assert "other" in refusal(entry(path, PERCENT, options={"layer": "othr"}))
    assert "layer: …" in refusal(entry(path, {"water_capacity": {"name": "q", "units": "%"}}))


def test_a_check_refuses_the_nearest_polygon(tmp_path: Path) -> None:
    assert "method of areas" in refusal(classes(columns(tmp_path), method="nearest"))


@pytest.mark.parametrize("crs", ["EPSG:4326", "OGC:CRS84", "EPSG:3035"])
def test_geoparquet_is_read_as_other_files_are(tmp_path: Path, crs: str) -> None:
    frame = geopandas.read_file(columns(tmp_path)).to_crs(crs)
    frame.to_parquet(tmp_path / "rocks.parquet")
    frame.to_file(tmp_path / "other.gpkg")
    (tmp_path / "second").mkdir()
    found = cube(tmp_path, classes(tmp_path / "rocks.parquet"), DEGREES)
    expected = cube(tmp_path / "second", classes(tmp_path / "other.gpkg"), DEGREES)
    assert {*found} == {*expected}
    for name in expected.data_vars:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-9)
    info = checked(classes(tmp_path / "rocks.parquet"))
    assert info.shape == (3,)
    assert info.bounds == pytest.approx(frame.total_bounds)
    whole = pipeline.open_source(classes(tmp_path / "rocks.parquet"), (10.0, 50.0, 10.5, 51.0)) \
        if crs != "EPSG:3035" else None  # fmt: skip
    assert whole is None or whole.sizes["cell"] == 1


def test_parquet_without_outlines_has_a_way_out(tmp_path: Path) -> None:
    pd.DataFrame({"porosity": [1.0]}).to_parquet(tmp_path / "rocks.parquet")
    assert "driver: table" in refusal(entry(tmp_path / "rocks.parquet", PERCENT))
    geopandas.GeoDataFrame(
        {"porosity": [1.0]}, geometry=[shapely.Point(10, 50)], crs="EPSG:4326"
    ).to_parquet(tmp_path / "points.parquet")
    assert "polygons" in refusal(entry(tmp_path / "points.parquet", PERCENT))


@pytest.mark.parametrize("form", ["nothing", "open_ring"])
def test_outlines_that_are_damaged_in_a_shapefile_are_refused(tmp_path: Path, form: str) -> None:
    path = written(tmp_path, [box(10, 50, 11, 51)], name="a.shp", porosity=[20.0])
    content = bytearray(path.read_bytes())
    if form == "nothing":
        content[108:112] = bytes(4)  # the type of the first outline: null
    else:
        content[160:168] = bytes(8)  # the first coordinate, which the last point no longer equals
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.shp"):
        checked(entry(path, PERCENT))
