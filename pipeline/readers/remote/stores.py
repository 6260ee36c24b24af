"""zarr_store(): what zarr-python opens for a store on disk, at an address or of references.

Stores other than those on disk are read through `ReadStore`, which fetches objects by their keys.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from pipeline.core.addresses import AnyPath, MemberPath, RemotePath
from pipeline.core.errors import bad_input
from pipeline.core.transfers import NoAccessError
from pipeline.core.untrusted.safe_json import parse_json
from pipeline.entries.source import Source
from pipeline.readers.common.site_table import read_options
from pipeline.readers.driver import common_options
from pipeline.readers.guards.zarr_stores import ContainedStore
from pipeline.readers.remote.icechunk_store import (
    VERSIONS,
    ZarrOptions,
    icechunk_store,
    is_icechunk,
)
from pipeline.readers.remote.references import References, is_references

METADATA = ("zarr.json", ".zarray", ".zattrs")
READ_ONLY = "a store that is only read"


class Objects(Protocol):
    """Objects of a store by key: its metadata and chunks."""

    def size(self, key: str) -> int | None:
        """Return the bytes of an object; None if there is none."""

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes | None:
        """Return bytes of an object; None if there is none."""

    def children(self, prefix: str) -> Iterable[str]:
        """Return the names directly under a prefix (without its last /)."""


class ReadStore(Store):
    """A store of `Objects` as zarr-python reads it; several objects are fetched at a time."""

    def __init__(self, objects: Objects) -> None:
        super().__init__(read_only=True)
        self.objects = objects

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadStore) and other.objects == self.objects

    def __hash__(self) -> int:
        return hash(type(self))

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return an object or part of it; None if there is none."""
        content = await asyncio.to_thread(self._get, key, byte_range)
        return None if content is None else prototype.buffer.from_bytes(content)

    def _get(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        if byte_range is None:
            return self.objects.read(key)
        if isinstance(byte_range, RangeByteRequest):
            return self.objects.read(key, byte_range.start, byte_range.end)
        size = self.objects.size(key)
        if size is None:
            return None
        if isinstance(byte_range, OffsetByteRequest):
            return self.objects.read(key, byte_range.offset, size)
        assert isinstance(byte_range, SuffixByteRequest)
        return self.objects.read(key, max(size - byte_range.suffix, 0), size)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of several objects."""
        return await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges))

    async def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return await asyncio.to_thread(self.objects.size, key) is not None

    @property
    def supports_writes(self) -> bool:
        """Whether it can be written: never."""
        return False

    @property
    def supports_deletes(self) -> bool:
        """Whether objects can be removed: never."""
        return False

    @property
    def supports_listing(self) -> bool:
        """Whether arrays can be found by name: always."""
        return True

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse to write."""
        raise NotImplementedError(READ_ONLY)

    async def delete(self, key: str) -> None:
        """Refuse to remove."""
        raise NotImplementedError(READ_ONLY)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly under a prefix."""
        for name in await asyncio.to_thread(self.objects.children, prefix.rstrip("/")):
            yield name

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys under a prefix: of metadata, since chunks are never listed."""
        for name in await asyncio.to_thread(self.objects.children, prefix.rstrip("/")):
            yield f"{prefix.rstrip('/')}/{name}".lstrip("/")

    async def list(self) -> AsyncIterator[str]:
        """Yield the keys at the root."""
        async for key in self.list_prefix(""):
            yield key


class RemoteObjects:
    """Objects under a remote address.

    A web server lists nothing: the arrays are the `names` of the entry, and those which these name
    as dimensions, coordinates, bounds or grid mapping.
    """

    def __init__(self, root: RemotePath, names: tuple[str, ...]) -> None:
        self.root, self.names = root, names

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteObjects) and other.root == self.root

    def size(self, key: str) -> int | None:
        """Return the bytes of an object; None if there is none."""
        try:
            return (self.root / key).stat().st_size
        except FileNotFoundError:
            return None
        except NoAccessError:
            if not self._may_lack(key):
                raise
            return None

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes | None:
        """Return bytes of an object; None if there is none."""
        path = self.root / key
        try:
            return path.read_bytes() if stop is None else path.read_part(start, stop)
        except FileNotFoundError:
            return None
        except NoAccessError:
            if not self._may_lack(key):
                raise
            return None

    def _may_lack(self, key: str) -> bool:
        """Whether a refusal may mean that there is no such metadata, as of stores not listed."""
        found = self.root.root_metadata()
        return key.rpartition("/")[2] in (*METADATA, ".zgroup", ".zmetadata") and found is not None

    def children(self, prefix: str) -> Iterable[str]:
        """Return the names directly under a prefix."""
        if not self.root.is_web:
            return [path.name for path in (self.root / prefix if prefix else self.root).iterdir()]
        return [] if prefix else list(self._found())

    def _found(self) -> Iterator[str]:
        """Yield the arrays of a store of a web server, from the metadata of those known so far."""
        waiting, seen = deque(self.names), set[str]()
        while waiting:
            name = waiting.popleft()
            if name in seen or "/" in name:
                continue
            seen.add(name)
            found = [self.read(f"{name}/{key}") for key in METADATA]
            attributes = [parse_json(text) for text in found if text]
            if attributes:
                yield name
            for attrs in attributes:
                waiting += _named(attrs) + _named(attrs.get("attributes", {}))


def _named(attrs: dict[str, Any]) -> list[str]:
    """Return the arrays that an array names in its metadata."""
    names = [*(attrs.get("dimension_names") or ()), *attrs.get("_ARRAY_DIMENSIONS", ())]
    for key in ("coordinates", "bounds", "grid_mapping"):
        names += str(attrs.get(key, "")).replace(":", " ").split()
    return [name for name in names if name]


def zarr_store(source: Source, path: AnyPath) -> Any:
    """Return what zarr-python opens for the store at `path`: its path, or a store to read from.

    Raises `InputError` for references that are not valid or lead outside of their folder.
    """
    if is_icechunk(path):
        options, where = read_options(source, ZarrOptions), f'source "{source.name}", {path}'
        return icechunk_store(path, options, common_options(source).trust, where)
    if versions := [key for key in VERSIONS if key in source.options]:
        raise bad_input(
            f'source "{source.name}", {path}: options', f"`{versions[0]}` of a store without "
            "versions", "an Icechunk repository", f"Remove `{versions[0]}`, or correct `uri`.",
        )  # fmt: skip
    if is_references(path):
        return ReadStore(References.of(path, source.access, common_options(source).trust))
    if isinstance(path, MemberPath):
        raise bad_input(
            f'source "{source.name}", {path}', "a Zarr store in an archive", "a store on its own",
            "Unpack the archive and name the store.",
        )  # fmt: skip
    if isinstance(path, Path):
        return str(path) if common_options(source).trust else ContainedStore(path)
    axes = (source.lat, source.lon, *source.dims.values(), "lat", "lon", "latitude", "longitude",
            "time", "x", "y", "spatial_ref", "crs")  # fmt: skip
    names = [variable.name for variable in source.variables.values()]
    return ReadStore(RemoteObjects(path, tuple(str(n) for n in (*names, *axes) if n)))
