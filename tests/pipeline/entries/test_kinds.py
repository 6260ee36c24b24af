"""The kind of values decides how they are regridded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.build import build_cube
from pipeline.core.errors import Faults, InputError
from pipeline.core.settings import validated
from pipeline.entries.kinds import METHODS_OF
from pipeline.entries.source import Source, Variable
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.open import check_source

CLASSES = {"rock": [2], "ice": [7], "moss": [11]}


def entry(kind: str, **settings: Any) -> Source:
    classes = {"classes": CLASSES} if kind == "categorical" else {}
    variables = {"landcover": {"name": "v", "units": "1"}}
    value = {"name": "s", "uri": "v.nc", "driver": "netcdf", "kind": kind, "variables": variables}
    return validated(Source, {**value, **classes, **settings}, "my.yml")


def regridded(folder: Path, values: np.ndarray, variable: str, **settings: Any) -> xr.Dataset:
    """The cube of a field of 4 x 4 cells on a grid of 2 x 2."""
    at = np.arange(0.5, 4)
    da = xr.DataArray(values, {"lat": at, "lon": at}, ("lat", "lon"), "v", {"units": "1"})
    path = folder / "v.nc"
    da.to_netcdf(path)
    value = {"name": "s", "uri": str(path), "driver": "netcdf",
             "variables": {variable: {"name": "v"}}}  # fmt: skip
    source = Source.model_validate({**value, **settings})
    grid = TargetGrid.from_bounds("g", "EPSG:4326", (0, 0, 4, 4), 2.0)
    return build_cube(folder / "cube.zarr", grid, [source])


@pytest.mark.parametrize("kind", METHODS_OF)
def test_each_kind_has_its_usual_method_and_keeps_a_chosen_one(kind: str) -> None:
    assert entry(kind).method == METHODS_OF[kind][0]
    for method in METHODS_OF[kind]:
        assert entry(kind, method=method).method == method


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        (kind, method)
        for kind, methods in METHODS_OF.items()
        for method in sorted({*sum(METHODS_OF.values(), ())} - {*methods})
    ],
)
def test_another_method_is_refused_with_the_ways_out(kind: str, method: str) -> None:
    with pytest.raises(InputError) as caught:
        entry(kind, method=method)
    text = str(caught.value)
    assert f'method "{method}" for values of kind {kind}' in text
    assert all(usual in text for usual in METHODS_OF[kind])
    assert "or `kind` to" in text


def test_classes_become_fractions_by_default(tmp_path: Path) -> None:
    codes = np.tile(np.array([[2, 11], [11, 11]]), (2, 2)).astype(np.int16)
    cube = regridded(tmp_path, codes, "landcover", kind="categorical", classes=CLASSES)
    np.testing.assert_allclose(cube["landcover_fraction_rock"], 0.25, atol=1e-3)
    np.testing.assert_allclose(cube["landcover_fraction_moss"], 0.75, atol=1e-3)
    np.testing.assert_allclose(cube["landcover_fraction_ice"], 0.0)


def test_codes_may_be_their_own_labels(tmp_path: Path) -> None:
    assert entry("categorical", classes=[10, 20]).classes == {"10": (10,), "20": (20,)}
    by_number = entry("categorical", classes={1: 5, "wet": [6, 7]})
    assert by_number.classes == {"1": (5,), "wet": (6, 7)}
    codes = np.full((4, 4), 20, np.int16)
    cube = regridded(tmp_path, codes, "landcover", kind="categorical", classes=[10, 20])
    np.testing.assert_array_equal(cube["landcover_fraction_20"], 1.0)


def test_classes_that_contradict_the_entry_are_refused() -> None:
    with pytest.raises(InputError, match="codes in more than one class: 7"):
        entry("categorical", classes={"a": [2, 7], "b": [7]})
    with pytest.raises(InputError, match="kind: categorical"):
        entry("continuous", classes={"a": [2]})


@pytest.mark.parametrize(
    ("settings", "factor", "expected"),
    [({}, 1.0, 0.0), ({"period": 24}, 24 / 360, 0.0), ({"period": 12}, 12 / 360, 0.0)],
)
def test_cyclic_values_have_a_circular_mean_by_default(
    tmp_path: Path, settings: dict[str, float], factor: float, expected: float
) -> None:
    angles = np.tile(np.array([[340.0, 20.0], [20.0, 340.0]]), (2, 2)) * factor
    cube = regridded(tmp_path, angles, "embedding_00", kind="cyclic", **settings)
    np.testing.assert_allclose(cube["embedding_00"], expected, atol=1e-4)


def test_cyclic_values_without_angles_need_their_period(tmp_path: Path) -> None:
    months = np.tile(np.array([[12.0, 1.0], [1.0, 12.0]]), (2, 2))
    with pytest.raises(InputError, match=r"embedding_00: found cyclic .*Set `period`"):
        regridded(tmp_path, months, "embedding_00", kind="cyclic")
    faults = Faults()
    value = {"name": "s", "uri": str(tmp_path / "v.nc"), "driver": "netcdf", "kind": "cyclic",
             "variables": {"embedding_00": {"name": "v"}}}  # fmt: skip
    check_source(Source.model_validate(value), faults)
    assert "Set `period` of the entry" in str(faults.faults[0])
    (tmp_path / "by_period").mkdir()
    cube = regridded(tmp_path / "by_period", months, "embedding_00", kind="cyclic", period=12)
    np.testing.assert_allclose(cube["embedding_00"], 0.5, atol=1e-4)


@pytest.mark.parametrize(
    ("units", "values", "mean"),
    [("degree", [350.0, 30.0], 10.0), ("rad", [6.0, 0.5], (6.5 - 2 * np.pi) / 2)],
)
def test_angles_have_a_full_turn(
    tmp_path: Path, units: str, values: list[float], mean: float
) -> None:
    field = np.tile(np.array([values, values]), (2, 2))
    define = {"name": "v", "units": units, "define": {"long_name": "wind from", "units": units}}
    cube = regridded(
        tmp_path, field, "wind_from", kind="cyclic", variables={"wind_from": define},
        wrong_in_file=["units"],
    )  # fmt: skip
    np.testing.assert_allclose(cube["wind_from"], mean, atol=1e-4)


def test_a_period_is_for_cyclic_values() -> None:
    with pytest.raises(InputError, match="not cyclic"):
        entry("continuous", period=24)


def test_the_check_asks_for_a_period_that_neither_entry_nor_units_have(tmp_path: Path) -> None:
    hours = xr.DataArray(np.full((2, 2), 23.0), {"lat": [1.5, 0.5], "lon": [0.5, 1.5]}, name="v")
    hours.assign_attrs(units="h").to_netcdf(tmp_path / "v.nc")
    value = {"name": "s", "uri": str(tmp_path / "v.nc"), "driver": "netcdf", "kind": "cyclic",
             "variables": {"peak": {"name": "v"}}}  # fmt: skip
    known = {"peak": Variable(long_name="hour of the peak", units="h")}
    faults = Faults()
    check_source(Source.model_validate(value), faults, known)
    assert "Set `period` of the entry" in str(faults.faults[0])
    faults = Faults()
    check_source(Source.model_validate({**value, "period": 24}), faults, known)
    assert not faults.faults


@pytest.mark.parametrize(
    ("values", "mean"), [([-170.0, 170.0], 180.0), ([-10.0, 30.0], 10.0), ([-100.0, -80.0], 270.0)]
)
def test_aspects_from_minus_180_to_180_are_angles_too(
    tmp_path: Path, values: list[float], mean: float
) -> None:
    field = np.tile(np.array([values, values[::-1]]), (2, 2))
    own = {"long_name": "aspect", "units": "degree", "valid_range": [-180, 180]}
    cube = regridded(
        tmp_path, field, "aspect", kind="cyclic", wrong_in_file=["units"],
        variables={"aspect": {"name": "v", "units": "degree", "define": own}},
    )  # fmt: skip
    np.testing.assert_allclose(cube["aspect"], mean, atol=1e-4)
