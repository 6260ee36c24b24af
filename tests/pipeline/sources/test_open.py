"""Catalogs, sources and the canonical form of small files: special cases and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.core.units import convert, linear_conversion
from pipeline.entries.source import Source, Variable
from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding.regrid import regrid
from pipeline.sources.canonical import canonicalise, month_axis
from pipeline.sources.open import check_source, open_source, read_bytes
from pipeline.times.plan import month_plan

VARIABLES = {
    "rain": Variable(long_name="rain", units="mm/day", valid_range=(0, 500)),
    "warmth": Variable(long_name="warmth", units="degC", valid_range=(-90, 60)),
    "kind": Variable(long_name="kind", units="1"),
}


def netcdf(path: Path, lon: np.ndarray, lat: np.ndarray, values: np.ndarray, **attrs: object):
    ds = xr.Dataset({"v": (("time", "lat", "lon"), values, attrs)}, {"lat": lat, "lon": lon})
    ds.to_netcdf(path)
    return path


def source(path: Path, canonical: str = "warmth", **settings: object) -> Source:
    variable = settings.pop("variable", {"name": "v"})
    entry = {
        "name": "test", "uri": str(path), "driver": "netcdf", "variables": {canonical: variable},
        "dims": {"y": "lat", "x": "lon"}, **settings,
    }  # fmt: skip
    return Source.model_validate(entry)


def world(tmp_path: Path, west: float, south_up: bool, units: str = "K") -> xr.DataArray:
    """Write one field with cells of 10 degrees in one of several storage orders."""
    lon = west + 10.0 * np.arange(36) + 5.0
    lat = np.arange(-85.0, 90.0, 10.0)
    lat = lat if south_up else lat[::-1]
    values = 280 + lat[:, None] / 10 + np.cos(np.deg2rad(lon))[None]
    path = netcdf(tmp_path / f"{west}{south_up}.nc", lon, lat, values[None], units=units)
    entry = source(path)
    return canonicalise(open_source(entry), entry, VARIABLES)["warmth"]


def test_frames_and_directions_are_one_form_bit_for_bit(tmp_path: Path) -> None:
    fields = [world(tmp_path, west, up) for west in (0.0, -180.0) for up in (True, False)]
    for field in fields[1:]:
        np.testing.assert_array_equal(field["x"].values, fields[0]["x"].values)
        np.testing.assert_array_equal(field["y"].values, fields[0]["y"].values)
        np.testing.assert_allclose(field.values, fields[0].values, atol=2e-5)
    assert fields[0].dims == ("time", "y", "x")
    assert fields[0].dtype == np.float32
    assert fields[0]["y"].values[0] == 85.0
    assert "crs_wkt" in fields[0]["spatial_ref"].attrs


def test_scale_offset_nodata_and_fill(tmp_path: Path) -> None:
    values = np.array([[[10, -999, 30000], [20, 5, 7]]], dtype=np.float64)
    path = netcdf(tmp_path / "a.nc", np.arange(3.0), np.arange(2.0), values)
    entry = source(
        path, "rain",
        variable={"name": "v", "units": "mm/day", "scale": 0.1, "offset": 1.0, "nodata": -999,
                  "above_is_missing": 1000},
    )  # fmt: skip
    found = canonicalise(open_source(entry), entry, VARIABLES)["rain"].values[0]
    np.testing.assert_allclose(found, [[3, 1.5, 1.7], [2, np.nan, np.nan]], rtol=1e-6)


def test_amounts_per_month_become_amounts_per_day() -> None:
    days = np.array([31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    found = convert(days.astype(np.float32)[:, None], "mm/month", "mm/day", "x", month_plan().days)
    np.testing.assert_allclose(found, 1.0, rtol=1e-6)
    assert month_axis().attrs["climatology"] == "months"
    assert month_axis().dt.month.values.tolist() == list(range(1, 13))


@pytest.mark.parametrize(
    ("found", "wanted", "value", "expected"),
    [("K", "degC", 273.15, 0.0), ("degF", "degC", 212.0, 100.0), ("inch/day", "mm/day", 1.0, 25.4),
     ("%", "1", 50.0, 0.5), ("kg m-2 s-1", "mm/day", 1.0, 86400.0)],
)  # fmt: skip
def test_units_of_the_field(found: str, wanted: str, value: float, expected: float) -> None:
    factor, offset = linear_conversion(found, wanted)
    assert value * factor + offset == pytest.approx(expected, abs=1e-9)


@given(st.floats(-80, 50))
@settings(max_examples=25, deadline=None)
def test_conversion_there_and_back(value: float) -> None:
    factor, offset = linear_conversion("degC", "degF")
    back, shift = linear_conversion("degF", "degC")
    assert (value * factor + offset) * back + shift == pytest.approx(value, abs=1e-9)


def refusal(tmp_path: Path, **changes: object) -> str:
    values = np.full((1, 3, 4), 300.0)
    # The former call's file may still be open.
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    path = netcdf(folder / "a.nc", np.arange(4.0), np.arange(3.0), values, units="K")
    entry = source(path, **changes)
    with pytest.raises(InputError) as caught:
        canonicalise(open_source(entry), entry, VARIABLES)
    return str(caught.value)


def test_refusals_name_file_variable_found_expected_and_hint(tmp_path: Path) -> None:
    text = refusal(tmp_path, variable={"name": "v", "units": "m"})
    assert 'units "m"' in text
    assert '"degC"' in text
    assert "a.nc" in text
    assert "values from 299" in refusal(tmp_path, variable={"name": "v", "units": "degC",
                                                            "offset": -1.0})  # fmt: skip
    text = refusal(tmp_path, variable={"name": "w"})
    assert 'a variable "w"' in text
    assert 'Did you mean "warmth"?' in refusal(tmp_path, canonical="wormth")


@pytest.mark.parametrize(
    ("lon", "kept"),
    [
        (np.arange(0, 361, 30.0), 12),  # both ends inclusive
        (np.arange(180, -181, -30.0), 12),
        (np.arange(-15, 376, 30.0), 12),  # a halo on either side
        (np.arange(0, 331, 30.0), 12),
        (np.arange(3601) / 10, 3600),
        ((np.arange(0, 361, 30.0) + 180) % 360 - 180, 12),
        (np.arange(150, 211, 30.0), 3),
    ],
)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_meridian_that_comes_again_is_dropped(
    tmp_path: Path, lon: np.ndarray, kept: int, dtype: str
) -> None:
    values = 280 + np.cos(np.deg2rad(lon)) + np.zeros((1, 3, 1))
    values[..., kept:] = 300  # the first counts
    path = netcdf(tmp_path / "a.nc", lon.astype(dtype), np.arange(3.0), values, units="K")
    entry = source(path, method="bilinear")
    faults = Faults()
    info = check_source(entry, faults, VARIABLES)
    assert not faults.faults
    assert info is not None
    assert info.shape[1] == kept
    for window in (None, (-20.0, 0.0, 20.0, 2.0)):
        da = canonicalise(open_source(entry, window), entry, VARIABLES)["warmth"]
        expected = 280 - 273.15 + np.cos(np.deg2rad(da.x.values))
        np.testing.assert_allclose(da.values[0, 0], expected, atol=1e-4)
        assert (np.diff(da.x) > 0).all()


def test_any_grid_is_trimmed(tmp_path: Path) -> None:
    values = np.arange(20.0).reshape(1, 4, 5)
    path = netcdf(tmp_path / "a.nc", np.arange(5.0), np.arange(4.0), values, units="mm/day")
    entry = source(path, "rain", trim=[1, 2], trim_start=[1, 0])
    da = canonicalise(open_source(entry), entry, VARIABLES)["rain"]
    np.testing.assert_array_equal(da.values[0], values[0, 1:3, :3][::-1])
    tiff = class_source(raster(tmp_path / "a.tif"), trim=[0, 1])
    assert open_source(tiff).sizes == {"y": 2, "x": 2}
    faults = Faults()
    check_source(source(path, "rain", trim=[1, 5]), faults, VARIABLES)
    assert "found 5 cells; expected more than the 0 and 5 that are cut off" in str(faults.faults[0])


def test_axes_of_single_precision_fit_the_grid_they_stand_for(tmp_path: Path) -> None:
    lon, lat = (0.1 * (np.arange(n) + 0.5) + first for n, first in ((40, 350.0), (30, 42.0)))
    values = np.random.default_rng(0).random((1, 30, 40))
    path = netcdf(tmp_path / "a.nc", lon.astype("f4"), lat.astype("f4"), values, units="mm/day")
    entry = source(path, "rain", method="std")
    ds = canonicalise(open_source(entry), entry, VARIABLES)
    target = TargetGrid.from_bounds("g", "EPSG:4326", (-10, 42, -6, 45), 0.1)
    np.testing.assert_allclose(ds.x, target.x, rtol=0, atol=1e-13)
    assert (regrid(ds, target, "std")["rain"] == 0).all()
    np.testing.assert_array_equal(regrid(ds, target, "mean")["rain"], ds["rain"])


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    netcdf(path, np.arange(4.0), np.arange(3.0), np.zeros((1, 3, 4)), units="K")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"a\.nc.*truncated"):
        open_source(source(path))


def raster(path: Path, crs: str = "EPSG:4326") -> Path:
    values = np.array([[1, 2, 255], [3, 1, 1]], dtype=np.uint8)
    transform = rasterio.transform.from_origin(-10, 20, 1, 1)
    with rasterio.open(path, "w", driver="GTiff", width=3, height=2, count=1, dtype="uint8",
                       crs=crs, transform=transform) as file:  # fmt: skip
        file.write(values, 1)
    return path


def class_source(path: Path, **settings: object) -> Source:
    entry = {
        "name": "test", "uri": str(path), "driver": "raster", "kind": "categorical",
        "variables": {"kind": {"name": "band_1", "nodata": 255, "units": "1"}},
        "classes": {"wet": [1, 3], "dry": [2]}, "method": "fractions", **settings,
    }  # fmt: skip
    return Source.model_validate(entry)


def test_classes_are_grouped_and_labelled(tmp_path: Path) -> None:
    entry = class_source(raster(tmp_path / "a.tif"))
    da = canonicalise(open_source(entry), entry, VARIABLES)["kind"]
    np.testing.assert_array_equal(da.values, [[0, 1, np.nan], [0, 0, 0]])
    assert da.attrs["flag_meanings"] == "wet dry"
    assert da["x"].values[0] == -9.5
    assert da["y"].values[0] == 19.5


def test_a_crs_that_disagrees_is_a_fault_unless_declared_wrong(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif", "EPSG:5070")
    faults = Faults()
    check_source(class_source(path), faults, VARIABLES)
    assert "EPSG:5070" in str(faults.faults[0])
    faults = Faults()
    check_source(class_source(path, crs_is_wrong=True), faults, VARIABLES)
    assert not faults.faults


def test_all_faults_of_a_catalog_come_together(tmp_path: Path) -> None:
    path = tmp_path / "my.yml"
    path.write_text(
        "a: {uri: x.nc, driver: netcdf, variables: {rain: {name: v}}, metod: mean}\n"
        "b: {uri: x.nc, driver: netcdf, variables: {rain: {name: v}}, method: averge}\n"
        "c: {uri: '${nowhere}/x.nc', driver: ntcdf, variables: {rain: {name: v}}}\n"
    )
    with pytest.raises(InputError) as caught:
        read_catalog([path], {"data": tmp_path})
    text = str(caught.value)
    assert 'Did you mean "method"?' in text
    assert 'method "averge"' in text
    assert "${nowhere}" in text
    assert "driver" in text
    assert len(caught.value.faults) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {uri: x, driver: netcdf, variables: {rain: {name: v}}, crs: EPSG:99999}",
         "crs: found 'EPSG:99999'; expected a CRS that PROJ knows"),
        ("a: [1", "my.yml, line 1: found .*'<stream end>'.* a YAML mapping of names to sources"),
        ("a: 5", "my.yml: a: found 5; expected a mapping of its settings"),
        ("a: 2001-13-45", "my.yml, line 1: found .*month must be in 1..12.* a YAML mapping"),
        ("", "found nothing; expected a YAML mapping"),
    ],
)  # fmt: skip
def test_a_catalog_that_cannot_be_read_says_why(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "my.yml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_catalog([tmp_path / "my.yml"], {})


def test_a_catalog_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my.yml").write_bytes("a: {title: Niño}".encode("latin-1"))
    with pytest.raises(InputError, match=r"my.yml, line 1: found .*utf-8"):
        read_catalog([tmp_path / "my.yml"], {})


def test_unknown_sources_get_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "my.yml"
    path.write_text("rainfall: {uri: x.nc, driver: netcdf, variables: {rain: {name: v}}}\n")
    with pytest.raises(InputError, match='Did you mean "rainfall"'):
        read_catalog([path], {})["rainfal"]


def test_the_shipped_variables_have_units_that_parse() -> None:
    for name, variable in read_variables().items():
        assert linear_conversion(variable.units, variable.units) == (1.0, 0.0), name
        if variable.valid_range:
            assert variable.valid_range[0] < variable.valid_range[1]


@pytest.mark.parametrize("form", ["netcdf", "zarr"])
def test_files_are_counted_by_the_windows_that_tiles_read(tmp_path: Path, form: str) -> None:
    path = tmp_path / "a"
    values = np.random.default_rng(0).random((2, 40, 80))
    ds = xr.Dataset(
        {"v": (("time", "lat", "lon"), values, {"units": "K"})},
        {"lat": np.arange(19.75, -20, -1.0), "lon": np.arange(-39.5, 40)},
    )
    if form == "zarr":
        ds.to_zarr(path, encoding={"v": {"chunks": (2, 40, 20)}}, consolidated=False)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    else:
        ds.to_netcdf(path, encoding={"v": {"chunksizes": (2, 40, 20)}})
        size = path.stat().st_size
    source = Source.model_validate(
        {"name": "s", "uri": str(path), "driver": form, "method": "mean",
         "variables": {"air_temperature": {"name": "v"}}}
    )  # fmt: skip
    everything, west = (-40.0, -19.75, 40.0, 20.25), (-40.0, -19.75, -20.0, 20.25)
    assert read_bytes(source, everything, (1, 1)) == size
    # Tiles that halve a chunk decode it twice; more rows of tiles each need its whole height.
    assert 0.25 * size < read_bytes(source, west, (1, 1)) < 0.6 * size
    assert read_bytes(source, everything, (2, 1)) == 2 * size
    assert size < read_bytes(source, everything, (1, 4)) < 2 * size


def test_a_source_opened_on_a_grid_is_canonical_and_equals_the_whole(
    tmp_path: Path,
) -> None:
    lat, lon = np.arange(-44.75, 45, 0.5), np.arange(0.25, 360, 0.5)
    values = np.random.default_rng(0).random((2, lat.size, lon.size)) * 9 + 273.15
    time = np.array(["2001-01-01", "2001-01-02"], "datetime64[ns]")
    da = xr.DataArray(
        values, {"time": time, "lat": lat, "lon": lon}, ("time", "lat", "lon"), "v", {"units": "K"}
    )
    da.to_netcdf(tmp_path / "a.nc")
    entry = {"name": "s", "uri": str(tmp_path / "a.nc"), "driver": "netcdf", "method": "mean"}
    source = Source.model_validate({**entry, "variables": {"air_temperature": {"name": "v"}}})
    grid = TargetGrid.from_bounds("g", "EPSG:4326", (-110, 30, -100, 40), 0.4)
    ds = open_source(source, on=grid)
    assert ds["air_temperature"].dims == ("time", "y", "x")
    assert ds["air_temperature"].attrs["units"] == "degC"
    assert ds["y"].values[0] > ds["y"].values[-1]
    west, south, east, north = grid.bounds
    assert ds["x"].values.min() < west
    assert ds["x"].values.max() > east
    assert ds["y"].values.min() < south
    assert ds["y"].values.max() > north
    assert ds.sizes["x"] < 40
    whole = canonicalise(open_source(source), source, read_variables())
    for method in ("mean", "bilinear", "nearest", "conservative"):
        xr.testing.assert_identical(regrid(ds, grid, method), regrid(whole, grid, method))
