"""python -m benchmarks.decode [--days 30] [--repeat 3]

CPU and wall time of reading a global 0.25 degree field (30 % missing) from NetCDF-4, stored as most
reanalyses come (deflate 1, shuffle, chunks of one whole map): by the NetCDF library, and by our own
decoding of its chunks in OMP_NUM_THREADS threads. Values must be equal bit by bit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table
from xarray.backends import NetCDF4DataStore

from benchmarks.regrid import field
from pipeline.readers.hdf.store import ChunkStore

PACKED = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 273.15, "_FillValue": -32768}
TYPES: dict[str, dict[str, object]] = {"float32": {}, "int16": PACKED}


def read(store: type[NetCDF4DataStore], path: Path) -> tuple[float, float, np.ndarray]:
    """CPU seconds, wall seconds and the values as stored, read one variable from a new store."""
    variable: xr.Variable = store.open(str(path)).get_variables()["t"]
    cpu, wall = time.process_time(), time.perf_counter()
    values = variable.values
    return time.process_time() - cpu, time.perf_counter() - wall, values


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    table = Table(
        "type", "MB", "library: CPU s", "wall s", "ours: CPU s", "wall s", "CPU ratio",
        title=f"{args.days} maps, best of {args.repeat}, threads: {threads}",
    )  # fmt: skip
    ds = field(args.days)
    with tempfile.TemporaryDirectory() as folder:
        for name, packing in TYPES.items():
            how = {"zlib": True, "complevel": 1, "shuffle": True, "chunksizes": (1, 721, 1440)}
            runs: dict[type[NetCDF4DataStore], list[tuple[float, float]]] = {}
            for turn in range(args.repeat + 1):
                # A new file each turn: the library keeps chunks of files that it has open.
                path = Path(folder) / f"{name}{turn}.nc"
                ds.to_netcdf(path, encoding={"t": how | packing})
                found = [read(kind, path) for kind in (NetCDF4DataStore, ChunkStore)]
                assert found[0][2].tobytes() == found[1][2].tobytes()
                for kind, (cpu, wall, _) in zip((NetCDF4DataStore, ChunkStore), found, strict=True):
                    runs.setdefault(kind, []).append((cpu, wall))
            best = [tuple(map(min, zip(*times[1:], strict=True))) for times in runs.values()]
            table.add_row(
                name, f"{found[0][2].nbytes / 1e6:.0f}",
                *(f"{seconds:.2f}" for pair in best for seconds in pair),
                f"{best[0][0] / best[1][0]:.2f}",
            )  # fmt: skip
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
