"""Estimated cost of filling a cube: tiles, bytes, memory, files and time.

Used by `stefaland plan` and `--dry-run`, which refuse a run that does not fit before it starts.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.table import Table

from pipeline.core.errors import Faults
from pipeline.core.files import scratch_folder, write_bytes
from pipeline.cube.open import read_store
from pipeline.cube.shards import encode_shard
from pipeline.cube.template import CubeTemplate, cube_template, write_template

PROCESS_BYTES = 704 * 2**20
"""Memory of a process before anything is read, in bytes: 580 MiB of Python, xarray, GDAL and
PyTorch as measured, 65 MiB of compiled kernels, and a reserve of 10 %. Workers of a cluster, which
need no PyTorch, take 410 MiB."""
SOURCE_COPIES = 3
"""Number of copies of a source window in memory: as stored, canonical, and as kernel input."""
TERRAIN_COPIES = 4
"""Number of terrain arrays on the elevation's grid: slope, aspect (sine, cosine) and curvature."""
MATRIX_BYTES = 192 * 2**20
"""Upper limit of the sparse matrices of a warp and their input, in bytes; strips keep to it."""
LARGEST_BLOCK = 2**28
"""Largest part of a source's window in memory, in bytes; larger windows are read in blocks."""
HALO_SHARE = 1.2
"""Ratio of the source cells read for a tile to those that the tile covers."""
SCHEDULER_TASKS = 20
"""Number of tasks besides those of the tiles."""
PROBE_BYTES = 8 * 2**20
"""Size of the values that `probe` encodes and writes."""


SMALLEST_BLOCK = 2**24
"""Smallest limit of a block: with less memory, tiles do not fit either."""


def block_bytes(memory: int) -> int:
    """Largest size of what a block of a source reads and holds, for a worker's memory in bytes."""
    room = (memory - PROCESS_BYTES - MATRIX_BYTES) // (SOURCE_COPIES + 1)
    return min(LARGEST_BLOCK, max(SMALLEST_BLOCK, room))


@dataclass(frozen=True)
class Rates:
    """Bytes per second of one worker: reading and decoding, computing, encoding and writing."""

    read: float = 300e6
    compute: float = 800e6
    write: float = 150e6
    ratio: float = 1.5
    """Ratio of the bytes of values to the bytes stored."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Estimated cost of filling one cube: bytes, seconds, counts; `memory` is a worker's peak."""

    name: str
    tiles: int
    bytes_read: int
    bytes_values: int
    bytes_stored: int
    memory: int
    shards: int
    largest_shard: int
    inodes: int
    seconds: float

    @property
    def tasks(self) -> int:
        """Number of tasks that the scheduler receives in the whole stage."""
        return self.tiles + SCHEDULER_TASKS


