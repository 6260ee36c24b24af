"""Parts and whole copies of remote files in a folder on disk, checked and limited in size.

The folder is STEFALAND_CACHE (by default ~/.cache/stefaland) and its limit STEFALAND_CACHE_SIZE.
A file is kept in blocks with a checksum each: a killed process or another one at the same time
leaves only blocks that are complete, and an interrupted transfer continues where it ended.
Remote files are `pipeline.core.remote_path.RemotePath`.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import google_crc32c

from pipeline.core.cache_room import cache_folder, cache_limit, has_room, hold, make_room
from pipeline.core.errors import InputError
from pipeline.core.files import UnwritableError, replacing, writing
from pipeline.core.transfers import refused
from pipeline.core.untrusted.safe_json import parse_json
from pipeline.core.web import web_file

BLOCK = 1 << 18
"""Bytes of a block, the smallest part that is fetched and kept."""
RUN = 32
"""Largest number of blocks that are fetched with one request for a whole copy."""
THREADS = 4
_UNKNOWN = os.urandom(8).hex()
"""Version of files whose server states none: they are kept for this process only."""
_CHECK = threading.Lock()
_unchecked = 1 << 62
"""Bytes of blocks written since room was made for them; at first more than any limit."""


def local_copy(path: Any, lasting: bool = False) -> Path:
    """Return the path of a file on disk, where a remote file is copied to if it is not there yet.

    A `lasting` copy stays until the process ends; others may be removed when room is needed, but
    not while they are open. Raises `FileNotFoundError` for a missing file, and `InputError` if it
    cannot be fetched or is larger than the limit.
    """
    return path if isinstance(path, Path) else Kept(path).whole(lasting)


def copy_beside(path: Any, copy: Path, names: Iterable[str]) -> None:
    """Copy those of the files of other `names` in the folder of a remote file that there are."""
    for name in names:
        beside, target = path.with_name(name), copy.with_name(name)
        try:
            if not target.exists() and beside.exists():
                with replacing(target) as partial:
                    partial.write_bytes(beside.read_bytes())
        except InputError:  # object stores that do not list may forbid what is not there
            continue


class Kept:
    """The part of one version of a remote file that is on disk."""

    def __init__(self, path: Any) -> None:
        head = path.head()
        self.path, self.size, self.version = path, head.size, head.version
        identity = f"{path.url if path.is_web else path}\n{head.version or _UNKNOWN}\n{head.size}"
        self.key = hashlib.sha256(identity.encode()).hexdigest()[:32]
        self.folder = cache_folder() / self.key
        self.file, self.sums = self.folder / (path.name or "file"), self.folder / ".crc32c"
        self.about = self.folder / ".about.json"

    def read(self, blocks: range) -> dict[int, bytes]:
        """Return those of the blocks that are on disk and have the right checksum."""
        found = {}
        try:
            with self.file.open("rb") as file, self.sums.open("rb") as sums:
                for block in blocks:
                    expected = os.pread(sums.fileno(), 4, 4 * block)
                    content = os.pread(file.fileno(), BLOCK, BLOCK * block) if expected else b""
                    if content and _crc(content) == expected:
                        found[block] = content
            os.utime(self.about)
        except OSError:
            return found
        return found

    def keep(self, block: int, content: bytes) -> None:
        """Keep blocks from number `block` on if there is room for them."""
        global _unchecked
        with _CHECK:
            _unchecked += len(content)
            if _unchecked > cache_limit() // 64:
                try:
                    if not has_room(cache_limit() // 64 + len(content), self.key):
                        return
                except UnwritableError:  # parts are read without being kept
                    return
                _unchecked = 0
        self.write(block, content)

    def write(self, block: int, content: bytes) -> None:
        """Write blocks from number `block` on; not where the disk does not allow it."""
        parts = {block + i: content[at : at + BLOCK] for i, at in enumerate(_starts(len(content)))}
        try:
            self._begin()
            with self.file.open("r+b") as file, self.sums.open("r+b") as sums:
                for number, part in parts.items():
                    os.pwrite(file.fileno(), part, BLOCK * number)
                    os.pwrite(sums.fileno(), _crc(part), 4 * number)
        except OSError:
            return

    def _begin(self) -> None:
        """Create the files of the entry if they are not there."""
        if not self.about.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file.touch()
            self.sums.touch()
            about = {"address": str(self.path), "version": self.version, "bytes": self.size}
            self.about.write_text(json.dumps(about))

    def whole(self, lasting: bool) -> Path:
        """Return the path of the complete copy; see `local_copy`."""
        if lasting:
            hold(self.key)
        if self._is_whole():
            with suppress(OSError):  # a folder that is only read
                os.utime(self.about)
            return self.file
        with writing(self.folder):
            self._complete()
            self._finish()
        return self.file

    def _complete(self) -> None:
        """Fetch what is missing."""
        if self.size is None or not self.path.head().has_ranges:
            self._stream()
        else:
            blocks = range(-(-self.size // BLOCK))
            if self.file.exists() and self.file.stat().st_size > self.size:
                os.truncate(self.file, self.size)
            there = {block for block in blocks if self.read(range(block, block + 1))}
            runs = list(_runs(blocks, there))
            make_room(BLOCK * (len(blocks) - len(there)), str(self.path), self.key)
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(self._fetch, runs))

    def _fetch(self, run: range) -> None:
        assert self.size is not None
        stop = min(run.stop * BLOCK, self.size)
        self.write(run.start, self.path.read_part(run.start * BLOCK, stop, self.version))

    def _stream(self) -> None:
        """Fetch a file of which the server sends no parts."""
        make_room(self.size or 0, str(self.path), self.key)
        self._begin()
        with replacing(self.file) as partial:

            def write(parts: Iterator[bytes]) -> None:
                with partial.open("wb") as file:
                    for part in parts:
                        file.write(part)

            web_file(self.path.url, write)
        size = self.file.stat().st_size
        with self.file.open("rb") as file:
            sums = [_crc(file.read(BLOCK)) for _ in _starts(size)]
        self.sums.write_bytes(b"".join(sums))
        make_room(0, str(self.path), self.key)

    def _is_whole(self) -> bool:
        """Whether the copy is complete, and unchanged since its checksums were compared."""
        try:
            about = parse_json(self.about.read_text())
            stat = self.file.stat()
        except (OSError, ValueError):
            return False
        whole = about.get("whole") if isinstance(about, dict) else None
        return bool(whole == [stat.st_size, stat.st_mtime_ns])

    def _finish(self) -> None:
        """Compare all checksums and record that the copy is complete."""
        size = self.file.stat().st_size if self.size is None else self.size
        count = -(-size // BLOCK)
        intact = all(len(self.read(range(block, block + 1))) == 1 for block in range(count))
        stat = self.file.stat() if self.file.exists() else None
        if not intact or (stat is None and size):
            raise refused(
                str(self.path), f"a copy in {cache_folder()} that cannot be written whole",
                "Free the disk, or set STEFALAND_CACHE to a folder with room.",
            )  # fmt: skip
        self._begin()
        about = {
            "address": str(self.path), "version": self.version, "bytes": size,
            "whole": [self.file.stat().st_size, self.file.stat().st_mtime_ns],
        }  # fmt: skip
        with replacing(self.about) as partial:
            partial.write_text(json.dumps(about))


def _starts(size: int) -> range:
    return range(0, size, BLOCK)


def _crc(content: bytes) -> bytes:
    """Return the checksum of a block; never zeros, which stand for a block that is not there."""
    return google_crc32c.value(content).to_bytes(4, "little").replace(b"\0\0\0\0", b"\1\0\0\0")


def _runs(blocks: range, there: set[int]) -> Iterator[range]:
    """Yield the gaps between the blocks that are there, each of at most `RUN` blocks."""
    borders = [blocks.start - 1, *sorted(there), blocks.stop]
    for before, after in pairwise(borders):
        for first in range(before + 1, after, RUN):
            yield range(first, min(first + RUN, after))
