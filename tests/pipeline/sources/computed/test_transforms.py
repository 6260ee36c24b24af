"""Transforms, lookups and expressions act on single values, before any mean."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.build import build_cube
from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.core.formulas import meteorology as met
from pipeline.entries.source import Source, Variable
from pipeline.grid.target_grid import TargetGrid
from pipeline.readers.registry import files_of
from pipeline.sources.canonical import canonicalise
from pipeline.sources.computed.elementwise import elementwise
from pipeline.sources.computed.transforms import power10, square_signed
from pipeline.sources.open import check_source, open_source

NAN = np.nan
VARIABLES = {
    **{f"band_{i}": Variable(long_name="component", units="1", valid_range=(-1, 1))
       for i in range(4)},
    "sand": Variable(long_name="sand", units="1", valid_range=(0, 1)),
    "clay": Variable(long_name="clay", units="1", valid_range=(0, 1)),
    "organic": Variable(long_name="organic matter", units="%", valid_range=(0, 100)),
    "rock": Variable(long_name="rock", units="1"),
    "radiation": Variable(long_name="radiation", units="W m-2", valid_range=(0, 600)),
    "humidity": Variable(long_name="humidity", units="%", valid_range=(0, 110)),
    "wind": Variable(long_name="wind", units="m s-1", valid_range=(0, 100)),
    "height": Variable(long_name="height", units="m"),
    "pet": Variable(long_name="pet", units="mm/day", valid_range=(0, 30)),
}  # fmt: skip
WEST, NORTH, CELL = 600000.0, 5200000.0, 10.0
GRID = TargetGrid.from_bounds("twice", "EPSG:32615", (WEST, NORTH - 40, WEST + 60, NORTH), 20.0)


def source_of(path: Path, variables: dict[str, Any], driver: str = "raster", **more: Any) -> Source:
    plain = {"crs": "EPSG:32615", "method": "mean"} if driver == "raster" else {}
    return Source.model_validate(
        {"name": "map", "uri": str(path), "driver": driver, "variables": variables,
         **plain, **more}
    )  # fmt: skip


def faults_of(source: Source) -> str:
    faults = Faults()
    check_source(source, faults, VARIABLES)
    return "\n".join(map(str, faults.faults))


def notes(source: Source) -> tuple[str, ...]:
    info = check_source(source, Faults(), VARIABLES)
    assert info is not None
    return info.notes


def cube(folder: Path, source: Source, grid: TargetGrid = GRID) -> xr.Dataset:
    assert not faults_of(source)
    return build_cube(folder / "cube.zarr", grid, [source], variables=VARIABLES)


def raster(path: Path, bands: np.ndarray, nodata: Any = None, north_up: bool = True) -> Path:
    count, rows, cols = bands.shape
    place = rasterio.Affine(CELL, 0, WEST, 0, -CELL, NORTH)
    if not north_up:
        place = rasterio.Affine(CELL, 0, WEST, 0, CELL, NORTH - rows * CELL)
        bands = bands[:, ::-1]
    with rasterio.open(path, "w", driver="GTiff", width=cols, height=rows, count=count,
                       dtype=bands.dtype, crs="EPSG:32615", transform=place,
                       nodata=nodata) as file:  # fmt: skip
        file.write(bands)
    return path


def means(values: np.ndarray) -> np.ndarray:
    """Return the means of the valid values of two by two cells; dims (..., y, x)."""
    rows, cols = values.shape[-2:]
    blocks = values.reshape(*values.shape[:-2], rows // 2, 2, cols // 2, 2)
    return np.nanmean(blocks, axis=(-3, -1))


@given(st.integers(-127, 127))
@settings(max_examples=50)
def test_square_signed_of_every_number(number: int) -> None:
    found = square_signed(np.array([number], np.float32))[0]
    expected = np.sign(number) * (number / 127.5) ** 2
    assert found == pytest.approx(expected, rel=1e-6)


@given(st.floats(-6, 4))
@settings(max_examples=50)
def test_power10_of_any_number(number: float) -> None:
    assert power10(np.array([number]))[0] == pytest.approx(10.0**number, rel=1e-12)


@pytest.mark.parametrize("north_up", [True, False])
def test_means_are_those_of_transformed_values(tmp_path: Path, north_up: bool) -> None:
    stored = np.random.default_rng(3).integers(-127, 128, (4, 4, 6)).astype("i1")
    stored[:, 1, 2] = -128
    path = raster(tmp_path / "a.tif", stored, -128, north_up)
    bands = {f"band_{i}": {"name": f"band_{i + 1}", "units": "1", "transform": "square_signed"}
             for i in range(4)}  # fmt: skip
    values = np.sign(stored) * (stored / 127.5) ** 2
    values[:, 1, 2] = NAN
    found = cube(tmp_path, source_of(path, bands))
    for i, expected in enumerate(means(values)):
        np.testing.assert_allclose(found[f"band_{i}"].values, expected, atol=1e-6)


def test_the_logarithms_of_a_packed_map(tmp_path: Path) -> None:
    stored = np.random.default_rng(5).integers(-200, 100, (1, 4, 6)).astype("i2")
    stored[0, 0, 0] = -9999
    path = raster(tmp_path / "a.tif", stored, -9999)
    packed = {"name": "band_1", "units": "%", "scale": 0.01, "transform": "power10"}
    values = 10.0 ** (0.01 * stored[0])
    values[0, 0] = NAN
    found = cube(tmp_path, source_of(path, {"organic": packed}))["organic"].values
    np.testing.assert_allclose(found, means(values), rtol=1e-5)


def test_embeddings_of_which_a_check_knows_the_norm(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(4, 4, 6))
    vectors /= np.sqrt((vectors**2).sum(0))
    stored = np.rint(np.sign(vectors) * np.sqrt(np.abs(vectors)) * 127.5).astype("i1")
    path = raster(tmp_path / "a.tif", stored, -128)
    right = {f"band_{i}": {"name": f"band_{i + 1}", "units": "1", "transform": "square_signed"}
             for i in range(4)}  # fmt: skip
    wrong = {name: {"name": band["name"], "units": "1", "scale": 1 / 127.5}
             for name, band in right.items()}  # fmt: skip
    assert not faults_of(source_of(path, right, unit_norm=True))
    text = faults_of(source_of(path, wrong, unit_norm=True))
    assert "found vectors of 4 components and norm 1." in text
    assert "square_signed" in text
    assert not faults_of(source_of(path, wrong))
    few = dict(list(right.items())[:2])
    assert "vectors of 2 components" in faults_of(source_of(path, few, unit_norm=True))


UNITS = np.array(
    [[70001, 70001, 70002, 70002, 70003, 70003]] * 3 + [[70001, 9, 0, 0, 70004, 70003]]
)
"""Mapping units, of which 9 is unknown and 0 means missing."""
LAYERS = """\
SMU;LAYER;SHARE;SAND;CLAY;TEXTURE
70001;D1;60;20;50;clay
70001;D1;40;70;-9;loam
70001;D2;100;99;1;sand
70002;D1;100;40;30;loam
70003;D1;30;10;20;loam
70003;D1;35;10;60;clay
70003;D1;35;-9;60;clay
70004;D1;100;-9;-9;
"""


@pytest.fixture
def soil(tmp_path: Path) -> Path:
    (tmp_path / "layers.csv").write_text(LAYERS)
    return raster(tmp_path / "units.tif", UNITS[None].astype("i4"), 0)


def looked_up(folder: Path, value: str, **more: Any) -> dict[str, Any]:
    lookup = {"lookup": str(folder / "layers.csv"), "key": "SMU", "value": value,
              "where": {"LAYER": "D1"}, **more}  # fmt: skip
    return {"name": "band_1", "units": "%", "transform": lookup}


def test_components_of_mapping_units_by_their_shares(tmp_path: Path, soil: Path) -> None:
    sand = looked_up(tmp_path, "SAND", weight="SHARE", nodata=[[-99, -1]])
    clay = looked_up(tmp_path, "CLAY", weight="SHARE", nodata=-9)
    source = source_of(soil, {"sand": sand, "clay": clay})
    found = cube(tmp_path, source)
    by_unit = {70001: (0.4, 0.5), 70002: (0.4, 0.3), 70003: (0.1, 0.48)}
    for i, name in enumerate(("sand", "clay")):
        values = np.vectorize(lambda unit, i=i: by_unit.get(unit, (NAN, NAN))[i])(UNITS)
        np.testing.assert_allclose(found[name].values, means(values), rtol=1e-6)
    lacking = "1 cells are missing: the table lacks their numbers, 1 (9)"
    assert notes(source) == (f"sand: {lacking}", f"clay: {lacking}")
    assert tmp_path / "layers.csv" in files_of(source)
    (tmp_path / "layers.csv").unlink()
    assert "layers.csv: found no such file" in faults_of(source)


def test_texts_of_a_table_become_codes_of_classes(tmp_path: Path, soil: Path) -> None:
    texture = looked_up(
        tmp_path, "TEXTURE", weight="SHARE", codes={"loam": 1, "clay": 2, "sand": 3}
    )
    classes = {"fine": [2], "coarse": [1, 3]}
    source = source_of(soil, {"rock": {**texture, "units": "1"}}, kind="categorical",
                       method="fractions", classes=classes)  # fmt: skip
    ds = canonicalise(open_source(source), source, VARIABLES)["rock"].values
    dominant = {70001: 0, 70002: 1, 70003: 0}
    expected = np.vectorize(lambda unit: float(dominant.get(unit, NAN)))(UNITS)
    np.testing.assert_array_equal(ds, expected)


def test_tables_that_do_not_answer(tmp_path: Path, soil: Path) -> None:
    def message(value: str = "SAND", **more: Any) -> str:
        return faults_of(source_of(soil, {"sand": looked_up(tmp_path, value, **more)}))

    assert 'Did you mean "SAND"' in message("SANDS", weight="SHARE")
    assert 'a column "SHARES"' in message(weight="SHARES")
    assert "several rows of SMU 2 (70001, 70003)" in message()
    assert "found LAYER 2 (D1, D2); expected D9" in message(where={"LAYER": "D9"})
    assert 'found 2 ("clay", "loam"); expected numbers' in message("TEXTURE", weight="SHARE")
    text = message("TEXTURE", weight="SHARE", codes={"loam": 1})
    assert "texts without a code, 1 (clay)" in text
    (tmp_path / "layers.csv").write_bytes(b"\x00\xff")
    assert "layers.csv" in message(weight="SHARE")


def test_the_attribute_table_of_a_raster(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif", np.tile(np.array([[[1, 2, 3]]], "u1"), (1, 4, 2)))
    rows = "".join(
        f'<Row index="{i}"><F>{i + 1}</F><F>{name}</F><F>{share}</F></Row>'
        for i, (name, share) in enumerate((("su", 0.1), ("ss", 0.25), ("ev", 0.7)))
    )
    fields = "".join(
        f'<FieldDefn index="{i}"><Name>{name}</Name><Type>{kind}</Type><Usage>0</Usage></FieldDefn>'
        for i, (name, kind) in enumerate((("Value", 0), ("Class", 2), ("Porosity", 1)))
    )
    (tmp_path / "a.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><GDALRasterAttributeTable tableType="thematic">'
        f"{fields}{rows}</GDALRasterAttributeTable></PAMRasterBand></PAMDataset>"
    )
    lookup = {"lookup": str(tmp_path / "a.tif.aux.xml"), "key": "Value", "value": "Porosity"}
    source = source_of(path, {"sand": {"name": "band_1", "units": "1", "transform": lookup}})
    values = np.tile([0.1, 0.25, 0.7], (4, 2))
    found = cube(tmp_path, source)["sand"].values
    np.testing.assert_allclose(found, means(values), rtol=1e-6)
    codes = {**lookup, "value": "Class", "codes": {"su": 5, "ss": 6, "ev": 7}}
    source = source_of(
        path, {"rock": {"name": "band_1", "units": "1", "transform": codes}},
        kind="categorical", method="fractions", classes={"loose": [5], "solid": [6, 7]},
    )  # fmt: skip
    ds = canonicalise(open_source(source), source, VARIABLES)["rock"].values
    np.testing.assert_array_equal(ds, np.tile([0, 1, 1], (4, 2)))


def series(path: Path, hours: pd.DatetimeIndex, **variables: Any) -> None:
    """Write variables (values [T], units) that are the same in 2 by 3 cells."""
    ones = np.ones((2, 3))
    ds = xr.Dataset(
        {name: (("time", "lat", "lon"), np.multiply.outer(np.asarray(values, float), ones),
                {"units": units})
         for name, (values, units) in variables.items()},
        {"time": hours, "lat": [46.5, 45.5], "lon": [8.5, 9.5, 10.5]},
    )  # fmt: skip
    ds.to_netcdf(path)


def first_cell(source: Source) -> np.ndarray:
    assert not faults_of(source)
    ds = canonicalise(open_source(source), source, VARIABLES)
    return ds[next(iter(source.variables))].values[:, 0, 0]


def test_radiation_of_daymet_is_that_of_the_day(tmp_path: Path) -> None:
    days = pd.date_range("2003-06-01", periods=3)
    srad, dayl = [400.0, 350.0, NAN], [54000.0, 54100.0, 54200.0]
    series(tmp_path / "a.nc", days, srad=(srad, "W m-2"), dayl=(dayl, "s"))
    variable = {"expression": "srad * dayl / 86400", "units": "W m-2"}
    source = source_of(tmp_path / "a.nc", {"radiation": variable}, "netcdf")
    expected = np.multiply(srad, dayl) / 86400
    np.testing.assert_allclose(first_cell(source), expected, rtol=1e-6)
    assert list(open_source(source).data_vars) == ["radiation of srad * dayl / 86400"]


def test_the_speed_of_the_wind_is_averaged_and_not_its_components(tmp_path: Path) -> None:
    hours = pd.date_range("2003-06-01", periods=24, freq="h")
    u, v = 3.0 * (-1.0) ** np.arange(24), np.full(24, 4.0)
    series(tmp_path / "a.nc", hours, u10=(u, "m s-1"), v10=(v, "m s-1"))
    variable = {"expression": "wind_speed(u10, v10)", "units": "m s-1", "cell_method": "mean"}
    source = source_of(tmp_path / "a.nc", {"wind": variable}, "netcdf", time={"daily": True})
    np.testing.assert_allclose(first_cell(source), [5.0], rtol=1e-6)


def test_humidity_of_a_reanalysis_in_kelvin(tmp_path: Path) -> None:
    days = pd.date_range("2003-06-01", periods=2)
    series(tmp_path / "a.nc", days, d2m=([288.15, 250.0], "K"), t2m=([297.65, 255.0], "K"))
    variable = {"expression": "relative_humidity_from_dew_point(d2m, t2m)", "units": "%"}
    source = source_of(tmp_path / "a.nc", {"humidity": variable}, "netcdf")
    expected = met.relative_humidity_from_dew_point(
        np.array([288.15, 250.0]) - 273.15, np.array([297.65, 255.0]) - 273.15
    )
    np.testing.assert_allclose(first_cell(source), expected, rtol=1e-6)


def test_the_latitude_and_the_day_are_those_of_the_cell_and_step(tmp_path: Path) -> None:
    days = pd.date_range("2003-06-29", periods=3)
    series(tmp_path / "a.nc", days, t=([20.0, -9.0, 15.0], "degC"))
    variable = {"expression": "pet_oudin(t, lat, doy)", "units": "mm/day"}
    source = source_of(tmp_path / "a.nc", {"pet": variable}, "netcdf")
    ds = canonicalise(open_source(source), source, VARIABLES)["pet"]
    day = np.array([180.0, 181.0, 182.0])
    for row, latitude in enumerate((46.5, 45.5)):
        expected = met.pet_oudin(np.array([20.0, -9.0, 15.0]), latitude, day)
        np.testing.assert_allclose(ds.values[:, row, 1], expected, rtol=1e-5)
    part = canonicalise(open_source(source, (9.0, 45.0, 10.0, 46.0)), source, VARIABLES)["pet"]
    same = ds.sel(y=45.5, x=9.5).values
    np.testing.assert_array_equal(part.sel(y=45.5, x=9.5).values, same)


def test_the_latitude_of_a_projected_raster(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif", np.full((1, 4, 6), 1, "i2"))
    lookup = {"expression": "lat * one", "units": "m", "operands": {"one": {"name": "band_1"}}}
    source = source_of(path, {"height": lookup})
    found = canonicalise(open_source(source), source, VARIABLES)["height"].values
    import pyproj

    to_degrees = pyproj.Transformer.from_crs("EPSG:32615", "EPSG:4326", always_xy=True)
    x, y = np.meshgrid(WEST + CELL * (np.arange(6) + 0.5), NORTH - CELL * (np.arange(4) + 0.5))
    np.testing.assert_allclose(found, to_degrees.transform(x, y)[1], rtol=1e-6)


def test_embeddings_with_a_scale_for_each_pixel(tmp_path: Path) -> None:
    """Stored as TESSERA is: int8 vectors and one float32 factor of all components of a pixel."""
    rng = np.random.default_rng(7)
    stored = rng.integers(-127, 128, (4, 4, 6)).astype("i1")
    scales = rng.uniform(0.001, 0.007, (1, 4, 6)).astype("f4")
    scales[0, 2, 3] = NAN
    raster(tmp_path / "embedding.tif", stored)
    raster(tmp_path / "scales.tif", scales, north_up=False)
    (tmp_path / "catalog.yml").write_text(f"""
