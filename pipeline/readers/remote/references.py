"""`References`: a Zarr store whose chunks are parts of other files (kerchunk, VirtualiZarr).

Reads the JSON format (versions 0 and 1, without computed references) and the Parquet format of
https://fsspec.github.io/kerchunk/spec.html.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core.addresses import Access, AnyPath, RemotePath, is_remote, path_of
from pipeline.core.cache import local_copy
from pipeline.core.errors import bad_input
from pipeline.core.untrusted.links import check_link
from pipeline.core.untrusted.safe_json import parse_json
from pipeline.readers.common.advice import advice
from pipeline.readers.common.first_bytes import REFERENCES

OUTSIDE = "Set `options: {trust: true}` if you trust whoever made the references."
FORMAT = "references of the kerchunk format"


def is_references(path: AnyPath) -> bool:
    """Whether the path is a JSON file of references or a folder of them in Parquet files."""
    if path.suffix == ".json":
        return True
    return path.suffix in (".parq", ".parquet") and (path / ".zmetadata").is_file()


class References:
    """Objects of a store by key: texts in the references, or parts of files at an address."""

    def __init__(self, path: AnyPath, access: Access, trust: bool, table: Any) -> None:
        self.path, self.access, self.trust, self.table = path, access, trust, table

    @classmethod
    def of(cls, path: AnyPath, access: Access, trust: bool) -> References:
        """Read references; raises `InputError` if they are not valid."""
        stamp = path.stat()
        read = _read_table if path.suffix != ".json" else _read_json
        return cls(path, access, trust, read(path, (stamp.st_mtime_ns, stamp.st_size)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, References) and other.path == self.path

    def size(self, key: str) -> int | None:
        """Return the bytes of an object; None if there is none."""
        reference = self.table.get(key)
        if reference is None or isinstance(reference, bytes):
            return None if reference is None else len(reference)
        name, _, length = reference
        return self._file(name).stat().st_size if length is None else length

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes | None:
        """Return bytes of an object; None if there is none.

        Raises `InputError` for a file that is not there, is too short or must not be read.
        """
        reference = self.table.get(key)
        if reference is None or isinstance(reference, bytes):
            return None if reference is None else reference[start:stop]
        name, offset, length = reference
        file = self._file(name)
        try:
            end = file.stat().st_size if length is None else offset + length
            begin = offset + start
            end = end if stop is None else min(end, offset + stop)
            content = _part(file, begin, end)
        except FileNotFoundError:
            raise bad_input(
                f"{self.path}: {key}", f"no such file {file}", "the file that it names",
                "Move the files to where the references expect them.",
            ) from None  # fmt: skip
        if len(content) != end - begin:
            raise bad_input(
                f"{self.path}: {key}", f"{file} that ends before byte {end:,}",
                "the file of which the references were made", "Make them again.",
            )  # fmt: skip
        return content

    def children(self, prefix: str) -> Iterable[str]:
        """Return the names directly under a prefix."""
        return list(self.table.children(prefix))

    def _file(self, name: str) -> AnyPath:
        """Return the path of a file named relative to the references, by path or by address."""
        try:
            if is_remote(name):
                found = path_of(name, self.access)
                if not self.trust:
                    check_link(str(found), str(self.path))
                return found
            plain = path_of(name)
        except ValueError as error:
            raise bad_input(f"{self.path}", f"{error}", "addresses of files", OUTSIDE) from None
        assert isinstance(plain, Path)
        if not isinstance(self.path, Path):
            if not plain.is_absolute() and ".." not in plain.parts:
                return self.path.parent / str(plain)
        else:
            folder = self.path.parent.resolve()
            found = (folder / plain).resolve()
            if found.is_relative_to(folder):
                return found
        if self.trust:
            return plain if plain.is_absolute() else Path(str(self.path.parent)) / plain
        raise bad_input(
            str(self.path), f"references to {plain}, outside of their own folder",
            "files beside the references, or remote addresses", OUTSIDE,
        )  # fmt: skip


def _part(file: AnyPath, begin: int, end: int) -> bytes:
    if isinstance(file, RemotePath):
        return file.read_part(begin, end) if end > begin else b""
    with file.open("rb") as opened:
        opened.seek(begin)
        return opened.read(end - begin)


class _Json:
    """References by key, from one JSON document."""

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self.entries = entries
        self.folders: dict[str, dict[str, None]] = {}
        for key in entries:
            parts = key.split("/")
            for i in range(len(parts)):
                self.folders.setdefault("/".join(parts[:i]), {})[parts[i]] = None

    def get(self, key: str) -> bytes | tuple[str, int, int | None] | None:
        """Return bytes, or (file, offset, length); None if there is no such key."""
        found: bytes | tuple[str, int, int | None] | None = self.entries.get(key)
        return found

    def children(self, prefix: str) -> Iterable[str]:
        """Return the names directly under a prefix."""
        return self.folders.get(prefix, {})


@lru_cache(maxsize=16)
def _read_json(path: AnyPath, stamp: tuple[int, int]) -> _Json:
    where = str(path)
    try:
        document = parse_json(path.read_bytes())
        computed = "gen" in document
        entries = document.get("refs", document)
        templates = document.get("templates", {}) if "refs" in document else {}
        if computed or not isinstance(entries, dict) or not entries:
            found = "references that are computed (`gen`)" if computed else "no references"
            raise bad_input(where, found, FORMAT, "Write each reference out, as kerchunk does.")
        return _Json({key: _reference(value, templates) for key, value in entries.items()})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        hint = advice(path, (REFERENCES,))
        raise bad_input(where, f"no valid references ({error})", FORMAT, hint) from None


def _reference(value: Any, templates: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        if value.startswith("base64:"):
            return base64.b64decode(value.removeprefix("base64:"))
        return value.encode()
    if isinstance(value, dict):
        return json.dumps(value).encode()
    name, offset, length = (*value, 0, None)[:3] if len(value) < 3 else value
    filled = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: templates[match[1]], name)
    if "{{" in filled:
        raise ValueError(f"a template that is computed, {name}")
    return filled, int(offset), None if length is None else int(length)


class _Table:
    """References by key, from a folder of Parquet files that are read when needed."""

    def __init__(self, path: AnyPath, metadata: Mapping[str, Any], rows: int) -> None:
        self.path, self.metadata, self.rows = path, metadata, rows
        self.names = _Json(dict.fromkeys(metadata, b""))

    def get(self, key: str) -> bytes | tuple[str, int, int | None] | None:
        """Return bytes, or (file, offset, length); None if there is no such key."""
        if key == ".zmetadata":
            document = {"metadata": self.metadata, "zarr_consolidated_format": 1}
            return json.dumps(document).encode()
        if key in self.metadata:
            return json.dumps(self.metadata[key]).encode()
        name, _, chunk = key.rpartition("/")
        array = self.metadata.get(f"{name}/.zarray")
        if array is None or not re.fullmatch(r"\d+(\.\d+)*", chunk):
            return None
        counts = [math.ceil(n / c) for n, c in zip(array["shape"], array["chunks"], strict=True)]
        number = 0
        for count, index in zip(counts, map(int, chunk.split(".")), strict=False):
            number = number * count + index
        file, row = divmod(number, self.rows)
        table = _rows(self.path / name / f"refs.{file}.parq")
        if table is None or row >= len(table["path"]):
            found = "no such file" if table is None else f"{len(table['path'])} references"
            raise bad_input(
                str(self.path / name / f"refs.{file}.parq"), found,
                f"the reference of {chunk}, one of the {math.prod(counts)} chunks of {name}",
                "Copy the folder again. If these chunks were never written, make the references "
                "again as one JSON file, which lists those that exist.",
            )  # fmt: skip
        if isinstance(raw := table["raw"][row], bytes):
            return raw
        if not isinstance(target := table["path"][row], str):
            return None
        length = int(table["size"][row])
        return target, int(table["offset"][row]), length or None

    def children(self, prefix: str) -> Iterable[str]:
        """Return the names directly under a prefix, without chunks."""
        return self.names.children(prefix)


@lru_cache(maxsize=16)
def _read_table(path: AnyPath, stamp: tuple[int, int]) -> _Table:
    try:
        document = parse_json((path / ".zmetadata").read_bytes())
        return _Table(path, document["metadata"], int(document["record_size"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise bad_input(str(path), f"no valid references ({error})", FORMAT) from None


@lru_cache(maxsize=32)
def _rows(path: AnyPath) -> dict[str, Any] | None:
    """Return the columns of a file of references; None if there is no such file."""
    try:
        table = pd.read_parquet(local_copy(path))
    except FileNotFoundError:
        return None
    empty = [None] * len(table)
    columns = ("path", "offset", "size", "raw")
    return {name: table[name].tolist() if name in table else empty for name in columns}
