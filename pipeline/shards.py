"""One Zarr v3 shard as bytes: encoded whole, so that it can be written atomically, and checked.

Downstream: `cube`. zarr-python reads what this writes. It does not write it itself here because it
merges a shard that overhangs the array with what is already on disk (so a corrupt shard could never
be replaced) and spends more time in its event loop than in the codec.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import Blosc, Zstd

EMPTY = 2**64 - 1
"""Offset and length of a chunk that is not there."""
_SHUFFLES = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}


class ShardError(ValueError):
    """Bytes that are not the shard they should be; says what is wrong."""


def _compressor(codec: Mapping[str, Any]) -> Any:
    settings = dict(codec.get("configuration", {}))
    if codec["name"] == "blosc":
        settings["shuffle"] = _SHUFFLES[settings["shuffle"]]
        return Blosc(**settings)
    if codec["name"] == "zstd":
        return Zstd(**settings)
    raise ShardError(f"codec {codec['name']!r} is none that cubes are written with")


@dataclass(frozen=True)
class ShardLayout:
    """How one array is cut: `shape`, `shard` and `chunk` in elements, and the chunks' codec.

    Every chunk ends with its crc32c, and so does the index at the end of the shard.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    shard: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: str
    fill: float
    codec: str
    """JSON of the compressor's Zarr metadata; empty where chunks are not compressed."""

    @classmethod
    def read(cls, array: Path) -> ShardLayout:
        """The layout that an array's `zarr.json` declares."""
        meta = json.loads((array / "zarr.json").read_text())
        if [codec["name"] for codec in meta["codecs"]] != ["sharding_indexed"]:
            raise ShardError(f"{array} has no shards")
        sharding = meta["codecs"][0]["configuration"]
        codecs = [codec for codec in sharding["codecs"] if codec["name"] not in ("bytes", "crc32c")]
        return cls(
            tuple(meta["dimension_names"]),
            tuple(meta["shape"]),
            tuple(meta["chunk_grid"]["configuration"]["chunk_shape"]),
            tuple(sharding["chunk_shape"]),
            np.dtype(meta["data_type"]).newbyteorder("<").str,
            float(meta["fill_value"]),
            json.dumps(codecs[0]) if codecs else "",
        )

    @cached_property
    def compressor(self) -> Any:
        """The numcodecs codec of the chunks; None where they are not compressed."""
        return _compressor(json.loads(self.codec)) if self.codec else None

    @property
    def counts(self) -> tuple[int, ...]:
        """Chunks of a shard along each dimension."""
        return tuple(s // c for s, c in zip(self.shard, self.chunk, strict=True))

    @property
    def index_bytes(self) -> int:
        """Size of the index at the end of a shard."""
        return 16 * math.prod(self.counts) + 4

    def is_fill(self, block: np.ndarray) -> bool:
        """Whether all of `block` is the fill value."""
        return bool(np.isnan(block).all() if math.isnan(self.fill) else (block == self.fill).all())


def shard_file(array: Path, place: tuple[int, ...]) -> Path:
    """The file of an array's shard at `place`, counted in shards."""
    return array.joinpath("c", *map(str, place))


def checksum(data: bytes) -> bytes:
    """The crc32c of `data`, little-endian."""
    return int(google_crc32c.value(data)).to_bytes(4, "little")


def digest(parts: Iterable[bytes]) -> str:
    """64-bit hash of joined bytes; the crc32c of a shard is no use, being the same for all."""
    state = hashlib.blake2b(digest_size=8)
    for part in parts:
        state.update(part)
    return state.hexdigest()


def _padded(block: np.ndarray, layout: ShardLayout, at: tuple[int, ...]) -> np.ndarray:
    """The contiguous chunk of `block` that starts at `at`, filled up beyond the block's edge."""
    inside = block[tuple(slice(a, a + c) for a, c in zip(at, layout.chunk, strict=True))]
    if inside.shape == layout.chunk:
        return np.ascontiguousarray(inside)
    chunk = np.full(layout.chunk, layout.fill, dtype=layout.dtype)
    chunk[tuple(slice(0, n) for n in inside.shape)] = inside
    return chunk


def encode_shard(block: np.ndarray, layout: ShardLayout) -> list[bytes] | None:
    """The shard's bytes in pieces; None where every value is the fill value.

    `block` has at most the shard's shape: it is less where a shard overhangs the array. The same
    values give the same bytes, NaN payloads included.
    """
    pieces: list[bytes] = []
    index = np.full((*layout.counts, 2), EMPTY, dtype="<u8")
    position = 0
    for place in product(*map(range, layout.counts)):
        at = tuple(p * c for p, c in zip(place, layout.chunk, strict=True))
        if any(a >= n for a, n in zip(at, block.shape, strict=True)):
            continue
        chunk = _padded(block, layout, at)
        if layout.is_fill(chunk):
            continue
        data = bytes(layout.compressor.encode(chunk)) if layout.compressor else chunk.tobytes()
        pieces += [data, checksum(data)]
        index[place] = position, len(data) + 4
        position += len(data) + 4
    if not pieces:
        return None
    table = index.tobytes()
    return [*pieces, table, checksum(table)]


def read_index(shard: bytes, layout: ShardLayout) -> np.ndarray:
    """Offsets and lengths of a shard's chunks, dims (*counts, 2); `ShardError` where corrupt."""
    size = layout.index_bytes
    if len(shard) < size:
        raise ShardError(f"{len(shard)} bytes, too short for its index: truncated")
    table = shard[-size:-4]
    if checksum(table) != shard[-4:]:
        raise ShardError("the checksum of its index is wrong: truncated or changed")
    return np.frombuffer(table, dtype="<u8").reshape(*layout.counts, 2)


def decode_shard(shard: bytes, layout: ShardLayout) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """(place, values) of each chunk that is present; `ShardError` at the first corrupt one."""
    index = read_index(shard, layout)
    for place in product(*map(range, layout.counts)):
        offset, length = (int(v) for v in index[place])
        if offset == EMPTY:
            continue
        data = shard[offset : offset + length]
        if len(data) != length or length < 4 or checksum(data[:-4]) != data[-4:]:
            raise ShardError(f"the checksum of chunk {place} is wrong: the file was changed")
        try:
            plain = layout.compressor.decode(data[:-4]) if layout.compressor else data[:-4]
            yield place, np.frombuffer(plain, dtype=layout.dtype).reshape(layout.chunk)
        except (RuntimeError, ValueError) as error:
            raise ShardError(f"chunk {place} cannot be decoded ({error})") from None
