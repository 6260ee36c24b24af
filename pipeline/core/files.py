"""Files and folders that appear whole or not at all, whatever kills the writer.

Downstream: every writer. A writer that dies leaves a hidden `.partial` beside its target, which
`remove_stale_partials` takes away; a partial of a living process on this host is left alone.
"""

from __future__ import annotations

import errno
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

from pipeline.core.errors import Fault, InputError, bad_input

STALE_SECONDS = 24 * 3600
"""Age at which another host's partial counts as left behind."""

HOPELESS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.ENAMETOOLONG, errno.EFBIG),
}
"""Errors of a full disk, an exhausted quota or missing rights."""

_SERIAL = count()


class UnwritableError(InputError):
    """An output place that cannot be written; no other tile could be either."""


def _partial(path: Path) -> Path:
    """A hidden sibling that names its host and process and is never used twice."""
    host = socket.gethostname().replace(".", "_")
    return path.with_name(f".{path.name}.{host}.{os.getpid()}.{next(_SERIAL)}.partial")


def write_bytes(path: Path, parts: Sequence[bytes | memoryview], durable: bool = True) -> None:
    """Replace `path` by the joined `parts`; see `FileSet` for `durable`."""
    with FileSet(durable) as files:
        files.add(path, parts)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by a file of `text` in UTF-8; its folder is made where there is none.

    Raises `UnwritableError` where nothing can be written.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON, as `write_text` does."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in `path`; `InputError` where it is not readable as JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise bad_input(
            str(path), str(error), "a JSON file", "Delete it and run the stage again."
        ) from None


class FileSet:
    """Files that get their names together, on leaving the context, or not at all.

    Where `durable`, all are on disk before the first gets its name, so that not even a node that
    dies leaves one cut short. They are flushed at once: a file system then commits them together,
    which is ten times quicker than one after another.
    """

    def __init__(self, durable: bool = True) -> None:
        self.durable = durable
        self.partials: dict[Path, Path] = {}

    def add(self, path: Path, parts: Sequence[bytes | memoryview]) -> None:
        """Write the joined `parts` beside `path`, to become `path`."""
        partial = _partial(path)
        self.partials[partial] = path
        with partial.open("wb") as handle:
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
        finally:
            for partial in self.partials:
                partial.unlink(missing_ok=True)


def _flush(files: Sequence[Path]) -> None:
    if len(files) == 1:
        _flush_one(files[0])
        return
    with ThreadPoolExecutor(min(16, max(1, len(files)))) as threads:
        list(threads.map(_flush_one, files))


def _flush_one(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def new_folder(path: Path, replace: bool = True) -> Iterator[Path]:
    """A folder to fill that becomes `path` on leaving, in place of what was there.

    Without `replace`, `FileExistsError` where another process made `path` first.
    """
    with scratch_folder(path) as partial:
        yield partial
        if replace and path.exists():
            old = _partial(path)
            os.replace(path, old)
            os.replace(partial, path)
            shutil.rmtree(old)
        else:
            _rename_new(partial, path)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` to make it in, gone on leaving.

    Those that dead writers of `path` left are removed first.
    """
    make_folder(path.parent)
    remove_stale_partials(path.parent, f"{path.name}.*")
    partial = _partial(path)
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write that becomes `path` on leaving, once it is on disk; on an error `path` stays.

    It has the name of `path`, for libraries that ask the suffix what to write, in a folder of its
    own that is gone on leaving, with all else that is in it. Raises `UnwritableError` where nothing
    can be written.
    """
    with writing(path), scratch_folder(path) as folder:
        partial = folder / path.name
        yield partial
        _flush_one(partial)
        os.replace(partial, path)


def _rename_new(folder: Path, path: Path) -> None:
    try:
        os.rename(folder, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(error.errno, error.strerror, str(path)) from None
        raise


def make_folder(path: Path) -> None:
    """Create `path` and its parents; `InputError` where it cannot be written."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors that trying again cannot remedy into `UnwritableError`; others pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in HOPELESS:
            raise
        fault = Fault(
            str(path),
            f"a place that cannot be written ({error.strerror})",
            "a writable folder with space left",
            "Free space or set roots.runs to another place, then run again: finished tiles stay.",
        )
        raise UnwritableError([fault]) from None


def _is_stale(partial: Path) -> bool:
    *_, host, pid, _serial, _suffix = partial.name.rsplit(".", 4)
    try:
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
    """Remove what dead writers left in `folder` (not below it) of the targets named `pattern`."""
    for partial in folder.glob(f".{pattern}.partial"):
        if _is_stale(partial):
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink(missing_ok=True)
