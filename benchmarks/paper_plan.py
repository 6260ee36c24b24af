"""python -m benchmarks.paper_plan

Bytes, files and core hours of a run of forty years at 0.1 degrees with eight daily forcings on 32
nodes, estimated from measured rates (each option names the benchmark that measures it).
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.core.packaged import catalog_path
from pipeline.cube.cost import plan_cube, shard_bytes
from pipeline.cube.template import cube_template
from pipeline.grid.named_grids import read_grids
from pipeline.grid.tiles import default_tile

YEARS, VARIABLES = 40, 8
LAND_SHARE = 0.34
"""Fraction of land cells between 60 S and 84 N."""


def plan(time_shard: int) -> dict[str, float]:
    """Bytes and files of the cube of forcings, estimated as by `stefaland plan`."""
    grid = read_grids(catalog_path("grids.yml"))["global_0p1deg"]
    axis = np.arange("1985-01-01", f"{1985 + YEARS}-01-01", dtype="datetime64[D]")
    names = {f"forcing_{i}": {"dims": ("time", "y", "x")} for i in range(VARIABLES)}
    tile = default_tile(grid.shape, axis.size)
    template = cube_template(grid, axis, names, tile, time_shard=time_shard)
    values = 4 * VARIABLES * axis.size * grid.shape[0] * grid.shape[1]
    # A tile holds a shard of one variable and its coverage; source windows are read in blocks.
    held = 2 * shard_bytes(template, "forcing_0")
    made = plan_cube("forcings", template, values, workers=1024, window_bytes=2**28,
                     held_bytes=held)  # fmt: skip
    return {
        "days": axis.size, "cells": grid.shape[0] * grid.shape[1], "tiles": made.tiles,
        "read": made.bytes_read, "stored": made.bytes_stored, "inodes": made.inodes,
        "largest": made.largest_shard, "memory": made.memory,
    }  # fmt: skip


def main() -> None:
    """Print bytes and files, then core hours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=32)
    parser.add_argument("--cores", type=int, default=32, help="Cores of a node.")
    parser.add_argument("--time-shard", type=int, default=7168, help="Days in a file.")
    parser.add_argument(
        "--regrid-mb", type=float, default=59.0, help="MB/s per core (benchmarks.stage)."
    )
    parser.add_argument(
        "--forward", type=float, default=25.0, help="Cell years/s per core (benchmarks.model)."
    )
    parser.add_argument(
        "--training", type=float, default=6.5, help="Samples/s per core (benchmarks.model)."
    )
    parser.add_argument("--storage-gb", type=float, default=5.0, help="GB/s of the file system.")
    parser.add_argument("--price", type=float, default=0.04, help="Price of a core hour.")
    parser.add_argument("--epochs", type=int, default=30)
    args = parser.parse_args()
    cube = plan(args.time_shard)
    cores = args.nodes * args.cores
    land = LAND_SHARE * cube["cells"]
    console = Console()
    console.print(
        f"{cube['days']:,} days, {cube['cells']:,} cells, {cube['tiles']:,} tiles; "
        f"reads {cube['read'] / 1e12:.2f} TB, stores {cube['stored'] / 1e12:.2f} TB in "
        f"{cube['inodes']:,} files of at most {cube['largest'] / 1e6:.0f} MB; "
        f"{cube['memory'] / 1e9:.1f} GB a worker"
    )
    # Windows of 365 days overlap by half, so that every day has a history.
    years = 2 * YEARS * land
    work = {
        "regrid": (cube["read"] / (1e6 * args.regrid_mb), cube["read"] + cube["stored"]),
        "pretrain (CPU)": (args.epochs * land / args.training, cube["stored"] * LAND_SHARE),
        "predict (CPU)": (years / args.forward, cube["stored"] * LAND_SHARE),
    }
    table = Table("stage", "core hours", f"hours on {cores:,} cores", "hours of I/O", "cost")
    for name, (seconds, moved) in work.items():
        hours, waiting = seconds / 3600, moved / (1e9 * args.storage_gb) / 3600
        table.add_row(name, f"{hours:,.0f}", f"{hours / cores:.2f}", f"{waiting:.2f}",
                      f"{hours * args.price:,.0f}")  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
