"""python -m benchmarks.stage [--days 180] [--repeat 3]

Time of the parts of the regrid stage: a global 0.25 degree daily field (30 % missing), stored as
compressed NetCDF in blocks or in whole maps, regridded to the global 0.5 degree grid (conservative)
tile by tile in one thread. The codec's time is that of reading the same windows as stored and of
encoding the same results; the rest is canonicalising, regridding and writing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

from benchmarks.regrid import field
from pipeline.cube.open import read_store
from pipeline.cube.shards import encode_shard
from pipeline.cube.write import create_cube, cube_template, write_tile
from pipeline.entries.source import Source, Variable
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import Tile, tile_grid
from pipeline.grid.window import source_window
from pipeline.regridding.regrid import regrid
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import open_source

GRID = TargetGrid.from_bounds("global", "EPSG:4326", (-180, -90, 180, 90), 0.5)
TILE = (180, 180)
LAYOUTS = {"blocks": (30, 103, 180), "whole maps": (1, 721, 1440)}
VARIABLES = {"temperature": Variable(long_name="air temperature", units="K")}


def write_source(path: Path, days: int, chunks: tuple[int, int, int]) -> Source:
    """Write the field as NetCDF, deflated at level 1 with byte shuffle; returns its source."""
    ds = field(days).rename(t="t2m", y="lat", x="lon")
    ds["time"] = np.datetime64("2001-01-01") + np.arange(days)
    ds["t2m"].attrs["units"] = "K"
    sizes = tuple(min(c, n) for c, n in zip(chunks, ds["t2m"].shape, strict=True))
    how = {"zlib": True, "complevel": 1, "shuffle": True, "chunksizes": sizes}
    ds.to_netcdf(path, encoding={"t2m": how})
    return Source.model_validate(
        {"name": "field", "uri": str(path), "driver": "netcdf", "method": "conservative",
         "variables": {"temperature": {"name": "t2m"}}, "min_coverage": 0.5}
    )  # fmt: skip


def regridded(source: Source, tile: Tile) -> xr.Dataset:
    """One tile of the regrid stage."""
    grid = GRID.window(tile.rows, tile.cols)
    ds = canonicalise(open_source(source, partial(source_window, grid)), source, VARIABLES)
    return regrid(ds, grid, source.method, source.min_coverage, threads=1)


def stored_windows(source: Source, tiles: list[Tile]) -> int:
    """Read each tile's window as stored; returns the number of values."""
    count = 0
    for tile in tiles:
        grid = GRID.window(tile.rows, tile.cols)
        window = open_source(source, partial(source_window, grid))
        rows, cols = (
            np.searchsorted(np.sort(full), np.sort(window[name].values))
            for name, full in (("lat", 90 - 0.25 * np.arange(721)),
                               ("lon", -180 + 0.25 * np.arange(1440)))
        )  # fmt: skip
        with netCDF4.Dataset(source.uri) as file:
            variable = file["t2m"]
            variable.set_auto_mask(False)
            top = 721 - 1 - int(rows.max())
            part = variable[:, top : top + rows.size, int(cols.min()) : int(cols.min()) + cols.size]
            count += part.size
    return count


def seconds(work: Callable[[], object], repeat: int) -> float:
    """Median time of `work` after one call to warm up."""
    times = []
    for turn in range(repeat + 1):
        began = time.perf_counter()
        work()
        if turn:
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure(folder: Path, layout: str, days: int, repeat: int) -> list[str]:
    """A row of the table."""
    source = write_source(folder / "field.nc", days, LAYOUTS[layout])
    probe = regridded(source, tile_grid(GRID, TILE)[0])
    template = cube_template(
        GRID, probe["time"], {str(n): {"dims": da.dims} for n, da in probe.data_vars.items()}, TILE
    )
    store = folder / "cube.zarr"
    create_cube(store, template, {})
    results = [regridded(source, tile) for tile in template.tiles]
    layouts = read_store(store).layouts

    def stage() -> None:
        for tile in template.tiles:
            write_tile(store, tile, regridded(source, tile))

    def encode() -> None:
        for ds in results:
            for name, da in ds.data_vars.items():
                encode_shard(da.values, layouts[str(name)])

    total = seconds(stage, repeat)
    decode = seconds(lambda: stored_windows(source, template.tiles), repeat)
    encoding = seconds(encode, repeat)
    size = (folder / "field.nc").stat().st_size
    read = days * 721 * 1440 * 4 / 1e6
    return [
        layout, f"{size / 1e6:.0f}", f"{total:.1f}", f"{decode:.1f}", f"{encoding:.1f}",
        f"{(decode + encoding) / total:.0%}", f"{read / total:.0f}",
    ]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    table = Table(
        "source in", "MB on disk", "stage s", "decoding s", "encoding s", "codec's share",
        "MB/s of source values", title=f"{args.days} days, 8 tiles",
    )  # fmt: skip
    for layout in LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            table.add_row(*measure(Path(folder), layout, args.days, args.repeat))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
