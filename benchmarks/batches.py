"""python -m benchmarks.batches [--side 64] [--years 4] [--batch 256]

Rate of batches of windows (B cells x 365 days x 6 forcings, and statics) from a cube to torch
tensors, compared with xbatcher on the same store, from files and from memory. Ours draws random
windows of random cells. xbatcher shuffles with its MapDataset in a DataLoader; its plain generator
returns blocks in their order on disk, which is unsuitable for training and shown as the cost of
reading alone (from files it loads the whole cube first). Requires `pip install xbatcher`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from rich.console import Console
from rich.table import Table

from pipeline.cube.cells import by_shard, read_cells
from pipeline.cube.write import create_cube, cube_template, open_cube, write_tile
from pipeline.grid.target_grid import TargetGrid
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.data.normalise import Normaliser
from stefaland.data.sampler import Sampler
from stefaland.data.sharded import ShardedCells
from stefaland.data.stream import SHARDS_MIXED, ShardedWindows
from stefaland.data.windows import Windows

FORCINGS = tuple(f"forcing{i}" for i in range(6))
STATICS = tuple(f"static{i}" for i in range(10))
WINDOW = 365


Names = tuple[str, ...]


def make_cube(
    path: Path, side: int, years: int, forcings: Names = FORCINGS, statics: Names = STATICS
) -> None:
    """Write a cube of random values in sixteen tiles."""
    grid = TargetGrid.from_bounds("g", "EPSG:4326", (0, 0, side * 0.1, side * 0.1), 0.1)
    time_ = np.datetime64("2001-01-01") + np.arange(365 * years)
    variables: dict[str, dict[str, Any]] = {n: {"dims": ("time", "y", "x")} for n in forcings}
    variables |= {name: {"dims": ("y", "x")} for name in statics}
    template = cube_template(grid, time_, variables, side // 4)
    create_cube(path, template, {})
    random = np.random.default_rng(0)
    for tile in template.tiles:
        window = grid.window(tile.rows, tile.cols)
        shapes = dict.fromkeys(forcings, (time_.size, *window.shape)) | dict.fromkeys(
            statics, window.shape
        )
        arrays = {
            name: (variables[name]["dims"], random.random(shape, np.float32))
            for name, shape in shapes.items()
        }
        coords = {"time": time_, "y": window.y, "x": window.x}
        write_tile(path, tile, xr.Dataset(arrays, coords))


def cell_table(
    ds: xr.Dataset, cells: np.ndarray, forcings: Names = FORCINGS, statics: Names = STATICS
) -> CellData:
    """Cells of the cube as tensors."""
    table = read_cells(ds, [*forcings, *statics], cells)
    return CellData.from_dataset(table, forcings=forcings, statics=statics)


def sharded(path: Path, forcings: Names = FORCINGS, statics: Names = STATICS) -> ShardedCells:
    """All cells of the cube, read shard by shard."""
    ds = open_cube(path)
    shards = by_shard(ds, np.arange(ds.sizes["y"] * ds.sizes["x"]))

    def read(ids: np.ndarray) -> CellData:
        return cell_table(ds, ids, forcings, statics)

    return ShardedCells(
        shards=tuple(shards),
        read=read,
        time=ds["time"].values,
        forcing_names=forcings,
        static_names=statics,
        identity="",
    )


def ours_from_files(path: Path, size: int, normaliser: Normaliser) -> Iterator[int]:
    """An epoch of random windows, shard by shard, as many per cell as xbatcher has patches."""
    cells = sharded(path)
    sizes = list(map(len, cells.shards))
    windows = ShardedWindows(cells.readers(), sizes, normaliser, WINDOW)
    starts = len(cells.time) - WINDOW + 1
    sampler = Sampler(
        rows=np.arange(len(cells)),
        starts=(0, starts),
        batch_size=size,
        windows_per_cell=len(cells.time) // WINDOW,
        shard=cells.shard_of,
        buffer=SHARDS_MIXED,
    )
    for batch in windows.batches(sampler.epoch(0)):
        yield len(batch)


def ours_from_memory(windows: Windows, size: int) -> Iterator[int]:
    """An epoch of random windows of a resident table."""
    starts = windows.n_steps - WINDOW + 1
    sampler = Sampler(
        rows=np.arange(len(windows)),
        starts=(0, starts),
        batch_size=size,
        windows_per_cell=windows.n_steps // WINDOW,
    )
    for batch in windows.batches(sampler.epoch(0)):
        yield len(batch)


def blocks(ds: xr.Dataset, size: int) -> Iterator[int]:
    """Blocks of xbatcher of equal size, in order, as tensors [B, T, F] and [B, S]."""
    import xbatcher

    stacked = ds[[*FORCINGS, *STATICS]].stack(cell=("y", "x"))
    for batch in xbatcher.BatchGenerator(stacked, {"cell": size, "time": WINDOW}):
        yield len(_tensors(batch)[0])


def _tensors(batch: xr.Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    arrays = [batch[name].transpose("cell", "time").values for name in FORCINGS]
    statics = np.stack([batch[name].values for name in STATICS], -1)
    return torch.from_numpy(np.stack(arrays, -1)), torch.from_numpy(statics)


def shuffled(ds: xr.Dataset, size: int) -> Iterator[int]:
    """Patches of xbatcher (a cell and a window) from its MapDataset and a shuffling loader."""
    import xbatcher
    from xbatcher.loaders.torch import MapDataset

    forcings = ds[list(FORCINGS)].to_dataarray("variable").stack(cell=("y", "x"))
    patches = xbatcher.BatchGenerator(forcings, {"cell": 1, "time": WINDOW})
    loader = torch.utils.data.DataLoader(MapDataset(patches), size, shuffle=True)
    for batch in loader:
        yield len(batch)


def rate(work: Callable[[], Iterator[int]], seconds: float = 20.0) -> float:
    """Windows per second, over an epoch or as many batches as fit into `seconds`."""
    count, began = 0, time.perf_counter()
    for size in work():
        count += size
        if time.perf_counter() - began > seconds:
            break
    return count / (time.perf_counter() - began)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--years", type=int, default=4)
    parser.add_argument("--batch", type=int, default=256)
    args = parser.parse_args()
    table = Table(
        "cube in", "xbatcher blocks, in order", "xbatcher shuffled", "ours, random", "to shuffled",
        title="windows per second",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cube.zarr"
        make_cube(path, args.side, args.years)
        lazy = xr.open_zarr(path, chunks=None)
        resident = cell_table(open_cube(path), np.arange(args.side**2))
        normaliser = fit_normaliser(resident, torch.arange(args.side**2))
        windows = Windows(resident, normaliser, WINDOW)
        held = lazy.load()
        sources: dict[str, tuple[Callable[[], xr.Dataset], Callable[[], Iterator[int]]]] = {
            "files": (
                lambda: xr.open_zarr(path, chunks=None),
                lambda: ours_from_files(path, args.batch, normaliser),
            ),
            "memory": (lambda: held, lambda: ours_from_memory(windows, args.batch)),
        }
        for name, (opened, ours) in sources.items():
            in_order = rate(partial(blocks, opened(), args.batch))
            slow = rate(partial(shuffled, opened(), args.batch))
            quick = max(rate(ours) for _ in range(3))
            table.add_row(
                name, f"{in_order:.0f}", f"{slow:.0f}", f"{quick:.0f}", f"{quick / slow:.0f}x"
            )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
