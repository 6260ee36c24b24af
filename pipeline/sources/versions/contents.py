"""Digests of what source files hold, by which a change at equal size and modification time shows.

Fingerprints have the sizes and times of source files, as those of version 0.2.0 had. The digests
stand in a file of their own beside the markers of a run or a cube: they are computed once, and
again only for files whose status or inode has changed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from pipeline.core.archives.member_path import MemberPath
from pipeline.core.errors import bad_input
from pipeline.core.files import read_json, write_json
from pipeline.core.settings import Frozen
from pipeline.entries.source import Source
from pipeline.readers.registry import files_of

WHOLE_BYTES = 64 << 20
"""Size below which files are read whole; larger ones at their ends, at `BLOCKS`, and metadata."""
TOTAL_BYTES = 8 << 30
"""Bytes of all files that are read whole at one time; files beyond are sampled like large ones."""
END_BYTES, BLOCK_BYTES, BLOCKS = 256 << 10, 64 << 10, 16
MOST_FILES = 5000
"""Number of files of a folder that are read, at equal distances, besides those of metadata."""
METADATA = ("zarr.json", ".zmetadata", ".zarray", ".zattrs", ".zgroup")
THREADS = 8


class Content(Frozen):
    """What is known of one file, or of a folder and all files in it."""

    stamp: str
    """Size and modification time, or a hash of those of all files."""
    change: str
    """Time of the last change of status, and inode; or a hash of those of all files."""
    digest: str
    """Digest of the bytes, after `whole:` or `sample:`."""
    first: str
    """Digest of the bytes that were first seen with this `stamp`."""


CONTENTS = TypeAdapter(dict[str, Content])


def contents_of(
    sources: Iterable[Source], known: Mapping[str, Content], root: Path | None = None
) -> dict[str, Content]:
    """Return the content of each local file of sources by its path, relative to `root` if below.

    Files that are as in `known` are not read. Remote files are not included: their stamps have the
    version that the server reports.
    """
    units = _units(sources)
    named = {path: _key(path, root) for path in units}
    states = {path: _state(path) for path in units}
    left = TOTAL_BYTES
    todo: dict[Path, bool] = {}
    for path, (stamp, change, size) in states.items():
        old = known.get(named[path])
        same = old is not None and old.stamp == stamp
        if old is not None and same and old.change == change:
            continue
        # The same method as before where digests are compared.
        todo[path] = old.digest.startswith("whole") if old and same else left >= 0
        left -= size if size < WHOLE_BYTES else 0
    with ThreadPoolExecutor(THREADS) as threads:
        digests = threads.map(lambda path: _digest(path, *states[path][:2], todo[path]), todo)
        found = dict(zip(todo, digests, strict=True))
    contents = {}
    for path, (stamp, change, _) in states.items():
        key = named[path]
        old = known.get(key)
        digest = found[path] if path in found else known[key].digest
        first = old.first if old is not None and old.stamp == stamp else digest
        contents[key] = Content(stamp=stamp, change=change, digest=digest, first=first)
    return contents


def replaced(contents: Mapping[str, Content]) -> dict[str, str]:
    """Return the digests of files that do not hold what was first seen with their stamp."""
    return {key: one.digest for key, one in sorted(contents.items()) if one.digest != one.first}


def read_contents(file: Path) -> dict[str, Content]:
    """Return the recorded contents, none without a file; `InputError` for one of another kind."""
    try:
        status = file.stat()
    except OSError:
        return {}
    return dict(_recorded(file, status.st_mtime_ns, status.st_ino))


@lru_cache(maxsize=4)
def _recorded(file: Path, time: int, inode: int) -> dict[str, Content]:
    try:
        return CONTENTS.validate_python(read_json(file))
    except ValidationError as error:
        found = f"{error.error_count()} entries that are not digests of files"
        raise bad_input(str(file), found, "digests of the source files by path",
                        "Delete it: the next run writes it again.") from None  # fmt: skip


def record_contents(
    file: Path, sources: Sequence[Source], root: Path | None = None
) -> list[str]:  # fmt: skip
    """Write the contents of sources to `file`; returns the paths that changed at equal stamps."""
    known = read_contents(file)
    contents = contents_of(sources, known, root)
    if contents != known:
        plain = {key: one.model_dump() for key, one in contents.items()}
        write_json(file, plain)
    return [key for key, one in contents.items() if _differs(one, known.get(key))]


def _differs(one: Content, old: Content | None) -> bool:
    return old is not None and old.stamp == one.stamp and old.digest != one.digest


def replaced_since(file: Path, sources: Iterable[Source], root: Path | None = None) -> Any:
    """Return `replaced` of the sources as they are now; empty where nothing was recorded."""
    known = read_contents(file)
    return replaced(contents_of(sources, known, root)) if known else {}


def _units(sources: Iterable[Source]) -> list[Path]:
    """Return the files and folders of sources that exist on disk; archives instead of members."""
    paths = (file for source in sources for file in files_of(source))
    archives = (file.archive if isinstance(file, MemberPath) else file for file in paths)
    found = dict.fromkeys(path for path in archives if isinstance(path, Path))
    return [path for path in found if path.is_file() or path.is_dir()]


def _key(path: Path, root: Path | None) -> str:
    text, below = str(path), f"{root}{os.sep}"
    return text.removeprefix(below) if root is not None else text


def _state(path: Path) -> tuple[str, str, int]:
    """Return stamp, change and bytes of a file or a folder."""
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        return (*_stamps(status), status.st_size)
    stamps, changes, size = hashlib.sha256(), hashlib.sha256(), 0
    for file in _files(path):
        status = file.stat()
        stamp, change = _stamps(status)
        stamps.update(f"{file.relative_to(path)} {stamp}\n".encode(errors="surrogateescape"))
        changes.update(f"{change}\n".encode())
        size += status.st_size
    return stamps.hexdigest(), changes.hexdigest(), size


def _stamps(status: os.stat_result) -> tuple[str, str]:
    return f"{status.st_size} {status.st_mtime_ns}", f"{status.st_ctime_ns} {status.st_ino}"


def _files(folder: Path) -> list[Path]:
    paths = (Path(at, name) for at, _, names in os.walk(folder) for name in names)
    return sorted(path for path in paths if path.is_file())


@lru_cache(maxsize=20_000)
def _digest(path: Path, stamp: str, change: str, whole: bool) -> str:
    """Return the digest of a file or folder; cached while its stamp and change stay the same."""
    digest = hashlib.sha256()
    method = "whole" if whole else "sample"
    if path.is_dir():
        files = _files(path)
        step = max(1, len(files) // MOST_FILES)
        kept = dict.fromkeys([*files[::step], *(f for f in files if f.name in METADATA)])
        for file in kept:
            _add(digest, file, whole)
    else:
        _add(digest, path, whole)
    return f"{method}:{digest.hexdigest()}"


def _add(digest: Any, path: Path, whole: bool) -> None:
    """Add the bytes of a file, or a sample of them and its metadata, to a digest."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if path.name in METADATA or (whole and size < WHOLE_BYTES):
                while block := file.read(1 << 20):
                    digest.update(block)
                return
            digest.update(file.read(END_BYTES))
            for number in range(BLOCKS):
                file.seek(size * (number + 1) // (BLOCKS + 1))
                digest.update(file.read(BLOCK_BYTES))
            file.seek(max(0, size - END_BYTES))
            digest.update(file.read())
    except OSError:
        digest.update(b"unreadable")  # The check reports files that cannot be read.
        return
    digest.update(_metadata(path).encode(errors="surrogateescape"))


def _metadata(path: Path) -> str:
    """Return a text of the metadata of an HDF5 or TIFF file; empty for others."""
    with path.open("rb") as file:
        begin = file.read(8)
    try:
        if begin == b"\x89HDF\r\n\x1a\n":
            return _hdf5_metadata(path)
        if begin[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _tiff_metadata(path)
    except (OSError, RuntimeError, ValueError, KeyError):
        return "unreadable"
    return ""


def _hdf5_metadata(path: Path) -> str:
    import h5py

    lines: list[str] = []

    def visit(name: str, item: Any) -> None:
        kind = (item.shape, item.dtype, item.chunks) if isinstance(item, h5py.Dataset) else ()
        size = item.id.get_storage_size() if isinstance(item, h5py.Dataset) else 0
        attributes = sorted((key, _attribute(item, key)) for key in item.attrs)
        lines.append(f"{name} {kind} {size} {attributes}")

    with h5py.File(path, "r") as file:
        visit("", file)
        file.visititems(visit)
    return "\n".join(lines)


def _attribute(item: Any, key: str) -> str:
    try:
        value = item.attrs[key]
    except (OSError, TypeError, ValueError):
        return "unreadable"
    if isinstance(value, np.ndarray) and value.dtype.kind in "OV":
        # References to other objects differ from one opening to the next.
        return repr([text for text in value.flat if isinstance(text, (str, bytes))])
    return repr(value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value)


def _tiff_metadata(path: Path) -> str:
    import rasterio

    with rasterio.open(path, driver="GTiff") as file:
        bands = [(file.tags(band), file.dtypes[band - 1]) for band in file.indexes]
        about = (file.scales, file.offsets, file.units, file.descriptions, file.nodatavals)
        return f"{file.profile} {file.tags()} {bands} {about}"
