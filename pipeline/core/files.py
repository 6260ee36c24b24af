"""Files and folders that appear complete or not at all, even if the writing process is killed.

A killed writer leaves a hidden `.partial` file beside its target, which the next writer
there removes (`remove_stale_partials`); partials of processes that still run on this host are kept.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.core.errors import InputError, bad_input
from pipeline.core.system.failures import NO_SPACE, full_disk, unwritable
from pipeline.core.untrusted.safe_json import parse_json

STALE_SECONDS = 24 * 3600
"""Age at which a partial file of another host counts as abandoned."""

NOT_FLUSHED = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
"""Errors of file systems that flush no folders."""

_SERIAL = count()
_TIDIED: set[Path] = set()
"""Folders in which this process has removed what killed writers left."""


class UnwritableError(InputError):
    """An output folder that cannot be written, so that no other tile can be written either."""


def partial_path(path: Path) -> Path:
    """Hidden path beside `path` that contains the host and the process and is never used twice.

    All files and folders that a writer has not finished have such names.
    """
    host = socket.gethostname().replace(".", "_")
    return path.with_name(f".{path.name}.{host}.{os.getpid()}.{next(_SERIAL)}.partial")


def write_bytes(path: Path, parts: Sequence[bytes | memoryview], durable: bool = True) -> None:
    """Replace `path` by the joined `parts`; see `FileSet` for `durable`."""
    with writing(path), FileSet(durable) as files:
        files.add(path, parts)


def write_text(path: Path, text: str, private: bool = False) -> None:
    """Replace `path` by a file of `text` in UTF-8; its folder is created if it does not exist.

    A `private` file is one that only its owner can read. Raises `UnwritableError` if the folder
    cannot be written.
    """
    with replacing(path) as partial:
        if private:
            partial.touch(mode=0o600)
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON, as `write_text` does."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """Return the JSON object in `path`.

    Raises `InputError` if it cannot be read as JSON, is another value, or lacks one of `keys`.
    """
    hint = "Delete it and run the same command again."
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise bad_input(str(path), str(error), "a JSON file", hint) from None
    if not isinstance(value, dict):
        found = "null" if value is None else f"a {type(value).__name__}"
        raise bad_input(str(path), found, "a JSON file of settings by name", hint)
    if missing := [key for key in keys if key not in value]:
        raise bad_input(str(path), f"no {', '.join(missing)}", "the file as it was written", hint)
    return value


class FileSet:
    """Files that get their final names together at the end of the context, or not at all.

    If `durable`, all are flushed to disk before the first is renamed, so that no file is truncated
    even if the node fails, and their folders after the last: what is written later, such as a
    marker, is never on disk without them. They are flushed concurrently: the file system then
    commits them together, which is ten times faster than one after another.
    """

    def __init__(self, durable: bool = True) -> None:
        self.durable = durable
        self.partials: dict[Path, Path] = {}
        self.folders: set[Path] = set()
        """Folders whose lists of files change."""

    def add(self, path: Path, parts: Sequence[bytes | memoryview]) -> None:
        """Write the joined `parts` beside `path`, whose folder is created if it does not exist.

        The file is renamed to `path` later.
        """
        self.folders |= {path.parent, *_make_missing(path.parent)}
        tidy_once(path.parent)
        partial = partial_path(path)
        self.partials[partial] = path
        with writing(path, sum(map(len, parts))), partial.open("wb") as handle:
            handle.writelines(parts)

    def __enter__(self) -> FileSet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                if self.durable:
                    _flush(list(self.partials))
                for partial, path in self.partials.items():
                    os.replace(partial, path)
                if self.durable:
                    _flush(list(self.folders))
        finally:
            for partial in self.partials:
                partial.unlink(missing_ok=True)


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """Return the checksum of a file in hexadecimal digits, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, algorithm).hexdigest()


def version_of(path: Any) -> tuple[int, ...]:
    """Return numbers that differ between versions of a file, in memory or on disk.

    They are the modification time, the size and, on disk, the times of the last change of status
    and the inode: these differ too where a new version has the time and size of the old one.
    """
    status = path.stat()
    changed, inode = getattr(status, "st_ctime_ns", 0), getattr(status, "st_ino", 0)
    return status.st_mtime_ns, status.st_size, changed, inode


def _flush(files: Sequence[Path]) -> None:
    if len(files) == 1:
        _flush_one(files[0])
        return
    with ThreadPoolExecutor(min(16, max(1, len(files)))) as threads:
        list(threads.map(_flush_one, files))


