"""Integrity of a cube: damaged metadata, holes, corrupt or foreign bytes, impossible values.

Used by `stefaland verify`, with the ledger of the stage that filled the cube where there is one; a
repair removes the markers of damaged tiles from the ledger.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.cube.metadata import ROOT, metadata_damage
from pipeline.cube.open import Store, bare_store, read_store
from pipeline.cube.shards import ShardError, ShardLayout, digest, read_chunks, shard_file
from pipeline.execution.ledger import Ledger
from pipeline.grid.tiles import Tile, tile_grid


@dataclass(frozen=True)
class Problem:
    """One problem of a cube, with its tile and variable (empty where it concerns all)."""

    kind: str
    """`unfinished`, `hole`, `corrupt`, `changed`, `impossible` or `foreign`."""
    tile: str
    variable: str
    detail: str
    file: str = ""
    """Damaged file of metadata or coordinates, relative to the cube; empty for tiles."""

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.tile, self.variable) if part)
        return f"{where}: {self.kind}: {self.detail}" if where else f"{self.kind}: {self.detail}"


def verify_cube(
    path: str | Path,
    variables: Mapping[str, Any] | None = None,
    ledger: Ledger | None = None,
    tiles: Sequence[Tile] | None = None,
) -> list[Problem]:
    """All problems of a cube: its metadata and coordinates, then tile by tile; empty where sound.

    Every shard present is read, checksummed and decoded. `variables` maps names to objects with a
    `valid_range`, in which values must lie; coverages and fractions must be in 0..1. With the
    `ledger` of the stage, tiles without a marker are unfinished, and shards that are missing or
    differ from the recorded ones are found too: without it a lost shard looks like one without
    values.
    """
    problems = [
        Problem(one.kind, "", one.variable, f"{one.file}: {one.detail}", one.file)
        for one in metadata_damage(path)
    ]
    store = bare_store(Path(path))
    if store is None:
        if not problems:
            read_store(path)  # raises the error of a store that is not a cube
        return problems
    recorded = ledger.summaries() if ledger is not None else {}
    broken = ledger.names_broken() if ledger is not None else set()
    filled = {name for summary in recorded.values() for name in summary} & {*store.layouts}
    chosen = tile_grid(store.grid, store.tile) if tiles is None else tiles
    for tile in chosen:
        if ledger is not None and (fault := _marker_fault(tile, recorded, filled, broken)):
            problems.append(Problem("unfinished", tile.name, "", fault))
            continue
        for name, layout in store.layouts.items():
            summary = recorded.get(tile.name, {}).get(name)
            valid_range = _valid_range(name, variables or {})
            problems += _check_tile(store, tile, name, layout, summary, valid_range)
    return problems + (list(_foreign(store)) if tiles is None else [])


def _marker_fault(
    tile: Tile, recorded: Mapping[str, Mapping[str, Any]], filled: set[str], broken: set[str]
) -> str:
    """What is wrong with a tile's marker; empty if nothing is.

    A marker has what `write_tile` returns, for all variables that any marker has (`filled`).
    """
    if tile.name in broken:
        return "its marker in the ledger is empty or broken"
    if tile.name not in recorded:
        return "not marked in the ledger"
    summary = recorded[tile.name]
    wrong = sorted(name for name in filled if not _is_summary(summary.get(name)))
    return f"its marker in the ledger lacks {', '.join(wrong)}" if wrong else ""


def _is_summary(summary: Any) -> bool:
    if not isinstance(summary, Mapping) or not isinstance(summary.get("valid"), int):
        return False
    shards = summary.get("shards", [])
    return isinstance(shards, list) and all(isinstance(shard, str) for shard in shards)


def lost_tiles(path: str | Path, ledger: Ledger) -> list[str]:
    """Names of the tiles that the ledger has as finished although a file of theirs is missing."""
    recorded = ledger.summaries()
    store = bare_store(Path(path)) if recorded else None
    if store is None:
        return []
    present = {name: _files(store.path / name / "c") for name in store.layouts}
    return [
        tile.name
        for tile in tile_grid(store.grid, store.tile)
        if tile.name in recorded
        and any(
            _lacks(recorded[tile.name].get(name), store.path / name, tile, layout, present[name])
            for name, layout in store.layouts.items()
        )
    ]


def repeat_lost(path: str | Path, ledger: Ledger) -> None:
    """Remove the markers of `lost_tiles`, so that they are written again."""
    for name in lost_tiles(path, ledger):
        ledger.forget(name)


def _files(folder: Path) -> set[str]:
    return {f"{at}/{file}" for at, _, files in os.walk(folder) for file in files}


def _lacks(summary: Any, array: Path, tile: Tile, layout: ShardLayout, present: set[str]) -> bool:
    """Whether a recorded shard of a tile is not among the files that are present."""
    digests = summary.get("shards", []) if _is_summary(summary) else []
    shards = zip(shard_positions(tile, layout), digests, strict=False)
    return any(known and str(shard_file(array, at)) not in present for at, known in shards)


def repair(ledger: Ledger, problems: Sequence[Problem]) -> list[str]:
    """Remove every tile with a problem from the ledger, so that the next run writes it again.

    Returns the names of the tiles.
    """
    names = sorted({problem.tile for problem in problems if problem.tile})
    for name in names:
        ledger.forget(name)
    return names


def remove_damaged(path: Path, problems: Sequence[Problem]) -> list[str]:
    """Remove damaged metadata and coordinates, which `create_cube` writes again; returns the files.

    Where an array's metadata and the root's copy of them differ, either may be wrong: both are
    removed.
    """
    files = {problem.file for problem in problems if problem.file}
    if any(one.kind == "changed" and one.file.endswith(ROOT) for one in problems):
        files.add(ROOT)
    for file in files:
        (path / file).unlink(missing_ok=True)
    return sorted(files)


def _valid_range(name: str, variables: Mapping[str, Any]) -> tuple[float, float]:
    if name.endswith("_coverage") or "_fraction_" in name:
        return -1e-6, 1 + 1e-6
    variable = variables.get(name)
    limits = getattr(variable, "valid_range", None) if variable is not None else None
    return tuple(limits) if limits else (-math.inf, math.inf)


def _check_tile(
    store: Store, tile: Tile, name: str, layout: ShardLayout, summary: Any, limits: Any
) -> Iterator[Problem]:
    """Problems of one variable of one tile."""
    recorded = summary.get("shards") if isinstance(summary, Mapping) else None
    for number, position in enumerate(shard_positions(tile, layout)):
        file = shard_file(store.path / name, position)
        expected = recorded[number] if recorded and number < len(recorded) else None
        where = str(file.relative_to(store.path))
        if not file.is_file():
            if expected:
                yield Problem("hole", tile.name, name, f"{where} is missing")
            continue
        try:
            with file.open("rb") as handle:
                outside = _outside(handle, layout, limits)
        except ShardError as error:
            yield Problem("corrupt", tile.name, name, f"{where}: {error}")
            continue
        if expected is not None and digest([file.read_bytes()]) != expected:
            yield Problem("changed", tile.name, name, f"{where} differs from what was recorded")
        if outside:
            yield Problem("impossible", tile.name, name, f"{where}: {outside}")


def shard_positions(tile: Tile, layout: ShardLayout) -> list[tuple[int, ...]]:
    """Positions of the shards of a tile, counted in shards, in order of time."""
    if len(layout.dims) == 2:
        return [(tile.row, tile.col)]
    blocks = -(-layout.shape[0] // layout.shard[0])
    return [(block, tile.row, tile.col) for block in range(blocks)]


def _outside(shard: BinaryIO, layout: ShardLayout, limits: tuple[float, float]) -> str:
    """Text on the values outside `limits` in a shard, empty if none; `ShardError` if corrupt."""
    low, high, count = math.inf, -math.inf, 0
    for _, values in read_chunks(shard, layout):
        if values.dtype.kind != "f":
            values = values[values != layout.fill]
        wrong = values[(values < limits[0]) | (values > limits[1]) | np.isinf(values)]
        if wrong.size:
            count += wrong.size
            low, high = min(low, float(wrong.min())), max(high, float(wrong.max()))
    if not count:
        return ""
    return f"{count} values from {low:g} to {high:g}, outside {limits[0]:g} to {limits[1]:g}"


def _foreign(store: Store) -> Iterator[Problem]:
    """Files that belong to no tile of this store: shards of another grid, or half-written ones."""
    for name, layout in store.layouts.items():
        folder = store.path / name / "c"
        counts = [-(-n // s) for n, s in zip(layout.shape, layout.shard, strict=True)]
        known = {shard_file(store.path / name, at) for at in product(*map(range, counts))}
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file not in known:
                yield Problem("foreign", "", name, str(file.relative_to(store.path)))
