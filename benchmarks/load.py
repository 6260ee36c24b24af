"""python -m benchmarks.load [--files 5000] [--entries 500] [--markers 100000]

Commands on large inputs: a source of thousands of daily files, a catalog of hundreds of entries and
a ledger of a hundred thousand markers. Each row has the seconds, the CPU seconds (user and system)
with and without those of its imports, the peak memory and the most open files of the command, at a
tenth of the size and at the whole; goals: `status` 2 s and `plan` 5 s after imports, 256 open
files, and memory that does not grow.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path

import netCDF4
import numpy as np
from rich.console import Console
from rich.table import Table

CATALOG = """
rain:
  uri: {folder}/days/{{year}}/rain_{{year}}{{month:02d}}{{day:02d}}.nc
  driver: netcdf
  time: {{years: [2000, {last.year}], period: [2000-01-01, {last}]}}
  variables: {{precipitation: {{name: rain, units: mm/day}}}}
"""
STATIC = """
height_{number}:
  uri: {folder}/height.nc
  driver: netcdf
  variables: {{elevation: {{name: height, units: m}}}}
"""
CONFIG = """
name: load
title: Many files
roots: {{data: {folder}, runs: {folder}/runs}}
catalogs: [{folder}/catalog.yml]
grids: {{coarse: {{crs: "EPSG:4326", bounds: [-180, -60, 180, 60], resolution: 10}}}}
cubes: {{globe: {{grid: coarse, tile: [6, 12]}}}}
inputs: {{sources: [rain, height_0], forcings: [precipitation], statics: [elevation],
         target: precipitation}}
folds: {{kind: blocks, k: 2}}
pretrain: {{cube: globe, window: 12, epochs: 1}}
finetune: {{cube: globe, window: 12, epochs: 1, baselines: [ridge]}}
predict: {{cubes: [globe]}}
publish: {{}}
cluster: {{kind: none}}
"""


def write_field(path: Path, name: str, units: str, days: int | None) -> None:
    """Write a field of 18 × 36 cells, of one day since 2000 if `days` is given."""
    with netCDF4.Dataset(path, "w") as file:
        for axis, values in (
            ("lat", 85 - 10.0 * np.arange(18)),
            ("lon", 10.0 * np.arange(36) - 175),
        ):
            file.createDimension(axis, len(values))
            file.createVariable(axis, "f8", (axis,))[:] = values
        dims = ("lat", "lon")
        if days is not None:
            file.createDimension("time", 1)
            stamp = file.createVariable("time", "i4", ("time",))
            stamp.units = "days since 2000-01-01"
            stamp[:] = days
            dims = ("time", *dims)
        field = file.createVariable(name, "f4", dims)
        field.units = units
        field[:] = 1.0 + (days or 0) % 7


def write_inputs(folder: Path, files: int, entries: int, markers: int) -> None:
    """Write sources, catalog and config, and a run folder with a ledger."""
    first = date(2000, 1, 1)
    for number in range(files):
        day = first + timedelta(number)
        year = folder / "days" / str(day.year)
        year.mkdir(parents=True, exist_ok=True)
        write_field(year / f"rain_{day:%Y%m%d}.nc", "rain", "mm/day", number)
    write_field(folder / "height.nc", "height", "m", None)
    catalog = [CATALOG.format(folder=folder, last=first + timedelta(files - 1))]
    catalog += [STATIC.format(folder=folder, number=number) for number in range(entries - 1)]
    (folder / "catalog.yml").write_text("".join(catalog))
    (folder / "load.yml").write_text(CONFIG.format(folder=folder))
    ledger = folder / "many" / "ledger" / "regrid-globe" / "0123456789abcdef"
    ledger.mkdir(parents=True)
    (folder / "many" / ".stages").mkdir()
    summary = {"rain": {"valid": 4096, "min": 0.0, "max": 9.5, "shards": ["0" * 16] * 4}}
    text = json.dumps(summary, sort_keys=True) + "\n"
    for number in range(markers):
        (ledger / f"r{number // 1000:03d}_c{number % 1000:03d}.done.json").write_text(text)


def measured(*arguments: str) -> tuple[float, float, float, int]:
    """Seconds, CPU seconds, peak MiB and most open files of Python; raises if it fails."""
    began, files = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen([sys.executable, *arguments], stdout=printed, stderr=printed)
        while True:
            with suppress(OSError):
                files = max(files, len(os.listdir(f"/proc/{process.pid}/fd")))
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            time.sleep(0.01)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            printed.seek(0)
            raise RuntimeError(printed.read())
    busy = usage.ru_utime + usage.ru_stime
    return time.perf_counter() - began, busy, usage.ru_maxrss / 1024, files


IMPORTS = {
    "status": "workflows.commands.status",
    "check": "workflows.stages.order, workflows.stages.check",
    "plan": "workflows.commands.plan, workflows.config.load",
    "regrid": "workflows.stages.order, workflows.stages.regrid",
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--entries", type=int, default=500)
    parser.add_argument("--markers", type=int, default=100_000)
    args = parser.parse_args()
    table = Table(
        "command", "input", "seconds", "CPU seconds", "after imports", "peak MiB", "open files"
    )
    imports = {
        command: measured("-c", f"import workflows.cli, {modules}")[1]
        for command, modules in IMPORTS.items()
    }
    for part in (10, 1):
        files, entries, markers = (n // part for n in (args.files, args.entries, args.markers))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_inputs(folder, files, entries, markers)
            config = f"{files:,} files, {entries:,} entries"
            for command, what, path in (
                ("status", f"{markers:,} markers", "many"),
                ("check", config, "load.yml"),
                ("plan", config, "load.yml"),
                ("regrid", config, "load.yml"),
            ):
                seconds, busy, peak, most = measured(
                    "-m", "workflows.cli", command, str(folder / path)
                )
                after = busy - imports[command]
                table.add_row(
                    command, what, f"{seconds:.1f}", f"{busy:.1f}", f"{after:.1f}", f"{peak:.0f}",
                    str(most),
                )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
