"""One Zarr v3 shard as bytes: encoded as a whole, to be written atomically, and checked.

zarr-python reads these shards but does not write them, because it merges a shard that overhangs the
array with the one on disk (a corrupt shard could never be replaced) and spends more time in its
event loop than in the codec.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
from numcodecs import Blosc, Zstd

from pipeline.core.untrusted.safe_json import parse_json

EMPTY = 2**64 - 1
"""Offset and length of a chunk that is absent."""
_SHUFFLES = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}


class ShardError(ValueError):
    """Bytes that are not a valid shard; the message states the damage."""


def _compressor(codec: Mapping[str, Any]) -> Any:
    settings = dict(codec.get("configuration", {}))
    if codec["name"] == "blosc":
        settings["shuffle"] = _SHUFFLES[settings["shuffle"]]
        return Blosc(**settings)
    if codec["name"] == "zstd":
        return Zstd(**settings)
    raise ShardError(f"codec {codec['name']!r} is not one that cubes use")


@dataclass(frozen=True, kw_only=True)
class ShardLayout:
    """Layout of one array: `shape`, `shard` and `chunk` in elements, and the codec of the chunks.

    Every chunk, and the index at the end of the shard, ends with its crc32c.
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
        """The layout from an array's `zarr.json`; `ShardError` where the array has no shards."""
        meta = parse_json((array / "zarr.json").read_text())
        if [codec["name"] for codec in meta["codecs"]] != ["sharding_indexed"]:
            raise ShardError(f"{array} has no shards")
        return cls.from_metadata(meta)

    @classmethod
    def from_metadata(cls, meta: Mapping[str, Any]) -> ShardLayout:
        """The layout from an array's metadata."""
        # `bytes` and `crc32c` are always the same; only the compressor differs.
        sharding = meta["codecs"][0]["configuration"]
        codecs = [codec for codec in sharding["codecs"] if codec["name"] not in ("bytes", "crc32c")]
        return cls(
            dims=tuple(meta["dimension_names"]),
            shape=tuple(meta["shape"]),
            shard=tuple(meta["chunk_grid"]["configuration"]["chunk_shape"]),
            chunk=tuple(sharding["chunk_shape"]),
            # Stored little-endian on every machine.
            dtype=np.dtype(meta["data_type"]).newbyteorder("<").str,
            fill=float(meta["fill_value"]),
            codec=json.dumps(codecs[0]) if codecs else "",
        )

    @cached_property
    def compressor(self) -> Any:
        """The numcodecs codec of the chunks; None where they are not compressed."""
        return _compressor(parse_json(self.codec)) if self.codec else None

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of chunks of a shard along each dimension."""
        return tuple(s // c for s, c in zip(self.shard, self.chunk, strict=True))

    @property
    def index_bytes(self) -> int:
        """Size of the index at the end of a shard."""
        return 16 * math.prod(self.counts) + 4


def shard_file(array: Path, position: tuple[int, ...]) -> Path:
    """The file of an array's shard at `position`, counted in shards."""
    return array.joinpath("c", *map(str, position))


def checksum(data: bytes) -> bytes:
    """The crc32c of `data`, little-endian."""
    return int(google_crc32c.value(data)).to_bytes(4, "little")


def digest(parts: Iterable[bytes]) -> str:
    """64-bit hash of the joined bytes, in hexadecimal."""
    # Not a crc32c: of data that end with their own crc32c it is the same constant for all.
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.hexdigest()[:16]


@dataclass(frozen=True)
class EncodedShard:
    """The bytes of a shard in pieces (none if it has no values), and a summary of its values."""

    pieces: tuple[bytes, ...]
    valid: int
    minimum: float
    maximum: float


def _copy(block: np.ndarray, layout: ShardLayout, at: tuple[int, ...]) -> np.ndarray:
    """A copy of the chunk of `block` that starts at `at`, filled beyond the edge of the block."""
    # Zarr stores every chunk whole, even one that overhangs the edge of the array.
    inside = block[tuple(slice(a, a + c) for a, c in zip(at, layout.chunk, strict=True))]
    if inside.shape == layout.chunk:
        return np.array(inside, dtype=layout.dtype, order="C")
    chunk = np.full(layout.chunk, layout.fill, dtype=layout.dtype)
    chunk[tuple(slice(0, n) for n in inside.shape)] = inside
    return chunk


