"""The folder of copies of remote files: its limit, and what is removed when room is needed.

Entries (folders) are removed in the order of their last use, but not those that a living process
holds, nor those that one has used within the last minute.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pipeline.core.errors import bad_input
from pipeline.core.files import (
    UnwritableError,
    is_partial,
    make_folder,
    remove_stale_partial,
    writing,
)

DEFAULT_LIMIT = "20 GB"
RECENT_SECONDS = 60.0
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
USERS = ".users"


def cache_folder() -> Path:
    """Return STEFALAND_CACHE, or else `stefaland` in the user's folder of caches."""
    named = os.environ.get("STEFALAND_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(named or f"{base}/stefaland").expanduser()


def cache_limit() -> int:
    """Return the bytes that all copies together may have, from STEFALAND_CACHE_SIZE.

    >>> cache_limit()
    20000000000
    """
    text = os.environ.get("STEFALAND_CACHE_SIZE") or DEFAULT_LIMIT
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", text.lower())
    if match is None:
        raise bad_input("STEFALAND_CACHE_SIZE", f'"{text}"', "a size such as 20 GB")
    return int(float(match[1]) * UNITS[match[2]])


@dataclass
class _User:
    """This process as a user of the cache: a locked file with the keys that it holds."""

    folder: Path
    process: int
    file: IO[bytes]
    held: set[str] = field(default_factory=set)


_USERS: dict[Path, _User] = {}


def _user() -> _User:
    folder = cache_folder() / USERS
    user = _USERS.get(folder)
    if user is None or user.process != os.getpid():
        make_folder(folder)
        with writing(folder):
            file = (folder / f"{socket.gethostname()}.{os.getpid()}").open("wb", buffering=0)
        _lock(file)
        user = _USERS[folder] = _User(folder, os.getpid(), file)
    return user


def _lock(file: IO[Any]) -> bool:
    """Whether no other process holds the lock; False also where the disk knows no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def hold(key: str) -> None:
    """Keep an entry from being removed as long as this process lives.

    In a folder that cannot be written nothing is removed.
    """
    with suppress(UnwritableError):
        user = _user()
        if key not in user.held:
            with writing(user.folder):
                user.file.write(f"{key}\n".encode())
            user.held.add(key)


def _others() -> list[Path]:
    """Return the files of the other living processes that use the cache; those of others go."""
    mine, living = _user(), []
    for path in mine.folder.iterdir():
        if path.name == Path(mine.file.name).name:
            continue
        try:
            with path.open("r+") as file:
                if _lock(file):
                    path.unlink()
                else:
                    living.append(path)
        except OSError:
            continue
    return living


def _sizes() -> dict[str, tuple[float, int]]:
    """Return (time of the last use, bytes on disk) of each entry.

    What killed writers left in them is removed.
    """
    found = {}
    for entry in os.scandir(cache_folder()):
        try:
            if not entry.name.startswith(".") and entry.is_dir():
                for file in os.scandir(entry):
                    if is_partial(file.name):
                        remove_stale_partial(Path(file.path))
                stats = [file.stat() for file in os.scandir(entry)]
                used = os.stat(f"{entry.path}/.about.json").st_mtime
                found[entry.name] = used, sum(512 * stat.st_blocks for stat in stats)
        except OSError:
            continue
    return found


def has_room(size: int, key: str) -> bool:
    """Whether `size` more bytes keep within the limit, after entries in no use are removed.

    `key` is the entry that needs them, which stays.
    """
    limit, user = cache_limit(), _user()
    entries = _sizes()
    excess = sum(size for _, size in entries.values()) + size - limit
    if excess <= 0:
        return True
    others = _others()
    held = user.held.union(*(path.read_text().split() for path in others))
    recent = time.time() - RECENT_SECONDS if others else float("inf")
    for name, (used, freed) in sorted(entries.items(), key=lambda item: item[1]):
        if excess <= 0:
            break
        if name not in held | {key} and used < recent:
            shutil.rmtree(cache_folder() / name, ignore_errors=True)
            excess -= freed
    return excess <= 0


def make_room(size: int, where: str, key: str) -> None:
    """Remove entries until `size` more bytes keep within the limit; `InputError` if they cannot."""
    if not has_room(size, key):
        raise bad_input(
            where, f"a file of {size:,} bytes for which the folder {cache_folder()} has no room",
            f"at most {cache_limit():,} bytes of copies in use there",
            "Set STEFALAND_CACHE_SIZE to a larger size, such as 100 GB.",
        )  # fmt: skip
