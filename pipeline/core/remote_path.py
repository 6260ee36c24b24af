"""`RemotePath`: a file or folder at a remote address, with the methods of `pathlib.Path`.

Texts of it, which appear in messages and outputs, have no query, because it may be a signature.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple
from urllib.parse import unquote

from pipeline.core.buckets import (
    bucket_folder,
    bucket_head,
    bucket_object,
    bucket_part,
    has_objects,
)
from pipeline.core.cache import local_copy
from pipeline.core.errors import InputError, bad_input
from pipeline.core.ranged import ranged
from pipeline.core.transfers import Access, Head, NoAccessError
from pipeline.core.web import web_file, web_head, web_part

METADATA = ("zarr.json", ".zmetadata", ".zgroup", ".zarray", "refs/branch.main/ref.json")
"""Files of which every Zarr store or Icechunk repository has one."""
HEADS_SECONDS = 300.0
"""Time for which a process uses the size and version of a file."""
THREADS = 16


class RemoteStat(NamedTuple):
    """Size in bytes, and a number that differs between versions, as of `os.stat_result`."""

    st_size: int
    st_mtime_ns: int


@dataclass(frozen=True)
class RemotePath:
    """A file or folder at a remote address.

    >>> path = RemotePath("s3", "bucket", "rain/2001.nc")
    >>> path.name, str(path.parent / "2002.nc")
    ('2001.nc', 's3://bucket/rain/2002.nc')
    """

    scheme: str
    """One of s3, gs, az, http and https."""
    host: str
    """Bucket or web server."""
    key: str
    """Path within it, without / at its start."""
    query: str = ""
    access: Access = field(default_factory=Access)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}/{self.key}"

    def __repr__(self) -> str:
        return f"RemotePath('{self}')"

    def __lt__(self, other: RemotePath) -> bool:
        return str(self) < str(other)

    def __truediv__(self, name: str) -> RemotePath:
        return replace(self, key=f"{self.key.rstrip('/')}/{name}".lstrip("/"))

    @property
    def url(self) -> str:
        """Address that is requested, with its query; only of web servers."""
        return f"{self}?{self.query}" if self.query else str(self)

    @property
    def is_web(self) -> bool:
        """Whether the address is one of a web server, which lists no files."""
        return self.scheme in ("http", "https")

    @property
    def _pure(self) -> PurePosixPath:
        return PurePosixPath("/" + self.key)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return unquote(self._pure.name) if self.is_web else self._pure.name

    @property
    def stem(self) -> str:
        """Name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """Last suffix of the name."""
        return PurePosixPath(self.name).suffix

    @property
    def suffixes(self) -> list[str]:
        """All suffixes of the name."""
        return PurePosixPath(self.name).suffixes

    @property
    def parts(self) -> tuple[str, ...]:
        """Host and the parts of the path."""
        return (self.host, *self._pure.parts[1:])

    @property
    def parent(self) -> RemotePath:
        """Folder that holds the file."""
        return replace(self, key=str(self._pure.parent).lstrip("/"))

    def with_name(self, name: str) -> RemotePath:
        """Return the path of another file in the same folder."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> RemotePath:
        """Return the path with another suffix."""
        return self.parent / self._pure.with_suffix(suffix).name

    @property
    def gdal_name(self) -> str:
        """Name under which GDAL opens it."""
        return (
            f"/vsicurl/{self.url}" if self.is_web else f"/vsi{self.scheme}/{self.host}/{self.key}"
        )

    @property
    def is_store(self) -> bool:
        """Whether the name is that of a store of many objects, such as Zarr, or has no suffix."""
        kinds = (".zarr", ".icechunk", ".parq")
        return self.name not in METADATA and (not self.suffix or self.suffix.startswith(kinds))

    def head(self, fresh: bool = False) -> Head:
        """Return size and version, as of at most `HEADS_SECONDS` ago unless `fresh`.

        Raises `FileNotFoundError` if there is none, and `InputError` without a valid answer.
        """
        return _HEADS.get(self, fresh)

    def exists(self) -> bool:
        """Whether there is such a file or store; raises `InputError` without a valid answer."""
        return (self.is_store and self.is_dir()) or self.is_file()

    def is_file(self) -> bool:
        """Whether there is such a file."""
        if not self.key or self.key.endswith("/") or (self.is_store and self.is_dir()):
            return False
        try:
            self.head()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether there is such a folder; of a web server, whether there is a Zarr store."""
        if self.is_store and self.root_metadata() is not None:
            return True
        if self.is_web:
            return False
        return has_objects(self.scheme, self.host, self.key.rstrip("/") + "/", self.access)

    def root_metadata(self) -> RemotePath | None:
        """Return the file with the metadata of a Zarr store; None if there is none.

        Stores whose objects are not listed refuse access to those that are not there: an access
        that is refused is an error only if it is refused to all.
        """
        refusal: NoAccessError | None = None
        for path in (self / name for name in METADATA):
            try:
                if path.is_file():
                    return path
            except NoAccessError as error:
                refusal = refusal or error
        if refusal is not None and not self._is_sent():
            raise refusal
        return None

    def _is_sent(self) -> bool:
        """Whether the server sends the file at the address itself, as of a signed address."""
        try:
            self.head()
        except (FileNotFoundError, NoAccessError):
            return False
        return True

    def stat(self, *, fresh: bool = False) -> RemoteStat:
        """Return size and version; those of a store are of its metadata.

        Raises `FileNotFoundError` if there is none, and `InputError` without a valid answer.
        """
        path = (self.root_metadata() or self) if self.is_store else self
        head = path.head(fresh)
        size = local_copy(path).stat().st_size if head.size is None else head.size
        return RemoteStat(size, head.stamp)

    def read_part(self, start: int, stop: int, version: str | None = None) -> bytes:
        """Return bytes `start` to `stop` (exclusive), if the file has that version.

        A file of a server that sends no parts is copied whole.
        """
        if self.is_web and not self.head().has_ranges:
            with local_copy(self).open("rb") as file:
                file.seek(start)
                return file.read(stop - start)
        if self.is_web:
            return web_part(self.url, start, stop, version)
        return bucket_part(self.scheme, self.host, self.key, self.access, start, stop, version)

    def read_bytes(self) -> bytes:
        """Return the whole file."""
        if self.is_web:
            return web_file(self.url, b"".join)
        return bucket_object(self.scheme, self.host, self.key, self.access)

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the whole file as text."""
        return self.read_bytes().decode(encoding)

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Return the file for reading as bytes; parts are fetched as they are read."""
        if mode != "rb":
            raise ValueError(f'mode "{mode}" of a remote file, which is read as bytes')
        return ranged(self)

    def iterdir(self) -> Iterator[RemotePath]:
        """Yield the files and folders in a folder; raises `InputError` for a web server."""
        if self.is_web:
            raise bad_input(
                str(self), "a folder of a web server", "files by name",
                "Web servers do not list files: name them with {year} and the like, or as a list.",
            )  # fmt: skip
        when, known = _LISTS.get(self, (-HEADS_SECONDS, ()))
        if time.monotonic() - when < HEADS_SECONDS:
            yield from known
            return
        prefix = f"{self.key.rstrip('/')}/" if self.key else ""
        folders, objects = bucket_folder(self.scheme, self.host, prefix, self.access)
        for key, head in objects.items():
            _HEADS.put(replace(self, key=key), head)
        paths = tuple(replace(self, key=key) for key in sorted([*folders, *objects]))
        _LISTS[self] = time.monotonic(), paths
        yield from paths

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """Yield the paths that match the pattern, in which `*` stands for part of a name.

        Raises `InputError` for `**`, for which all objects of a bucket would be listed.
        """
        first, _, rest = pattern.partition("/")
        if first == "**" and rest:
            raise bad_input(f"{self}/{pattern}", "** in an address", "a glob of each folder",
                            "Write one * for each folder.")  # fmt: skip
        if not re.search(r"[*?[]", first):
            found = [self / first]
            found = found if rest or found[0].exists() else []
        else:
            found = [path for path in self.iterdir() if fnmatchcase(path.name, first)]
        for path in found:
            yield from path.glob(rest) if rest else (path,)


