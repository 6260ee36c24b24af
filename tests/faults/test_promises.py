"""Headers of small files that promise terabytes: refused with file, found and expected."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet
import pytest
import rasterio
import zarr
from rasterio.transform import from_origin

from pipeline.core.errors import Faults
from pipeline.entries.source import Source
from pipeline.sources.open import check_source

LONG = 1 << 38


def _header(*shape: int) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def _npz(path: Path) -> None:
    axis = io.BytesIO()
    np.save(axis, np.arange(4.0))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rain.npy", _header(200, 40_000, 40_000) + b"0" * 100)
        for name in ("lat", "lon"):
            archive.writestr(f"{name}.npy", axis.getvalue())


def _npz_axis(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, shape in (("rain", (4, 4)), ("lat", (LONG,)), ("lon", (LONG,))):
            archive.writestr(f"{name}.npy", _header(*shape) + bytes(128))


def _axis(path: Path, name: str = "lat") -> None:
    with netCDF4.Dataset(path, "w") as file:
        for dim in ("time", "lat", "lon"):
            file.createDimension(dim, LONG if dim == name else 4)
            axis = file.createVariable(dim, "f8", (dim,), chunksizes=(4,))
            axis.units = "days since 2000-01-01" if dim == "time" else "degrees"
        rain = file.createVariable("rain", "f4", ("time", "lat", "lon"), chunksizes=(4, 4, 4))
        rain.units = "mm/day"


def _chunk(path: Path) -> None:
    size = 30_000
    with netCDF4.Dataset(path, "w") as file:
        for dim in ("lat", "lon"):
            file.createDimension(dim, size)
            file.createVariable(dim, "f8", (dim,))[:] = np.linspace(-60, 60, size)
        rain = file.createVariable("rain", "f4", ("lat", "lon"), chunksizes=(size, size), zlib=True)
        rain.units = "mm/day"


def _classic(path: Path) -> None:
    with netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC") as file:
        for dim in ("lat", "lon"):
            file.createDimension(dim, 4)
        file.createVariable("rain", "f4", ("lat", "lon"))[:] = 1
    content = path.read_bytes()
    for dim in (b"lat\0", b"lon\0"):
        content = content.replace(dim + struct.pack(">i", 4), dim + struct.pack(">i", 1_000_000))
    path.write_bytes(content)


def _tiff(path: Path) -> None:
    with rasterio.open(
        path, "w", driver="GTiff", height=2_000_000, width=2_000_000, count=1, dtype="float32",
        crs="EPSG:4326", transform=from_origin(-100, 90, 1e-5, 1e-5), tiled=True, SPARSE_OK=True,
        BIGTIFF="YES", blockxsize=16_384, blockysize=16_384,
    ):  # fmt: skip
        pass


def _zarr(form: int, axis: int, chunk: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        group = zarr.open_group(str(path), mode="w", zarr_format=form)  # type: ignore[arg-type]
        arrays = {"lat": (axis,), "lon": (4,), "rain": (axis, 4)}
        for name, shape in arrays.items():
            dims = ["lat", "lon"][: len(shape)] if name != "lon" else ["lon"]
            more: Any = {"dimension_names": dims} if form == 3 else {}
            group.create_array(
                name, shape=shape, chunks=tuple(min(chunk, size) for size in shape), dtype="f4",
                attributes={"units": "mm/day", "_ARRAY_DIMENSIONS": dims}, **more,
            )  # fmt: skip

    return write


def _line(path: Path) -> None:
    path.write_bytes(b"site,lat,lon,rain," * (1 << 18))


def _parquet(path: Path) -> None:
    count = 2_000_000
    column = pa.array(np.zeros(count))
    pyarrow.parquet.write_table(
        pa.table(dict.fromkeys(("site", "lat", "lon", "rain"), column)), path
    )


FILES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "array.npz": ("npz", _npz, "an array of 2.3 TiB"),
    "axis.npz": ("npz", _npz_axis, "an array of 2.0 TiB"),
    "axis.nc": ("netcdf", _axis, "an axis of 274,877,906,944 labels"),
    "time.nc": ("netcdf", lambda path: _axis(path, "time"), "an axis of 274,877,906,944 labels"),
    "chunk.nc": ("netcdf", _chunk, "a chunk of 30000 x 30000 values, which takes 3.4 GiB"),
    "classic.nc": ("netcdf", _classic, "a truncated file"),
    "block.tif": ("raster", _tiff, "a block of 16384 x 16384 values, which takes 1.0 GiB"),
    "axis2.zarr": ("zarr", _zarr(2, LONG, 1024), "an axis of 274,877,906,944 labels"),
    "axis3.zarr": ("zarr", _zarr(3, LONG, 1024), "an axis of 274,877,906,944 labels"),
    "chunk3.zarr": ("zarr", _zarr(3, 1 << 26, 1 << 26), "a chunk of 67108864 x 4 values"),
    "line.csv": ("table", _line, "a first line of more than 4,194,304 bytes"),
    "rows.parquet": ("table", _parquet, "a table of 2000000 x 4 values"),
}
NARROW = ("chunk.nc", "block.tif", "chunk3.zarr", "rows.parquet")
"""Files that fit into the memory of large machines."""


@pytest.mark.parametrize("name", FILES)
def test_a_promise_of_terabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    driver, write, found = FILES[name]
    write(tmp_path / name)
    if name in NARROW:
        free = psutil.virtual_memory()._replace(available=1 << 25)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    stored = "band_1" if driver == "raster" else "rain"
    entry: dict[str, Any] = {
        "name": "s", "uri": str(tmp_path / name), "driver": driver,
        "variables": {"precipitation": {"name": stored, "units": "mm/day"}},
    }  # fmt: skip
    if driver in ("npz", "table"):
        entry |= {"lat": "lat", "lon": "lon"} | ({"cell": "site"} if driver == "table" else {})
    faults, before = Faults(), psutil.Process().memory_info().rss
    check_source(Source.model_validate(entry), faults)
    assert psutil.Process().memory_info().rss - before < 1 << 29
    (fault,) = faults.faults
    assert fault.where.startswith(f'source "s", {tmp_path / name}')
    assert found in fault.found
    assert fault.expected