tessera:
  uri: {tmp_path}/embedding.tif
  driver: raster
  crs: EPSG:32615
  method: mean
  variables:
    "embedding_[00-03]":
      expression: "vector * factor"
      units: "1"
      operands:
        vector: {{name: "band_[1-4]"}}
        factor: {{name: band_1, uri: "{tmp_path}/scales.tif"}}
""")
    source = read_catalog(tmp_path / "catalog.yml")["tessera"]
    known = read_variables()
    found = build_cube(tmp_path / "cube.zarr", GRID, [source], variables=known)
    values = stored.astype(np.float64) * scales[0]
    for i, expected in enumerate(means(values)):
        np.testing.assert_allclose(found[f"embedding_0{i}"].values, expected, atol=1e-6)
    assert tmp_path / "scales.tif" in files_of(source)


def test_stored_numbers_of_operands_are_unpacked_and_undefined_values_counted(
    tmp_path: Path,
) -> None:
    stored = np.array([[[10, 20, -1, 0, 50, 60]] * 4, [[5, 0, 5, 5, 0, 5]] * 4], "i2")
    path = raster(tmp_path / "a.tif", stored, -1)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (0.1, 1.0), (0.0, 0.0)
    operands = {"a": {"name": "band_1"}, "b": {"name": "band_2", "nodata": -1}}
    variable = {"expression": "a / b", "units": "m", "operands": operands}
    source = source_of(path, {"height": variable})
    found = canonicalise(open_source(source), source, VARIABLES)["height"].values
    np.testing.assert_allclose(found[0], [0.2, NAN, NAN, 0, NAN, 1.2], rtol=1e-6)
    assert notes(source) == ("height: the expression is not defined for 8 values, now missing",)


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ({"expression": "a * b"}, "without `units`"),
        ({"expression": "2 * 3", "units": "m"}, "without a variable"),
        ({"expression": "a.b", "units": "m"}, "none of numbers, names"),
        ({"expression": "a", "name": "b", "units": "m"}, "an expression with name"),
        ({"expression": "a", "scale": 2.0, "units": "m"}, "an expression with scale"),
        ({"expression": "a", "transform": "power10", "units": "m"}, "with transform"),
        ({"name": "a", "operands": {"b": {"name": "c"}}, "mask": {"name": "q", "keep": 0}},
         "`operands` without an `expression`"),
        ({"name": "a", "transform": "power10"}, "without `units`"),
        ({"name": "a", "transform": "power11", "units": "m"}, "power10"),
        ({"name": "a", "transform": "square_signed", "scale": 0.1, "units": "m"}, "127.5"),
        ({"name": "a", "units": "m", "scale": 2.0,
          "transform": {"lookup": "t.csv", "key": "k", "value": "v"}}, "a lookup .* with scale"),
        ({}, "neither `name` nor `expression`"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other(
    tmp_path: Path, variable: dict, message: str
) -> None:  # fmt: skip
    with pytest.raises(ValueError, match=message):
        source_of(tmp_path / "a.tif", {"height": variable})


def test_names_that_the_file_does_not_have(tmp_path: Path) -> None:
    series(tmp_path / "a.nc", pd.date_range("2003-06-01", periods=2), srad=([1.0, 2.0], "W m-2"))
    variable = {"expression": "srad * dayl", "units": "W m-2"}
    source = source_of(tmp_path / "a.nc", {"radiation": variable}, "netcdf")
    with pytest.raises(InputError, match=r'a variable "dayl"'):
        open_source(source)


def test_only_the_wanted_block_is_read(tmp_path: Path) -> None:
    read: list[int] = []

    def double(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        read.append(np.broadcast(a, b).size)
        return a + b

    wide = xr.Variable(("time", "y", "x"), np.arange(24.0).reshape(4, 2, 3))
    flat = xr.Variable(("x", "y"), np.arange(6.0).reshape(3, 2))
    lazy = elementwise([flat, wide], double, np.float64, {}, {})
    assert lazy.dims == ("time", "y", "x")
    whole = wide.values + flat.values.T
    for key in ((2,), (slice(None, None, -1), 1), (slice(1, 3), slice(None), slice(2, 0, -1)),
                (0, 1, 2), (np.array([3, 0]), slice(None), np.array([2, 1]))):  # fmt: skip
        del read[:]
        found = lazy[key].values
        expected = xr.Variable(("time", "y", "x"), whole)[key].values
        np.testing.assert_array_equal(found, expected)
        assert sum(read) <= 2 * max(1, expected.size)


def test_layers_are_masked_and_members_computed_before_they_are_reduced(tmp_path: Path) -> None:
    days, shape = pd.date_range("2003-06-01", periods=2), (2, 3, 2, 3)
    u, v = np.zeros(shape), np.full(shape, 4.0)
    u[:, 0], u[:, 1] = 3.0, -3.0
    flag = np.zeros(shape, "i1")
    flag[1, 2] = 1
    dims = ("time", "number", "lat", "lon")
    ds = xr.Dataset(
        {"u": (dims, u, {"units": "m s-1"}), "v": (dims, v, {"units": "m s-1"}),
         "flag": (dims, flag)},
        {"time": days, "number": [0, 1, 2], "lat": [46.5, 45.5], "lon": [8.5, 9.5, 10.5]},
    )  # fmt: skip
    ds.to_netcdf(tmp_path / "a.nc")
    variable = {"expression": "wind_speed(u, v)", "units": "m s-1",
                "mask": {"name": "flag", "keep": 0}}  # fmt: skip
    path = tmp_path / "a.nc"
    reduced = source_of(path, {"wind": variable}, "netcdf", reduce={"number": "mean"})
    np.testing.assert_allclose(first_cell(reduced), [14 / 3, 5.0], rtol=1e-6)
    selected = source_of(path, {"wind": variable}, "netcdf", select={"number": 2})
    np.testing.assert_allclose(first_cell(selected), [4.0, NAN], rtol=1e-6)


@pytest.mark.parametrize(("transform", "missing"), [("power10", -9999.0), ("square_signed", -128)])
def test_numbers_that_a_transform_cannot_have_are_refused(
    tmp_path: Path, transform: str, missing: float
) -> None:
    values = np.full((1, 4, 6), 0.5, "f4")
    values[0, 0, 0] = missing
    path = raster(tmp_path / "a.tif", values)
    variable = {"name": "band_1", "units": "1", "transform": transform}
    text = faults_of(source_of(path, {"rock": variable}))
    assert f"found values from {missing:g} to 0.5" in text
    assert "`nodata`" in text
    with pytest.raises(InputError, match="`nodata`"):
        build_cube(tmp_path / "a.zarr", GRID, [source_of(path, {"rock": variable})],
                   variables=VARIABLES)  # fmt: skip
    declared = source_of(path, {"rock": {**variable, "nodata": missing}})
    found = cube(tmp_path, declared)["rock"].values
    wanted = 10**0.5 if transform == "power10" else (0.5 / 127.5) ** 2
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_table_with_decimal_commas_is_looked_up(tmp_path: Path) -> None:
    path = raster(tmp_path / "units.tif", np.full((1, 4, 6), 10, "u2"))
    table = tmp_path / "units.csv"
    table.write_text("# soil\nMU;SAND;SHARE\n10,0;20,5;60\n10,0;40,5;20\n")
    lookup = {"lookup": str(table), "key": "MU", "value": "SAND", "weight": "SHARE"}
    sand = {"name": "band_1", "units": "%", "transform": lookup}
    found = cube(tmp_path, source_of(path, {"sand": sand}))["sand"].values
    np.testing.assert_allclose(found, (20.5 * 60 + 40.5 * 20) / 80 / 100, rtol=1e-6)
    table.write_text("MU,SAND\nA10,20.5\n")
    text = faults_of(source_of(path, {"sand": {**sand, "transform": {**lookup, "weight": None}}}))
    assert "stored numbers as `key`" in text


def test_an_operand_is_named_by_a_text_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    at = {"lat": [0.5, 1.5], "lon": [0.5, 1.5]}
    xr.Dataset({"air temp": (("lat", "lon"), np.full((2, 2), 3.0), {"units": "1"})}, at).to_netcdf(
        path
    )
    terms = {"expression": "2 * t", "operands": {"t": "air temp"}, "units": "1"}
    source = source_of(path, {"rock": terms}, "netcdf")
    np.testing.assert_array_equal(open_source(source)["rock of 2 * t"].values, np.full((2, 2), 6.0))


def test_a_row_out_of_range_is_no_part_of_a_mean(tmp_path: Path) -> None:
    path = raster(tmp_path / "units.tif", np.full((1, 4, 6), 10, "u2"))
    table = tmp_path / "units.csv"
    table.write_text("MU,LAYER,SAND,SHARE\n10,D1,20,70\n10,D1,-9,30\n10,D2,500,100\n")
    lookup = {"lookup": str(table), "key": "MU", "value": "SAND", "weight": "SHARE",
              "where": {"LAYER": "D1"}}  # fmt: skip
    sand = {"name": "band_1", "units": "%", "transform": lookup}
    text = faults_of(source_of(path, {"sand": sand}))
    assert "SAND: found values from -0.09 to 0.2 1; expected 0 to 1" in text
    with pytest.raises(InputError, match="SAND: found values from"):
        build_cube(tmp_path / "a.zarr", GRID, [source_of(path, {"sand": sand})],
                   variables=VARIABLES)  # fmt: skip
    declared = {**sand, "transform": {**lookup, "nodata": -9}}
    found = cube(tmp_path, source_of(path, {"sand": declared}))["sand"].values
    np.testing.assert_allclose(found, 0.2, rtol=1e-6)


ROWS_OF_UNITS = "MU,SAND\n10,20\n20,35\n10,20\n"


def of_table(folder: Path, table: str | bytes, name: str = "units.csv", **more: Any) -> Source:
    path = raster(folder / "units.tif", np.full((1, 4, 6), 10, "u2"))
    data = table if isinstance(table, bytes) else table.encode()
    (folder / name).write_bytes(data)
    lookup = {"lookup": str(folder / name), "key": "MU", "value": "SAND", **more}
    return source_of(path, {"sand": {"name": "band_1", "units": "%", "transform": lookup}})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_a_row_that_is_there_twice_is_one_row(tmp_path: Path, encoding: str) -> None:
    source = of_table(tmp_path, ROWS_OF_UNITS.encode(encoding))
    assert faults_of(source) == ""
    ds = canonicalise(open_source(source), source, VARIABLES)
    np.testing.assert_allclose(ds["sand"], 0.2, rtol=1e-6)
    assert "several rows of MU" in faults_of(of_table(tmp_path, f"{ROWS_OF_UNITS}20,36\n"))


def test_workbooks_and_pages_are_no_tables_of_a_lookup(tmp_path: Path) -> None:
    book = io.BytesIO()
    with zipfile.ZipFile(book, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    assert "Save the sheet as CSV" in faults_of(of_table(tmp_path, book.getvalue(), "u.xlsx"))
    assert "Save the sheet as CSV" in faults_of(of_table(tmp_path, book.getvalue(), "u.csv"))
    page = "<!DOCTYPE html><title>Sign in</title>"
    assert "signed in" in faults_of(of_table(tmp_path, page, "page.csv"))


def test_titles_and_long_lines_of_a_lookup_have_a_way_out(tmp_path: Path) -> None:
    titled = "Soil units\n2024\n" + ROWS_OF_UNITS
    assert "`transform: {skip_lines: 2}`" in faults_of(of_table(tmp_path, titled))
    assert faults_of(of_table(tmp_path, titled, skip_lines=2)) == ""
    long = faults_of(of_table(tmp_path, ROWS_OF_UNITS + "30,4,5\n", "long.csv"))
    assert "3 fields in line 5; expected 2" in long


def test_names_with_a_dash_need_others_in_an_expression(tmp_path: Path) -> None:
    at = {"lat": [0.5, 1.5], "lon": [0.5, 1.5]}
    path = tmp_path / "a.nc"
    xr.Dataset({"soil-depth": (("lat", "lon"), np.ones((2, 2)), {"units": "1"})}, at).to_netcdf(
        path
    )
    dashed = {"rock": {"expression": "soil-depth * 2", "units": "1"}}
    assert '`operands: {soil_depth: "soil-depth"}`' in faults_of(source_of(path, dashed, "netcdf"))
    with pytest.raises(ValueError, match="operands"):
        source_of(path, {"rock": {"expression": "soil depth * 2", "units": "1"}}, "netcdf")
