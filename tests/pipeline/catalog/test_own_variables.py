"""Variables that a catalog defines itself: in it, beside it, or in an entry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.build import build_cube
from pipeline.catalog.catalog import read_catalog
from pipeline.core.errors import Faults, InputError
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.open import check_source

DEFINITION = "{long_name: soil acidity, units: '1', valid_range: [0, 14]}"
ENTRY = "soil: {uri: '${data}/ph.nc', driver: netcdf, variables: {acidity: {name: v}}}\n"
GRID = TargetGrid.from_bounds("g", "EPSG:4326", (0, 0, 2, 2), 1.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    at = np.arange(0.5, 2)
    ph = xr.DataArray(np.full((2, 2), 6.5), {"lat": at, "lon": at}, ("lat", "lon"), "v")
    ph.assign_attrs(units="-").to_netcdf(tmp_path / "ph.nc")
    return tmp_path


def catalog(folder: Path, text: str) -> Path:
    path = folder / "my.yml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("where", ["in the catalog", "beside it", "in the entry"])
def test_an_own_variable_goes_from_file_to_cube(folder: Path, where: str) -> None:
    text = ENTRY
    if where == "in the catalog":
        text += f"variables: {{acidity: {DEFINITION}}}\n"
    elif where == "beside it":
        (folder / "variables.yml").write_text(f"acidity: {DEFINITION}\n")
    else:
        text = text.replace("{name: v}", f"{{name: v, define: {DEFINITION}}}")
    source = read_catalog(catalog(folder, text), data=folder)["soil"]
    faults = Faults()
    check_source(source, faults)
    faults.raise_if_any()
    cube = build_cube(folder / "cube.zarr", GRID, [source])
    np.testing.assert_array_equal(cube["acidity"], 6.5)
    assert cube["acidity"].attrs["long_name"] == "soil acidity"


def test_a_name_that_nobody_defines_is_refused_by_the_check(folder: Path) -> None:
    text = ENTRY.replace("acidity", "precipitaton")
    source = read_catalog(catalog(folder, text), data=folder)["soil"]
    faults = Faults()
    check_source(source, faults)
    text = str(InputError(faults.faults))
    assert 'Did you mean "precipitation"?' in text
    assert "variables: {precipitaton: {long_name: ..., units: ...}}" in text


def test_a_range_of_own_variables(folder: Path) -> None:
    text = "variables: {'band_[1-3]': {long_name: band, units: '1'}}\n" + ENTRY.replace(
        "acidity: {name: v}", "'band_[1-3]': {name: 'v_[1-3]'}"
    )
    source = read_catalog(catalog(folder, text), data=folder)["soil"]
    assert list(source.own_variables) == ["band_1", "band_2", "band_3"]


def test_a_known_name_keeps_its_units(folder: Path) -> None:
    text = "variables: {elevation: {long_name: my height, units: %s}}\n"
    text += ENTRY.replace("acidity", "elevation")
    with pytest.raises(InputError, match=r'in "ft"[\s\S]*"m"'):
        read_catalog(catalog(folder, text % "ft"), data=folder)
    source = read_catalog(catalog(folder, text % "metre"), data=folder)["soil"]
    assert source.own_variables["elevation"].long_name == "my height"


def test_two_definitions_of_one_name_are_refused(folder: Path) -> None:
    (folder / "variables.yml").write_text(f"acidity: {DEFINITION}\n")
    text = "variables: {acidity: {long_name: soil acidity, units: '%'}}\n" + ENTRY
    with pytest.raises(InputError, match="another definition"):
        read_catalog(catalog(folder, text), data=folder)


def test_faults_of_a_definition_are_those_of_settings(folder: Path) -> None:
    text = "variables: {acidity: {units: '1', valid_rang: [0, 14]}}\n" + ENTRY
    with pytest.raises(InputError, match=r'my.yml: variable "acidity"[\s\S]*valid_range'):
        read_catalog(catalog(folder, text), data=folder)
