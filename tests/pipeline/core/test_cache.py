"""Copies of remote files on disk: whole or not, checked, shared, and limited in size."""

from __future__ import annotations

import gzip
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core import cache, cache_room, transfers
from pipeline.core.addresses import path_of
from pipeline.core.archives.unpacked_files import plain_copy
from pipeline.core.cache import BLOCK, Kept, local_copy
from pipeline.core.errors import InputError
from pipeline.core.remote_path import _HEADS, RemotePath
from tests.faults.disks import remount, small_disk
from tests.loopback import Loopback, serving

CONTENT = os.urandom(10 * BLOCK + 100)


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setattr(transfers, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(cache, "_unchecked", 1 << 62)
    monkeypatch.setenv("STEFALAND_CACHE", str(tmp_path / "cache"))
    _HEADS.known.clear()
    (tmp_path / "served").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "served" / f"{name}.bin").write_bytes(CONTENT + name.encode())
    with serving(tmp_path / "served") as server:
        yield server


def remote(server: Loopback, name: str) -> RemotePath:
    path = path_of(server.to(name))
    assert isinstance(path, RemotePath)
    return path


def entries() -> list[Path]:
    return sorted(p for p in cache_room.cache_folder().iterdir() if not p.name.startswith("."))


def on_disk() -> int:
    return sum(512 * p.stat().st_blocks for entry in entries() for p in entry.iterdir())


def test_a_file_is_fetched_once_and_keeps_its_name(web: Loopback) -> None:
    first = local_copy(remote(web, "a.bin"))
    assert first.name == "a.bin"
    assert first.read_bytes() == CONTENT + b"a"
    sent = web.sent
    assert local_copy(remote(web, "a.bin")) == first
    assert web.sent == sent


def test_files_on_disk_are_not_copied(tmp_path: Path) -> None:
    assert local_copy(tmp_path / "none.nc") == tmp_path / "none.nc"


def test_a_new_version_is_another_copy(web: Loopback) -> None:
    first = local_copy(remote(web, "a.bin"))
    (web.folder / "a.bin").write_bytes(CONTENT[::-1])
    _HEADS.known.clear()
    second = local_copy(remote(web, "a.bin"))
    assert second != first
    assert second.read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("has_ranges", [True, False])
def test_an_interrupted_copy_is_never_used(web: Loopback, has_ranges: bool) -> None:
    web.has_ranges = has_ranges
    path = remote(web, "a.bin")
    path.head()
    web.faults["a.bin"] = ["truncated"] * 100
    with pytest.raises(InputError, match=r"a\.bin: found"):
        local_copy(path)
    web.faults.clear()
    assert local_copy(path).read_bytes() == CONTENT + b"a"


def test_an_interrupted_copy_continues_where_it_ended(web: Loopback) -> None:
    path = remote(web, "a.bin")
    Kept(path).write(0, CONTENT[: 9 * BLOCK])
    sent = web.sent
    assert local_copy(path).read_bytes() == CONTENT + b"a"
    assert web.sent - sent < 2 * BLOCK


def test_a_damaged_block_is_fetched_again(web: Loopback) -> None:
    copy = local_copy(remote(web, "a.bin"))
    with copy.open("r+b") as file:
        file.seek(3 * BLOCK + 7)
        file.write(b"damage")
    sent = web.sent
    assert local_copy(remote(web, "a.bin")).read_bytes() == CONTENT + b"a"
    assert web.sent - sent == BLOCK
    copy.write_bytes(CONTENT[:100])
    assert local_copy(remote(web, "a.bin")).read_bytes() == CONTENT + b"a"


def test_parts_that_were_read_are_not_fetched_again(web: Loopback) -> None:
    with remote(web, "a.bin").open() as file:
        file.seek(BLOCK)
        file.read(2 * BLOCK)
    sent = web.sent
    with remote(web, "a.bin").open() as file:
        file.seek(BLOCK)
        assert file.read(2 * BLOCK) == CONTENT[BLOCK : 3 * BLOCK]
    assert web.sent == sent


