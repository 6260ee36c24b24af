import json

import numpy as np
import pytest
import xarray as xr
import zarr

from pipeline.core.errors import InputError
from pipeline.cube.write import (
    create_cube,
    cube_grid,
    cube_template,
    cube_tiles,
    open_cube,
    write_tile,
)
from pipeline.grid.tiles import tile_grid
from tests.cubes import GRID, TIME, contents, field, fill_tile, filled_cube, make_cube, whole


def test_what_is_written_is_read_back_by_zarr_and_xarray(tmp_path):
    filled_cube(tmp_path / "a.zarr")
    ds, expected = open_cube(tmp_path / "a.zarr"), whole()
    for name in expected.data_vars:
        np.testing.assert_array_equal(ds[name].values, expected[name].values)
        assert ds[name].dtype == expected[name].dtype
    np.testing.assert_array_equal(ds["time"].values, TIME.astype("datetime64[ns]"))
    assert ds["rain"].attrs["units"] == "mm/day"
    assert "spatial_ref" in ds.coords
    assert (ds["y"].values == GRID.y).all()
    assert (ds["x"].values == GRID.x).all()
    assert cube_grid(ds) == GRID


def test_store_is_format_3_with_shards_and_checksums(tmp_path):
    filled_cube(tmp_path / "a.zarr")
    meta = json.loads((tmp_path / "a.zarr/rain/zarr.json").read_text())
    (sharding,) = meta["codecs"]
    assert meta["zarr_format"] == 3
    assert meta["fill_value"] == "NaN"
    assert sharding["name"] == "sharding_indexed"
    assert sharding["configuration"]["codecs"][-1]["name"] == "crc32c"
    assert meta["chunk_grid"]["configuration"]["chunk_shape"] == [40, 20, 16]


def test_creating_writes_metadata_only(tmp_path):
    make_cube(tmp_path / "a.zarr")
    assert not list(tmp_path.glob("a.zarr/rain/c/**/*"))
    assert open_cube(tmp_path / "a.zarr")["rain"].isnull().all()
    assert (open_cube(tmp_path / "a.zarr")["quality_flag"] == 255).all()


def test_tiles_of_sea_are_not_written(tmp_path):
    made = filled_cube(tmp_path / "a.zarr", (10, 10))
    written = sum(file.is_file() for file in (tmp_path / "a.zarr/rain/c").rglob("*"))
    sea = sum(bool(field(t)["rain"].isnull().all()) for t in made.tiles)
    assert sea > 0
    assert written == len(made.tiles) - sea


def test_rewriting_a_tile_with_nothing_removes_its_shard(tmp_path):
    made = filled_cube(tmp_path / "a.zarr")
    tile = made.tiles[-1]
    empty = field(tile)
    empty["rain"][:] = np.nan
    summary = write_tile(tmp_path / "a.zarr", tile, empty)
    assert summary["rain"] == {"valid": 0, "shards": [""]}
    assert not (tmp_path / f"a.zarr/rain/c/0/{tile.row}/{tile.col}").exists()


def test_summary_counts_the_tile(tmp_path):
    made = make_cube(tmp_path / "a.zarr")
    ds = field(made.tiles[5])
    summary = fill_tile(tmp_path / "a.zarr", made.tiles[5])["rain"]
    assert summary["valid"] == int(ds["rain"].notnull().sum())
    assert summary["min"] == float(ds["rain"].min())
    assert summary["max"] == float(ds["rain"].max())
    assert len(summary["shards"][0]) == 16


def test_order_and_repetition_of_tiles_do_not_change_a_byte(tmp_path):
    made = filled_cube(tmp_path / "a.zarr")
    make_cube(tmp_path / "b.zarr")
    for tile in [*reversed(made.tiles), *made.tiles[:3]]:
        fill_tile(tmp_path / "b.zarr", tile)
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")


def test_nan_payloads_do_not_reach_the_store(tmp_path):
    make_cube(tmp_path / "a.zarr", (50, 60))
    made = make_cube(tmp_path / "b.zarr", (50, 60))
    ds = field(made.tiles[0])
    write_tile(tmp_path / "a.zarr", made.tiles[0], ds)
    odd = np.array([0xFFC12345], np.uint32).view(np.float32)[0]
    ds["rain"] = ds["rain"].where(ds["rain"].notnull(), odd)
    write_tile(tmp_path / "b.zarr", made.tiles[0], ds)
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")


def test_an_equal_store_is_kept_with_its_values(tmp_path):
    filled_cube(tmp_path / "a.zarr")
    before = contents(tmp_path)
    make_cube(tmp_path / "a.zarr")
    assert contents(tmp_path) == before