class _Heads:
    """Sizes and versions of the files for which this process has asked."""

    def __init__(self) -> None:
        self.known: dict[RemotePath, tuple[float, Head | None]] = {}
        self.lock = threading.Lock()

    def get(self, path: RemotePath, fresh: bool) -> Head:
        now = time.monotonic()
        when, head = self.known.get(path, (-1e9, None))
        if fresh or now - when > HEADS_SECONDS:
            head = self._asked(path)
            self.put(path, head)
        if head is None:
            raise FileNotFoundError(str(path))
        return head

    def put(self, path: RemotePath, head: Head | None) -> None:
        with self.lock:
            if len(self.known) > 100_000:
                self.known.clear()
            self.known[path] = time.monotonic(), head

    @staticmethod
    def _asked(path: RemotePath) -> Head | None:
        try:
            if path.is_web:
                return web_head(path.url)
            return bucket_head(path.scheme, path.host, path.key, path.access)
        except FileNotFoundError:
            return None


_HEADS = _Heads()
_LISTS: dict[RemotePath, tuple[float, tuple[RemotePath, ...]]] = {}
"""Time and result of the listings of folders."""


def ask_heads(paths: Iterable[Any]) -> None:
    """Ask for the heads of many remote files at a time; each path raises its own errors later."""

    def ask(path: RemotePath) -> None:
        try:
            path.head()
        except (FileNotFoundError, InputError):
            return

    remote = [path for path in paths if isinstance(path, RemotePath) and not path.is_store]
    if len(remote) > 1:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(ask, remote))
