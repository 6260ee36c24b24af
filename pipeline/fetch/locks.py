"""holding(): a file that one process or thread at a time may write."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pipeline.core.files import make_folder, writing

AGAIN_SECONDS = 0.5
"""Time after which a lock that another process holds is tried again."""
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""Errors of file systems that have no locks."""


@contextmanager
def holding(path: Path, pause: Callable[[float], None]) -> Iterator[BinaryIO]:
    """Yield the file at `path`, open for reading and writing and locked; created if missing.

    While another process holds it, `pause` is called. The lock ends with the process, however it
    ends.
    """
    make_folder(path.parent)
    while True:
        with writing(path):
            handle = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        with handle:
            if _locked(handle) and _is_at(handle, path):
                yield handle
                return
        pause(AGAIN_SECONDS)


def _locked(handle: BinaryIO) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in WITHOUT_LOCKS
    return True


def _is_at(handle: BinaryIO, path: Path) -> bool:
    """Whether the open file still has that path: a process that ended may have renamed it."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False
