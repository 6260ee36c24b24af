from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import zarr

from pipeline.core.errors import InputError
from pipeline.cube.integrity import remove_damaged, repair
from pipeline.cube.write import create_cube, open_cube, verify_cube, write_tile
from pipeline.execution.ledger import Ledger
from tests.cubes import contents, field, fill_tile, make_cube


@pytest.fixture
def sound(tmp_path):
    """A filled cube, its ledger and its template."""
    made = make_cube(tmp_path / "a.zarr")
    ledger = Ledger(tmp_path / "ledger", "f").open()
    for tile in made.tiles:
        ledger.mark(tile.name, fill_tile(tmp_path / "a.zarr", tile))
    return tmp_path / "a.zarr", ledger, made


def _flip(file, position):
    content = bytearray(file.read_bytes())
    content[position] ^= 0x10
    file.write_bytes(content)


def test_a_sound_cube_has_no_problems(sound):
    path, ledger, _ = sound
    assert verify_cube(path, ledger=ledger) == []
    assert verify_cube(path) == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.97, 0.999999])
def test_a_flipped_bit_anywhere_in_a_shard_is_found_in_its_tile(sound, share):
    path, ledger, _ = sound
    file = path / "rain/c/0/1/2"
    _flip(file, int(share * file.stat().st_size))
    for known in (None, ledger):
        (problem,) = verify_cube(path, ledger=known)
        assert (problem.kind, problem.tile, problem.variable) == ("corrupt", "r001_c002", "rain")
        assert "rain/c/0/1/2" in str(problem)


def test_readers_refuse_a_flipped_bit(sound):
    path, *_ = sound
    _flip(path / "rain/c/0/1/2", 100)
    ds = open_cube(path)
    with pytest.raises(InputError, match=r"variable rain, tile r001_c002.*checksum"):
        ds["rain"].load()
    assert ds["rain"].isel(x=slice(0, 16)).notnull().any()
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_array(path / "rain", mode="r")[...]


@pytest.mark.parametrize("left", [0, 3, 50, 0.5, 0.999])
def test_a_truncated_shard_is_found_in_its_tile(sound, left):
    path, ledger, _ = sound
    file = path / "elevation/c/2/1"
    content = file.read_bytes()
    file.write_bytes(content[: int(left * len(content)) if isinstance(left, float) else left])
    (problem,) = verify_cube(path, ledger=ledger)
    assert (problem.kind, problem.tile, problem.variable) == ("corrupt", "r002_c001", "elevation")


def test_a_lost_shard_is_a_hole_only_the_ledger_knows_of(sound):
    path, ledger, _ = sound
    (path / "rain/c/0/2/3").unlink()
    (problem,) = verify_cube(path, ledger=ledger)
    assert (problem.kind, problem.tile, problem.variable) == ("hole", "r002_c003", "rain")
    assert verify_cube(path) == []


def test_shards_swapped_or_of_other_values_are_found(sound):
    path, ledger, _ = sound
    a, b = path / "rain/c/0/1/1", path / "rain/c/0/1/2"
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    problems = verify_cube(path, ledger=ledger)
    assert [(p.kind, p.tile) for p in problems] == [
        ("changed", "r001_c001"),
        ("changed", "r001_c002"),
    ]


def test_unfinished_tiles_and_foreign_files_are_found(sound):
    path, ledger, _ = sound
    ledger.forget("r000_c001")
    (path / "rain/c/0/7").mkdir()
    (path / "rain/c/0/7/0").write_bytes(b"x")
    (path / "rain/c/0/1/.0.node.1.0.partial").write_bytes(b"x")
    kinds = [(p.kind, p.tile or p.detail) for p in verify_cube(path, ledger=ledger)]
    assert kinds == [
        ("unfinished", "r000_c001"),
        ("foreign", "rain/c/0/1/.0.node.1.0.partial"),
        ("foreign", "rain/c/0/7/0"),
    ]


def test_impossible_values_are_found(tmp_path):
    made = make_cube(tmp_path / "a.zarr")
    tile = made.tiles[5]
    ds = field(tile)
    ds["rain"][3, 4, 5] = -2.0
    ds["elevation"][0, 0] = np.inf
    write_tile(tmp_path / "a.zarr", tile, ds)
    variables = {"rain": SimpleNamespace(valid_range=(0.0, 2000.0))}
    found = {p.variable: str(p) for p in verify_cube(tmp_path / "a.zarr", variables)}
    assert "1 values from -2 to -2, outside 0 to 2000" in found["rain"]
    assert "inf" in found["elevation"]
    assert len(found) == 2


