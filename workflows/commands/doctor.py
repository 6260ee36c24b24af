"""Versions, devices, memory and disk of this machine: `stefaland doctor`."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from rich.table import Table

from workflows.console import OUTPUT

PACKAGES = (
    "stefaland", "torch", "numpy", "numba", "xarray", "dask", "distributed", "zarr", "numcodecs",
    "rasterio", "rioxarray", "pyproj", "odc-geo", "geopandas", "pyogrio", "pystac", "safetensors",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    """Installed versions of the main dependencies, without importing them."""
    return {name: metadata.version(name) for name in PACKAGES}


def machine() -> dict[str, Any]:
    """Versions, devices, memory and disk of this machine, as plain values.

    docs/json.md describes every key.
    """
    import pyproj
    import rasterio

    memory = psutil.virtual_memory()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "gdal": rasterio.__gdal_version__,
        "proj": pyproj.proj_version_str,
        "gdalinfo": shutil.which("gdalinfo"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": {"available": memory.available, "total": memory.total},
        "disk_free_bytes": shutil.disk_usage(Path.cwd()).free,
        "devices": _devices(),
    }


def _devices() -> list[dict[str, Any]]:
    import torch

    if not torch.cuda.is_available():
        return []
    cards = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [
        {"name": f"cuda:{index}", "model": card.name, "memory_bytes": card.total_memory}
        for index, card in enumerate(cards)
    ]


def print_machine(found: dict[str, Any]) -> None:
    """Print the result of `machine` as a table."""
    memory = found["memory_bytes"]
    rows = {
        "python": found["python"],
        "platform": found["platform"],
        **found["packages"],
        "GDAL (in rasterio)": found["gdal"],
        "PROJ (in pyproj)": found["proj"],
        "gdalinfo": found["gdalinfo"] or "not on the PATH (only needed by tests)",
        "cores": str(found["cores"]),
        "memory": f"{_gib(memory['available'])} of {_gib(memory['total'])} GiB free",
        "disk here": f"{_gib(found['disk_free_bytes'])} GiB free",
    }
    for card in found["devices"]:
        rows[card["name"]] = f"{card['model']}, {card['memory_bytes'] / 2**30:.0f} GiB"
    if not found["devices"]:
        rows["cuda"] = "no device; torch runs on the CPU"
    table = Table("what", "found", title="stefaland doctor")
    for name, value in rows.items():
        table.add_row(name, value)
    OUTPUT.print(table)


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f}"
