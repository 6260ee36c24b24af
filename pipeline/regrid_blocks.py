"""Blocks of sources: each stored chunk decoded once, and regridded to all tiles that it reaches.

A tile needs all times of its cells, while most sources are stored in chunks of few times and many
cells, which every tile would decode again. Where that costs more than writing and reading what was
regridded once more, a source is read in `Block`s first, whose values the tiles take from a
`Scratch`. Both ways write the same bytes.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import bad_input
from pipeline.cube.cost import LARGEST_BLOCK
from pipeline.cube.scratch import PLAN, Block, Scratch, meets
from pipeline.cube.template import CubeTemplate
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import Tile, padded_window
from pipeline.readers.registry import driver_of
from pipeline.regrid_tile import RegridTask, canonical_source, regrid_parts
from pipeline.sources.arrays.aggregate import STORED, StoredChunks
from pipeline.sources.parts import SourcePart
from pipeline.sources.polygons.cells import has_polygon_cells
from pipeline.sources.tiles import mosaic_of

BLOCKS = ".blocks"
"""Suffix of the folder beside a cube that holds blocks until its tiles are filled."""
BLOCK_BYTES = LARGEST_BLOCK
"""Largest size of what a block reads of one variable, and of the values that it holds."""
FEWEST = 8
"""Number of blocks into which a series is divided at least, for as many workers."""
WORTH = 1.1
"""Ratio of the bytes that tiles would decode to those of blocks from which blocks are used."""
LEAST_GAIN = 1 << 26
"""Bytes that blocks must spare the decoder: less takes no longer than their files."""
SCRATCH_COST = 0.25
"""Time to write and read a byte again, relative to that of decoding one."""

Rectangle = tuple[int, int, int, int]
"""First and last row of tiles, first and last column; the last are excluded."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """How a source lies in its files: cells (rows, columns), chunks, and bytes of a time."""

    cells: tuple[int, int]
    chunk: tuple[int, int]
    starts: np.ndarray
    has_times: bool
    arrays: int
    """Number of regridded arrays, coverage included."""
    bytes_read: int
    """Bytes decoded for a cell and time of all variables."""
    bytes_held: int
    """Bytes in memory for a cell and time of one variable while it is read."""

    def decoded(self, shares: tuple[float, float]) -> float:
        """Number of cells decoded for a rectangle with these fractions of rows and columns.

        Chunks are decoded whole, also where they reach beyond the cells that the grid needs.
        """
        count = 1.0
        for size, chunk, share in zip(self.cells, self.chunk, shares, strict=True):
            count *= min(max(size, chunk), share * size + chunk - 1)
        return count


@dataclass(frozen=True, kw_only=True)
class SourceBlocks:
    """The blocks of one source: rectangles of tiles and spans of times, each pair a block."""

    source: int
    groups: Sequence[Rectangle]
    spans: Sequence[tuple[int, int] | None]
    decoded_bytes: int
    """Size of the values that all blocks decode, in bytes."""
    window_bytes: int
    """Largest size of one variable as a block reads it."""
    held_bytes: int
    """Largest size of what a block holds regridded."""
    scratch_bytes: int
    """Size of the files of all blocks."""


def sources_in_blocks(
    task: RegridTask, template: CubeTemplate, tiles: Sequence[Tile], block_bytes: int = BLOCK_BYTES
) -> list[SourceBlocks]:
    """The sources that are read in blocks for these tiles; the others are read by each tile.

    A block reads, of each variable, and holds at most `block_bytes`.
    """
    if task.points is not None or len(tiles) < 2:
        return []
    found = []
    folder = next(path for path in task.store.resolve().parents if path.is_dir())
    free = shutil.disk_usage(folder).free // 2
    for index, source in enumerate(task.sources):
        stored = _stored(task, source)
        blocks = stored and _in_blocks(index, stored, template, tiles, block_bytes)
        if blocks and blocks.scratch_bytes <= free:
            free -= blocks.scratch_bytes
            found.append(blocks)
    return found


def plan_blocks(
    task: RegridTask, template: CubeTemplate, tiles: Sequence[Tile], block_bytes: int = BLOCK_BYTES
) -> list[Block]:
    """The blocks in which sources are read for these tiles, numbered from 0."""
    pairs = (
        (one.source, group, span)
        for one in sources_in_blocks(task, template, tiles, block_bytes)
        for group, span in product(one.groups, one.spans)
    )
    return [
        Block(number=number, source=source, tiles=group, steps=span)
        for number, (source, group, span) in enumerate(pairs)
    ]


def kept_tiles(task: RegridTask, template: CubeTemplate, tiles: Sequence[Tile]) -> list[Tile]:
    """The tiles whose values some tiles need: with filling, also those within the halo."""
    halo = task.filling.distance if task.filling else 0
    if not halo:
        return list(tiles)
    windows = [padded_window(task.grid, tile, halo)[0] for tile in tiles]
    return [tile for tile in template.tiles if any(meets(tile, one, task.grid) for one in windows)]


def regrid_block(task: RegridTask, scratch: Scratch, block: Block) -> dict[str, Any]:
    """Regrid one block of a source and keep it; returns the bytes written."""
    grid = task.grid.window(*scratch.window_of(block))
    opened = _opened(_Opening(scratch.folder, block.source, block.tiles, task, grid))
    steps = slice(*block.steps) if block.steps else slice(0, None)
    ds = regrid_parts(task, task.sources[block.source], opened, grid, steps, fits=True)
    return {"bytes": scratch.write(block, ds)}


@contextmanager
def blocks_of(
    task: RegridTask, template: CubeTemplate, tiles: Sequence[Tile], folder: str, block_bytes: int
) -> Iterator[Scratch]:
    """Yield the blocks for these tiles, in a folder of this name beside the cube.

    The folder is that of a killed call where it has the tiles, and is removed at the end unless an
    error was raised. Folders whose names begin with another word are those of earlier settings.
    """
    beside = task.store.with_suffix(BLOCKS)
    scratch = Scratch(beside / folder, task.grid, template.tile)
    if beside.is_symlink():
        raise bad_input(str(beside), "a link", "a folder of its own", "Remove the link.")
    _remove_plans(beside, but_of=folder.partition("-")[0])
    if not (tiles and scratch.holds(tiles)):
        shutil.rmtree(scratch.folder, ignore_errors=True)
        kept = kept_tiles(task, template, tiles)
        if blocks := plan_blocks(task, template, kept, block_bytes):
            scratch.create(blocks, kept)
    yield scratch
    shutil.rmtree(scratch.folder, ignore_errors=True)
    with suppress(OSError):
        beside.rmdir()


def remove_blocks(store: Path, done: Callable[[], bool]) -> None:
    """Remove the blocks beside a cube that is `done`, whichever call of any part left them."""
    beside = store.with_suffix(BLOCKS)
    if beside.is_symlink() or not beside.is_dir() or not done():
        return
    _remove_plans(beside)
    with suppress(OSError):
        beside.rmdir()


def _remove_plans(beside: Path, but_of: str | None = None) -> None:
    """Remove the folders that hold a plan, but those whose names begin with a word."""
    # Only what holds a plan is ours, and links are not followed.
    for plan in beside.glob(f"*-*of*/{PLAN}"):
        if plan.parent.name.partition("-")[0] != but_of and not plan.parent.is_symlink():
            shutil.rmtree(plan.parent, ignore_errors=True)


@dataclass(frozen=True)
class _Opening:
    """A source to be opened for a group of tiles, once for all of its blocks."""

    folder: Path
    source: int
    tiles: Rectangle
    task: RegridTask = field(compare=False)
    grid: TargetGrid = field(compare=False)


@lru_cache(maxsize=2)
def _opened(wanted: _Opening) -> list[SourcePart]:
    source = wanted.task.sources[wanted.source]
    return canonical_source(wanted.task, source, wanted.grid, load_bytes=0)


def _stored(task: RegridTask, source: Source) -> Stored | None:
    """How a source lies in its files; None of one that cannot be read in blocks of its cells."""
    # The last bits of slopes depend on the window from which they are derived.
    if source.name == task.terrain_from or source.merge or has_polygon_cells(source):
        return None
    driver = driver_of(source)
    if driver.returns != "grid" or not driver.is_lazy or mosaic_of(source) is not None:
        return None
    parts = canonical_source(task, source, task.grid, load_bytes=0)
    if len(parts) != 1:
        return None
    ds = parts[0].ds
    chunks: list[StoredChunks] = [
        da.encoding[STORED] for da in ds.data_vars.values() if STORED in da.encoding
    ]
    if not chunks or not all({"y", "x"} <= one.cells.keys() for one in chunks):
        return None
    starts = chunks[0].starts
    for one in chunks[1:]:
        starts = np.intersect1d(starts, one.starts)
    classes = len(source.classes) if source.method == "fractions" else 1
    return Stored(
        cells=(ds.sizes["y"], ds.sizes["x"]),
        chunk=(max(one.cells["y"] for one in chunks), max(one.cells["x"] for one in chunks)),
        starts=starts,
        has_times="time" in ds.dims,
        arrays=len(chunks) * (classes + 1),
        bytes_read=4 * sum(one.steps for one in chunks),
        bytes_held=max(4 if one.steps == 1 else 16 * one.steps for one in chunks),
    )


def _around(tiles: Sequence[Tile]) -> Rectangle:
    rows, cols = ([getattr(tile, name) for tile in tiles] for name in ("row", "col"))
    return min(rows), max(rows) + 1, min(cols), max(cols) + 1


def _in_blocks(
    index: int, stored: Stored, template: CubeTemplate, tiles: Sequence[Tile], most: int
) -> SourceBlocks | None:
    """The blocks of a source, of whole stored chunks; None where tiles read it in less time.

    None also where a stored chunk does not fit into `most` bytes.
    """
    times = template.time.size if template.time is not None and stored.has_times else 1
    starts = [*(int(start) for start in stored.starts if start < times), times]
    longest = int(max(np.diff(starts)))
    groups = [_around(tiles)]
    while (each := max(map(max, _bytes_of(stored, template, groups)))) * longest > most:
        smaller = [part for group in groups for part in _halved(stored, template, group)]
        if len(smaller) == len(groups):
            return None
        groups = smaller
    spans, first, wanted = [], 0, min(most // each, -(-times // FEWEST))
    for end, following in pairwise([*starts[1:], 2 * times]):
        if following - first > wanted:
            spans.append((first, end))
            first = end
    rows, cols = template.counts
    of_tiles = len(tiles) * stored.decoded((1 / rows, 1 / cols))
    of_blocks = sum(
        stored.decoded(((bottom - top) / rows, (right - left) / cols))
        for top, bottom, left, right in groups
    )
    scratch = 4 * stored.arrays * times * sum(math.prod(tile.shape) for tile in tiles)
    gain = (of_tiles - of_blocks) * stored.bytes_read * times
    if of_tiles <= WORTH * of_blocks or gain <= max(LEAST_GAIN, SCRATCH_COST * scratch):
        return None
    window, held = (max(sizes) for sizes in zip(*_bytes_of(stored, template, groups), strict=True))
    span = max(end - begin for begin, end in spans)
    return SourceBlocks(
        source=index,
        groups=groups,
        spans=spans if stored.has_times else [None],
        decoded_bytes=int(of_blocks * stored.bytes_read * times),
        window_bytes=window * span,
        held_bytes=held * span,
        scratch_bytes=scratch,
    )


def _bytes_of(
    stored: Stored, template: CubeTemplate, groups: Sequence[Rectangle]
) -> list[tuple[int, int]]:
    """Bytes of one time of groups of tiles: of a variable as read, and of all as regridded."""
    sizes = []
    for top, bottom, left, right in groups:
        height, width = (bottom - top) * template.tile[0], (right - left) * template.tile[1]
        cells = min(height, template.grid.shape[0]) * min(width, template.grid.shape[1])
        read = math.prod(stored.cells) * stored.bytes_held * cells / math.prod(template.grid.shape)
        sizes.append((max(1, int(read)), 4 * cells * stored.arrays))
    return sizes


def _halved(stored: Stored, template: CubeTemplate, group: Rectangle) -> list[Rectangle]:
    """A rectangle of tiles in two, so that few stored chunks lie in both; itself if it is one."""
    top, bottom, left, right = group
    rows, cols = template.counts
    height, width = bottom - top, right - left
    # The chunks along a cut, relative to the cells on its sides.
    across_rows = stored.chunk[0] * rows / (stored.cells[0] * height) if height > 1 else math.inf
    across_cols = stored.chunk[1] * cols / (stored.cells[1] * width) if width > 1 else math.inf
    if height == width == 1:
        return [group]
    if across_rows <= across_cols:
        middle = (top + bottom) // 2
        return [(top, middle, left, right), (middle, bottom, left, right)]
    middle = (left + right) // 2
    return [(top, bottom, left, middle), (top, bottom, middle, right)]
