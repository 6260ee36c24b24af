"""Speed and memory of write_cog(), compared with GDAL's COG driver and rioxarray in the same run.

    python benchmarks/maps.py [--scale 1] [--repeat 3] [--threads 2]

A global float32 map of 3600 x 7200 cells and 12 months, two thirds of it sea (NaN), smooth with
noise like a soil moisture map. Every contender runs in its own process with the same creation
options, in turns, after writing a tiny map to warm up. "array": the map is in memory before timing
starts. "store": it is read from a published Zarr store, which is included in the time. Memory is
the peak resident set of the process, array included; "added" is its increase while writing.
write_cog() also computes exact statistics and reopens and compares its file, which the others do
not. CPU seconds are more reliable on a shared machine. --flat shows write_cog() from the store at
three sizes instead.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import xarray as xr
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.grid.target_grid import TargetGrid  # noqa: E402
from pipeline.publish.geotiff import write_cog  # noqa: E402
from pipeline.publish.zarr import open_map_zarr, write_map_zarr  # noqa: E402

MONTHS = 12
CONTENDERS = ("write_cog, array", "write_cog, store", "GDAL COG driver", "rioxarray")
OPTIONS = {
    "COMPRESS": "DEFLATE", "LEVEL": 6, "PREDICTOR": "YES", "OVERVIEW_RESAMPLING": "AVERAGE",
    "BLOCKSIZE": 512, "BIGTIFF": "IF_SAFER",
}  # fmt: skip


def grid_of(scale: float) -> TargetGrid:
    step = 0.05 / scale
    return TargetGrid.from_bounds("bench", "EPSG:4326", (-180, -90, 180, 90), step)


def band(grid: TargetGrid, month: int) -> np.ndarray:
    """One month, dims (y, x): continents of smooth shape, a field with noise of a few per cent."""
    y, x = np.deg2rad(grid.y)[:, None], np.deg2rad(grid.x)[None]
    land = np.sin(2 * x + np.sin(3 * y)) + np.cos(3 * y + x) > 0.55
    rng = np.random.default_rng(month)
    field = 0.25 + 0.15 * np.sin(5 * y) * np.cos(4 * x + month / 2)
    field = field + rng.normal(0, 0.01, grid.shape)
    return np.where(land, field, np.nan).astype(np.float32)


def axes(grid: TargetGrid) -> dict[str, Any]:
    times = np.array([f"2001-{month:02d}-16" for month in range(1, MONTHS + 1)], "datetime64[ns]")
    return {**grid.coords(), "time": xr.DataArray(times, dims="time", attrs={"climatology": True})}


def in_memory(grid: TargetGrid) -> xr.DataArray:
    values = np.empty((MONTHS, *grid.shape), np.float32)
    for month in range(MONTHS):
        values[month] = band(grid, month)
    return xr.DataArray(values, dims=("time", "y", "x"), coords=axes(grid), name="soil_moisture")


def run_ours(da: xr.DataArray, grid: TargetGrid, path: Path, threads: int) -> None:
    write_cog(path, da, grid, units="m3 m-3", threads=threads)


def run_gdal(da: xr.DataArray, grid: TargetGrid, path: Path, threads: int) -> None:
    import rasterio

    profile = {
        "driver": "COG", "dtype": "float32", "count": MONTHS, "height": grid.shape[0],
        "width": grid.shape[1], "crs": grid.crs, "transform": grid.transform, "nodata": np.nan,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile, **OPTIONS, NUM_THREADS=threads) as raster:
        raster.write(da.values)


def run_rioxarray(da: xr.DataArray, grid: TargetGrid, path: Path, threads: int) -> None:
    import rioxarray  # noqa: F401

    da = da.rio.write_nodata(np.nan)
    da.rio.to_raster(path, driver="COG", **OPTIONS, NUM_THREADS=threads)


class Peak:
    """Peak resident bytes of this process while the block runs, sampled every 5 ms."""

    def __enter__(self) -> Peak:
        self.process, self.stop = psutil.Process(), threading.Event()
        self.before = self.bytes = self.process.memory_info().rss
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def watch(self) -> None:
        while not self.stop.wait(0.005):
            self.bytes = max(self.bytes, self.process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


def measure(contender: str, scale: float, threads: int, store: Path) -> dict[str, float]:
    """Seconds, CPU seconds, peak and added bytes, and file size of one contender."""
    grid = grid_of(scale)
    da = open_map_zarr(store) if contender.endswith("store") else in_memory(grid)
    write = {"GDAL COG driver": run_gdal, "rioxarray": run_rioxarray}.get(contender, run_ours)
    with tempfile.TemporaryDirectory(dir=store.parent) as folder:
        path = Path(folder) / "map.tif"
        small = grid_of(0.02)
        write(in_memory(small), small, path, threads)  # imports and compiled loops
        with Peak() as peak:
            began, worked = time.perf_counter(), time.process_time()
            write(da, grid, path, threads)
            seconds, cpu = time.perf_counter() - began, time.process_time() - worked
        size = path.stat().st_size
    added = peak.bytes - peak.before
    return {"seconds": seconds, "cpu": cpu, "peak": peak.bytes, "added": added, "size": size}


def in_a_process(contender: str, scale: float, threads: int, store: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", contender, "--scale", str(scale)]
    command += ["--threads", str(threads), "--store", str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def report(title: str, rows: dict[str, list[dict[str, float]]], reference: str | None) -> None:
    table = Table("contender", title=title)
    for column in ("seconds", "x", "CPU s", "x", "peak GiB", "added GiB", "file MB"):
        table.add_column(column)
    for name, runs in rows.items():
        times = []
        for key in ("seconds", "cpu"):
            time = statistics.median(r[key] for r in runs)
            base = statistics.median(r[key] for r in rows[reference]) if reference else 0.0
            times += [f"{time:.1f}", f"{time / base:.2f}" if base else ""]
        peak, added = (max(r[key] for r in runs) / 2**30 for key in ("peak", "added"))
        size = runs[0]["size"] / 1e6
        table.add_row(name, *times, f"{peak:.2f}", f"{added:.2f}", f"{size:.0f}")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="Scale of the grid; 1 is 3600 x 7200 cells."
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--flat", action="store_true", help="Show write_cog() at three sizes instead."
    )
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.scale, args.threads, args.store)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.flat:
            rows = {}
            for scale in (args.scale / 4, args.scale / 2, args.scale):
                store = Path(folder) / f"{scale}.zarr"
                write_map_zarr(store, in_memory(grid_of(scale)), grid_of(scale), overviews=False)
                name = "{} x {}".format(*grid_of(scale).shape)
                rows[name] = [in_a_process("write_cog, store", scale, args.threads, store)]
            report("write_cog() from a store, 12 bands", rows, None)
            return
        grid, store = grid_of(args.scale), Path(folder) / "map.zarr"
        write_map_zarr(store, in_memory(grid), grid, overviews=False)
        results: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
        for _ in range(args.repeat):
            for name in CONTENDERS:
                results[name].append(in_a_process(name, args.scale, args.threads, store))
        title = "{} x {} x 12 float32, {} threads".format(*grid.shape, args.threads)
        report(title, results, "GDAL COG driver")


if __name__ == "__main__":
    main()
