"""Target grids: edges, windows, areas, points and the catalog of named grids."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.grid.crs import EARTH_RADIUS, crs_of, wrap_longitude
from pipeline.grid.named_grids import read_grids
from pipeline.grid.spacing import sharpened
from pipeline.grid.target_grid import TargetGrid

CATALOG = Path(__file__).parents[3] / "catalogs" / "grids.yml"
GLOBAL = TargetGrid.from_bounds("g", "EPSG:4326", (-180, -90, 180, 90), 1.0)
ALBERS = TargetGrid.from_bounds("a", "EPSG:5070", (-100_000, 0, 100_000, 150_000), 25_000)


def test_area_of_the_globe_is_that_of_the_sphere() -> None:
    np.testing.assert_allclose(GLOBAL.cell_area().sum(), 4 * np.pi * EARTH_RADIUS**2, rtol=1e-14)


def test_planar_cell_area_is_corrected_by_the_scale_of_the_projection() -> None:
    np.testing.assert_allclose(ALBERS.cell_area(), 25_000.0**2, rtol=1e-12)
    mercator = TargetGrid.from_bounds("m", "EPSG:3395", (0, 8_300_000, 10_000, 8_310_000), 10_000)
    assert mercator.cell_area()[0, 0] < 0.3 * 10_000**2  # near 60° north lengths are doubled


def test_rows_are_north_up_and_edges_enclose_centres() -> None:
    for grid in (GLOBAL, ALBERS):
        assert (np.diff(grid.y) < 0).all()
        assert (np.diff(grid.x) > 0).all()
        np.testing.assert_allclose((grid.y_edges[1:] + grid.y_edges[:-1]) / 2, grid.y)
        np.testing.assert_allclose((grid.x_edges[1:] + grid.x_edges[:-1]) / 2, grid.x)


@settings(max_examples=30, deadline=None)
@given(
    step=st.sampled_from([0.1, 0.25, 1 / 24, 1 / 12, 0.7]),
    top=st.integers(0, 50), height=st.integers(1, 40), left=st.integers(0, 50),
    width=st.integers(1, 40),
)  # fmt: skip
def test_a_window_keeps_the_bits_of_the_whole(
    step: float, top: int, height: int, left: int, width: int
) -> None:
    grid = TargetGrid(
        name="p", crs="EPSG:4326", west=-120.0, north=49.0, dx=step, dy=step, shape=(100, 100)
    )
    rows, cols = slice(top, top + height), slice(left, left + width)
    window = grid.window(rows, cols)
    assert window.y.tobytes() == grid.y[rows].tobytes()
    assert window.x.tobytes() == grid.x[cols].tobytes()
    assert window.x_edges.tobytes() == grid.x_edges[left : left + width + 1].tobytes()
    assert window.y_edges.tobytes() == grid.y_edges[top : top + height + 1].tobytes()
    assert (window.cell_area() == grid.cell_area()[rows, cols]).all()
    nested = window.window(slice(0, 1), slice(width - 1, None))
    assert nested.x[0] == grid.x[left + width - 1]


def test_periodic_follows_from_the_bounds_only() -> None:
    assert GLOBAL.is_periodic
    assert not GLOBAL.window(slice(None), slice(0, 359)).is_periodic
    assert TargetGrid.from_bounds("z", "EPSG:4326", (0, -60, 360, 84), 1.0).is_periodic
    assert not ALBERS.is_periodic


def test_index_of_finds_centres_edges_wraps_and_outside() -> None:
    lon, lat = GLOBAL.lonlat()
    rows, cols = GLOBAL.index_of(lon, lat)
    np.testing.assert_array_equal(rows, np.arange(180)[:, None] + np.zeros((1, 360), int))
    np.testing.assert_array_equal(cols, np.arange(360)[None] + np.zeros((180, 1), int))
    row, col = GLOBAL.index_of([190.5, -180.0, 180.0, np.nan, 0.0], [-90.0, 90.0, 0.0, 0.0, 91.0])
    np.testing.assert_array_equal(col, [10, 0, 359, -1, -1])
    np.testing.assert_array_equal(row, [179, 0, 90, -1, -1])
    row, col = ALBERS.index_of(*ALBERS.lonlat())
    np.testing.assert_array_equal(row[:, 0], np.arange(6))
    np.testing.assert_array_equal(col[0], np.arange(8))


def test_grids_compare_hash_and_pickle() -> None:
    twin = TargetGrid.from_bounds("other name", "EPSG:4326", (-180, -90, 180, 90), 1.0)
    assert twin != GLOBAL
    assert twin.fingerprint == GLOBAL.fingerprint
    assert GLOBAL.window(slice(1, 5), slice(None)).fingerprint != GLOBAL.fingerprint
    assert pickle.loads(pickle.dumps(GLOBAL)) == GLOBAL
    assert len({GLOBAL, GLOBAL.window(slice(None), slice(None))}) == 1


def test_coordinates_carry_cf_and_the_crs() -> None:
    ds = xr.Dataset(coords=ALBERS.coords())
    assert ds.x.attrs["standard_name"] == "projection_x_coordinate"
    assert ds.spatial_ref.attrs["grid_mapping_name"] == "albers_conical_equal_area"
    assert crs_of(ds) == "EPSG:5070"
    assert TargetGrid.like(ds, "a") == ALBERS
    assert ALBERS.geobox.boundingbox.bbox == ALBERS.bounds


def test_like_a_file(tmp_path: Path) -> None:
    import rasterio

    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": "EPSG:5070"}
    with rasterio.open(
        tmp_path / "a.tif", "w", **profile, width=8, height=6, transform=ALBERS.transform
    ) as raster:
        raster.write(np.zeros((1, 6, 8), "u1"))
    assert TargetGrid.like(tmp_path / "a.tif", "a") == ALBERS
    lat, lon = np.arange(-10, 11, 2.0), np.arange(100, 110, 2.0)
    xr.Dataset(coords={"lat": lat, "lon": lon}).to_netcdf(tmp_path / "a.nc")
    grid = TargetGrid.like(tmp_path / "a.nc", "south-up")
    assert grid.bounds == (99, -11, 109, 11)
    assert grid.y[0] == 10
    with pytest.raises(InputError, match="no such file"):
        TargetGrid.like(tmp_path / "b.tif", "b")


def test_named_grids_load_and_have_their_shapes() -> None:
    grids = read_grids(CATALOG)
    shapes = {name: grid.shape for name, grid in grids.items()}
    assert shapes["global_1deg"] == (144, 360)
    assert shapes["conus_0p25deg"] == (104, 234)
    assert shapes["global_9km"] == (1624, 3856)
    assert shapes["delaware_0p1deg"] == (40, 21)
    row, col = grids["conus_9km"].index_of([-124.9, -66.6], [49.9, 24.1])
    assert (row >= 0).all()
    assert (col >= 0).all()
    np.testing.assert_allclose(grids["global_9km"].bounds[3], 7314540.83, atol=0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {crs: EPSG:99999, bounds: [0, 0, 1, 1], resolution: 1}", "a CRS that PROJ knows"),
        ("a: {crs: EPSG:4326, bounds: [0, 0, 1, 1], resolution: 0.3}", "whole number of cells"),
        ("a: {crs: EPSG:4326, bounds: [0, 60, 1, 95], resolution: 1}", "latitudes within"),
        ("a: {crs: EPSG:4326, bounds: [0, 0, 361, 1], resolution: 1}", "at most 360"),
        ("a: {crs: EPSG:4326, bound: [0, 0, 1, 1], resolution: 1}", 'Did you mean "bounds"'),
        ("a: {window_of: nothing, rows: [0, 1], cols: [0, 1]}", "incomplete or unreadable"),
        ("a: {crs: EPSG:4326, bounds: [0, 0, 1, 1], resolution: -1}", "whole number of cells"),
        ("a: {crs: EPSG:4326, bounds: [0, 0, 1, 1], resolution: 1/0}", "incomplete or unreadable"),
        ("a: [1", "grids.yml, line 1: found .*'<stream end>'.* a YAML mapping of names to grids"),
        ("a: &x [1]\nb: *x", r"grids.yml, line 2: found the alias \*x"),
        ("[" * 1000, "grids.yml, line 1: found values nested in more than 40 levels"),
        ("a: 5", "grids.yml: a: found 5; expected a mapping of its settings"),
        ("[a, b]", "expected a YAML mapping of names to grids"),
        ("", "found nothing; expected a YAML mapping of names to grids"),
        ("a: {like: GRIDS}", "grids.yml: found a file that cannot be read .* expected a raster"),
        ("a: {like: TEXT.nc}", r"TEXT.nc: found a file that cannot be read .* expected a raster"),
    ],
)
def test_a_bad_entry_is_refused_with_its_reason(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "text.nc").write_text("no raster")
    text = text.replace("GRIDS", str(tmp_path / "grids.yml"))
    (tmp_path / "grids.yml").write_text(text.replace("TEXT", str(tmp_path / "text")))
    with pytest.raises(InputError, match=message.replace("TEXT", "text")):
        read_grids(tmp_path / "grids.yml")


def test_all_bad_grids_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "grids.yml").write_text("a: {crs: nowhere}\nb: {window_of: c}\n")
    with pytest.raises(InputError) as error:
        read_grids(tmp_path / "grids.yml")
    assert len(error.value.faults) == 2


def test_projected_coordinates_without_a_crs_are_refused() -> None:
    ds = xr.Dataset(coords={"y": [2000.0, 1000.0], "x": [0.0, 1000.0]})
    with pytest.raises(InputError, match="no CRS"):
        crs_of(ds)


def test_wrap_longitude_keeps_values_that_are_inside() -> None:
    lon = np.array([-180.0, -75.1, 0.1, 179.9])
    assert wrap_longitude(lon).tobytes() == lon.tobytes()
    np.testing.assert_array_equal(wrap_longitude([180, 359.5, 540]), [-180, -0.5, -180])


GRID_MAPPING = {
    "grid_mapping_name": "albers_conical_equal_area", "standard_parallel": [29.5, 45.5],
    "longitude_of_central_meridian": -96.0, "latitude_of_projection_origin": 23.0,
    "false_easting": 0.0, "false_northing": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("mapping", ["albers", "albers: x y"])
def test_like_a_file_with_a_plain_cf_grid_mapping(tmp_path: Path, mapping: str) -> None:
    ds = xr.Dataset(
        {"v": (("y", "x"), np.zeros((5, 6)), {"grid_mapping": mapping}),
         "albers": ((), 0, GRID_MAPPING)},
        {"y": 1e6 + 1000 * np.arange(5.0), "x": 1000 * np.arange(6.0)},
    )  # fmt: skip
    ds.to_netcdf(tmp_path / "a.nc")
    grid = TargetGrid.like(tmp_path / "a.nc", "a")
    lon, lat = grid.lonlat()
    twin = TargetGrid(
        name="t",
        crs="EPSG:5070",
        west=grid.west,
        north=grid.north,
        dx=grid.dx,
        dy=grid.dy,
        shape=grid.shape,
    )
    np.testing.assert_allclose((lon, lat), twin.lonlat(), atol=1e-4)
    plain = {"grid_mapping_name": "latitude_longitude", "semi_major_axis": 6371229.0}
    degrees = ds.assign(albers=((), 0, plain)).assign_coords(y=np.arange(5.0), x=np.arange(6.0))
    assert TargetGrid.like(degrees, "a").crs == "EPSG:4326"


def test_like_a_file_without_axes(tmp_path: Path) -> None:
    xr.Dataset({"v": (("row", "col"), np.zeros((2, 3)))}).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(
        InputError, match="1-D coordinates of rows and columns; there is none for y"
    ):
        TargetGrid.like(tmp_path / "a.nc", "a")


@pytest.mark.parametrize("step", [0.1, 0.05, 0.25, 0.5, 1 / 12, 1 / 24, 3.75, 1.40625])
@pytest.mark.parametrize("west", [-180, 0])
def test_like_coordinates_of_single_precision(step: float, west: float) -> None:
    count = round(360 / step)
    x, y = west + step * (np.arange(count) + 0.5), 90 - step * (np.arange(count // 2) + 0.5)
    single = xr.Dataset(coords={"y": y.astype("f4"), "x": x.astype("f4")})
    grid = TargetGrid.like(single, "g")
    assert grid.is_periodic
    assert grid.bounds == (west, -90, west + 360, 90)
    assert (grid.dx, grid.dy) == (step, step)
    region = single.isel(y=slice(20, 29), x=slice(40, 51))
    assert TargetGrid.like(region, "g").dx == step


@given(
    step=st.floats(0.01, 3), west=st.floats(-180, 170), count=st.integers(3, 60),
    sign=st.sampled_from([-1, 1]),
)  # fmt: skip
@settings(deadline=None)
def test_sharpened_coordinates_stay_within_their_rounding(
    step: float, west: float, count: int, sign: int
) -> None:
    single = (west + sign * step * np.arange(count)).astype(np.float32)
    sharp = sharpened(single)
    rounding = 1.01 * np.spacing(np.abs(single).max())
    np.testing.assert_allclose(sharp, single.astype(float), rtol=0, atol=rounding)
    even = west + step * np.arange(count)
    np.testing.assert_array_equal(sharpened(even), even)
    uneven = np.sort(np.random.default_rng(count).uniform(-90, 90, count)).astype(np.float32)
    np.testing.assert_array_equal(sharpened(uneven), uneven.astype(float))