def plan_cube(
    name: str,
    template: CubeTemplate,
    source_bytes: int = 0,
    workers: int = 1,
    rates: Rates | None = None,
    land_share: float = 1.0,
    *,
    window_bytes: int | None = None,
    tile_seconds: float | None = None,
    decoded_bytes: int = 0,
    held_bytes: int | None = None,
    terrain_bytes: int = 0,
    has_matrices: bool = False,
) -> Plan:
    """The cost of filling `template` from sources of `source_bytes` on its extent.

    `land_share` is the fraction of tiles with values: others are neither stored nor encoded.
    `window_bytes` (size of the largest source window of a tile) and `tile_seconds` (time to regrid
    a tile) replace estimates from `source_bytes`, and `decoded_bytes` (size of the values that
    blocks of sources decode) are in addition; `held_bytes` is the memory of a tile's values at
    once, by default of all of them; `terrain_bytes` is the size of the elevation window from which
    terrain is derived; `has_matrices` is True where a source is regridded by sparse matrices.
    """
    rates = rates or Rates()
    tiles = math.prod(template.counts)
    sizes = {key: _variable_bytes(template, key) for key in template.variables}
    values = sum(sizes.values())
    shards = sum(tiles * template.time_blocks(key) for key in template.variables)
    stored = int(values * land_share / rates.ratio)
    tile_cells = template.tile[0] * template.tile[1]
    cells = template.grid.shape[0] * template.grid.shape[1]
    source_tile = int(source_bytes * min(1.0, tile_cells / cells * HALO_SHARE))
    if window_bytes is not None:
        source_tile = min(window_bytes, LARGEST_BLOCK)
    if held_bytes is None:
        held_bytes = sum(shard_bytes(template, key, whole=True) for key in sizes)
    other_bytes = TERRAIN_COPIES * min(terrain_bytes, LARGEST_BLOCK) + MATRIX_BYTES * has_matrices
    largest = max(shard_bytes(template, key) for key in sizes)
    work = source_bytes / rates.read + (source_bytes + values) / rates.compute
    if tile_seconds is not None:
        work = tiles * tile_seconds + decoded_bytes / rates.read
    work += values * land_share / rates.write
    return Plan(
        name=name,
        tiles=tiles,
        bytes_read=source_bytes,
        bytes_values=values,
        bytes_stored=stored,
        memory=PROCESS_BYTES + SOURCE_COPIES * source_tile + other_bytes + held_bytes + largest,
        shards=shards,
        largest_shard=largest,
        inodes=math.ceil(shards * land_share) + _other_inodes(template, tiles),
        seconds=work / max(1, min(workers, tiles)),
    )


def _variable_bytes(template: CubeTemplate, name: str) -> int:
    shape, _, _ = template.layout(name)
    return math.prod(shape) * np.dtype(template.variables[name].dtype).itemsize


def shard_bytes(template: CubeTemplate, name: str, whole: bool = False) -> int:
    """Size of the values of one shard in bytes; with `whole`, of a tile's whole time axis."""
    shape, shard, _ = template.layout(name)
    lengths = [min(n, s) for n, s in zip(shape, shard, strict=True)]
    if whole and len(shape) == 3:
        lengths[0] = shape[0]
    return math.prod(lengths) * np.dtype(template.variables[name].dtype).itemsize


def _other_inodes(template: CubeTemplate, tiles: int) -> int:
    """Number of folders and metadata files of the store and of markers of the ledger."""
    rows = template.counts[0]
    arrays = 0
    for key, variable in template.variables.items():
        by_time = template.time_blocks(key) if "time" in variable.dims else 0
        arrays += 3 + (by_time * (1 + rows) if by_time else rows)
    coordinates = 3 + 4 * (2 + (template.time is not None))
    return arrays + coordinates + 2 + tiles + 2


def check_plans(
    plans: Mapping[str, tuple[Plan, CubeTemplate]] | Sequence[tuple[Plan, CubeTemplate]],
    memory: int,
    disk: int | None = None,
    where: str = "cubes",
) -> None:
    """Raise `InputError` for plans over a worker's `memory` or the free `disk` bytes.

    The hints name the setting to change; `where` is its section, such as `cubes`.
    """
    faults = Faults()
    pairs = list(plans.values()) if isinstance(plans, Mapping) else list(plans)
    for plan, template in pairs:
        if plan.memory > memory:
            smaller = _tile_that_fits(plan, template, memory)
            setting = (
                f"Set {where}.{plan.name}.tile to [{smaller[0]}, {smaller[1]}]" if smaller else ""
            )
            hint = f"{setting}, or raise cluster.memory_per_worker." if setting else (
                "Raise cluster.memory_per_worker, or use fewer workers."
            )  # fmt: skip
            found = f"{show_bytes(plan.memory)} a worker with tiles of {template.tile}"
            faults.add(f"{where}.{plan.name}", found, f"at most {show_bytes(memory)}", hint)
    stored = sum(plan.bytes_stored for plan, _ in pairs)
    if disk is not None and stored > disk:
        faults.add(where, f"{show_bytes(stored)} to write", f"at most {show_bytes(disk)} free",
                   "Set roots.runs to a larger disk.")  # fmt: skip
    faults.raise_if_any()