def test_versions_may_differ_between_store_and_template(tmp_path):
    made = make_cube(tmp_path / "a.zarr")
    create_cube(tmp_path / "b.zarr", made, {"versions": {"numpy": "1"}, "code": "a"})
    create_cube(tmp_path / "b.zarr", made, {"versions": {"numpy": "2"}, "code": "b"})


@pytest.mark.parametrize(
    "change, named",
    [
        ({"tile": (25, 16)}, "rain"),
        ({"attrs": {"title": "other"}}, "attributes"),
        ({"time": TIME[:-1]}, "time"),
        ({"variables": {"snow": {"dims": ("time", "y", "x")}}}, "snow"),
        ({"grid": GRID.window(slice(0, 40), slice(0, 60))}, "y"),
    ],
)
def test_a_different_store_is_refused_and_not_touched(tmp_path, change, named):
    made = filled_cube(tmp_path / "a.zarr")
    before = contents(tmp_path)
    settings = {
        "grid": GRID, "time": TIME, "variables": made.variables, "tile": (20, 16),
        "attrs": {"title": "test"}, **change,
    }  # fmt: skip
    other = cube_template(
        settings["grid"], settings["time"], settings["variables"], settings["tile"]
    )
    with pytest.raises(InputError) as raised:
        create_cube(tmp_path / "a.zarr", other, settings["attrs"])
    fault = raised.value.faults[0]
    assert named in fault.found.removeprefix("a store that differs in ").split(", ")
    assert "a.zarr" in fault.where
    assert "Remove it" in fault.hint
    assert contents(tmp_path) == before


def _refused(path, tile, ds):
    before = contents(path)
    with pytest.raises(InputError) as raised:
        write_tile(path, tile, ds)
    assert contents(path) == before
    return raised.value.faults


def test_a_tile_that_would_cut_a_shard_is_refused(tmp_path):
    filled_cube(tmp_path / "a.zarr")
    for other in (tile_grid(GRID, (10, 16))[1], tile_grid(GRID, (20, 30))[1]):
        (fault,) = _refused(tmp_path / "a.zarr", other, field(other))
        assert "whole tile" in fault.expected


def test_half_of_the_times_would_cut_a_shard(tmp_path):
    made = make_cube(tmp_path / "a.zarr")
    (fault,) = _refused(tmp_path / "a.zarr", made.tiles[5], field(made.tiles[5], slice(0, 20)))
    assert "cut a shard" in fault.found
    shifted = field(made.tiles[5])
    shifted["time"] = shifted["time"] + np.timedelta64(1, "D")
    (fault,) = _refused(tmp_path / "a.zarr", made.tiles[5], shifted)
    assert "times of the store" in fault.expected


def test_wrong_coordinates_names_dims_and_types_are_refused_together(tmp_path):
    made = make_cube(tmp_path / "a.zarr")
    tile, other = made.tiles[4], made.tiles[5]
    ds = field(other)
    ds["snowfall"] = ds["rain"]
    ds["elevation"] = ds["elevation"].transpose("x", "y")
    ds["quality_flag"] = ds["quality_flag"].astype(np.float32)
    faults = _refused(tmp_path / "a.zarr", tile, ds)
    text = "\n".join(map(str, faults))
    assert len(faults) == 4
    assert "coordinate x" in text
    assert "variable snowfall" in text
    assert "dims ('x', 'y')" in text
    assert "type float32" in text


def test_missing_coordinates_are_refused(tmp_path):
    made = make_cube(tmp_path / "a.zarr")
    faults = _refused(tmp_path / "a.zarr", made.tiles[0], field(made.tiles[0]).drop_vars("x"))
    assert "coordinate x" in faults[0].where


def test_shards_may_be_cut_in_time(tmp_path):
    made = make_cube(tmp_path / "a.zarr", time_shard=16)
    assert made.layout("rain")[1][0] == 16
    for tile in made.tiles:
        for start in (0, 16, 32):
            ds = field(tile, slice(start, start + 16))
            names = list(ds.data_vars) if start == 0 else ["rain"]
            summary = write_tile(tmp_path / "a.zarr", tile, ds[names])
            assert len(summary["rain"]["shards"]) == 1
    filled_cube(tmp_path / "b.zarr", time_shard=16)
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")
    xr.testing.assert_equal(
        open_cube(tmp_path / "a.zarr")["rain"], open_cube(tmp_path / "b.zarr")["rain"]
    )


