"""regrid() against other people's arithmetic: brute force, SciPy, GDAL, Shapely and NumPy."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import xarray as xr
from scipy.interpolate import RegularGridInterpolator
from shapely import STRtree, area, box, intersection, polygons

from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding.operators import Separable
from pipeline.regridding.regrid import operator_for, regrid
from tests.gridded import brute_conservative, globe, grid, source, with_gaps

ALBERS = TargetGrid.from_bounds("a", "EPSG:5070", (-500_000, 1_000_000, 500_000, 2_000_000), 50_000)


@pytest.mark.parametrize(
    "target", [grid(-180, -90, 180, 90, 7.5), grid(0, -60, 360, 84, 9), grid(170, 20, 201, 51, 3.1),
               grid(-12.3, 40.7, -2.3, 50.7, 1.0)],
)  # fmt: skip
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_conservative_is_polygon_overlap_on_the_sphere(target: TargetGrid, missing: float) -> None:
    ds = with_gaps(globe(5.0), missing)
    edges = -180 + 5.0 * np.arange(73), 90 - 5.0 * np.arange(37)
    mean, coverage = brute_conservative(ds.v.values, *edges, target)
    result = regrid(ds, target, "conservative", min_coverage=0)
    np.testing.assert_allclose(result.v, mean, rtol=1e-12)
    np.testing.assert_allclose(result.v_coverage, coverage, atol=1e-7)


def test_gaussian_latitudes_meet_halfway_and_reach_the_poles() -> None:
    y = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(48)[0]))[::-1]
    x = 3.75 * np.arange(96)
    values = np.random.default_rng(0).random((48, 96))
    middle = (y[1:] + y[:-1]) / 2
    y_edges, x_edges = np.concatenate([[90], middle, [-90]]), 3.75 * (np.arange(97) - 0.5)
    target = grid(-180, -90, 180, 90, 6)
    mean, _ = brute_conservative(values, x_edges, y_edges, target)
    result = regrid(source(values, y, x), target, "conservative")
    np.testing.assert_allclose(result.v, mean, rtol=1e-9)
    assert (result.v_coverage == 1).all()


def test_bilinear_is_scipys_interpolation() -> None:
    ds = globe(2.5)
    target = grid(-100, 20, -60, 60, 0.8)
    points = np.stack(np.meshgrid(target.y, target.x, indexing="ij"), axis=-1)
    expected = RegularGridInterpolator(
        (ds.y.values[::-1], ds.x.values), ds.v.values[::-1], method="linear"
    )(points)
    np.testing.assert_allclose(regrid(ds, target, "bilinear").v, expected, rtol=1e-12)


def test_std_and_mean_are_numpys_on_nested_grids() -> None:
    y, x = 48 - 0.1 * (np.arange(80) + 0.5), 5 + 0.1 * (np.arange(60) + 0.5)
    values = np.random.default_rng(0).normal(2000, 3, (80, 60))
    projected = source(values, y * 10_000, x * 10_000, crs="EPSG:3857")
    target = TargetGrid.from_bounds("m", "EPSG:3857", (50_000, 400_000, 110_000, 480_000), 10_000)
    blocks = values.reshape(8, 10, 6, 10)
    np.testing.assert_allclose(
        regrid(projected, target, "std").v, blocks.std(axis=(1, 3)), rtol=1e-9
    )
    np.testing.assert_allclose(
        regrid(projected, target, "mean").v, blocks.mean(axis=(1, 3)), rtol=1e-12
    )


def test_classes_are_a_numpy_count() -> None:
    codes = np.random.default_rng(0).integers(0, 4, (80, 60)).astype(np.uint8)
    y, x = 800_000 - 1000 * (np.arange(80) + 0.5), 1000 * (np.arange(60) + 0.5)
    target = TargetGrid.from_bounds("m", "EPSG:3857", (0, 720_000, 60_000, 800_000), 10_000)
    ds = source(codes, y, x, crs="EPSG:3857", flag_values=[0, 1, 2, 3], flag_meanings="a b c d")
    blocks = codes.reshape(8, 10, 6, 10)
    counts = np.stack([(blocks == c).mean(axis=(1, 3)) for c in range(4)])
    result = regrid(ds, target, "fractions")
    for label, count in zip("abcd", counts, strict=True):
        np.testing.assert_allclose(result[f"v_fraction_{label}"], count, atol=1e-7)
    np.testing.assert_array_equal(regrid(ds, target, "mode").v, counts.argmax(axis=0))


def test_circular_mean_is_the_direction_of_the_summed_vectors() -> None:
    angles = np.random.default_rng(0).uniform(0, 360, (80, 60))
    y, x = 800_000 - 1000 * (np.arange(80) + 0.5), 1000 * (np.arange(60) + 0.5)
    target = TargetGrid.from_bounds("m", "EPSG:3857", (0, 720_000, 60_000, 800_000), 10_000)
    unit = np.exp(1j * np.deg2rad(angles)).reshape(8, 10, 6, 10).mean(axis=(1, 3))
    ds = source(angles, y, x, crs="EPSG:3857", units="degree")
    result = regrid(ds, target, "circular_mean").v
    np.testing.assert_allclose(result, np.rad2deg(np.angle(unit)) % 360, atol=1e-9)


def test_warped_areas_are_shapelys() -> None:
    ds = globe(1.0)
    lon_edges, lat_edges = np.arange(-180.0, 181), np.arange(90.0, -91, -1)
    sines = np.sin(np.deg2rad(lat_edges))
    to_lonlat = pyproj.Transformer.from_crs("EPSG:5070", "EPSG:4326", always_xy=True)
    cells = [(j, i) for i in range(35, 65) for j in range(60, 110)]  # source cells about the target
    boxes = [box(lon_edges[j], sines[i + 1], lon_edges[j + 1], sines[i]) for j, i in cells]
    tree = STRtree(boxes)
    result = regrid(ds, ALBERS, "conservative").v.values
    corners = np.arange(401)
    for row, col in ((0, 0), (7, 13), (19, 19), (10, 4)):
        left, top = ALBERS.x_edges[col], ALBERS.y_edges[row]
        along = 50_000 * corners / 400
        ring_x = np.concatenate([left + along, 0 * along + left + 50_000, left + along[::-1],
                                 0 * along + left])  # fmt: skip
        ring_y = np.concatenate([0 * along + top, top - along, 0 * along + top - 50_000,
                                 top - along[::-1]])  # fmt: skip
        lon, lat = to_lonlat.transform(ring_x, ring_y)
        shape = polygons(np.stack([lon, np.sin(np.deg2rad(lat))], axis=-1))
        found = tree.query(shape)
        weights = area(intersection(shape, np.array(boxes)[found]))
        values = np.array([ds.v.values[cells[k][1], cells[k][0]] for k in found])
        np.testing.assert_allclose(result[row, col], (weights * values).sum() / weights.sum(),
                                   rtol=2e-4)  # fmt: skip


def _smooth(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    return 280 + 15 * np.cos(np.deg2rad(lat) * 3) + 5 * np.sin(np.deg2rad(lon) * 4)


def test_warp_is_gdals() -> None:
    """GDAL itself places points to an eighth of a source cell only (its warp's tolerance)."""
    from rasterio.transform import from_origin
    from rasterio.warp import Resampling, reproject

    ds = globe(0.5, _smooth)
    target = TargetGrid.from_bounds("a", "EPSG:5070", (-500_000, 1e6, 500_000, 2e6), 20_000)
    expected = {}
    for name in ("bilinear", "nearest"):
        expected[name] = np.full(target.shape, np.nan)
        reproject(
            ds.v.values, expected[name], src_transform=from_origin(-180, 90, 0.5, 0.5),
            src_crs="EPSG:4326", dst_transform=target.transform, dst_crs=target.crs,
            resampling=Resampling[name], dst_nodata=np.nan,
        )  # fmt: skip
    bilinear, nearest = (regrid(ds, target, m).v.values for m in ("bilinear", "nearest"))
    np.testing.assert_allclose(bilinear, expected["bilinear"], atol=0.03)
    from_edge = [np.abs((v / 0.5) - np.rint(v / 0.5)) for v in target.lonlat()]
    clear = (from_edge[0] > 0.125) & (from_edge[1] > 0.125)
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(nearest[clear], expected["nearest"][clear])


def test_warped_bilinear_is_scipys_at_the_points_that_proj_gives() -> None:
    ds = globe(0.5)
    lon, lat = ALBERS.lonlat()
    interpolate = RegularGridInterpolator(
        (ds.y.values[::-1], ds.x.values), ds.v.values[::-1], method="linear"
    )
    expected = interpolate(np.stack([lat, lon], axis=-1))
    np.testing.assert_allclose(regrid(ds, ALBERS, "bilinear").v, expected, atol=1e-9)


@pytest.mark.parametrize("crs", ["EPSG:6933", "EPSG:3395"])
def test_a_cylindrical_grid_needs_no_warp_and_agrees_with_it(crs: str) -> None:
    from pipeline.grid.axes import source_axes
    from pipeline.regridding.warp import Warp

    ds = globe(1.0)
    target = TargetGrid.from_bounds("e", crs, (-9e6, 2e6, -6e6, 5e6), 100_000)
    assert isinstance(operator_for(ds, target, "mean"), Separable)
    y, x = source_axes(ds.x.values, ds.y.values, True)
    place = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform
    matrix = Warp(grid=target, to_source=place, y=y, x=x, kind="area").sparse(target)
    dense = np.zeros((target.shape[0] * target.shape[1], ds.v.size))
    rows = np.repeat(np.arange(dense.shape[0]), np.diff(matrix.begin))
    np.add.at(dense, (rows, matrix.index), matrix.weight)
    expected = (dense @ ds.v.values.ravel()).reshape(target.shape)
    np.testing.assert_allclose(regrid(ds, target, "mean").v, expected, rtol=1e-6)


def test_an_ease_grid_source_needs_no_warp() -> None:
    """SMAP's grid onto degrees: the globe's integral, the seam and the values."""
    step = 36032.220840584
    x = -17367530.445161376 + step * (np.arange(964) + 0.5)
    y = 7314540.830638599 - step * (np.arange(406) + 0.5)
    lon = x / 17367530.445161376 * 180
    values = np.repeat(10 + np.cos(np.deg2rad(lon))[None], 406, axis=0)
    ds = source(values, y, x, crs="EPSG:6933")
    target = grid(-180, -80, 180, 80, 2.5)
    for method in ("conservative", "bilinear"):
        assert isinstance(operator_for(ds, target, method), Separable)
        result = regrid(ds, target, method)
        np.testing.assert_allclose(result.v_coverage, 1)
        expected = 10 + np.cos(np.deg2rad(target.x))[None]
        np.testing.assert_allclose(result.v - expected, 0, atol=1e-3)
    seam = regrid(ds, grid(174, -30, 186, 30, 1.0), "conservative")
    np.testing.assert_allclose(seam.v_coverage, 1)
    np.testing.assert_allclose(seam.v, 9, atol=6e-3)


def test_a_curvilinear_source_agrees_with_its_projection() -> None:
    """The same field once on Albers axes and once by 2-D lon and lat."""
    fine = TargetGrid.from_bounds("f", "EPSG:5070", (-6e5, 9e5, 6e5, 2.1e6), 20_000)
    lon, lat = fine.lonlat()
    values = _smooth(lon, lat)
    flat = xr.Dataset({"v": (("y", "x"), values)}, coords=fine.coords())
    curved = xr.Dataset(
        {"v": (("y", "x"), values)}, coords={"lon": (("y", "x"), lon), "lat": (("y", "x"), lat)}
    )
    for target in (
        grid(-99, 34, -93, 39, 0.25),
        TargetGrid.from_bounds("u", "EPSG:32614", (3e5, 3.8e6, 9e5, 4.3e6), 5e4),
    ):
        for method in ("bilinear", "conservative", "std"):
            expected, found = regrid(flat, target, method), regrid(curved, target, method)
            np.testing.assert_allclose(found.v_coverage, expected.v_coverage, atol=1e-3)
            np.testing.assert_allclose(found.v, expected.v, atol=5e-3)
        nearest = regrid(flat, target, "nearest").v == regrid(curved, target, "nearest").v
        assert nearest.mean() > 0.99


def test_a_curvilinear_grid_over_the_pole_and_the_antimeridian() -> None:
    polar = TargetGrid.from_bounds("p", "EPSG:3413", (-3e6, -3e6, 3e6, 3e6), 100_000)
    lon, lat = polar.lonlat()
    values = np.sin(np.deg2rad(lat)) + 0.1 * np.cos(np.deg2rad(lon)) * np.cos(np.deg2rad(lat))
    ds = xr.Dataset(
        {"v": (("y", "x"), values)}, coords={"lon": (("y", "x"), lon), "lat": (("y", "x"), lat)}
    )
    target = grid(-180, 70, 180, 90, 2.5)
    lon, lat = target.lonlat()
    expected = np.sin(np.deg2rad(lat)) + 0.1 * np.cos(np.deg2rad(lon)) * np.cos(np.deg2rad(lat))
    for method in ("bilinear", "nearest"):
        result = regrid(ds, target, method)
        assert (result.v_coverage == 1).all()
        np.testing.assert_allclose(result.v, expected, atol=1e-3 if method == "bilinear" else 0.02)


def test_results_have_coordinates_and_coverage_beside_them() -> None:
    ds = xr.concat([globe(5.0), globe(5.0)], dim="time").assign_coords(time=[10, 20])
    result = regrid(ds.astype(np.float32), ALBERS, "bilinear")
    assert result.v.dims == result.v_coverage.dims == ("time", "y", "x")
    assert result.v.dtype == result.v_coverage.dtype == np.float32
    assert result.x.dtype == np.float64
    np.testing.assert_array_equal(result.time, [10, 20])
    assert TargetGrid.like(result, "a") == ALBERS