def _summarised(chunk: np.ndarray, fill: float) -> tuple[int, float, float]:
    """Number of valid values, minimum and maximum of a chunk; sets every NaN to the same bits."""
    if chunk.dtype.kind == "f":
        missing = np.isnan(chunk)
        absent = int(np.count_nonzero(missing))
        if absent:
            # NaN has many bit patterns; which of them arithmetic produces depends on the machine.
            np.copyto(chunk, np.nan, where=missing)
        if absent == chunk.size:
            return 0, math.inf, -math.inf
        flat = chunk.reshape(-1)
        return chunk.size - absent, float(np.fmin.reduce(flat)), float(np.fmax.reduce(flat))
    present = chunk[chunk != fill]
    if not present.size:
        return 0, math.inf, -math.inf
    return present.size, float(present.min()), float(present.max())


def encode_shard(block: np.ndarray, layout: ShardLayout) -> EncodedShard:
    """The shard of `block`, which may be smaller than a shard at the edge of the array.

    Chunks that hold only the fill value are left out. Equal values produce equal bytes, also for
    NaN. Chunks are encoded one by one, so that values are summarised while they are in the cache.
    """
    pieces: list[bytes] = []
    index = np.full((*layout.counts, 2), EMPTY, dtype="<u8")
    offset, valid, low, high = 0, 0, math.inf, -math.inf
    for position in product(*map(range, layout.counts)):
        at = tuple(p * c for p, c in zip(position, layout.chunk, strict=True))
        # Wholly beyond the edge of the array: absent, as zarr-python writes it.
        if any(a >= n for a, n in zip(at, block.shape, strict=True)):
            continue
        chunk = _copy(block, layout, at)
        count, smallest, largest = _summarised(chunk, layout.fill)
        if not count:
            continue
        valid, low, high = valid + count, min(low, smallest), max(high, largest)
        encoded = bytes(layout.compressor.encode(chunk)) if layout.compressor else chunk.tobytes()
        pieces += [encoded, checksum(encoded)]
        # Lengths in the index include the checksum of the chunk.
        index[position] = offset, len(encoded) + 4
        offset += len(encoded) + 4
    # Without any chunk there is no file: a tile of sea needs no storage.
    if pieces:
        table = index.tobytes()
        pieces += [table, checksum(table)]
    return EncodedShard(tuple(pieces), valid, low, high)


def read_index(table: bytes, layout: ShardLayout) -> np.ndarray:
    """Offsets and lengths of a shard's chunks, dims (*counts, 2), from its last `index_bytes`.

    `ShardError` where they are corrupt.
    """
    if len(table) != layout.index_bytes:
        raise ShardError("too short for its index: truncated")
    if checksum(table[:-4]) != table[-4:]:
        raise ShardError("the checksum of its index is wrong: truncated or changed")
    return np.frombuffer(table[:-4], dtype="<u8").reshape(*layout.counts, 2)


def decode_chunk(encoded: bytes, layout: ShardLayout, position: tuple[int, ...]) -> np.ndarray:
    """The values of one chunk; `ShardError` where its bytes are corrupt."""
    if len(encoded) < 4 or checksum(encoded[:-4]) != encoded[-4:]:
        raise ShardError(f"the checksum of chunk {position} is wrong: truncated or changed")
    try:
        plain = layout.compressor.decode(encoded[:-4]) if layout.compressor else encoded[:-4]
        return np.frombuffer(plain, dtype=layout.dtype).reshape(layout.chunk)
    except (RuntimeError, ValueError) as error:
        raise ShardError(f"chunk {position} cannot be decoded ({error})") from None


def read_chunks(
    file: BinaryIO, layout: ShardLayout, positions: Iterable[tuple[int, ...]] | None = None
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Yields (position, values) of the chunks at `positions` (by default all) that are present.

    `ShardError` at the first corrupt one.
    """
    # The index is last, so that a shard can be written from front to back.
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - layout.index_bytes))
    index = read_index(file.read(), layout)
    for position in product(*map(range, layout.counts)) if positions is None else positions:
        offset, length = (int(value) for value in index[position])
        if offset != EMPTY:
            file.seek(offset)
            yield position, decode_chunk(file.read(length), layout, position)
