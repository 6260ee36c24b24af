"""Regridded values between sources and shards: blocks of times of many tiles, kept on disk.

A source is read in blocks of its stored chunks, each of which reaches many tiles, while a shard has
many times of one tile. A block is one file in which each tile of each variable is contiguous, so
that every byte is written once and read once. Files have checksums and are not flushed: one that is
missing or damaged is no error, its values are then computed from the source again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.core.files import make_folder, read_json, version_of, write_bytes, write_json
from pipeline.core.untrusted.safe_json import parse_json
from pipeline.cube.template import plain
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import Tile, tile_grid

PLAN = "plan.json"
LENGTH_BYTES = 8
"""Bytes at the end of a file with the length of the table before them."""
KNOWN_TABLES = 1 << 12
"""Number of files whose tables a process keeps."""


class ScratchLostError(Exception):
    """Values that are not there, or not as they were written."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some times of one source on a rectangle of tiles: the unit in which a source is read."""

    number: int
    source: int
    """Position of the source in the task."""
    tiles: tuple[int, int, int, int]
    """First and last row of tiles, first and last column; the last are excluded."""
    steps: tuple[int, int] | None = None
    """First and last time, which is excluded; None of a source without times."""

    @property
    def name(self) -> str:
        """Short unique name, such as `b00012`."""
        return f"b{self.number:05d}"

    @property
    def span(self) -> range:
        """The times; one for a source without times."""
        return range(*(self.steps or (0, 1)))


