"""python -m benchmarks.stage [--days 60] [--repeat 1] [--layouts NAME …] [--targets NAME …]

The regrid stage end to end: a global 0.25 degree daily field (30 % missing) as it is published,
made a cube on a target grid by `build_cube` in one process, and by CDO (the Debian package `cdo`)
with one thread. Seconds of the processor (user and system) after imports, seconds of the clock,
peak memory, and amplification: bytes of chunks decoded / bytes stored uncompressed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.inflated import counting
from benchmarks.regrid import field
from pipeline.build import build_cube
from pipeline.entries.source import Source, Variable
from pipeline.execution.executor import peak_memory
from pipeline.grid.target_grid import TargetGrid

VARIABLES = {"temperature": Variable(long_name="air temperature", units="K")}
GLOBE = ("EPSG:4326", (-180.0, -90.0, 180.0, 90.0))


@dataclass(frozen=True)
class Target:
    """A target grid, the method, and CDO's operator."""

    grid: TargetGrid
    method: str
    operator: str


TARGETS = {
    "global 0.5°": Target(
        TargetGrid.from_bounds("half", *GLOBE, 0.5), "conservative", "remapcon"
    ),
    "global 0.1°": Target(TargetGrid.from_bounds("tenth", *GLOBE, 0.1), "bilinear", "remapbil"),
    "CONUS 0.1°": Target(
        TargetGrid.from_bounds("conus", "EPSG:4326", (-125.0, 24.0, -66.0, 50.0), 0.1),
        "bilinear", "remapbil",
    ),
}  # fmt: skip
LAYOUTS = ("whole maps", "blocks", "daily files", "zarr", "grib2")
MAPS = (1, 721, 1440)
CHUNKS = {"whole maps": MAPS, "blocks": (30, 103, 180), "daily files": MAPS, "grib2": MAPS}


def write_source(folder: Path, layout: str, days: int) -> None:
    """Write the field: NetCDF deflated at level 1 with byte shuffle, Zarr v3 with shards, or GRIB2
    in 16 bits (simple packing), which CDO makes."""
    ds = field(days).rename(t="t2m", y="lat", x="lon")
    # Missing in the same cells at all times, as over the sea: CDO computes weights for each mask.
    ds["t2m"] = ds["t2m"].fillna(np.float32(270)).where(ds["t2m"].isel(time=0, drop=True).notnull())
    ds["time"] = np.datetime64("2001-01-01") + np.arange(days)
    ds["t2m"].attrs["units"] = "K"
    ds["lat"].attrs = {"units": "degrees_north", "standard_name": "latitude"}
    ds["lon"].attrs = {"units": "degrees_east", "standard_name": "longitude"}
    if layout == "zarr":
        how: dict[str, Any] = {"chunks": (1, 721, 1440), "shards": (30, 721, 1440)}
        ds.to_zarr(folder / "field.zarr", zarr_format=3, encoding={"t2m": how}, consolidated=False)
        return
    each = 1 if layout == "daily files" else days
    for first in range(0, days, each):
        part = ds.isel(time=slice(first, first + each))
        shape = zip(CHUNKS[layout], part["t2m"].shape, strict=True)
        how = {"zlib": True, "complevel": 1, "shuffle": True, "chunksizes": tuple(map(min, shape))}
        part.to_netcdf(folder / f"field_{first:05d}.nc", encoding={"t2m": how})
    if layout == "grib2":
        made = folder / "field_00000.nc"
        command = ["cdo", "-s", "-a", "-f", "grb2", "-b", "16", "setparam,0.0.0", str(made)]
        subprocess.run([*command, str(folder / "field.grib2")], check=True, capture_output=True)
        made.unlink()


def source_in(folder: Path, method: str) -> Source:
    """The catalog entry of the field."""
    kinds = {"field.zarr": ("zarr", "t2m"), "field.grib2": ("grib", "t")}
    file = next((name for name in kinds if (folder / name).exists()), "field_*.nc")
    driver, name = kinds.get(file, ("netcdf", "t2m"))
    return Source.model_validate(
        {"name": "field", "uri": str(folder / file), "driver": driver, "method": method,
         "variables": {"temperature": {"name": name}}, "min_coverage": 0.5}
    )  # fmt: skip


