"""stefaland doctor: what this machine has of what a run needs."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

PACKAGES = (
    "stefaland", "torch", "numpy", "numba", "xarray", "dask", "distributed", "zarr", "numcodecs",
    "rasterio", "rioxarray", "pyproj", "odc-geo", "geopandas", "pyogrio", "pystac", "safetensors",
)  # fmt: skip


def findings() -> list[tuple[str, str]]:
    """Name and state of everything looked at."""
    import pyproj
    import rasterio
    import torch

    memory = psutil.virtual_memory()
    rows = [("python", platform.python_version()), ("platform", platform.platform())]
    rows += [(name, metadata.version(name)) for name in PACKAGES]
    rows += [
        ("GDAL (in rasterio)", rasterio.__gdal_version__),
        ("PROJ (in pyproj)", pyproj.proj_version_str),
        ("gdalinfo", shutil.which("gdalinfo") or "not on the PATH (only needed by tests)"),
        ("cores", str(len(os.sched_getaffinity(0)))),
        ("memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"),
        ("disk here", f"{shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB free"),
    ]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            rows.append((f"cuda:{index}", f"{card.name}, {card.total_memory / 2**30:.0f} GiB"))
    else:
        rows.append(("cuda", "no device; torch runs on the CPU"))
    return rows


def print_doctor() -> None:
    """Print the findings as a table."""
    table = Table("what", "found", title="stefaland doctor")
    for name, value in findings():
        table.add_row(name, value)
    Console().print(table)