def test_coverage_must_be_a_fraction(tmp_path):
    from pipeline.cube.write import cube_template

    base = make_cube(tmp_path / "unused.zarr")
    names = {"rain_coverage": {"dims": ("y", "x")}, "soil_fraction_sand": {"dims": ("y", "x")}}
    made = cube_template(base.grid, None, names, 25)
    create_cube(tmp_path / "a.zarr", made, {})
    ds = field(made.tiles[0])[["elevation"]]
    ds = ds.rename(elevation="rain_coverage").assign(soil_fraction_sand=ds["elevation"] * 0 + 0.5)
    write_tile(tmp_path / "a.zarr", made.tiles[0], ds)
    problems = verify_cube(tmp_path / "a.zarr")
    assert {p.variable for p in problems} == {"rain_coverage"}


def test_repair_rewrites_only_the_tiles_named(sound):
    path, ledger, made = sound
    before = contents(path)
    _flip(path / "rain/c/0/1/2", 200)
    (path / "rain/c/0/2/3").unlink()
    names = repair(ledger, verify_cube(path, ledger=ledger))
    assert names == ["r001_c002", "r002_c003"]
    assert {t.name for t in made.tiles if not ledger.done(t.name)} == set(names)
    for tile in made.tiles:
        if tile.name in names:
            ledger.mark(tile.name, fill_tile(path, tile))
    assert contents(path) == before
    assert verify_cube(path, ledger=ledger) == []


METADATA = ["time/c/0", "x/c/0", "y/c/0", "spatial_ref/c", "y/zarr.json", "rain/zarr.json",
            "zarr.json"]  # fmt: skip


@pytest.mark.parametrize("harm", ["lost", "cut", "flipped"])
@pytest.mark.parametrize("name", METADATA)
def test_damaged_metadata_and_coordinates_are_found_refused_and_written_again(sound, name, harm):
    path, ledger, made = sound
    before, file = contents(path), path / name
    if harm == "flipped":
        if name.endswith("json"):
            # Still JSON: what a flipped bit in a number or word leaves.
            content = file.read_bytes()
            file.write_bytes(content.replace(b"4", b"5").replace(b"default", b"defaulu"))
        else:
            _flip(file, 0)
    elif harm == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        file.unlink()
    problems = verify_cube(path, ledger=ledger)
    assert problems
    assert problems[0].kind == {"lost": "hole", "cut": "corrupt"}.get(harm, problems[0].kind)
    if harm != "flipped":
        assert [problem.file for problem in problems] == [name]
    with pytest.raises(InputError, match=r"verify .* --repair") as caught:
        open_cube(path)
    if harm != "flipped":
        assert caught.value.faults[0].where == str(file)
    if harm != "lost":
        with pytest.raises(InputError, match=r"verify .* --repair"):
            create_cube(path, made, {"title": "test"})
    assert remove_damaged(path, problems)
    create_cube(path, made, {"title": "test"})
    assert contents(path) == before
    assert verify_cube(path, ledger=ledger) == []


def test_another_grids_coordinates_and_times_that_do_not_ascend_are_found(sound):
    path, *_ = sound
    for name, change in (("x", lambda v: v + 1), ("time", lambda v: v[::-1])):
        array = zarr.open_array(path / name, mode="r+")
        array[...] = change(array[...])
    found = {p.variable: str(p) for p in verify_cube(path)}
    assert "x/c/0: values that are not of the store's grid" in found["x"]
    assert "times that do not ascend" in found["time"]


def test_a_lost_variable_is_not_created_again(sound):
    path, _, made = sound
    fewer = replace(made, variables={n: v for n, v in made.variables.items() if n != "rain"})
    other = path.parent / "b.zarr"
    create_cube(other, fewer, {"title": "test"})
    with pytest.raises(InputError, match="differs in rain"):
        create_cube(other, made, {"title": "test"})


def test_tiles_may_be_checked_alone(sound):
    path, _, made = sound
    _flip(path / "rain/c/0/1/2", 100)
    assert verify_cube(path, tiles=[made.tiles[0]]) == []
    assert len(verify_cube(path, tiles=[made.tiles[6]])) == 1


def test_zarr_cannot_replace_a_corrupt_overhanging_shard_but_we_can(sound):
    """Why shards are encoded here: the last column's shards reach beyond the array."""
    path, _, made = sound
    tile = made.tiles[-1]
    good = contents(path)
    _flip(path / "rain/c/0/2/3", 100)
    array = zarr.open_array(path / "rain", mode="r+")
    with pytest.raises(ValueError, match="checksum"):
        array[:, tile.rows, tile.cols] = field(tile)["rain"].values
    fill_tile(path, tile)
    assert contents(path) == good