def cube(folder: Path, target: str) -> dict[str, float]:
    """Make a cube in this process; returns what it took."""
    chosen = TARGETS[target]
    source = source_in(folder, chosen.method)
    with counting() as decoded:
        began, cpu = time.perf_counter(), time.process_time()
        build_cube(folder / "cube.zarr", chosen.grid, [source], variables=VARIABLES)
        return {
            "wall": time.perf_counter() - began, "cpu": time.process_time() - cpu,
            "peak": peak_memory(), "decoded": sum(decoded.values()),
        }  # fmt: skip


def cdo(folder: Path, target: str) -> dict[str, float]:
    """Remap the field with CDO; returns what it took."""
    grid = TARGETS[target].grid
    (folder / "grid.txt").write_text(
        f"gridtype = lonlat\nxsize = {grid.shape[1]}\nysize = {grid.shape[0]}\n"
        f"xfirst = {grid.x[0]}\nxinc = {grid.dx}\nyfirst = {grid.y[0]}\nyinc = {-grid.dy}\n"
    )
    files = sorted(map(str, [*folder.glob("field_*.nc"), *folder.glob("*.grib2")]))
    many = ["-cat", "[", *files, "]"] if len(files) > 1 else files
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    operator = f"{TARGETS[target].operator},{folder / 'grid.txt'}"
    command = ["cdo", "-s", "-f", "nc4", "-z", "zip_1", operator, *many, str(folder / "cdo.nc")]
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": time.perf_counter() - began, "cpu": cpu}


def measured(folder: Path, target: str, tool: str) -> dict[str, float]:
    """What one tool takes, in a process of its own."""
    for name in ("cube.zarr", "cube.ledger"):
        shutil.rmtree(folder / name, ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.stage", "--one", tool, str(folder), target]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(layout: str, target: str, days: int, repeat: int) -> list[str]:
    """A row of the table: medians."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_source(folder, layout, days)
        has_cdo = shutil.which("cdo") and layout != "zarr"
        runs: dict[str, list[dict[str, float]]] = {"cube": [], "cdo": []}
        for _ in range(repeat):
            runs["cube"].append(measured(folder, target, "cube"))
            if has_cdo:
                runs["cdo"].append(measured(folder, target, "cdo"))

    def median(tool: str, key: str) -> float:
        return statistics.median(run[key] for run in runs[tool])

    ours = [median("cube", "cpu"), median("cube", "wall")]
    theirs = [median("cdo", "cpu"), median("cdo", "wall")] if has_cdo else []
    ratio = [f"{b / a:.1f}" for a, b in zip(ours, theirs, strict=False)]
    decoded = median("cube", "decoded") / (4 * days * 721 * 1440)
    return [
        layout, target, *(f"{value:.1f}" for value in ours),
        *([f"{value:.1f}" for value in theirs] or ["", ""]), *(ratio or ["", ""]),
        f"{decoded:.2f}" if decoded else "", f"{median('cube', 'peak') / 2**30:.2f}",
    ]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--layouts", nargs="*", default=LAYOUTS, choices=LAYOUTS)
    parser.add_argument("--targets", nargs="*", default=list(TARGETS)[:1], choices=list(TARGETS))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        tool, folder, target = args.one
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        print(json.dumps({"cube": cube, "cdo": cdo}[tool](Path(folder), target)))
        return
    table = Table(
        "source in", "target", "CPU s", "wall s", "CDO CPU s", "CDO wall s", "CPU ratio",
        "wall ratio", "decoded / stored", "peak GiB", title=f"{args.days} days",
    )  # fmt: skip
    for layout in args.layouts:
        for target in args.targets:
            table.add_row(*row(layout, target, args.days, args.repeat))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
