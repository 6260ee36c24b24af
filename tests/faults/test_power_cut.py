"""What a power failure leaves: markers that are empty, zeros or cut off, with their shards gone."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import pipeline.core.files
from pipeline.cube.integrity import lost_tiles, repair, repeat_lost
from pipeline.cube.write import verify_cube
from pipeline.execution.ledger import Ledger
from pipeline.execution.run import run_stage
from tests.cubes import contents, fill_tile, filled_cube, make_cube
from workflows.commands.status import tiles

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda text: b"",
    "zeros": lambda text: bytes(len(text)),
    "zeros within": lambda text: text[:9] + bytes(len(text) - 11) + text[-2:],
    "cut off": lambda text: text[: len(text) // 2],
    "without its end": lambda text: text[:-1],
    "a list": lambda text: b"[]\n",
    "of another writer": lambda text: b"\x80\xff\n",
}


def _filled(folder: Path) -> tuple[Ledger, partial[object], list[str]]:
    made = make_cube(folder / "a.zarr", (20, 20))
    ledger, work = (
        Ledger(folder / "ledger" / "regrid-a", "f"),
        partial(fill_tile, folder / "a.zarr"),
    )
    run_stage("fill", made.tiles, work, ledger, progress=False)
    return ledger, work, [tile.name for tile in made.tiles]


def _marker(ledger: Ledger, name: str) -> Path:
    return ledger.path / f"{name}.done.json"


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_tiles_with_damaged_markers_are_found_and_written_again(
    tmp_path: Path, damage: str
) -> None:
    ledger, work, names = _filled(tmp_path)
    expected = contents(tmp_path)
    for name in (names[1], names[3]):
        marker = _marker(ledger, name)
        marker.write_bytes(DAMAGES[damage](marker.read_bytes()))
    row, col = int(names[1][1:4]), int(names[1][6:9])
    for shard in (tmp_path / "a.zarr").glob(f"*/c/**/{row}/{col}"):
        if shard.is_file():
            shard.unlink()

    assert not ledger.done(names[1])
    assert ledger.names_done() == {*names} - {names[1], names[3]}
    assert ledger.names_broken() == {names[1], names[3]}
    assert set(ledger.summaries()) == ledger.names_done()
    problems = verify_cube(tmp_path / "a.zarr", ledger=ledger)
    assert [(one.kind, one.tile) for one in problems] == [
        ("unfinished", names[1]), ("unfinished", names[3]),
    ]  # fmt: skip
    assert all("marker in the ledger is empty or broken" in str(one) for one in problems)
    (counted,) = tiles(tmp_path, "regrid")
    assert counted.done == len(names) - 2

    made = make_cube(tmp_path / "a.zarr", (20, 20))
    report = run_stage("fill", made.tiles, work, ledger, progress=False)
    assert {*report.done} == {names[1], names[3]}
    assert contents(tmp_path) == expected
    assert verify_cube(tmp_path / "a.zarr", ledger=ledger) == []


@pytest.mark.parametrize("summary", [{}, {"rain": {"valid": 3}}, {"rain": 3}, {"rain": []}])
def test_a_marker_that_is_no_summary_of_the_tile_is_reported(
    tmp_path: Path, summary: object
) -> None:
    ledger, _, names = _filled(tmp_path)
    _marker(ledger, names[2]).write_text(json.dumps(summary) + "\n")
    (problem,) = verify_cube(tmp_path / "a.zarr", ledger=ledger)
    assert problem.kind == "unfinished"
    assert "lacks elevation" in problem.detail
    assert repair(ledger, [problem]) == [names[2]]
    assert not ledger.done(names[2])


def test_a_marked_tile_without_its_shard_is_written_again(tmp_path: Path) -> None:
    ledger, work, _ = _filled(tmp_path)
    expected = contents(tmp_path)
    assert lost_tiles(tmp_path / "a.zarr", ledger) == []
    next((tmp_path / "a.zarr" / "elevation" / "c" / "1").iterdir()).unlink()
    lost = lost_tiles(tmp_path / "a.zarr", ledger)
    assert [name[:4] for name in lost] == ["r001"]
    repeat_lost(tmp_path / "a.zarr", ledger)
    made = make_cube(tmp_path / "a.zarr", (20, 20))
    report = run_stage("fill", made.tiles, work, ledger, progress=False)
    assert list(report.done) == lost
    assert contents(tmp_path) == expected


def test_no_tile_of_an_unfilled_or_damaged_cube_is_lost(tmp_path: Path) -> None:
    made = make_cube(tmp_path / "a.zarr", (20, 20))
    assert lost_tiles(tmp_path / "a.zarr", Ledger(tmp_path / "none", "f")) == []
    ledger, _, _ = _filled(tmp_path)
    (tmp_path / "a.zarr" / "zarr.json").write_text("")
    assert lost_tiles(tmp_path / "a.zarr", ledger) == []
    assert made.tiles


def test_shards_and_their_folders_are_on_disk_before_the_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Order of the flushes: shards, their folders, the marker, its folder; names in between."""
    made = make_cube(tmp_path / "a.zarr", (20, 20))
    ledger = Ledger(tmp_path / "ledger", "f").open()
    flushed: list[tuple[str, str]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        flushed.append((kind, "ledger" if "/ledger" in path else "cube"))
        marked = _marker(ledger, made.tiles[3].name).exists()
        assert marked == (flushed[-1] == ("folder", "ledger"))

    monkeypatch.setattr(pipeline.core.files.os, "fsync", fsync)
    run_stage("fill", made.tiles[3:4], partial(fill_tile, tmp_path / "a.zarr"), ledger)
    order = list(dict.fromkeys(flushed))
    assert order == [
        ("file", "cube"), ("folder", "cube"), ("file", "ledger"), ("folder", "ledger"),
    ]  # fmt: skip


def test_folders_that_appear_with_a_shard_are_flushed_up_to_one_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(
        pipeline.core.files.os, "fsync",
        lambda descriptor: flushed.append(Path(os.readlink(f"/proc/self/fd/{descriptor}"))),
    )  # fmt: skip
    pipeline.core.files.write_bytes(tmp_path / "a" / "b" / "c", [b"1"])
    assert {*flushed[1:]} == {tmp_path, tmp_path / "a", tmp_path / "a" / "b"}


def test_a_cube_whose_parts_are_marked_by_an_older_version_is_sound(tmp_path: Path) -> None:
    """Markers without digests of shards, as before these were recorded."""
    ledger, _, names = _filled(tmp_path)
    for name in names:
        marker = _marker(ledger, name)
        summary = json.loads(marker.read_text())
        for of in summary.values():
            del of["shards"]
        marker.write_text(json.dumps(summary, sort_keys=True) + "\n")
    assert lost_tiles(tmp_path / "a.zarr", ledger) == []
    assert verify_cube(tmp_path / "a.zarr", ledger=ledger) == []
    assert filled_cube(tmp_path / "b.zarr", (20, 20)).tiles
