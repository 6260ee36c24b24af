"""A run of a stage killed at random moments, also while writing, and resumed: the same bytes."""

import errno
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import pipeline.core.files
import pipeline.cube.write
from pipeline.core.files import UnwritableError, remove_stale_partials, write_bytes
from pipeline.cube.write import open_cube, verify_cube, write_locations
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import run_stage
from tests.cubes import contents, field, fill_tile, filled_cube, make_cube, whole
from tests.faults.disks import remount, small_disk

ROOT = Path(__file__).parents[2]

SCRIPT = """
    import os, sys, time
    from functools import partial
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from pipeline.execution.cluster import ClusterConfig, connect
    from pipeline.execution.ledger import Ledger
    from pipeline.execution.run import run_stage
    from tests.cubes import make_cube
    from tests.faults.slow import fill_slowly

    folder = Path({folder!r})
    with connect(ClusterConfig(kind={kind!r}, workers=2, dashboard_port=0)) as executor:
        made = make_cube(folder / "a.zarr", (10, 10))
        ledger = Ledger(folder / "ledger", "f")
        work = partial(fill_slowly, folder / "a.zarr")
        run_stage("fill", made.tiles, work, ledger, executor)
    print("ended", flush=True)
"""


def _start(folder: Path, kind: str) -> subprocess.Popen[str]:
    text = textwrap.dedent(SCRIPT.format(root=str(ROOT), folder=str(folder), kind=kind))
    return subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def _partials(folder: Path) -> list[Path]:
    return list((folder / "a.zarr").rglob("*.partial"))


def _kill_in_a_write(folder: Path, kind: str, after: int) -> None:
    """SIGKILL the run and all its processes while a shard is half written."""
    process = _start(folder, kind)
    ledger, deadline = Ledger(folder / "ledger", "f"), time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if len(ledger.names_done()) >= after and _partials(folder):
            break
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("kind", ["none", pytest.param("local", marks=pytest.mark.slow)])
def test_killed_three_times_and_resumed_writes_the_same_bytes(tmp_path, kind):
    rng = random.Random(7)
    for after in sorted(rng.sample(range(1, 22), 3)):
        _kill_in_a_write(tmp_path, kind, after)
        assert _partials(tmp_path), "the kill did not hit a write"
    process = _start(tmp_path, kind)
    out, err = process.communicate(timeout=120)
    assert out == "ended\n", err
    filled_cube(tmp_path / "b.zarr", (10, 10))
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")
    assert verify_cube(tmp_path / "a.zarr", ledger=Ledger(tmp_path / "ledger", "f")) == []


def test_a_marked_tile_is_always_whole(tmp_path):
    _kill_in_a_write(tmp_path, "none", 8)
    ledger, expected = Ledger(tmp_path / "ledger", "f"), whole()
    ds = open_cube(tmp_path / "a.zarr")
    marked = [tile for tile in make_tiles() if ledger.done(tile.name)]
    assert 8 <= len(marked) < 30
    for tile in marked:
        here = {"y": tile.rows, "x": tile.cols}
        np.testing.assert_array_equal(ds["rain"].isel(here), expected["rain"].isel(here))


def make_tiles():
    from tests.cubes import template

    return template((10, 10)).tiles


def test_two_runs_on_one_folder_share_it(tmp_path):
    both = [_start(tmp_path, "none") for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert out == "ended\n", err
    filled_cube(tmp_path / "b.zarr", (10, 10))
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")


def test_two_runs_that_create_one_store_keep_the_first(tmp_path, monkeypatch):
    """The second finds no store, and by the time it has one to offer the first is filled."""
    original = pipeline.cube.write.write_template

    def late(folder, template, attrs):
        monkeypatch.setattr(pipeline.cube.write, "write_template", original)
        filled_cube(tmp_path / "a.zarr")
        original(folder, template, attrs)

    monkeypatch.setattr(pipeline.cube.write, "write_template", late)
    make_cube(tmp_path / "a.zarr")
    filled_cube(tmp_path / "b.zarr")
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "b.zarr"]


def test_creating_a_store_killed_half_way_leaves_no_store(tmp_path, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("zarr.consolidate_metadata", fail)
    with pytest.raises(KeyboardInterrupt):
        make_cube(tmp_path / "a.zarr")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_leaves_the_old_shard_and_has_a_hint(tmp_path, monkeypatch, number):
    made = filled_cube(tmp_path / "a.zarr")
    before = contents(tmp_path)
    changed = field(made.tiles[5])
    changed["rain"] += 1

    def full(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pipeline.core.files.os, "fsync", full)
    ledger = Ledger(tmp_path.parent / "ledger", "f")
    with pytest.raises(UnwritableError, match=r"a\.zarr.*Free space"):
        run_stage("fill", made.tiles[5:7], partial(_write, tmp_path / "a.zarr", changed), ledger)
    assert contents(tmp_path) == before


def _write(path, ds, tile):
    from pipeline.cube.write import write_tile

    return write_tile(path, tile, ds)


def test_a_small_disk_that_fills_up(tmp_path):
    """A real full disk where mounting a tmpfs is allowed."""
    with small_disk(tmp_path / "disk", "256k") as disk:
        made = make_cube(disk / "a.zarr", (10, 10))
        ledger = Ledger(tmp_path / "ledger", "f")
        with pytest.raises(UnwritableError, match="No space left"):
            run_stage("fill", made.tiles, partial(fill_tile, disk / "a.zarr"), ledger)
        done = ledger.names_done()
        assert 0 < len(done) < len(made.tiles)
        assert not _partials(disk)
        tiles = [tile for tile in made.tiles if tile.name in done]
        assert verify_cube(disk / "a.zarr", ledger=ledger, tiles=tiles) == []
        remount(disk, "size=64m")
        run_stage("fill", made.tiles, partial(fill_tile, disk / "a.zarr"), ledger)
        filled_cube(tmp_path / "b.zarr", (10, 10))
        assert contents(disk / "a.zarr") == contents(tmp_path / "b.zarr")


def test_an_interrupted_write_removes_its_partial(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline.core.files.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a", [b"1"])
    assert not list(tmp_path.iterdir())


def test_partials_of_living_writers_are_left_alone(tmp_path):
    living = pipeline.core.files.partial_path(tmp_path / "0")
    living.write_bytes(b"1")
    remove_stale_partials(tmp_path)
    assert living.exists()


def test_locations_killed_between_the_two_renames_are_written_again(tmp_path):
    from tests.pipeline.cube.test_locations import _sites

    write_locations(tmp_path / "u.zarr", _sites(20))
    expected = contents(tmp_path)
    dead = pipeline.core.files.partial_path(tmp_path / "u.zarr")
    dead = dead.with_name(dead.name.replace(f".{os.getpid()}.", ".999999999."))
    os.replace(tmp_path / "u.zarr", dead)
    write_locations(tmp_path / "u.zarr", _sites(20))
    assert contents(tmp_path) == expected