def _make_missing(folder: Path) -> set[Path]:
    """Create a folder and return the existing one that now lists it, and those created between."""
    if folder.is_dir():
        return set()
    listing = next((parent for parent in folder.parents if parent.is_dir()), folder)
    folder.mkdir(parents=True, exist_ok=True)
    return {parent for parent in folder.parents if parent.is_relative_to(listing)}


def _flush_one(file: Path) -> None:
    """Flush a file, or a folder, of which some network file systems know no flushing."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (error.errno in NOT_FLUSHED and file.is_dir()):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def new_folder(path: Path, replace: bool = True) -> Iterator[Path]:
    """Yield a folder to fill, which replaces `path` at the end, once its bytes are on disk.

    Without `replace`, raises `FileExistsError` if another process created `path` first. Raises
    `UnwritableError` if the disk is full or may not be written.
    """
    # Written within the scratch folder: what fills a disk is removed with that folder.
    with scratch_folder(path) as partial, writing(path):
        yield partial
        _flush([partial, *partial.rglob("*")])
        if replace and path.exists():
            old = partial_path(path)
            os.replace(path, old)
            os.replace(partial, path)
            shutil.rmtree(old)
        else:
            _rename_new(partial, path)
        _flush_one(path.parent)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `path`, which is removed at the end of the context.

    Folders that killed writers of `path` left behind are removed first.
    """
    make_folder(path.parent)
    remove_stale_partials(path.parent, f"{path.name}.*")
    partial = partial_path(path)
    with writing(path):
        partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def replacing(path: Path, needed: int | None = None) -> Iterator[Path]:
    """Yield a file to write, which replaces `path` at the end; after an error `path` is unchanged.

    The file has the name of `path`, because some libraries choose the format by the suffix. It lies
    in a temporary folder, which is removed at the end with everything in it. Raises
    `UnwritableError` if the folder of `path` cannot be written; `needed` is as in `writing`.
    """
    # Written within the scratch folder: what fills a disk is removed with that folder.
    with writing(path), scratch_folder(path) as folder, writing(path, needed):
        partial = folder / path.name
        yield partial
        finish(partial, path)


def finish(partial: Path, path: Path) -> None:
    """Give a complete file its name, or replace that of this name, once its bytes are on disk."""
    _flush_one(partial)
    os.replace(partial, path)
    _flush_one(path.parent)


def _rename_new(folder: Path, path: Path) -> None:
    try:
        os.rename(folder, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(error.errno, error.strerror, str(path)) from None
        raise


def make_folder(path: Path) -> None:
    """Create `path` and its parents; raises `UnwritableError` if that is not possible."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def writing(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn errors that a retry cannot fix into `UnwritableError`; all others pass unchanged.

    `needed` is the number of bytes to write, at least about, where it is known.
    """
    try:
        yield
    except Exception as error:
        if (fault := unwritable(error, path, needed)) is None:
            raise
        raise UnwritableError([fault]) from None


def is_partial(name: str) -> bool:
    """Whether a file or folder of that name is one that a writer has not finished."""
    return name.startswith(".") and name.endswith(".partial")


def require_space(path: Path, needed: int = NO_SPACE) -> None:
    """Raise `UnwritableError` if the disk of `path` has fewer than `needed` bytes free.

    After a library has written a file, fewer than `NO_SPACE` mean that it may not be whole.
    """
    if (fault := full_disk(path, needed)) is not None:
        raise UnwritableError([fault])


def _is_stale(partial: Path) -> bool:
    try:
        *_, host, pid, _serial, _suffix = partial.name.rsplit(".", 4)
        if host == socket.gethostname().replace(".", "_"):
            return not _is_alive(int(pid))
        return time.time() - partial.stat().st_mtime > STALE_SECONDS
    except (OSError, ValueError):
        return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove_stale_partials(folder: Path, pattern: str = "*") -> None:
    """Remove the partial files that killed writers of targets named `pattern` left in `folder`.

    Subfolders are not searched.
    """
    for partial in folder.glob(f".{pattern}.partial"):
        remove_stale_partial(partial)


def tidy_once(folder: Path) -> None:
    """Remove all that killed writers left in `folder`, once a process: large folders list slowly.

    Subfolders are not searched.
    """
    if folder not in _TIDIED:
        _TIDIED.add(folder)
        remove_stale_partials(folder)


def remove_stale_partial(partial: Path) -> None:
    """Remove a partial file or folder, unless its writer may still be running."""
    if not _is_stale(partial):
        return
    if partial.is_dir() and not partial.is_symlink():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.unlink(missing_ok=True)
