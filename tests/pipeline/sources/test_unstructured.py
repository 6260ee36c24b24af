"""Sources whose cells lie along one dimension: triangles, reduced Gaussian grids, HEALPix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pipeline
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.check_metadata import SourceInfo
from pipeline.sources.open import check_source, nearest_cells, read_bytes

GLOBE = TargetGrid.from_bounds("globe", "EPSG:4326", (-180.0, -90.0, 180.0, 90.0), 10.0)
TARGETS = [
    GLOBE,
    TargetGrid.from_bounds("pacific", "EPSG:4326", (170.0, -20.0, 200.0, 30.0), 5.0),
    TargetGrid.from_bounds("albers", "EPSG:5070", (-2e6, 5e5, 2e6, 3e6), 5e5),
    TargetGrid.from_bounds("south", "EPSG:3031", (-3e6, -3e6, 3e6, 3e6), 5e5),
]
DAYS = np.array(["2001-01-01", "2001-01-02"], "datetime64[ns]")


def field(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """[...] K, smooth over the whole globe."""
    up, along = np.deg2rad(lat), np.deg2rad(lon)
    return 280 + 15 * np.sin(up) ** 2 + 4 * np.cos(up) * np.cos(along)


def entry(path: Path, **more: Any) -> Source:
    return Source.model_validate(
        {"name": "model", "uri": str(path), "driver": "netcdf",
         "variables": {"air_temperature": {"name": "t2m", "units": "K"}}, **more}
    )  # fmt: skip


def cube(folder: Path, source: Source, grid: TargetGrid, **more: Any) -> xr.Dataset:
    return pipeline.build_cube(folder / "cube.zarr", grid, [source], **more).load()


def checked(source: Source) -> SourceInfo:
    faults = Faults()
    info = check_source(source, faults)
    faults.raise_if_any()
    assert info is not None
    return info


def octahedron(divisions: int) -> np.ndarray:
    """[triangle, vertex, 3] triangles of about equal size, of which eight meet at the poles."""
    at = np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    faces = [(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4), (1, 0, 5), (2, 1, 5), (3, 2, 5), (0, 3, 5)]
    triangles = at[np.array(faces)]
    for _ in range(divisions):
        a, b, c = np.moveaxis(triangles, 1, 0)
        ab, bc, ca = ((p + q) / np.linalg.norm(p + q, axis=1)[:, None]
                      for p, q in ((a, b), (b, c), (c, a)))  # fmt: skip
        parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        triangles = np.concatenate([np.stack(part, axis=1) for part in parts])
    return np.asarray(triangles[np.random.default_rng(5).permutation(len(triangles))])


def in_radians(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.arctan2(y, x), np.arcsin(np.clip(z, -1, 1))


def icon(path: Path, bounds: bool = True, dtype: str = "f8", divisions: int = 4) -> np.ndarray:
    """Write triangles as ICON does, with angles in radians; returns their areas [cell]."""
    triangles = octahedron(divisions)
    centre = triangles.mean(axis=1)
    lon, lat = in_radians(centre / np.linalg.norm(centre, axis=1)[:, None])
    attrs = {"lon": {"units": "radian", "standard_name": "longitude"},
             "lat": {"units": "radian", "standard_name": "latitude"}}  # fmt: skip
    values = field(np.rad2deg(lon), np.rad2deg(lat)) + np.arange(2.0)[:, None]
    ds = xr.Dataset(
        {"t2m": (("time", "ncells"), values.astype("f4"), {"units": "K"})},
        {"time": DAYS, "clon": ("ncells", lon.astype(dtype), attrs["lon"]),
         "clat": ("ncells", lat.astype(dtype), attrs["lat"])},
    )  # fmt: skip
    if bounds:
        corners = in_radians(triangles)
        for name, corner in zip(("clon", "clat"), corners, strict=True):
            ds[name].attrs["bounds"] = f"{name}_vertices"
            ds[f"{name}_vertices"] = ("ncells", "vertices"), corner.astype(dtype)
    ds.to_netcdf(path)
    a, b, c = np.moveaxis(triangles, 1, 0)
    volume = np.abs((a * np.cross(b, c)).sum(-1))
    sides = 1 + (a * b).sum(-1) + (b * c).sum(-1) + (c * a).sum(-1)
    return 2 * np.arctan2(volume, sides)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("grid", TARGETS, ids=lambda grid: grid.name)
def test_triangles_with_bounds_cover_every_cell_once(
    tmp_path: Path, grid: TargetGrid, dtype: str
) -> None:
    icon(tmp_path / "icon.nc", dtype=dtype)
    found = cube(tmp_path, entry(tmp_path / "icon.nc"), grid, tile=(7, 9))
    np.testing.assert_allclose(found["air_temperature_coverage"], 1, atol=1e-6)
    expected = field(*grid.lonlat()) - 273.15
    np.testing.assert_allclose(found["air_temperature"][0], expected, atol=1.5)
    np.testing.assert_allclose(
        found["air_temperature"][1] - found["air_temperature"][0], 1, atol=1e-4
    )


def test_the_integral_over_triangles_is_kept(tmp_path: Path) -> None:
    areas = icon(tmp_path / "icon.nc", divisions=3)
    values = xr.open_dataset(tmp_path / "icon.nc")["t2m"].values[0] - 273.15
    found = cube(tmp_path, entry(tmp_path / "icon.nc"), GLOBE)["air_temperature"].values[0]
    cells = GLOBE.cell_area()
    mean = (found * cells).sum() / cells.sum()
    assert mean == pytest.approx((values * areas).sum() / areas.sum(), abs=2e-4)


def test_a_time_series_reads_the_cells_of_a_tile_alone(tmp_path: Path) -> None:
    icon(tmp_path / "icon.nc")
    source = entry(tmp_path / "icon.nc")
    info = checked(source)
    assert info.shape == (2048,)
    assert -180 <= info.bounds[0] < -170
    assert 80 < info.bounds[3] <= 90
    size = (tmp_path / "icon.nc").stat().st_size
    assert read_bytes(source, GLOBE.bounds, (1, 1)) == size
    near = nearest_cells(source, np.array([10.0]), np.array([45.0]))
    found = pipeline.open_source(source)
    assert abs(found["lon"].values[near] - 10) < 6
    assert abs(found["lat"].values[near] - 45) < 6


@pytest.mark.parametrize(("method", "worst"), [("nearest", 1.2), ("mean", 1.2)])
def test_centres_alone(tmp_path: Path, method: str, worst: float) -> None:
    icon(tmp_path / "icon.nc", bounds=False)
    found = cube(tmp_path, entry(tmp_path / "icon.nc", method=method), GLOBE, tile=(7, 9))
    expected = field(*GLOBE.lonlat()) - 273.15
    assert np.abs(found["air_temperature"][0] - expected).max() < worst
    np.testing.assert_array_equal(found["air_temperature_coverage"], np.ones((2, 18, 36)))


def test_the_mean_of_centres_within_a_cell_by_hand(tmp_path: Path) -> None:
    lat, lon = np.array([1.0, 2.0, 1.5, 11.0]), np.array([1.0, 3.0, 359.0, 1.0])
    values = xr.DataArray([290.0, 300.0, 270.0, 250.0], dims="node", attrs={"units": "K"})
    coords = {"lat": ("node", lat, {"units": "degrees_north"}),
              "lon": ("node", lon, {"units": "degrees_east"})}  # fmt: skip
    values.assign_coords(coords).to_dataset(name="t2m").to_netcdf(tmp_path / "fesom.nc")
    grid = TargetGrid.from_bounds("three", "EPSG:4326", (-5.0, 0.0, 10.0, 5.0), 5.0)
    found = cube(tmp_path, entry(tmp_path / "fesom.nc", method="mean"), grid)
    np.testing.assert_allclose(found["air_temperature"][0] + 273.15, [270, 295, 300], rtol=1e-6)


def test_targets_beyond_a_regional_mesh_are_missing(tmp_path: Path) -> None:
    lon, lat = (v.ravel() for v in np.meshgrid(np.arange(0, 5, 0.5), np.arange(40, 45, 0.5)))
    ds = xr.Dataset({"t2m": ("cell", field(lon, lat), {"units": "K"})},
                    {"lat": ("cell", lat), "lon": ("cell", lon)})  # fmt: skip
    ds.to_netcdf(tmp_path / "region.nc")
    grid = TargetGrid.from_bounds("wide", "EPSG:4326", (-5.0, 40.0, 10.0, 45.0), 1.0)
    found = cube(tmp_path, entry(tmp_path / "region.nc", method="nearest"), grid)
    valid = np.isfinite(found["air_temperature"].values)
    assert valid[:, 5:10].all()
    assert not valid[:, [0, 1, 2, 12, 13, 14]].any()


@pytest.mark.parametrize(("method", "bounds", "words"), [
    ("conservative", False, "method: mean"), ("bilinear", True, "nearest"),
])  # fmt: skip
def test_methods_that_need_more_than_the_file_has(
    tmp_path: Path, method: str, bounds: bool, words: str
) -> None:
    icon(tmp_path / "icon.nc", bounds=bounds, divisions=2)
    source = entry(tmp_path / "icon.nc", method=method)
    with pytest.raises(InputError, match=words):
        checked(source)
    with pytest.raises(InputError, match=words):
        cube(tmp_path, source, GLOBE)


def test_stations_of_a_time_series_are_no_cells(tmp_path: Path) -> None:
    icon(tmp_path / "icon.nc", bounds=False, divisions=1)
    ds = xr.open_dataset(tmp_path / "icon.nc").assign_attrs(featureType="timeSeries")
    ds.to_netcdf(tmp_path / "stations.nc")
    with pytest.raises(InputError, match="a dimension for y"):
        checked(entry(tmp_path / "stations.nc", method="nearest"))


def apart(folder: Path, bounds: bool = True) -> tuple[Path, Path]:
    """Write values of ICON, and its grid with nodes and edges in another file, as DWD does."""
    icon(folder / "icon.nc", bounds=bounds)
    ds = xr.open_dataset(folder / "icon.nc").load()
    ds.close()
    ds[["t2m"]].reset_coords(drop=True).assign_coords(time=DAYS).to_netcdf(folder / "t.nc")
    grid = ds.drop_vars(["t2m", "time"]).rename_dims(ncells="cell")
    for name, dim, size in (("v", "vertex", 1026), ("e", "edge", 3072)):
        for which, standard in (("lon", "longitude"), ("lat", "latitude")):
            attrs = {"units": "radian", "standard_name": standard}
            dims = f"{dim}_of_grid"
            grid[f"{name}{which}"] = dims, np.linspace(-1, 1, size), attrs
    grid.reset_coords().to_netcdf(folder / "grid.nc")
    return folder / "t.nc", folder / "grid.nc"


@pytest.mark.parametrize("bounds", [True, False])
def test_cells_in_a_file_of_their_own(tmp_path: Path, bounds: bool) -> None:
    values, grid = apart(tmp_path, bounds)
    method = {} if bounds else {"method": "mean"}
    source = entry(values, options={"grid_file": str(grid)}, **method)
    assert checked(source).shape == (2048,)
    assert grid in source.companions
    found = cube(tmp_path, source, GLOBE, tile=(7, 9))
    (tmp_path / "one").mkdir()
    one = cube(tmp_path / "one", entry(tmp_path / "icon.nc", **method), GLOBE)
    for name in one.data_vars:
        np.testing.assert_array_equal(found[name], one[name])


def test_a_grid_file_of_other_cells_or_none_has_a_way_out(tmp_path: Path) -> None:
    values, grid = apart(tmp_path)
    xr.open_dataset(grid).isel(cell=slice(9)).to_netcdf(tmp_path / "part.nc")
    with pytest.raises(InputError, match=r"ncells of 2048[\s\S]*cell of 9"):
        checked(entry(values, options={"grid_file": str(tmp_path / "part.nc")}))
    with pytest.raises(InputError, match="no such file"):
        checked(entry(values, options={"grid_file": str(tmp_path / "none.nc")}))
    with pytest.raises(InputError, match="grid_file"):
        checked(entry(values))


def test_nodes_of_mpas_and_fields_of_models_in_a_file_of_their_own(tmp_path: Path) -> None:
    values = boxes(tmp_path / "mpas.nc", "mpas")
    ds = xr.open_dataset(tmp_path / "mpas.nc").load()
    ds[["t2m"]].to_netcdf(tmp_path / "t.nc")
    ds.drop_vars("t2m").to_netcdf(tmp_path / "init.nc")
    grid = TargetGrid.from_bounds("boxes", "EPSG:4326", (0.0, -90.0, 360.0, 90.0), (15.0, 30.0))
    source = entry(tmp_path / "t.nc", options={"grid_file": str(tmp_path / "init.nc")})
    found = cube(tmp_path, source, grid)["air_temperature"].values.reshape(6, 24) + 273.15
    np.testing.assert_allclose(found[::-1], np.repeat(values, 2, axis=1), rtol=1e-6)
    lon, lat = np.meshgrid(np.arange(10.0, 14), np.arange(50.0, 53))
    tilted = field(lon, lat)
    xr.Dataset({"t2m": (("south", "east"), tilted, {"units": "K"})}).to_netcdf(tmp_path / "m.nc")
    xr.Dataset({"lat": (("j", "i"), lat), "lon": (("j", "i"), lon)}).to_netcdf(tmp_path / "g.nc")
    source = entry(tmp_path / "m.nc", options={"grid_file": str(tmp_path / "g.nc")},
                   method="nearest", dims={"y": "south", "x": "east"})  # fmt: skip
    part = TargetGrid.from_bounds("part", "EPSG:4326", (9.5, 49.5, 13.5, 52.5), 1.0)
    (tmp_path / "two").mkdir()
    found = cube(tmp_path / "two", source, part)["air_temperature"].values.reshape(3, 4)
    np.testing.assert_allclose(found[::-1] + 273.15, tilted, rtol=1e-6)


def hexagons() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[cell, 4] numbers of the corners, and their longitudes and latitudes: boxes of 30 degrees."""
    lon, lat = np.arange(0, 360, 30.0), np.arange(-90, 91, 30.0)
    at_lon, at_lat = np.meshgrid(lon, lat)
    row, col = (v.ravel() for v in np.mgrid[0:6, 0:12])
    east = (col + 1) % 12
    index = np.stack(
        [row * 12 + col, row * 12 + east, row * 12 + 12 + east, row * 12 + 12 + col], 1
    )
    return index, at_lon.ravel(), at_lat.ravel()