@pytest.mark.parametrize(
    "steps, tile, expected",
    [
        (14600, (64, 64), (1024, 16, 16)),
        (730, (120, 120), (730, 20, 20)),
        (12, (72, 90), (12, 72, 90)),
        (12, (512, 512), (12, 128, 128)),
        (730, (52, 59), (730, 26, 59)),
    ],
)
def test_chunks_divide_the_shard_and_keep_their_size(steps, tile, expected):
    days = np.datetime64("2000-01-01") + np.arange(steps)
    names = {"a": {"dims": ("time", "y", "x")}, "s": {"dims": ("y", "x")}}
    made = cube_template(GRID, days, names, tile)
    _, shard, chunk = made.layout("a")
    assert chunk == expected
    assert shard == (-(-steps // chunk[0]) * chunk[0], *tile)
    flat = made.layout("s")[2]
    assert all(n % part == 0 and part <= 128 for n, part in zip(tile, flat, strict=True))


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ({"variables": {}}, "at least one"),
        ({"variables": {"a": {"dims": ("x", "y")}}}, "('time', 'y', 'x')"),
        ({"time": TIME[::-1]}, "ascending"),
        ({"time": TIME[[0, 0, 1]]}, "all different"),
        ({"chunk": (10, 7, 16)}, "divide the tile"),
    ],
)
def test_bad_templates_are_refused(arguments, expected):
    settings = {"time": TIME, "variables": {"a": {"dims": ("y", "x")}}, **arguments}
    with pytest.raises(InputError, match=None) as raised:
        cube_template(GRID, tile_size=(20, 16), **settings)
    assert expected in str(raised.value)


def test_static_cube_has_no_time(tmp_path):
    made = cube_template(GRID, None, {"a": {"dims": ("y", "x")}}, 25)
    create_cube(tmp_path / "a.zarr", made, {})
    for tile in made.tiles:
        ds = field(tile)[["elevation"]].rename(elevation="a")
        write_tile(tmp_path / "a.zarr", tile, ds)
    ds = open_cube(tmp_path / "a.zarr")
    assert "time" not in ds.dims
    np.testing.assert_array_equal(ds["a"].values, whole()["elevation"].values)


def test_time_attributes_are_kept_and_hours_survive(tmp_path):
    hours = xr.DataArray(
        np.arange("2001-01-16T12", "2001-01-18T12", 6, dtype="datetime64[h]"),
        dims="time", attrs={"climatology": "true"},
    )  # fmt: skip
    create_cube(
        tmp_path / "a.zarr", cube_template(GRID, hours, {"a": {"dims": ("time", "y", "x")}}, 25), {}
    )
    time = open_cube(tmp_path / "a.zarr")["time"]
    np.testing.assert_array_equal(time.values, hours.values.astype("datetime64[ns]"))
    assert time.attrs["climatology"] == "true"


def test_missing_store_is_one_error(tmp_path):
    for opener in (open_cube, cube_tiles):
        with pytest.raises(InputError, match="no store"):
            opener(tmp_path / "none.zarr")


def test_plain_zarr_reads_single_cells(tmp_path):
    filled_cube(tmp_path / "a.zarr")
    array = zarr.open_array(tmp_path / "a.zarr/rain", mode="r")
    np.testing.assert_array_equal(array[:, 31, 47], whole()["rain"].values[:, 31, 47])


def test_bands_are_written_tile_by_tile_and_verified(tmp_path):
    names = [f"b{i}" for i in range(5)]
    template = cube_template(
        GRID, None, {"layers": {"dims": ("band", "y", "x")}}, (25, 30), bands=names
    )
    create_cube(tmp_path / "a.zarr", template, {})
    values = np.random.default_rng(1).normal(size=(5, *GRID.shape)).astype(np.float32)
    values[:, 3, 4] = np.nan
    for tile in template.tiles:
        window = GRID.window(tile.rows, tile.cols)
        part = values[:, tile.rows, tile.cols]
        ds = xr.Dataset({"layers": (("band", "y", "x"), part)}, {"y": window.y, "x": window.x})
        write_tile(tmp_path / "a.zarr", tile, ds)
    np.testing.assert_array_equal(open_cube(tmp_path / "a.zarr")["layers"].values, values)
    assert xr.open_zarr(tmp_path / "a.zarr")["layers"].dims == ("band", "y", "x")
    shards = [f for f in (tmp_path / "a.zarr" / "layers" / "c").rglob("*") if f.is_file()]
    assert len(shards) == len(template.tiles)
    with pytest.raises(InputError, match="dims"):
        cube_template(GRID, None, {"layers": {"dims": ("band", "y", "x")}}, (25, 30))
