"""`Array`: metadata of an array of a Zarr store of either version, and the keys of its chunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.addresses import MemberPath, RemotePath
from pipeline.core.errors import bad_input
from pipeline.core.untrusted.safe_json import parse_json

AnyFolder = Path | RemotePath | MemberPath


@dataclass(frozen=True)
class Array:
    """Shape, chunks, dims and documents of one array."""

    name: str
    version: int
    """Version of the Zarr format, 2 or 3."""
    document: Mapping[str, Any]
    """`.zarray`, or `zarr.json`."""
    attributes: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dim."""
        return tuple(self.document["shape"])

    @property
    def chunks(self) -> tuple[int, ...]:
        """Length of a chunk, or of a shard, along each dim."""
        if self.version == 2:
            return tuple(self.document["chunks"])
        return tuple(self.document["chunk_grid"]["configuration"]["chunk_shape"])

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dims; empty if the store has none."""
        if self.version == 2:
            return tuple(self.attributes.get("_ARRAY_DIMENSIONS", ()))
        return tuple(name or "" for name in self.document.get("dimension_names") or ())

    def key(self, index: tuple[int, ...]) -> str:
        """Return the key of a chunk within the array."""
        if self.version == 2:
            return self.document.get("dimension_separator", ".").join(map(str, index)) or "0"
        numbers = list(map(str, index))
        return self.separator.join(["c", *numbers] if self._is_default else numbers) or "0"

    @property
    def _key_encoding(self) -> Mapping[str, Any]:
        """How version 3 writes keys."""
        encoding: Mapping[str, Any] = self.document.get("chunk_key_encoding", {"name": "default"})
        return encoding

    @property
    def _is_default(self) -> bool:
        return bool(self._key_encoding["name"] == "default")

    @property
    def separator(self) -> str:
        """Text between the numbers in keys of version 3."""
        usual = "/" if self._is_default else "."
        return str(self._key_encoding.get("configuration", {}).get("separator", usual))

    def files(self, shape: tuple[int, ...]) -> dict[str, Any]:
        """Return the documents of the array with another shape, by file name."""
        document = {**self.document, "shape": list(shape)}
        if self.version == 3:
            return {"zarr.json": document}
        return {".zarray": document, ".zattrs": dict(self.attributes)}


def read_arrays(store: AnyFolder) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays at the root of a store by name, and the attributes of the root.

    Raises `InputError` for a store without consolidated metadata, because its arrays are not
    listed, and `FileNotFoundError` if there is no store.
    """
    try:
        documents = _document(store, ".zmetadata")["metadata"]
    except FileNotFoundError:
        return _read_arrays_3(store)
    arrays = {}
    for key, document in documents.items():
        name, _, kind = key.rpartition("/")
        if kind == ".zarray" and name and "/" not in name:
            _check_plain(store, name, document.get("dimension_separator", "."))
            attributes = documents.get(f"{name}/.zattrs", {})
            arrays[name] = Array(name, 2, document, attributes)
    return arrays, documents.get(".zattrs", {})


def _check_plain(store: AnyFolder, name: str, separator: Any) -> None:
    """Raise `InputError` for an array whose files would lie outside its folder."""
    if name in (".", "..") or "\\" in name or separator not in (".", "/"):
        raise bad_input(
            str(store), f"an array {name!r} with the separator {separator!r}",
            "a plain name, and the separator . or /", "Do not use this store.",
        )  # fmt: skip


def _read_arrays_3(store: AnyFolder) -> tuple[dict[str, Array], dict[str, Any]]:
    root = _document(store, "zarr.json")
    consolidated = root.get("consolidated_metadata") or {}
    documents = consolidated.get("metadata")
    if not documents:
        raise bad_input(str(store), "no consolidated metadata", "a store that lists its arrays")
    arrays = {
        name: Array(name, 3, document, document.get("attributes", {}))
        for name, document in documents.items()
        if document["node_type"] == "array" and "/" not in name
    }
    for name, array in arrays.items():
        _check_plain(store, name, array.separator)
    return arrays, root.get("attributes", {})


def _document(store: AnyFolder, name: str) -> Any:
    path = store / name
    try:
        return parse_json(path.read_bytes())
    except ValueError as error:
        raise bad_input(str(path), f"no JSON document ({error})", "metadata of Zarr") from None
