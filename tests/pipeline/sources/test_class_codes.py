"""Codes of class maps: signed and unsigned, of 8 bits to 64, and as floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

from pipeline.build import build_cube
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding.classes import classes_of
from pipeline.sources import decode as class_codes
from pipeline.sources.canonical import canonicalise
from pipeline.sources.decode import class_indices
from pipeline.sources.open import check_source, open_source
from tests.pipeline.sources.test_bad_sources import VARIABLES

CODES = {
    "uint8": [0, 1, 255], "int8": [-128, -1, 127], "uint16": [0, 311, 65535],
    "int16": [-32768, -1, 311], "int32": [-5, 311, 3_000_001], "uint32": [0, 311, 4294967295],
    "int64": [-5, 311, 1 << 40], "float32": [-5, 311, 3_000_001], "float64": [0, 311, 1e12],
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(CODES))
def test_indices_are_those_of_a_dictionary(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_codes, "PIECE", 7)
    classes = {np.dtype(kind).type(code): index for index, code in enumerate(CODES[kind])}
    random = np.random.default_rng(1)
    raw = random.choice(np.array([*CODES[kind], 3, 100], kind), (5, 11))[:, ::2]
    wanted = [classes.get(code, np.nan) for code in raw.ravel()]
    found = class_indices(raw, classes)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.ravel(), np.array(wanted, np.float32))
    assert np.isnan(class_indices(raw, {})).all()
    small = {code: index for code, index in classes.items() if 0 <= code < 1000}
    wanted = [small.get(code, np.nan) for code in raw.ravel()]
    np.testing.assert_array_equal(class_indices(raw, small).ravel(), np.array(wanted, np.float32))


def test_floats_between_codes_are_no_class() -> None:
    raw = np.array([1.0, 1.5, np.nan, 2.0, np.inf, -np.inf], np.float32)
    found = class_indices(raw, {np.float32(1): 0, np.float32(2): 1})
    np.testing.assert_array_equal(found, [0, np.nan, np.nan, 1, np.nan, np.nan])


@pytest.mark.parametrize("kind", ["int16", "uint16", "int32", "float32"])
def test_corine_codes_of_a_raster(tmp_path: Path, kind: str) -> None:
    transform = rasterio.transform.from_origin(-10, 50, 1, 1)
    with rasterio.open(tmp_path / "t.tif", "w", "GTiff", 5, 2, 1, "EPSG:4326", transform, kind,
                       nodata=999) as file:  # fmt: skip
        # 257 and 567 are 1 and 311 in bytes.
        file.write(np.array([[311, 257, 999, 2, 312], [567, 1, 1, 1, 1]], kind), 1)
    source = Source.model_validate(
        {"name": "cover", "uri": str(tmp_path / "t.tif"), "driver": "raster",
         "kind": "categorical", "method": "fractions",
         "classes": {"a": [1, 311], "b": [2, 70_000], "c": [999], "d": [312]},
         "variables": {"kind": {"name": "band_1", "units": "1"}}}
    )  # fmt: skip
    faults = Faults()
    check_source(source, faults, VARIABLES)
    assert not faults.faults
    values = canonicalise(open_source(source), source, VARIABLES)["kind"].values.reshape(2, 5)
    nan = np.nan
    np.testing.assert_array_equal(values, [[0, nan, nan, 1, 3], [nan, 0, 0, 0, 0]])


def test_classes_need_no_units_and_may_have_labels_of_several_words(tmp_path: Path) -> None:
    path = tmp_path / "cover.tif"
    with rasterio.open(
        path, "w", "GTiff", 3, 2, 1, "EPSG:4326", rasterio.transform.from_origin(0, 2, 1, 1),
        "uint8",
    ) as file:  # fmt: skip
        file.write(np.array([[[1, 2, 9]] * 2], "u1").reshape(1, 2, 3))
    source = Source.model_validate(
        {"name": "cover", "uri": str(path), "driver": "raster", "kind": "categorical",
         "classes": {"Evergreen forest": [1], "crops/pasture": [2]},
         "variables": {"landcover": {"name": "band_1"}}}
    )  # fmt: skip
    faults = Faults()
    check_source(source, faults)
    assert not faults.faults
    grid = TargetGrid.from_bounds("three", "EPSG:4326", (0, 0, 3, 2), 1.0)
    for tile in ((8, 8), (1, 1)):
        cube = build_cube(tmp_path / f"cube{tile[0]}.zarr", grid, [source], tile=tile)
        forest = cube["landcover_fraction_evergreen_forest"].values
        np.testing.assert_array_equal(forest, [[1, 0, np.nan]] * 2)
        np.testing.assert_array_equal(
            cube["landcover_fraction_crops_pasture"].values, [[0, 1, np.nan]] * 2
        )


def test_labels_of_one_name_are_refused(tmp_path: Path) -> None:
    flags = {"flag_values": [0, 1], "flag_meanings": "mixed_forest Mixed-Forest"}
    cover = xr.DataArray([[0.0, 1.0]], {"y": [0.5], "x": [0.5, 1.5]}, ("y", "x"), attrs=flags)
    with pytest.raises(InputError, match="labels that differ"):
        classes_of(cover, "landcover")


def _map(path: Path, values: xr.DataArray, classes: object, **more: object) -> Source:
    xr.Dataset({"lc": values}).to_zarr(path, zarr_format=3)
    return Source.model_validate(
        {"name": "cover", "uri": str(path), "driver": "zarr", "kind": "categorical",
         "classes": classes, "variables": {"kind": {"name": "lc", "units": "1"}}, **more}
    )  # fmt: skip


def _lattice(values: list[list[object]]) -> xr.DataArray:
    axes = {"lat": [1.5, 0.5], "lon": [0.5, 1.5]}
    return xr.DataArray(np.array(values), axes, ("lat", "lon"))


def test_true_and_false_are_the_codes_1_and_0_and_neither_is_missing(tmp_path: Path) -> None:
    source = _map(
        tmp_path / "a.zarr", _lattice([[True, False], [False, False]]), {"no": 0, "yes": 1}
    )
    found = canonicalise(open_source(source), source, VARIABLES)["kind"].values
    np.testing.assert_array_equal(found, [[1, 0], [0, 0]])
    plain = source.model_copy(update={"classes": {}, "kind": "continuous", "method": "mean"})
    found = canonicalise(open_source(plain), plain, VARIABLES)["kind"].values
    np.testing.assert_array_equal(found, [[1, 0], [0, 0]])
    mask = {"name": "lc", "bits": {0: 0}}
    masked = _map(tmp_path / "b.zarr", _lattice([[True, False], [False, False]]), [0, 1],
                  variables={"kind": {"name": "lc", "units": "1", "mask": mask}})  # fmt: skip
    found = canonicalise(open_source(masked), masked, VARIABLES)["kind"].values
    np.testing.assert_array_equal(found, [[np.nan, 0], [0, 0]])


def test_whole_numbers_may_be_written_as_floats_and_fractions_are_refused(tmp_path: Path) -> None:
    source = _map(tmp_path / "a.zarr", _lattice([[1, 2], [3, 1]]), [1.0, 2.0, 3])
    assert source.classes == {"1": (1,), "2": (2,), "3": (3,)}
    with pytest.raises(ValueError, match=r"the code 1\.5 .* no whole number"):
        _map(tmp_path / "b.zarr", _lattice([[1, 2], [3, 1]]), {"a": 1.5})


def test_codes_before_labels_and_texts_have_a_way_out(tmp_path: Path) -> None:
    numbers, texts = _lattice([[1, 2], [3, 1]]), _lattice([["N", "SW"], ["E", "N"]])
    for values, classes, words in ((numbers, {1: "forest"}, "label before the code"),
                                   (texts, {"north": 1}, "found texts")):  # fmt: skip
        folder = tmp_path / words.split()[0]
        source = _map(folder, values, classes)
        faults = Faults()
        check_source(source, faults, VARIABLES)
        assert words in str(InputError(faults.faults))


def test_a_check_notes_classes_that_mean_missing_and_numbers_that_are_classes(
    tmp_path: Path,
) -> None:
    values = _lattice([[1, 255], [3, 1]]).astype("uint8")
    values.attrs |= {"_FillValue": np.uint8(255), "flag_values": [1, 3], "flag_meanings": "a b"}
    source = _map(tmp_path / "a.zarr", values, {"a": 1, "water": 255})
    info = check_source(source, Faults(), VARIABLES)
    assert info is not None
    assert "codes 255 of `classes` mean missing" in " ".join(info.notes)
    plain = source.model_copy(update={"classes": {}, "kind": "continuous", "method": "mean"})
    info = check_source(plain, Faults(), VARIABLES)
    assert info is not None
    assert "kind: categorical" in " ".join(info.notes)
