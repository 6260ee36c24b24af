"""matching(): the paths on disk that match a glob, from a bounded number of files and folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.core.errors import bad_input

MOST = 1_000_000
"""Number of files and folders through which a glob may look."""
_GONE = (FileNotFoundError, NotADirectoryError, PermissionError)


def matching(folder: Path, pattern: str, where: str, most: int | None = None) -> list[Path]:
    """Return the paths below a folder that match a pattern, by name.

    `**` stands for the folder and all below it, but those behind symbolic links, which may lead
    back; folders that must not be listed are left out. `InputError`, with the address `where`, if
    more than `most` files and folders are looked through.

    >>> [path.name for path in matching(Path("/"), "d*v", "/d*v")]
    ['dev']
    """
    found: set[str] = set()
    parts = tuple(part for part in pattern.split("/") if part)
    waiting, seen, count = [(str(folder), parts)], set(), 0
    while waiting:
        at, left = step = waiting.pop()
        if step in seen:
            continue
        seen.add(step)
        if not left:
            found.add(at)
            continue
        first, rest = left[0], left[1:]
        if not re.search(r"[*?[]", first):
            if os.path.lexists(path := os.path.join(at, first)):
                waiting.append((path, rest))
            continue
        if first == "**":
            waiting.append((at, rest))
        for entry in _entries(at):
            count += 1
            if count > (most or MOST):
                raise _too_many(where, most or MOST)
            if first == "**":
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, left))
            elif fnmatchcase(entry.name, first) and (not rest or entry.is_dir()):
                waiting.append((entry.path, rest))
    return sorted(map(Path, found))


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except _GONE:
        return


def _too_many(where: str, most: int) -> Exception:
    return bad_input(
        where, f"more than {most:,} files or folders, through which its glob looks",
        "a glob that looks through the folders of its source alone",
        "Begin it with more names of folders, and write one * for each folder instead of **.",
    )  # fmt: skip
