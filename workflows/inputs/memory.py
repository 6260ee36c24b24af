"""Memory that a worker needs for a tile of a cube, compared with what it has before any compute."""

from __future__ import annotations

from functools import partial
from typing import Any

from pipeline.build import held_bytes, middle_cell
from pipeline.cube.cost import block_bytes, check_plans, plan_cube
from pipeline.cube.template import CubeTemplate
from pipeline.entries.source import Source
from pipeline.execution.cluster import ClusterConfig, worker_count, worker_memory
from pipeline.grid.tiles import Tile
from pipeline.grid.window import source_window
from pipeline.regrid_blocks import BLOCK_BYTES, sources_in_blocks
from pipeline.regrid_tile import RegridTask, canonical_source
from pipeline.regridding.operators import Separable
from pipeline.regridding.regrid import operator_for
from pipeline.sources.parts import opened_parts

SPARSE_METHODS = {"std", "mode", "fractions"}


def require_memory(
    cube: str, task: RegridTask, template: CubeTemplate, cluster: ClusterConfig
) -> None:
    """Raise `InputError` where a tile of a cube needs more memory than a worker has.

    A worker above its limit is killed and started again, over and over.
    """
    if cluster.kind == "address" and cluster.memory_per_worker == "auto":
        return  # the memory of its workers is not known
    needs = memory_needs(task, template, block_limit(cluster))
    plan = plan_cube(cube, template, workers=worker_count(cluster), **needs)
    check_plans([(plan, template)], worker_memory(cluster))


def block_limit(cluster: ClusterConfig) -> int:
    """Largest size in bytes of a block of a source, for the memory of the cluster's workers."""
    if cluster.kind == "address" and cluster.memory_per_worker == "auto":
        return BLOCK_BYTES
    return block_bytes(worker_memory(cluster))


def middle_tile(template: CubeTemplate) -> Tile:
    """The tile in the middle of a cube, which stands for any other."""
    return template.tiles[len(template.tiles) // 2]


def memory_needs(
    task: RegridTask, template: CubeTemplate, most: int = BLOCK_BYTES
) -> dict[str, Any]:
    """Memory of one tile, or block of a source, as keyword arguments of `plan_cube`.

    Bytes of the largest source window, of the elevation window where terrain is derived, and of the
    values held; and whether any source needs sparse matrices. Blocks have at most `most` bytes.
    """
    windows, held = window_bytes(task, template), held_bytes(task, template)
    blocks = sources_in_blocks(task, template, template.tiles, most)
    of_blocks = [task.sources[one.source].name for one in blocks]
    read = [size for name, size in windows.items() if name not in of_blocks]
    if held is not None:
        held = max([held, *(one.held_bytes for one in blocks)])
    return {
        "window_bytes": max([0, *read, *(one.window_bytes for one in blocks)]),
        "terrain_bytes": windows.get(task.terrain_from or "", 0),
        "held_bytes": held,
        "has_matrices": any(_has_matrices(task, source) for source in task.sources),
    }


def _has_matrices(task: RegridTask, source: Source) -> bool:
    """Whether a source's grid and method need sparse matrices."""
    cell = middle_cell(task.grid)
    return any(
        part.source.method in SPARSE_METHODS
        or not isinstance(operator_for(part.ds, cell, part.source.method), Separable)
        for part in canonical_source(task, source, cell, load_bytes=0)
    )


def window_bytes(task: RegridTask, template: CubeTemplate) -> dict[str, int]:
    """Decoded bytes of each source's window for the middle tile, by name."""
    tile = middle_tile(template)
    grid = task.grid.window(tile.rows, tile.cols)
    sizes = {}
    for source in task.sources:
        sizes[source.name] = sum(
            4 * ds[part.opened_name(name)].size
            for part, ds in opened_parts(source, partial(source_window, grid))
            for name in part.variables
        )
    return sizes