def _tile_that_fits(plan: Plan, template: CubeTemplate, memory: int) -> tuple[int, int] | None:
    """The template's tile, halved along its longer side until it fits; None if none fits."""
    over = plan.memory - PROCESS_BYTES
    rows, cols = template.tile
    while PROCESS_BYTES + over > memory:
        if max(rows, cols) <= 8 or memory <= PROCESS_BYTES:
            return None
        before = rows * cols
        rows, cols = (-(-rows // 2), cols) if rows >= cols else (rows, -(-cols // 2))
        over = int(over * rows * cols / before)
    return rows, cols


def probe(template: CubeTemplate, folder: Path | None = None) -> Rates:
    """Rates of this machine and the disk of `folder`, measured in under a second.

    Encodes and writes a few megabytes of synthetic values in the template's chunks; the compression
    ratio of real fields differs.
    """
    chunk = template.chunk
    steps = chunk[0] if template.time is not None else 1
    cells = max(1, PROBE_BYTES // (4 * steps * chunk[1] * chunk[2]))
    tile = (chunk[1], chunk[2] * min(cells, 64))
    grid = replace(template.grid, shape=tile, offset=(0, 0), dx=1e-3, dy=1e-3)
    axis = np.datetime64("2000-01-01") + np.arange(steps)
    small = cube_template(grid, axis, {"probe": {"dims": ("time", "y", "x")}}, tile,
                          (steps, chunk[1], chunk[2]))  # fmt: skip
    values = _synthetic((steps, *tile))
    with scratch_folder((folder or Path(tempfile.gettempdir())) / "probe") as scratch:
        path = scratch / "probe.zarr"
        write_template(path, small, {})
        layout = read_store(path).layouts["probe"]
        began = time.perf_counter()
        shard = encode_shard(values, layout)
        write_bytes(scratch / "shard", shard.pieces)
        write = values.nbytes / (time.perf_counter() - began)
        began = time.perf_counter()
        np.nan_to_num(values).astype(np.float64).mean(axis=0)
        compute = values.nbytes / (time.perf_counter() - began)
    ratio = values.nbytes / sum(map(len, shard.pieces))
    return Rates(read=2 * write, compute=compute, write=write, ratio=max(1.0, ratio))


def _synthetic(shape: tuple[int, int, int]) -> np.ndarray:
    """A field (t, y, x) with a season, noise and a coast."""
    rng = np.random.default_rng(0)
    time_, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    season = 15 + 10 * np.sin(time_ * (2 * np.pi / 365)) - 0.1 * y + 0.05 * x
    values = (season + rng.normal(0, 0.5, shape)).astype(np.float32)
    values[:, (y + x)[0] < shape[2] // 4] = np.nan
    return values


def show_bytes(count: float) -> str:
    """A number of bytes as readable text, such as `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"


def show_seconds(seconds: float) -> str:
    """A duration as readable text, such as `2 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def plan_table(plans: Sequence[Plan], title: str = "") -> Table:
    """Table of the plans for the terminal, one row per cube."""
    table = Table(
        "cube", "tiles", "tasks", "reads about", "values", "stores", "files", "largest file",
        "memory a worker", "about", title=title,
    )  # fmt: skip
    for plan in plans:
        table.add_row(
            plan.name,
            f"{plan.tiles:,}",
            f"{plan.tasks:,}",
            show_bytes(plan.bytes_read),
            show_bytes(plan.bytes_values),
            show_bytes(plan.bytes_stored),
            f"{plan.inodes:,}",
            show_bytes(plan.largest_shard),
            show_bytes(plan.memory),
            show_seconds(plan.seconds),
        )
    return table
