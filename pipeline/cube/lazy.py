"""Variables of a cube as lazy arrays that read, check and decode only the chunks they need.

zarr-python reads the same stores; these arrays are faster, keep nothing in memory, and name the
tile whose bytes are corrupt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from pipeline.core.errors import InputError, bad_input
from pipeline.cube.metadata import LOCATIONS_AGAIN
from pipeline.cube.shards import ShardError, ShardLayout, read_chunks, shard_file


class ShardedArray(BackendArray):
    """One variable of a cube; indexing returns NumPy arrays."""

    def __init__(self, path: Path, layout: ShardLayout) -> None:
        self.path = path
        self.layout = layout
        self.shape = layout.shape
        self.dtype = np.dtype(layout.dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[int | slice, ...]) -> np.ndarray:
        """Values of a basic index: read as a box, then strided."""
        spans: list[tuple[int, int]] = []
        after: list[int | slice] = []
        for part, size in zip(key, self.shape, strict=True):
            wanted = range(size)[part] if isinstance(part, slice) else range(part, part + 1)
            # Shards are read as a box without steps; steps and their direction are applied to the
            # result.
            low, high = (min(wanted), max(wanted) + 1) if len(wanted) else (0, 0)
            spans.append((low, high))
            if isinstance(part, slice):
                # A descending range that includes the first element stops at -1, which in a slice
                # would mean the last.
                stop = wanted.stop - low
                after.append(slice(wanted.start - low, stop if stop >= 0 else None, wanted.step))
            else:
                after.append(0)
        return read_box(self.path, self.layout, spans)[tuple(after)]


class GuardedArray(BackendArray):
    """A variable of a Zarr store; unreadable bytes raise an `InputError` that names `where`."""

    def __init__(self, stored: xr.Variable, where: str) -> None:
        self.stored = stored
        self.where = where
        self.shape = stored.shape
        self.dtype = stored.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[int | slice, ...]) -> Any:
        with readable(self.where):
            return self.stored[key].values


@contextmanager
def readable(where: str) -> Iterator[None]:
    """Turn the errors of a Zarr reader about damaged bytes into an `InputError` naming `where`."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    # Every library has errors of its own for damaged values.
    except Exception as error:
        raise bad_input(
            where, f"bytes that cannot be read ({error})", "the store as it was written",
            LOCATIONS_AGAIN,
        ) from None  # fmt: skip


def read_box(path: Path, layout: ShardLayout, spans: list[tuple[int, int]]) -> np.ndarray:
    """The values of `layout`'s array in `path` within `spans` (from, to) along each dimension.

    Cells that were never written have the fill value. Corrupt bytes raise an `InputError` that
    names the tile.
    """
    # Filled beforehand: chunks that are not stored need no further treatment.
    out = np.full([high - low for low, high in spans], layout.fill, dtype=layout.dtype)
    if not out.size:
        return out
    # From the shard that holds the first element to that of the last, along each dimension.
    shards = [range(lo // n, -(-hi // n)) for (lo, hi), n in zip(spans, layout.shard, strict=True)]
    for shard in product(*shards):
        try:
            with shard_file(path, shard).open("rb") as file:
                _read_shard(file, layout, shard, spans, out)
        # No file: a tile without values. Only the ledger records whether it should have some.
        except FileNotFoundError:
            continue
        except ShardError as error:
            raise _corrupt(path, shard, error) from None
    return out


def _read_shard(
    file: Any,
    layout: ShardLayout,
    shard: tuple[int, ...],
    spans: list[tuple[int, int]],
    out: np.ndarray,
) -> None:
    """Copy the values of one shard within `spans` to `out`."""
    corner = [s * n for s, n in zip(shard, layout.shard, strict=True)]
    ranges = []
    for (low, high), start, long, short in zip(
        spans, corner, layout.shard, layout.chunk, strict=True
    ):
        first, last = max(low, start) - start, min(high, start + long) - start
        # Chunks of this shard that meet the box, counted within the shard.
        ranges.append(range(first // short, -(-last // short)))
    for position, values in read_chunks(file, layout, product(*ranges)):
        box, part = [], []
        for (low, high), start, count, short in zip(
            spans, corner, position, layout.chunk, strict=True
        ):
            begin = start + count * short
            first, last = max(low, begin), min(high, begin + short)
            # The overlap of chunk and box, in elements of the box and of the chunk.
            box.append(slice(first - low, last - low))
            part.append(slice(first - begin, last - begin))
        out[tuple(box)] = values[tuple(part)]


def _corrupt(path: Path, shard: tuple[int, ...], error: ShardError) -> Exception:
    row, col = shard[-2:]
    return bad_input(
        f"{path.parent}, variable {path.name}, tile r{row:03d}_c{col:03d}",
        f"a corrupt shard ({error})",
        "the bytes that were written",
        "Find all such tiles with verify_cube and have them written again.",
    )


def lazy_variable(variable: xr.Variable, path: Path, layout: ShardLayout) -> xr.Variable:
    """`variable` with values that are read from `path` when they are accessed."""
    values = indexing.LazilyIndexedArray(ShardedArray(path, layout))
    encoding = {**variable.encoding, "shards": layout.shard, "chunks": layout.chunk}
    return xr.Variable(variable.dims, values, variable.attrs, encoding)


def guarded_variable(variable: xr.Variable, path: Path) -> xr.Variable:
    """`variable`, read by Zarr from `path`, with errors that name the array."""
    values = indexing.LazilyIndexedArray(GuardedArray(variable, str(path)))
    return xr.Variable(variable.dims, values, variable.attrs, variable.encoding)
