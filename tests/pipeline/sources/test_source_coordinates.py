"""Sources whose axes are not true degrees: rotated poles (CORDEX, COSMO), projections."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pyproj
import pytest
import xarray as xr

from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source, Variable
from pipeline.grid.same_crs import same_crs
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.window import source_window
from pipeline.regridding.regrid import regrid
from pipeline.regridding.terrain import terrain
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import SourceInfo, check_source, nearest_cells, open_source
from tests.gridded import grid

VARIABLES = {"v": Variable(long_name="v", units="degree")}
MAPPING = {
    "grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 39.25,
    "grid_north_pole_longitude": -162.0,
}  # fmt: skip
CRS = pyproj.CRS.from_cf(MAPPING).to_wkt()
TARGET = grid(14, 46, 22, 54, 1)
ALBERS = TargetGrid.from_bounds("a", "EPSG:3035", (4.2e6, 2.8e6, 5e6, 3.4e6), 100_000)


def cordex(
    path: Path, drop: tuple[str, ...] = (), named: bool = True, **mapping: object
) -> Path:  # fmt: skip
    """Write true latitude on 0.5° cells of the rotated pole of EUR-11, as a CORDEX file."""
    rlon, rlat = np.arange(-10, 10.1, 0.5), np.arange(-9, 8.1, 0.5)
    to_true = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    lon, lat = to_true.transform(*np.meshgrid(rlon, rlat))
    names = [
        {"standard_name": f"grid_{name}", "units": "degrees"} if named else {}
        for name in ("latitude", "longitude")
    ]
    dims = ("rlat", "rlon")
    ds = xr.Dataset(
        {"v": (dims, lat, {"units": "degree", "grid_mapping": "pole", "coordinates": "lat lon"}),
         "pole": ((), 0, {**MAPPING, **mapping})},
        {"rlat": ("rlat", rlat, names[0]), "rlon": ("rlon", rlon, names[1]),
         "lat": (dims, lat, {"units": "degrees_north", "standard_name": "latitude"}),
         "lon": (dims, lon, {"units": "degrees_east", "standard_name": "longitude"})},
    )  # fmt: skip
    if drop:
        ds.v.attrs.pop("coordinates")
    ds.drop_vars(drop).to_netcdf(path)
    return path


def entry(path: Path, **more: object) -> Source:
    return Source.model_validate(
        {"name": "rcm", "uri": str(path), "driver": "netcdf", "variables": {"v": {"name": "v"}},
         **more}
    )  # fmt: skip


def checked(source: Source) -> tuple[SourceInfo | None, str]:
    faults = Faults()
    info = check_source(source, faults, VARIABLES)
    return info, " ".join(map(str, faults.faults))


def onto(source: Source, target: TargetGrid) -> np.ndarray:
    ds = open_source(source, partial(source_window, target))
    return regrid(canonicalise(ds, source, VARIABLES), target, source.method)["v"].values


CASES = [
    ((), {}, {}, True), (("lat", "lon"), {}, {}, True), (("lat", "lon"), {}, {}, False),
    ((), {"crs": CRS}, {}, True), (("lat", "lon"), {"crs": CRS}, {}, True),
    (("lat", "lon", "pole"), {"crs": CRS}, {}, True), (("pole",), {}, {}, False),
    (("lat", "lon"), {}, {"earth_radius": 6371229.0}, True),
]  # fmt: skip


@pytest.mark.parametrize(("drop", "more", "mapping", "named"), CASES)
@pytest.mark.parametrize("method", ["bilinear", "conservative"])
@pytest.mark.parametrize("target", [TARGET, ALBERS])
def test_values_lie_where_they_truly_are(
    tmp_path: Path, drop: tuple[str, ...], more: dict, mapping: dict, named: bool, method: str,
    target: TargetGrid,
) -> None:  # fmt: skip
    source = entry(cordex(tmp_path / "a.nc", drop, named, **mapping), method=method, **more)
    info, faults = checked(source)
    assert not faults
    assert info is not None
    _, lat = target.lonlat()
    np.testing.assert_allclose(onto(source, target), lat, atol=0.03)
    part = target.window(slice(2, 5), slice(3, 5))
    np.testing.assert_array_equal(onto(source, part), onto(source, target)[2:5, 3:5])


def test_without_fields_or_mapping_it_is_refused(tmp_path: Path) -> None:
    for named in (True, False):
        path = cordex(tmp_path / f"{named}.nc", ("lat", "lon", "pole"), named)
        info, faults = checked(entry(path))
        assert info is None
        assert "rlat, rlon: found degrees of a rotated pole without a grid mapping" in faults
        with pytest.raises(InputError, match="Name the CRS in the entry"):
            onto(entry(path), TARGET)
        assert not checked(entry(path, wrong_in_file=["crs"]))[1]


def test_another_pole_or_a_projection_in_the_entry_is_a_fault(tmp_path: Path) -> None:
    path = cordex(tmp_path / "a.nc", ("lat", "lon"))
    other = pyproj.CRS.from_cf({**MAPPING, "grid_north_pole_latitude": 38.0}).to_wkt()
    for crs in (other, "EPSG:3035"):
        assert "Correct `crs`" in checked(entry(path, crs=crs))[1]


def test_crs_with_another_pole_are_not_the_same() -> None:
    text = "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +type=crs"
    assert same_crs(CRS, pyproj.CRS.from_wkt(CRS).to_wkt("WKT2_2019"))
    assert same_crs(CRS, text)
    assert not same_crs(CRS, "EPSG:4326")
    assert not same_crs(CRS, text.replace("39.25", "38"))
    assert same_crs("EPSG:4326", "EPSG:4269")


def test_a_target_grid_has_true_degrees() -> None:
    with pytest.raises(InputError, match="found degrees of a rotated pole; expected true"):
        TargetGrid(name="r", crs=CRS, west=-5, north=5, dx=1, dy=1, shape=(10, 10))


def test_aspects_are_from_true_north(tmp_path: Path) -> None:
    """Elevation that rises with true latitude faces south, whatever the direction of grid north."""
    source = entry(cordex(tmp_path / "a.nc", ("lat", "lon")))
    ds = canonicalise(open_source(source), source, VARIABLES)
    slopes = terrain((ds["v"] * 1000).assign_attrs(units="m"))
    np.testing.assert_allclose(slopes.aspect_cosine[1:-1, 1:-1], -1, atol=1e-3)
    np.testing.assert_allclose(slopes.aspect_sine[1:-1, 1:-1], 0, atol=5e-3)


@pytest.mark.parametrize("drop", [(), ("lat", "lon")])
def test_points_find_their_cell(tmp_path: Path, drop: tuple[str, ...]) -> None:
    path = cordex(tmp_path / "a.nc")
    with xr.open_dataset(path) as ds:
        lon, lat = ds["lon"].values.ravel(), ds["lat"].values.ravel()
    source = entry(cordex(tmp_path / "b.nc", drop))
    np.testing.assert_array_equal(nearest_cells(source, lon + 0.05, lat), np.arange(lon.size))


def test_fields_are_in_degrees_whatever_crs_the_entry_names(tmp_path: Path) -> None:
    """A window in metres would crop 2-D latitudes and longitudes to nothing."""
    lon, lat = ALBERS.lonlat()
    dims = ("south_north", "west_east")
    xr.Dataset(
        {"v": (dims, lat, {"units": "degree", "coordinates": "XLAT XLONG"})},
        {"XLAT": (dims, lat, {"units": "degrees_north"}),
         "XLONG": (dims, lon, {"units": "degrees_east"})},
    ).to_netcdf(tmp_path / "wrf.nc")  # fmt: skip
    source = entry(tmp_path / "wrf.nc", crs="EPSG:3035", method="bilinear")
    target = grid(11, 49, 15, 51, 1)
    np.testing.assert_allclose(onto(source, target), target.lonlat()[1], atol=0.03)


def test_points_find_their_cell_on_a_projection(tmp_path: Path) -> None:
    coords = {name: c for name, c in ALBERS.coords().items() if name != "spatial_ref"}
    ds = xr.Dataset({"v": (("y", "x"), np.zeros(ALBERS.shape), {"units": "degree"})}, coords)
    ds.to_netcdf(tmp_path / "a.nc")
    source = entry(tmp_path / "a.nc", crs="EPSG:3035")
    lon, lat = (v.ravel() for v in ALBERS.lonlat())
    np.testing.assert_array_equal(nearest_cells(source, lon + 0.1, lat), np.arange(lon.size))


@pytest.mark.parametrize(("units", "per_metre"), [("km", 1e-3), ("m", 1.0), ("metre", 1.0)])
@pytest.mark.parametrize("dtype", ["f8", "i4"])
def test_coordinates_have_the_units_they_declare(
    tmp_path: Path, units: str, per_metre: float, dtype: str
) -> None:
    attrs = {"units": units}
    axes = {a: (a, (getattr(ALBERS, a) * per_metre).astype(dtype), attrs) for a in ("y", "x")}
    lat = ALBERS.lonlat()[1]
    ds = xr.Dataset({"v": (("y", "x"), lat, {"units": "degree", "grid_mapping": "m"})}, axes)
    ds.assign(m=((), 0, {"crs_wkt": pyproj.CRS("EPSG:3035").to_wkt()})).to_netcdf(tmp_path / "a.nc")
    source = entry(tmp_path / "a.nc", crs="EPSG:3035")
    assert not checked(source)[1]
    np.testing.assert_allclose(onto(source, ALBERS), lat, rtol=1e-6)
    like = TargetGrid.like(tmp_path / "a.nc", "a")
    np.testing.assert_allclose(like.bounds, ALBERS.bounds)
    assert like.crs == "EPSG:3035"
