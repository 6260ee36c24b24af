import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.cube.cells import any_valid, by_shard, read_cells
from pipeline.cube.write import open_cube
from tests.cubes import GRID, TIME, filled_cube, whole


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "a.zarr"
    filled_cube(path)
    return path


@settings(max_examples=25, deadline=None)
@given(cells=st.lists(st.integers(0, 2999), max_size=40))
def test_cells_in_any_order_are_those_of_the_grid(cube, cells):
    flat = np.array(cells, dtype=np.int64)
    table = read_cells(cube, ["rain", "elevation", "quality_flag"], flat)
    rows, cols = np.divmod(flat, 60)
    expected = whole()
    assert table["rain"].dims == ("cell", "time")
    np.testing.assert_array_equal(table["rain"].values, expected["rain"].values[:, rows, cols].T)
    np.testing.assert_array_equal(
        table["elevation"].values, expected["elevation"].values[rows, cols]
    )
    np.testing.assert_array_equal(table["cell"].values, flat)
    np.testing.assert_array_equal(table["lat"].values, GRID.y[rows])
    np.testing.assert_array_equal(table["lon"].values, GRID.x[cols])


def test_land_mask_chooses_cells_in_row_major_order(cube):
    mask = np.zeros(GRID.shape, bool)
    mask[45, 3] = mask[2, 59] = mask[2, 4] = True
    table = read_cells(open_cube(cube), ["rain"], land_mask=mask)
    assert table["cell"].values.tolist() == [2 * 60 + 4, 2 * 60 + 59, 45 * 60 + 3]
    assert table.sizes == {"cell": 3, "time": TIME.size}
    assert table["rain"].attrs["units"] == "mm/day"


def test_all_cells_by_default_and_types_stay(cube):
    table = read_cells(cube, ["quality_flag", "rain"])
    assert table.sizes["cell"] == 3000
    assert table["quality_flag"].dtype == np.uint8
    assert table["rain"].dtype == np.float32
    assert np.isnan(table["rain"].values).sum() == whole()["rain"].isnull().sum()


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ({"names": ["rian"]}, 'Did you mean "rain"'),
        ({"names": ["rain"], "cells": np.array([3000])}, "below 3000"),
        ({"names": ["rain"], "cells": np.array([-1])}, "below 3000"),
        ({"names": ["rain"], "land_mask": np.ones((3, 3), bool)}, "(50, 60)"),
    ],
)
def test_bad_requests_are_refused(cube, arguments, expected):
    with pytest.raises(InputError) as raised:
        read_cells(cube, **arguments)
    assert expected in str(raised.value)


def test_shards_of_odd_width_are_gathered(tmp_path):
    filled_cube(tmp_path / "a.zarr", (17, 23))
    flat = np.random.default_rng(3).permutation(3000)
    got = read_cells(tmp_path / "a.zarr", ["elevation"], flat)["elevation"].values
    np.testing.assert_array_equal(got, whole()["elevation"].values.ravel()[flat])


def test_cells_by_shard_lie_in_one_shard_each_and_are_all_there(tmp_path):
    filled_cube(tmp_path / "a.zarr", (17, 23))
    ds = open_cube(tmp_path / "a.zarr")
    flat = np.random.default_rng(3).permutation(3000)[:800]
    shards = by_shard(ds, flat)
    assert sorted(np.concatenate(shards)) == sorted(flat)
    for cells in shards:
        rows, cols = np.divmod(cells, 60)
        assert len({*zip(rows // 17, cols // 23, strict=True)}) == 1
    assert len(shards) == 9


@pytest.mark.parametrize("tile", [(17, 23), (50, 60)])
def test_any_valid_is_that_of_the_whole_cube(tmp_path, tile):
    filled_cube(tmp_path / "a.zarr", tile)
    ds = open_cube(tmp_path / "a.zarr")
    expected = whole()
    seen = expected["rain"].notnull().any("time").values
    assert 0 < seen.sum() < seen.size
    np.testing.assert_array_equal(any_valid(ds["rain"]), seen)
    np.testing.assert_array_equal(
        any_valid(ds["elevation"]), expected["elevation"].notnull().values
    )


def test_any_valid_reads_no_more_steps_than_it_needs(cube, monkeypatch):
    ds, read = open_cube(cube), []
    load = xr.DataArray.load
    monkeypatch.setattr(xr.DataArray, "load", lambda da: read.append(da.shape) or load(da))
    seen = ds["rain"].notnull().any("time").values
    read.clear()
    np.testing.assert_array_equal(any_valid(ds["rain"], np.zeros_like(seen)), np.zeros_like(seen))
    assert read == []
    always = ds["rain"].notnull().all("time").values
    assert always.any()
    np.testing.assert_array_equal(any_valid(ds["rain"], always), always)
    steps = ds["rain"].encoding["chunks"][0]
    assert {shape[0] for shape in read} == {steps}
    half = seen & (np.arange(seen.size).reshape(seen.shape) % 2 == 0)
    np.testing.assert_array_equal(any_valid(ds["rain"], half), half)


def test_locations_by_shard_and_their_valid_values():
    values = np.full((3, 10), np.nan)
    values[1, 4] = 1.0
    ds = xr.Dataset({"rain": (("time", "cell"), values)}, {"cell": np.arange(100, 110)})
    ds["rain"].encoding["chunks"] = (3, 4)
    assert any_valid(ds["rain"]).tolist() == [i == 4 for i in range(10)]
    parts = by_shard(ds, np.array([9, 0, 5, 1]))
    assert [part.tolist() for part in parts] == [[0, 1], [5], [9]]


def test_no_variables_leave_the_coordinates():
    ds = xr.Dataset({"rain": (("time", "cell"), np.zeros((3, 10)))},
                    {"cell": np.arange(10), "lat": ("cell", np.arange(10.0))})  # fmt: skip
    index = read_cells(ds, [], np.array([2, 5]))
    assert index["lat"].values.tolist() == [2.0, 5.0]
    assert not index.data_vars
