"""Maps as Zarr that GDAL, QGIS and xarray open: format 2, one variable per store, CF attributes.

Each store has halved overviews as separate stores in `overviews/`, which the root's consolidated
metadata does not list: GDAL would otherwise report subdatasets instead of a map. Chunks are one
date of 512 x 512 cells; coordinates are float64 and regular, because GDAL otherwise drops the
transform.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import xarray as xr
import zarr
from numcodecs import Blosc

from pipeline.core.errors import Faults
from pipeline.core.files import new_folder
from pipeline.cube.template import encoded_time, plain
from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.legend import NODATA_CODE
from pipeline.times.periods import climatology_note

CHUNK = 512
SMALLEST = 256
"""Largest side of the coarsest overview, in cells."""


def write_map_zarr(
    path: str | Path,
    ds: xr.Dataset | xr.DataArray,
    grid: TargetGrid,
    *,
    attrs: Mapping[str, Any] | None = None,
    overviews: bool = True,
) -> Path:
    """Write the only variable of `ds` and its overviews, whole or not at all.

    Its dims are (y, x), optionally after "time", or after "band", whose coordinate names the bands.

    Floats become float32 with NaN, integers uint8 with 255. In overviews, quantities are means of
    the valid cells of 2 x 2, classes the most frequent code, as in GDAL's overviews of a COG.
    Memory is bounded by a strip of chunks. `InputError` unless there is exactly one variable on
    `grid`.

    >>> from tempfile import mkdtemp
    >>> grid = TargetGrid.from_bounds("two", "EPSG:4326", (0, 0, 4, 4), 2.0)
    >>> clay = xr.Dataset({"clay": (("y", "x"), np.array([[0.1, 0.2], [np.nan, 0.4]]))})
    >>> path = write_map_zarr(Path(mkdtemp()) / "clay.zarr", clay, grid)
    >>> open_map_zarr(path).shape
    (2, 2)
    """
    path = Path(path)
    da = _only_variable(path.name, ds, grid)
    with new_folder(path) as folder:
        finer: zarr.Array | None = None
        for store in create_stores(folder, da, grid, attrs or {}, overviews):
            array = zarr.open_array(str(store / str(da.name)), mode="r+")
            for index, block in map_blocks(da, array.shape, finer):
                array[index] = block
            finer = array
    return path


def create_stores(
    folder: Path,
    da: xr.DataArray,
    grid: TargetGrid,
    attrs: Mapping[str, Any],
    overviews: bool = True,
) -> list[Path]:
    """Create the stores of a map and its overviews, complete except for the map's values."""
    levels = _levels(grid) if overviews else [grid]
    paths = [".", *(f"overviews/{2**i}" for i in range(1, len(levels)))]
    described = {"multiscales": _multiscales(da, paths)} if len(levels) > 1 else {}
    for path, level_grid in zip(paths, levels, strict=True):
        root = {
            "Conventions": "CF-1.11",
            **plain(attrs),
            **(described if path == "." else {}),
        }
        _create(folder / path, da, level_grid, root)
        _consolidate(folder / path)
    return [folder / path for path in paths]


def open_map_zarr(path: str | Path, level: int = 0) -> xr.DataArray:
    """The map of a published store, or its overview with cells `2**level` times as wide; lazy."""
    store = Path(path) / (f"overviews/{2**level}" if level else "")
    ds = xr.open_zarr(store, chunks=None, decode_coords="all", consolidated=True)
    (name,) = ds.data_vars
    return ds[name]


def overview_levels(path: str | Path) -> int:
    """Number of overviews of a published store."""
    attrs = json.loads((Path(path) / ".zattrs").read_text())
    return len(attrs["multiscales"][0]["datasets"]) - 1 if "multiscales" in attrs else 0


def _only_variable(where: str, ds: xr.Dataset | xr.DataArray, grid: TargetGrid) -> xr.DataArray:
    faults = Faults()
    arrays = [ds] if isinstance(ds, xr.DataArray) else [
        da for da in ds.data_vars.values() if da.ndim > 1]  # fmt: skip
    if len(arrays) != 1:
        faults.add(where, f"{len(arrays)} variables", "one variable per store",
                   "GDAL shows several as subdatasets")  # fmt: skip
        faults.raise_if_any()
    da = arrays[0]
    if da.dims not in (("y", "x"), ("time", "y", "x"), ("band", "y", "x")):
        faults.add(where, f"dims {da.dims}", "dims (y, x), (time, y, x) or (band, y, x)")
    elif da.shape[-2:] != tuple(grid.shape):
        faults.add(where, f"shape {da.shape[-2:]}", f"the grid's shape {grid.shape}")
    if da.dtype.kind not in "f" and da.dtype != np.uint8:
        faults.add(where, f"type {da.dtype}", "a float, or uint8 codes")
    if not da.name:
        faults.add(where, "a map without a name", "a named variable")
    faults.raise_if_any()
    return da


def _levels(grid: TargetGrid) -> list[TargetGrid]:
    """The grid and its halvings; an odd last row or column becomes part of a wider cell."""
    levels = [grid]
    while max(levels[-1].shape) > SMALLEST:
        last = levels[-1]
        west, _, _, north = last.bounds
        rows, cols = ((n + 1) // 2 for n in last.shape)
        if not _fits(last, rows, cols):
            break
        wider = TargetGrid(
            name=grid.name,
            crs=grid.crs,
            west=west,
            north=north,
            dx=last.dx * 2,
            dy=last.dy * 2,
            shape=(rows, cols),
        )
        levels.append(wider)
    return levels


def _fits(grid: TargetGrid, rows: int, cols: int) -> bool:
    """Whether cells twice as large remain on the globe when an odd side is rounded up."""
    if not grid.is_geographic:
        return True
    _, _, _, north = grid.bounds
    return north - rows * grid.dy * 2 >= -90 - 1e-9 and cols * grid.dx * 2 <= 360 + 1e-9


def _multiscales(da: xr.DataArray, paths: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "version": "0.1",
            "name": str(da.name),
            "type": "average" if da.dtype.kind == "f" else "mode",
            "datasets": [
                {"path": path, "level": level, "factor": 2**level}
                for level, path in enumerate(paths)
            ],
        }
    ]