def boxes(path: Path, kind: str) -> np.ndarray:
    """Write boxes of 30 degrees as MPAS or UGRID does; returns their values [row, column]."""
    index, lon, lat = hexagons()
    at_lon, at_lat = (
        v.ravel() for v in np.meshgrid(np.arange(15, 360, 30.0), np.arange(-75, 76, 30.0))
    )
    values = 250.0 + np.arange(72)
    if kind == "mpas":
        padded = np.pad(index + 1, ((0, 0), (0, 2)))
        ds = xr.Dataset({
            "t2m": ("nCells", values, {"units": "K"}),
            "latCell": ("nCells", np.deg2rad(at_lat)), "lonCell": ("nCells", np.deg2rad(at_lon)),
            "latVertex": ("nVertices", np.deg2rad(lat)),
            "lonVertex": ("nVertices", np.deg2rad(lon)),
            "verticesOnCell": (("nCells", "maxEdges"), padded.astype("i4")),
            "nEdgesOnCell": ("nCells", np.full(72, 4, "i4")),
        })  # fmt: skip
    else:
        names = {"cf_role": "mesh_topology", "node_coordinates": "node_lon node_lat",
                 "face_node_connectivity": "face_nodes"}  # fmt: skip
        ds = xr.Dataset({
            "mesh": ((), 0, names), "t2m": ("face", values, {"units": "K", "mesh": "mesh"}),
            "face_nodes": (("face", "corner"), index.astype("i4"), {"start_index": 0}),
            "node_lon": ("node", lon, {"standard_name": "longitude", "units": "degrees_east"}),
            "node_lat": ("node", lat, {"standard_name": "latitude", "units": "degrees_north"}),
            "face_lon": ("face", at_lon, {"standard_name": "longitude", "units": "degrees_east"}),
            "face_lat": ("face", at_lat, {"standard_name": "latitude", "units": "degrees_north"}),
        })  # fmt: skip
    ds.to_netcdf(path)
    return values.reshape(6, 12)