@dataclass(frozen=True)
class Scratch:
    """A folder of blocks of tiles of `tile` (rows, cols) on a grid."""

    folder: Path
    grid: TargetGrid
    tile: tuple[int, int]

    def create(self, blocks: Sequence[Block], tiles: Sequence[Tile]) -> None:
        """Write the plan: the blocks, of which only some tiles are kept."""
        make_folder(self.folder)
        kept = sorted(tile.index for tile in tiles)
        plan = {"blocks": [asdict(block) for block in blocks], "tiles": kept}
        write_json(self.folder / PLAN, plan)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks of the plan; none if there is no plan."""
        return self._plan[0]

    def has_times(self, source: int) -> bool | None:
        """Whether a source has times; None of one that has no blocks."""
        found = (block.steps is not None for block in self.blocks if block.source == source)
        return next(found, None)

    def holds(self, tiles: Sequence[Tile]) -> bool:
        """Whether the plan keeps all of these tiles."""
        return {tile.index for tile in tiles} <= self._plan[1]

    @property
    def _plan(self) -> tuple[tuple[Block, ...], frozenset[int]]:
        path = self.folder / PLAN
        try:
            return _read_plan(path, version_of(path))
        except (OSError, InputError, KeyError, TypeError):
            return (), frozenset()

    def tiles_of(self, block: Block) -> list[Tile]:
        """The tiles of a block that are kept, row by row."""
        return list(_kept(self.grid, self.tile, block.tiles, self._plan[1]).tiles)

    def window_of(self, block: Block) -> tuple[slice, slice]:
        """Rows and columns of the grid that a block covers."""
        known = _tiles(self.grid, self.tile)
        top, bottom, left, right = block.tiles
        first, last = known[top, left], known[bottom - 1, right - 1]
        return slice(first.rows.start, last.rows.stop), slice(first.cols.start, last.cols.stop)

    def write(self, block: Block, ds: xr.Dataset) -> int:
        """Write a block's variables, dims (time?, y, x), of its window; returns the bytes."""
        rows, cols = self.window_of(block)
        pieces: list[bytes | memoryview] = []
        table = []
        for name, da in ds.data_vars.items():
            checks = []
            for tile in self.tiles_of(block):
                inside = (_from(tile.rows, rows.start), _from(tile.cols, cols.start))
                part = _bytes_of(np.ascontiguousarray(da.values[(..., *inside)]))
                checks.append(google_crc32c.value(part))
                pieces.append(part.data)
            table.append({"name": str(name), "dtype": da.dtype.str, "has_time": "time" in da.dims,
                          "attrs": plain(da.attrs), "checks": checks})  # fmt: skip
        text = json.dumps(table).encode()
        pieces += [text, len(text).to_bytes(LENGTH_BYTES, "little")]
        write_bytes(self._file(block), pieces, durable=False)
        return sum(map(len, pieces))

    def _file(self, block: Block) -> Path:
        return self.folder / f"{block.name}.bin"

    def read(
        self, source: int, window: TargetGrid, steps: slice, times: xr.DataArray | None
    ) -> xr.Dataset | None:
        """A source at some steps in a window, whose columns may continue across the first meridian.

        `times` are those of the cube. Variables without time come with the first step only. None of
        a source that has no blocks; raises `ScratchLostError` if any value is lost.
        """
        mine = [block for block in self.blocks if block.source == source]
        if not mine:
            return None
        coords = dict(window.coords())
        span = range(1)
        if mine[0].steps is not None:
            assert times is not None
            span = range(times.size)[steps]
            coords["time"] = times[steps]
        elif steps.start:
            return xr.Dataset(coords=coords)
        found: dict[str, xr.Variable] = {}
        filled = 0
        for block in mine:
            filled += self._copy(block, found, window, span)
        if filled != len(span) * window.shape[0] * window.shape[1]:
            raise ScratchLostError(f"{self.folder}: not all of the window")
        return xr.Dataset(found, coords)

    def _copy(
        self, block: Block, found: dict[str, xr.Variable], window: TargetGrid, span: range
    ) -> int:
        """Copy what a block has of a window at the steps `span`; returns the number of values."""
        common = range(max(block.span.start, span.start), min(block.span.stop, span.stop))
        if not common:
            return 0
        kept = _kept(self.grid, self.tile, block.tiles, self._plan[1])
        # Of thousands of tiles, only those near the window are looked at.
        near = sorted(kept.position[at] for at in self._near(window) if at in kept.position)
        shared = {at: list(_overlaps(kept.tiles[at], window, self.grid)) for at in near}
        of_block, of_span = (
            slice(common.start - one.start, common.stop - one.start) for one in (block.span, span)
        )
        for entry, parts in self._segments(block, kept, near):
            has_time = entry["has_time"]
            if not (has_time or span.start == 0):
                continue
            if entry["name"] not in found:
                lead, dims = ((len(span),), ("time",)) if has_time else ((), ())
                empty = np.empty((*lead, *window.shape), entry["dtype"])
                found[entry["name"]] = xr.Variable((*dims, "y", "x"), empty, entry["attrs"])
            values = found[entry["name"]].values
            for at, part in zip(near, parts, strict=True):
                for inside, within in shared[at]:
                    if has_time:
                        values[(of_span, *within)] = part[(of_block, *inside)]
                    else:
                        values[within] = part[inside]
        return len(common) * sum(
            (rows.stop - rows.start) * (cols.stop - cols.start)
            for overlaps in shared.values()
            for (rows, cols), _ in overlaps
        )

    def _near(self, window: TargetGrid) -> set[tuple[int, int]]:
        """Rows and columns of the tiles that a window meets."""
        top, left = (w - g for w, g in zip(window.offset, self.grid.offset, strict=True))
        (height, width), (rows, cols) = self.tile, window.shape
        columns = {at % self.grid.shape[1] // width for at in range(left, left + cols)}
        return set(product(range(top // height, (top + rows - 1) // height + 1), columns))

    def _segments(
        self, block: Block, kept: _Kept, wanted: Sequence[int]
    ) -> Iterator[tuple[Mapping[str, Any], list[np.ndarray]]]:
        """Each variable of a block with the values of the wanted tiles, by their positions."""
        file, begin = self._file(block), 0
        if not wanted:
            return
        try:
            table = _table(file, version_of(file))
            with file.open("rb") as handle:
                for entry in table:
                    lead = (len(block.span),) if entry["has_time"] else ()
                    size = int(np.prod(lead)) * np.dtype(entry["dtype"]).itemsize
                    parts = []
                    for at in wanted:
                        part = np.empty((*lead, *kept.tiles[at].shape), entry["dtype"])
                        handle.seek(begin + size * int(kept.cells[at]))
                        whole = handle.readinto(_bytes_of(part).data) == part.nbytes
                        check = google_crc32c.value(_bytes_of(part))
                        if not whole or check != entry["checks"][at]:
                            raise ScratchLostError(f"{file}: {entry['name']}, tile {at}")
                        parts.append(part)
                    begin += size * int(kept.cells[-1])
                    yield entry, parts
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise ScratchLostError(f"{file}: {error}") from None


@dataclass(frozen=True, eq=False)
class _Kept:
    """The tiles of a block that are kept, in the order of its file."""

    tiles: Sequence[Tile]
    position: Mapping[tuple[int, int], int]
    cells: np.ndarray
    """Number of cells before each tile, and of all."""


@lru_cache(maxsize=64)
def _kept(
    grid: TargetGrid, size: tuple[int, int], tiles: tuple[int, int, int, int], kept: frozenset[int]
) -> _Kept:
    known, (top, bottom, left, right) = _tiles(grid, size), tiles
    at = [(row, col) for row, col in product(range(top, bottom), range(left, right))
          if known[row, col].index in kept]  # fmt: skip
    cells = np.cumsum([0, *(np.prod(known[one].shape) for one in at)])
    return _Kept([known[one] for one in at], {one: i for i, one in enumerate(at)}, cells)


@lru_cache(maxsize=4)
def _read_plan(path: Path, stamp: tuple[int, ...]) -> tuple[tuple[Block, ...], frozenset[int]]:
    plan = read_json(path, "blocks", "tiles")
    blocks = [
        Block(
            number=block["number"],
            source=block["source"],
            tiles=tuple(block["tiles"]),
            steps=block["steps"] and tuple(block["steps"]),
        )
        for block in plan["blocks"]
    ]
    return tuple(blocks), frozenset(plan["tiles"])


@lru_cache(maxsize=4)
def _tiles(grid: TargetGrid, size: tuple[int, int]) -> dict[tuple[int, int], Tile]:
    return {(tile.row, tile.col): tile for tile in tile_grid(grid, size)}


@lru_cache(maxsize=KNOWN_TABLES)
def _table(file: Path, stamp: tuple[int, ...]) -> list[dict[str, Any]]:
    """The table at the end of a block's file: name, type, attributes and checksums of each."""
    with file.open("rb") as handle:
        end = handle.seek(-LENGTH_BYTES, 2)
        length = int.from_bytes(handle.read(LENGTH_BYTES), "little")
        if not 0 < length <= end:
            raise ValueError("no table at its end")
        handle.seek(end - length)
        table: list[dict[str, Any]] = parse_json(handle.read(length).decode())
    return table


def _bytes_of(values: np.ndarray) -> np.ndarray:
    """A contiguous array as its bytes, without a copy."""
    return values.reshape(-1).view(np.uint8)


def _from(cells: slice, start: int) -> slice:
    return slice(cells.start - start, cells.stop - start)


Rectangle = tuple[slice, slice]


def _overlaps(
    tile: Tile, window: TargetGrid, grid: TargetGrid
) -> Iterator[tuple[Rectangle, Rectangle]]:
    """Rectangles that a tile shares with a window: within the tile, and within the window."""
    top, left = (w - g for w, g in zip(window.offset, grid.offset, strict=True))
    turns = (-grid.shape[1], 0, grid.shape[1]) if grid.is_periodic else (0,)
    rows = _common(tile.rows, top, window.shape[0])
    for turn in turns:
        cols = _common(tile.cols, left + turn, window.shape[1])
        if rows and cols:
            yield ((_from(rows, tile.rows.start), _from(cols, tile.cols.start)),
                   (_from(rows, top), _from(cols, left + turn)))  # fmt: skip


def meets(tile: Tile, window: TargetGrid, grid: TargetGrid) -> bool:
    """Whether a tile of a grid has cells in a window of it, also across the first meridian."""
    return next(_overlaps(tile, window, grid), None) is not None


def _common(cells: slice, start: int, size: int) -> slice | None:
    first, last = max(cells.start, start), min(cells.stop, start + size)
    return slice(first, last) if first < last else None