def _create(folder: Path, da: xr.DataArray, grid: TargetGrid, attrs: Mapping[str, Any]) -> None:
    """Write a store's metadata and coordinates, and the metadata of its empty array."""
    group = zarr.create_group(str(folder), zarr_format=2, attributes=dict(attrs), overwrite=False)
    for name, coord in grid.coords().items():
        _add(group, name, np.asarray(coord.values), coord.dims, coord.attrs)
    if da.dims[0] == "band":
        _add(group, "band", da["band"].values.astype(str), ("band",), {})
    elif da.ndim == 3:
        values, time_attrs = encoded_time(da["time"])
        # CF reserves this attribute for the name of a variable of bounds, which has two dims: GDAL
        # would report two maps instead of one.
        if time_attrs.pop("climatology", None):
            time_attrs["comment"] = climatology_note(da["time"])
        _add(group, "time", values, ("time",), time_attrs)
    is_float = da.dtype.kind == "f"
    lead = da.shape[:-2]
    crs = pyproj.CRS.from_user_input(grid.crs)
    keep = {k: v for k, v in da.attrs.items() if k not in ("grid_mapping", "_FillValue")}
    group.create_array(
        str(da.name),
        shape=(*lead, *grid.shape),
        chunks=(*(1 for _ in lead), *(min(CHUNK, n) for n in grid.shape)),
        dtype="float32" if is_float else "uint8",
        fill_value=np.nan if is_float else NODATA_CODE,
        compressors=(Blosc(cname="zstd", clevel=5, shuffle=Blosc.SHUFFLE),),
        attributes={
            **plain(keep),
            "grid_mapping": "spatial_ref",
            "_CRS": {"wkt": crs.to_wkt("WKT2_2019"), "projjson": crs.to_json_dict()},
            "_ARRAY_DIMENSIONS": [str(dim) for dim in da.dims],
        },
    )


def _add(group: zarr.Group, name: str, values: np.ndarray, dims: Any, attrs: Any) -> None:
    array = group.create_array(
        name, shape=values.shape, chunks=values.shape, dtype=values.dtype, compressors=(),
        fill_value=None, attributes={**plain(attrs), "_ARRAY_DIMENSIONS": list(dims)},
        config={"write_empty_chunks": True},
    )  # fmt: skip
    array[...] = values


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[int | slice, ...]]:
    """Yields the indices of one date and one strip of chunks after another."""
    lead = range(shape[0]) if len(shape) == 3 else [None]
    for first in lead:
        for top in range(0, shape[-2], CHUNK):
            rows = slice(top, min(top + CHUNK, shape[-2]))
            yield (rows, slice(None)) if first is None else (first, rows, slice(None))


def map_blocks(
    da: xr.DataArray, shape: tuple[int, ...], finer: zarr.Array | None = None
) -> Iterator[tuple[tuple[int | slice, ...], np.ndarray]]:
    """Yields index and values of each block of a store of this shape.

    Values are those of the map, or those of the level `finer`, of twice the resolution, halved.
    """
    cols = shape[-1]
    for index in _blocks(shape):
        if finer is None:
            kind = np.float32 if da.dtype.kind == "f" else np.uint8
            yield index, np.asarray(da[index].values, dtype=kind)
            continue
        strip = index[-2]
        assert isinstance(strip, slice)
        rows = slice(2 * strip.start, min(2 * strip.stop, finer.shape[-2]))
        block = np.asarray(finer[(*index[:-2], rows, slice(0, 2 * cols))])
        yield index, halved(block)[: strip.stop - strip.start, :cols]


def halved(block: np.ndarray) -> np.ndarray:
    """Each 2 x 2 cells merged to one, dims (y, x): mean of valid floats, or most frequent code."""
    pad = [(0, n % 2) for n in block.shape]
    missing = np.nan if block.dtype.kind == "f" else NODATA_CODE
    block = np.pad(block, pad, constant_values=missing)
    quads = np.stack([block[0::2, 0::2], block[0::2, 1::2], block[1::2, 0::2], block[1::2, 1::2]])
    if block.dtype.kind != "f":
        return _most_frequent(quads)
    valid = ~np.isnan(quads)
    count = valid.sum(axis=0)
    total = np.where(valid, quads, 0).sum(axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return (total / count).astype(np.float32)


def _most_frequent(quads: np.ndarray) -> np.ndarray:
    """The most frequent valid code of four; 255 where none is valid.

    Of equally frequent codes, the one whose last cell comes first, as in GDAL, so that overviews of
    a COG show the same classes.
    """
    same = quads[:, None] == quads[None]
    votes = same.sum(axis=0).astype(np.int8)
    votes[quads == NODATA_CODE] = 0
    last = 3 - same[::-1].argmax(axis=0).astype(np.int8)
    best = (votes * 4 - last).argmax(axis=0)
    return np.take_along_axis(quads, best[None], axis=0)[0]


def _consolidate(folder: Path) -> None:
    """Consolidated metadata of this store alone, without the overviews below it."""
    files = [*folder.glob(".z*"), *folder.glob("*/.z*")]
    found = {str(file.relative_to(folder)): json.loads(file.read_text()) for file in sorted(files)}
    text = json.dumps({"zarr_consolidated_format": 1, "metadata": found}, indent=1)
    (folder / ".zmetadata").write_text(text)