@pytest.mark.parametrize("kind", ["mpas", "ugrid"])
def test_cells_by_the_numbers_of_their_nodes(tmp_path: Path, kind: str) -> None:
    values = boxes(tmp_path / "mesh.nc", kind)
    grid = TargetGrid.from_bounds("boxes", "EPSG:4326", (0.0, -90.0, 360.0, 90.0), (15.0, 30.0))
    found = cube(tmp_path, entry(tmp_path / "mesh.nc"), grid)["air_temperature"].values + 273.15
    found = found.reshape(6, 24)
    np.testing.assert_allclose(found[::-1], np.repeat(values, 2, axis=1), rtol=1e-6)


def gaussian(rows: int = 16) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Latitudes, longitudes and cells a row of a reduced Gaussian grid, from north to south."""
    lat = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(rows)[0]))[::-1]
    half = [20 + 4 * row for row in range(rows // 2)]
    counts = half + half[::-1]
    lon = np.concatenate([np.arange(count) * 360 / count for count in counts])
    return np.repeat(lat, counts), lon, counts


def test_rows_of_a_reduced_gaussian_grid_are_boxes(tmp_path: Path) -> None:
    lat, lon, counts = gaussian()
    ds = xr.Dataset({"t2m": ("values", field(lon, lat), {"units": "K"})},
                    {"latitude": ("values", lat), "longitude": ("values", lon)})  # fmt: skip
    ds.to_netcdf(tmp_path / "ifs.nc")
    found = cube(tmp_path, entry(tmp_path / "ifs.nc"), GLOBE, tile=(7, 9))
    np.testing.assert_allclose(found["air_temperature_coverage"], 1, atol=1e-6)
    rows = np.unique(lat)[::-1]
    edges = np.concatenate([[90], (rows[1:] + rows[:-1]) / 2, [-90]])
    weight = np.repeat(-np.diff(np.sin(np.deg2rad(edges))) / counts, counts)
    expected = ((ds["t2m"].values - 273.15) * weight).sum() / weight.sum()
    cells = GLOBE.cell_area()
    mean = (found["air_temperature"].values * cells).sum() / cells.sum()
    assert mean == pytest.approx(expected, abs=1e-5)


def test_reduced_gaussian_messages_of_grib(tmp_path: Path) -> None:
    eccodes = pytest.importorskip("eccodes")
    pytest.importorskip("cfgrib")
    message = eccodes.codes_grib_new_from_samples("reduced_gg_pl_32_grib2")
    lat, lon = (eccodes.codes_get_array(message, key) for key in ("latitudes", "longitudes"))
    eccodes.codes_set_values(message, field(lon, lat))
    eccodes.codes_set(message, "shortName", "2t")
    eccodes.codes_set(message, "dataDate", 20010101)
    with (tmp_path / "ifs.grib").open("wb") as file:
        eccodes.codes_write(message, file)
    eccodes.codes_release(message)
    source = entry(tmp_path / "ifs.grib", driver="grib")
    checked(source)
    found = cube(tmp_path, source, GLOBE)
    np.testing.assert_allclose(found["air_temperature_coverage"], 1, atol=1e-6)
    expected = field(*GLOBE.lonlat()) - 273.15
    np.testing.assert_allclose(found["air_temperature"].squeeze(), expected, atol=0.4)


def healpix(path: Path, order: str, part: slice = slice(None), **attrs: Any) -> np.ndarray:
    """Write a field of nside 8; returns the values [pixel] of the whole globe."""
    from healpix_geo import nested, ring

    scheme = nested if order == "nested" else ring
    lon, lat = scheme.healpix_to_lonlat(np.arange(768, dtype=np.uint64), 3, "sphere")
    values = field(lon, lat)
    ds = xr.Dataset(
        {"t2m": (("time", "cell"), values[None, part], {"units": "K"})}, {"time": DAYS[:1]}
    )
    if attrs:
        ds["crs"] = (), 0, attrs
        ds["t2m"].attrs["grid_mapping"] = "crs"
    if part != slice(None):
        ds["cell_ids"] = "cell", np.arange(768)[part]
    ds.to_netcdf(path)
    return values


@pytest.mark.parametrize("order", ["nested", "ring"])
@pytest.mark.parametrize("declared", ["mapping", "options"])
def test_pixels_of_healpix_have_equal_weights(tmp_path: Path, order: str, declared: str) -> None:
    pytest.importorskip("healpix_geo")
    mapping = {"grid_mapping_name": "healpix", "healpix_nside": 8, "healpix_order": order}
    options = {"options": {"healpix": {"nside": 8, "order": order}}}
    values = healpix(tmp_path / "hp.nc", order, **(mapping if declared == "mapping" else {}))
    source = entry(tmp_path / "hp.nc", **(options if declared == "options" else {}))
    checked(source)
    found = cube(tmp_path, source, GLOBE, tile=(7, 9))
    np.testing.assert_allclose(found["air_temperature_coverage"], 1, atol=1e-6)
    cells = GLOBE.cell_area()
    mean = (found["air_temperature"].values * cells).sum() / cells.sum()
    assert mean == pytest.approx(values.mean() - 273.15, abs=2e-3)


def test_a_part_of_a_healpix_globe_by_its_numbers(tmp_path: Path) -> None:
    pytest.importorskip("healpix_geo")
    mapping = {"grid_mapping_name": "healpix", "refinement_level": 3, "indexing_scheme": "nested"}
    healpix(tmp_path / "hp.nc", "nested", slice(0, 64), **mapping)
    found = cube(tmp_path, entry(tmp_path / "hp.nc"), GLOBE)
    coverage = found["air_temperature_coverage"].values
    cells = GLOBE.cell_area()
    assert (coverage * cells).sum() / cells.sum() == pytest.approx(1 / 12, rel=1e-4)
    expected = field(*GLOBE.lonlat()) - 273.15
    valid = np.isfinite(found["air_temperature"].values[0])
    np.testing.assert_allclose(found["air_temperature"].values[0][valid], expected[valid], atol=2)


def test_healpix_without_a_declaration_has_a_way_out(tmp_path: Path) -> None:
    pytest.importorskip("healpix_geo")
    healpix(tmp_path / "hp.nc", "ring")
    with pytest.raises(InputError, match=r"healpix: \{nside: 8, order: nested\}"):
        checked(entry(tmp_path / "hp.nc"))
    with pytest.raises(InputError, match="192"):
        checked(entry(tmp_path / "hp.nc", options={"healpix": {"nside": 4, "order": "ring"}}))
    with pytest.raises(InputError, match="order"):
        checked(entry(tmp_path / "hp.nc", options={"healpix": {"nside": 8}}))


def satellite(path: Path, packed: bool) -> dict[str, Any]:
    """Write a full disk whose axes are scanning angles in radians; returns the grid mapping."""
    import pyproj

    mapping = {"grid_mapping_name": "geostationary", "perspective_point_height": 35785831.0,
               "semi_major_axis": 6378169.0, "semi_minor_axis": 6356583.8,
               "longitude_of_projection_origin": 9.5, "latitude_of_projection_origin": 0.0,
               "sweep_angle_axis": "y"}  # fmt: skip
    step, size = 0.0012, 253
    x = (np.arange(size) - (size - 1) / 2) * step
    height = mapping["perspective_point_height"]
    to_degrees = pyproj.Transformer.from_crs(
        pyproj.CRS.from_cf(mapping), "EPSG:4326", always_xy=True
    )
    lon, lat = to_degrees.transform(*np.meshgrid(x * height, -x * height))
    values = field(*(np.where(np.isfinite(v), v, np.nan) for v in (lon, lat)))
    names = {name: {"standard_name": f"projection_{name}_coordinate", "units": "rad"}
             for name in "xy"}  # fmt: skip
    attrs = {"units": "K", "grid_mapping": "proj"}
    ds = xr.Dataset(
        {"t2m": (("y", "x"), values.astype("f4"), attrs), "proj": ((), 0, mapping)},
        {"x": ("x", x, names["x"]), "y": ("y", -x, names["y"])},
    )  # fmt: skip
    packing = {"dtype": "i2", "scale_factor": step, "add_offset": float(x[0]), "_FillValue": None}
    up = {**packing, "scale_factor": -step, "add_offset": float(-x[0])}
    ds.to_netcdf(path, encoding={"x": packing, "y": up} if packed else {})
    return mapping


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("crs", [
    None, "+proj=geos +h=35785831 +lon_0=9.5 +a=6378169 +b=6356583.8 +sweep=y",
])  # fmt: skip
def test_scanning_angles_of_a_satellite(tmp_path: Path, packed: bool, crs: str | None) -> None:
    satellite(tmp_path / "disk.nc", packed)
    source = entry(tmp_path / "disk.nc", **({"crs": crs} if crs else {}))
    checked(source)
    grid = TargetGrid.from_bounds("europe", "EPSG:4326", (-10.0, 35.0, 20.0, 50.0), 2.5)
    found = cube(tmp_path, source, grid)
    np.testing.assert_allclose(found["air_temperature_coverage"], 1, atol=1e-5)
    expected = field(*grid.lonlat()) - 273.15
    np.testing.assert_allclose(found["air_temperature"], expected, atol=0.03)


def test_another_sweep_of_the_satellite_is_a_fault(tmp_path: Path) -> None:
    satellite(tmp_path / "disk.nc", False)
    with pytest.raises(InputError, match="crs"):
        checked(
            entry(
                tmp_path / "disk.nc",
                crs="+proj=geos +h=35785831 +lon_0=9.5 +a=6378169 +b=6356583.8 +sweep=x",
            )
        )


def test_masks_and_series_of_cells(tmp_path: Path) -> None:
    """A flag beside the values masks cells, and many files of one mesh are one series."""
    icon(tmp_path / "icon.nc", divisions=3)
    ds = xr.open_dataset(tmp_path / "icon.nc").load()
    ds["flag"] = ds["t2m"].dims, (np.arange(ds["t2m"].size).reshape(2, -1) % 2).astype("i1")
    for day in range(2):
        ds.isel(time=[day]).to_netcdf(tmp_path / f"day_{day + 1}.nc")
    variables = {"air_temperature": {"name": "t2m", "mask": {"name": "flag", "keep": [0]}}}
    source = entry(tmp_path / "day_*.nc", variables=variables, min_coverage=0.0)
    checked(source)
    found = cube(tmp_path, source, GLOBE)
    assert found.sizes["time"] == 2
    area = GLOBE.cell_area()
    for coverage in found["air_temperature_coverage"].values:
        assert (coverage * area).sum() / area.sum() == pytest.approx(0.5, abs=0.06)


def test_a_series_on_two_meshes_is_refused(tmp_path: Path) -> None:
    icon(tmp_path / "t_2001.nc", divisions=2)
    ds = xr.open_dataset(tmp_path / "t_2001.nc").load()
    later = ds.assign_coords(clon=ds["clon"] + 0.1, time=ds["time"] + np.timedelta64(365, "D"))
    later.to_netcdf(tmp_path / "t_2002.nc")
    years = {"years": [2001, 2002], "gaps": "missing"}
    with pytest.raises(InputError, match="ncells"):
        checked(entry(tmp_path / "t_{year}.nc", time=years))