def test_the_least_recently_used_copies_make_room(
    web: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEFALAND_CACHE_SIZE", str(25 * BLOCK))
    a, b = (local_copy(remote(web, f"{name}.bin")) for name in "ab")
    local_copy(remote(web, "a.bin"))
    local_copy(remote(web, "c.bin"))
    assert (a.exists(), b.exists()) == (True, False)
    assert on_disk() <= 25 * BLOCK
    local_copy(remote(web, "c.bin"), lasting=True)
    local_copy(remote(web, "a.bin"), lasting=True)
    with pytest.raises(InputError, match="STEFALAND_CACHE_SIZE"):
        local_copy(remote(web, "b.bin"))


def test_parts_keep_within_the_limit(web: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEFALAND_CACHE_SIZE", str(4 * BLOCK))
    with remote(web, "a.bin").open() as file:
        assert file.read() == CONTENT + b"a"
    assert on_disk() <= 4 * BLOCK


def _copied(arguments: tuple[str, str]) -> bytes:
    os.environ["STEFALAND_CACHE"], url = arguments
    path = path_of(url)
    return local_copy(path, lasting=True).read_bytes()


def test_several_processes_copy_the_same_file(web: Loopback) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        arguments = (os.environ["STEFALAND_CACHE"], web.to("a.bin"))
        assert pool.map(_copied, [arguments] * 6, chunksize=1) == [CONTENT + b"a"] * 6
    assert len(entries()) == 1


def test_copies_held_by_another_process_stay(
    web: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_room, "RECENT_SECONDS", 0.0)
    monkeypatch.setenv("STEFALAND_CACHE_SIZE", str(12 * BLOCK))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.map(_copied, [(os.environ["STEFALAND_CACHE"], web.to("a.bin"))])
        with pytest.raises(InputError, match="no room"):
            local_copy(remote(web, "b.bin"))
    assert local_copy(remote(web, "b.bin")).read_bytes() == CONTENT + b"b"


def test_a_size_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEFALAND_CACHE_SIZE", "lots")
    with pytest.raises(InputError, match="such as 20 GB"):
        cache_room.cache_limit()
    monkeypatch.setenv("STEFALAND_CACHE_SIZE", "1.5 GiB")
    assert cache_room.cache_limit() == 1_500_000_000


def leave(disk: Path) -> None:
    """Close the file of this process as a user of a cache, so that its disk is not in use."""
    user = cache_room._USERS.pop(disk / "cache" / cache_room.USERS, None)
    if user is not None:
        user.file.close()


def test_a_folder_that_is_only_read_serves_what_it_has(
    web: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", "16m") as disk:
        monkeypatch.setenv("STEFALAND_CACHE", str(disk / "cache"))
        copy = local_copy(remote(web, "a.bin"), lasting=True)
        leave(disk)
        remount(disk, "ro")
        assert local_copy(remote(web, "a.bin"), lasting=True) == copy
        with pytest.raises(InputError, match=r"cannot be written \(Read-only.*STEFALAND_CACHE"):
            local_copy(remote(web, "b.bin"), lasting=True)
        # Parts are read all the same.
        with remote(web, "c.bin").open() as file:
            file.seek(-1, 2)
            assert file.read() == b"c"


def test_a_full_disk_is_one_error_that_names_the_folder(
    web: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        monkeypatch.setenv("STEFALAND_CACHE", str(disk / "cache"))
        with pytest.raises(InputError, match="STEFALAND_CACHE") as error:
            local_copy(remote(web, "a.bin"))
        assert len(error.value.faults) == 1
        web.has_ranges = False
        with pytest.raises(InputError, match="STEFALAND_CACHE"):
            local_copy(remote(web, "b.bin"))
        packed = tmp_path / "rain.nc.gz"
        packed.write_bytes(gzip.compress(bytes(4 << 20)))
        with pytest.raises(InputError, match="STEFALAND_CACHE"):
            plain_copy(packed)
        leave(disk)


def test_a_file_in_the_way_of_the_folder(
    web: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for name in ("file", "file/cache"):
        monkeypatch.setenv("STEFALAND_CACHE", str(tmp_path / name))
        with pytest.raises(InputError, match="STEFALAND_CACHE"):
            local_copy(remote(web, "a.bin"), lasting=True)
