import pickle

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.cube.lazy import read_box
from pipeline.cube.open import read_store
from pipeline.cube.shards import encode_shard
from pipeline.cube.write import cube_template, open_cube
from tests.cubes import GRID, TIME, filled_cube, make_cube, whole

RAIN = whole()["rain"]


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    path = tmp_path_factory.mktemp("reading") / "a.zarr"
    filled_cube(path, (20, 16), chunk=(12, 5, 8), time_shard=24)
    return path


@settings(max_examples=50, deadline=None)
@given(
    key=hnp.basic_indices((40, 50, 60), allow_newaxis=False, allow_ellipsis=False),
)
def test_any_index_returns_what_numpy_returns(cube, key):
    key = key if isinstance(key, tuple) else (key,)
    picked = dict(zip(("time", "y", "x"), key, strict=False))
    expected = RAIN.isel(picked)
    assume(expected.size)  # xarray itself fails on empty slices with a negative step
    np.testing.assert_array_equal(open_cube(cube)["rain"].isel(picked).values, expected.values)


@settings(max_examples=20, deadline=None)
@given(
    rows=st.lists(st.integers(-50, 49), min_size=1, max_size=6),
    cols=st.lists(st.integers(-60, 59), min_size=1, max_size=6),
)
def test_lists_of_cells_and_points(cube, rows, cols):
    ds, expected = open_cube(cube)["rain"], RAIN
    xr.testing.assert_equal(ds.isel(y=rows, x=cols), expected.isel(y=rows, x=cols))
    n = min(len(rows), len(cols))
    y, x = xr.DataArray(rows[:n], dims="cell"), xr.DataArray(cols[:n], dims="cell")
    xr.testing.assert_equal(ds.isel(y=y, x=x), expected.isel(y=y, x=x))


def test_zarr_reads_the_same(cube):
    array = zarr.open_array(cube / "rain", mode="r")
    np.testing.assert_array_equal(array[...], open_cube(cube)["rain"].values)
    assert array.shards == (24, 20, 16)
    assert array.chunks == (12, 5, 8)


def test_only_the_chunks_asked_for_are_decoded(cube, monkeypatch):
    decoded = []
    original = __import__("pipeline.cube.shards", fromlist=["x"]).decode_chunk
    monkeypatch.setattr(
        "pipeline.cube.shards.decode_chunk",
        lambda *args: decoded.append(args[2]) or original(*args),
    )
    open_cube(cube)["rain"].isel(time=slice(12, 24), y=31, x=47).load()
    assert len(decoded) == 1


def test_a_dataset_is_lazy_small_and_travels(cube):
    ds = open_cube(cube)
    assert not ds["rain"].variable._in_memory
    assert len(pickle.dumps(ds)) < 50_000
    xr.testing.assert_identical(pickle.loads(pickle.dumps(ds)).load(), open_cube(cube).load())
    ds["rain"].values  # noqa: B018
    assert not ds["rain"].variable._in_memory


def test_empty_boxes_are_empty(cube):
    layout = read_store(cube).layouts["rain"]
    assert read_box(cube / "rain", layout, [(0, 0), (3, 5), (1, 2)]).shape == (0, 2, 1)


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shard=st.tuples(*(st.integers(1, 3),) * 3),
    chunk=st.tuples(*(st.integers(1, 4),) * 3),
    missing=st.sampled_from([0.0, 0.5, 0.999]),
)
def test_a_shard_of_any_cut_is_read_back(tmp_path_factory, seed, shard, chunk, missing):
    """Written by us, read by us and by zarr-python, for chunks and edges of every size."""
    from pipeline.cube.write import create_cube, write_tile

    path = tmp_path_factory.mktemp("shard") / "a.zarr"
    rng = np.random.default_rng(seed)
    grid = GRID.window(slice(0, 7), slice(0, 9))
    time = TIME[:8]
    tile = (shard[1] * chunk[1], shard[2] * chunk[2])
    made = cube_template(
        grid, time, {"a": {"dims": ("time", "y", "x")}}, tile, chunk, shard[0] * chunk[0]
    )
    create_cube(path, made, {})
    values = rng.normal(size=(8, 7, 9)).astype(np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    for one in made.tiles:
        window = grid.window(one.rows, one.cols)
        coords = {**window.coords(), "time": time.astype("datetime64[ns]")}
        ds = xr.Dataset({"a": (("time", "y", "x"), values[:, one.rows, one.cols])}, coords)
        summary = write_tile(path, one, ds)["a"]
        assert summary["valid"] == np.isfinite(ds["a"].values).sum()
        if summary["valid"]:
            assert summary["min"] == np.nanmin(ds["a"].values)
            assert summary["max"] == np.nanmax(ds["a"].values)
    np.testing.assert_array_equal(open_cube(path)["a"].values, values)
    np.testing.assert_array_equal(zarr.open_array(path / "a", mode="r")[...], values)


def test_encoding_leaves_its_input_alone(tmp_path):
    make_cube(tmp_path / "a.zarr", (50, 60), chunk=(40, 50, 60))
    layout = read_store(tmp_path / "a.zarr").layouts["rain"]
    block = whole()["rain"].values
    odd = np.array([0xFFC12345], np.uint32).view(np.float32)[0]
    block[np.isnan(block)] = odd
    before = block.tobytes()
    encode_shard(block, layout)
    assert block.tobytes() == before
