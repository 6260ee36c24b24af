"""Template of a cube: its grid, times, variables, tiles and chunks, written as Zarr metadata.

`write` creates stores from templates, and `cost` estimates what filling them takes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from pipeline.core.errors import Faults, bad_input
from pipeline.core.written.names import checked_name
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import Tile, tile_grid

TIME_CHUNK = 1024
LONGEST_VARIABLE = 240
"""Longest name of a variable, such as one with the label of a class."""
CHUNK_BYTES = 1 << 20
SQUARES = 16, 128
"""Smallest and largest edge of a chunk in cells. With at most `TIME_CHUNK` times and `CHUNK_BYTES`
bytes, a chunk is small enough to read the series of one location and large enough for a codec's
block (docs/benchmarks.md)."""


@dataclass(frozen=True)
class CubeVariable:
    """One array of a cube: dims (y, x), optionally after "time" or "band"; dtype, CF attributes."""

    dims: tuple[str, ...]
    dtype: str = "float32"
    attrs: Mapping[str, Any] = field(default_factory=dict)
    fill_value: float | None = None
    """Fill value; by default NaN for floats, the largest value of the type for integers."""

    @property
    def fill(self) -> float:
        """The value of cells that were never written."""
        if self.fill_value is not None:
            return self.fill_value
        kind = np.dtype(self.dtype)
        return math.nan if kind.kind == "f" else int(np.iinfo(kind).max)


@dataclass(frozen=True, kw_only=True)
class CubeTemplate:
    """All of a cube but its values; `time` is None where no variable has a time axis.

    `bands` are the names along the dim "band", which is never split into shards.
    """

    grid: TargetGrid
    time: xr.DataArray | None
    variables: Mapping[str, CubeVariable]
    tile: tuple[int, int]
    chunk: tuple[int, int, int]
    flat_chunk: tuple[int, int]
    """Chunk (y, x) of variables without time."""
    time_shard: int
    bands: tuple[str, ...] = ()

    @property
    def tiles(self) -> list[Tile]:
        """The tiles that fill the cube, without halo."""
        return tile_grid(self.grid, self.tile)

    @property
    def counts(self) -> tuple[int, int]:
        """Number of rows and columns of tiles."""
        (rows, cols), (height, width) = self.grid.shape, self.tile
        return math.ceil(rows / height), math.ceil(cols / width)

    def time_blocks(self, name: str) -> int:
        """Number of shards of one tile of a variable; 1 where one holds the whole time axis."""
        shape, shard, _ = self.layout(name)
        return math.ceil(shape[0] / shard[0]) if "time" in self.variables[name].dims else 1

    def layout(self, name: str) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Shape, shard and chunk of a variable, in elements along its dims."""
        variable = self.variables[name]
        steps = 0 if self.time is None else self.time.size
        bands = len(self.bands)
        sizes = {"time": steps, "band": bands, "y": self.grid.shape[0], "x": self.grid.shape[1]}
        shards = {"time": self.time_shard, "band": bands, "y": self.tile[0], "x": self.tile[1]}
        shape, shard = (tuple(n[dim] for dim in variable.dims) for n in (sizes, shards))
        if "band" in variable.dims:
            return shape, shard, (bands, *_square(self.tile, bands))
        return shape, shard, self.chunk if "time" in variable.dims else self.flat_chunk


def _divisor_near(length: int, wanted: int) -> int:
    """The divisor of `length` whose ratio to `wanted` is nearest to 1."""
    divisors = [n for n in range(1, length + 1) if length % n == 0]
    return min(divisors, key=lambda n: abs(math.log(n / wanted)))


def _square(tile: tuple[int, ...], steps: int) -> tuple[int, int]:
    """Edges of a chunk of `steps` float32 steps near `CHUNK_BYTES`; they divide the tile."""
    edge = math.sqrt(CHUNK_BYTES / (4 * steps))
    wanted = round(min(max(edge, SQUARES[0]), SQUARES[1]))
    return _divisor_near(tile[0], wanted), _divisor_near(tile[1], wanted)


def _time_axis(time: Any) -> xr.DataArray | None:
    if time is None:
        return None
    da = time if isinstance(time, xr.DataArray) else xr.DataArray(np.asarray(time), dims="time")
    values = da.values.astype("datetime64[ns]")
    steps = np.diff(values)
    if values.size == 0 or not (steps > np.timedelta64(0)).all():
        raise bad_input("time", f"{values.size} times", "at least one, ascending and all different")
    return xr.DataArray(values, dims="time", attrs=dict(da.attrs))


def cube_template(
    grid: TargetGrid,
    time: Any,
    variables: Mapping[str, Mapping[str, Any] | CubeVariable],
    tile_size: tuple[int, int] | int,
    chunk: tuple[int, int, int] | None = None,
    time_shard: int | None = None,
    bands: Sequence[str] = (),
) -> CubeTemplate:
    """The template of a cube on `grid` whose shards are tiles of `tile_size` (rows, cols).

    `time` is an array or DataArray of datetime64 (its attributes are kept) or None; `variables`
    maps names to dims and, optionally, dtype, attrs and fill_value. `chunk` (time, y, x) divides
    the shard; `time_shard` is the number of times of a shard where the whole axis of a tile is too
    large; `bands` names the layers of variables with a dim "band". `InputError` lists all faults.
    """
    axis = _time_axis(time)
    steps = 1 if axis is None else axis.size
    tile = (tile_size, tile_size) if isinstance(tile_size, int) else tuple(tile_size)
    faults = Faults()
    parsed = {}
    for name, entry in variables.items():
        if not isinstance(entry, CubeVariable):
            entry = CubeVariable(**{**entry, "dims": tuple(entry["dims"])})
        leads = [("time",)] * (axis is not None) + [("band",)] * bool(bands) + [()]
        allowed = [(*lead, "y", "x") for lead in leads]
        if entry.dims not in allowed:
            expected = " or ".join(map(str, allowed))
            faults.add(f"cube variable {name}", f"dims {entry.dims}", expected)
        with faults.collecting():
            checked_name("cube variable", str(name), longest=LONGEST_VARIABLE)
        parsed[str(name)] = entry
    if not parsed:
        faults.add("cube", "no variables", "at least one")
    long = min(steps, time_shard or steps)
    if chunk is None:
        chunk = (min(long, TIME_CHUNK), *_square(tile, min(long, TIME_CHUNK)))
        flat_chunk = _square(tile, 1)
    else:
        flat_chunk = chunk[1:]
    long = math.ceil(long / chunk[0]) * chunk[0]
    if any(length % part for length, part in zip(tile, chunk[1:], strict=True)):
        faults.add("cube chunk", f"{chunk} in tiles of {tile}", "chunks that divide the tile")
    faults.raise_if_any()
    return CubeTemplate(
        grid=grid,
        time=axis,
        variables=parsed,
        tile=(tile[0], tile[1]),
        chunk=chunk,
        flat_chunk=flat_chunk,
        time_shard=long,
        bands=tuple(bands),
    )


def encoded_time(time: xr.DataArray) -> tuple[np.ndarray, dict[str, Any]]:
    """Days since 1970 where all times are midnights, else seconds; with CF attributes."""
    seconds = time.values.astype("datetime64[s]").astype(np.int64)
    days = bool((seconds % 86400 == 0).all())
    units = {"units": f"{'days' if days else 'seconds'} since 1970-01-01"}
    kept = {key: value for key, value in time.attrs.items() if key not in ("units", "calendar")}
    attrs = {"standard_name": "time", "axis": "T", **kept, **units}
    return (seconds // 86400 if days else seconds), {**attrs, "calendar": "proleptic_gregorian"}


def plain(value: Any) -> Any:
    """`value` with NumPy scalars and arrays, tuples and paths as JSON types."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def _add_coordinate(
    group: zarr.Group, name: str, values: np.ndarray, dims: Any, attrs: Any
) -> None:
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype=values.dtype,
        dimension_names=dims,
        attributes=plain(attrs),
        compressors=() if values.ndim == 0 else (Crc32cCodec(),),
        fill_value=0,
        config={"write_empty_chunks": True},
    )
    array[...] = values


def write_template(folder: Path, template: CubeTemplate, attrs: Mapping[str, Any]) -> None:
    """Write a store's metadata and coordinates to `folder`, with the root attributes `attrs`."""
    grid = {key: value for key, value in asdict(template.grid).items() if key != "name"}
    described = {"grid": grid, "grid_name": template.grid.name, "tile": template.tile}
    if template.bands:
        described["bands"] = template.bands
    root = {"Conventions": "CF-1.11", **plain(attrs), "cube": plain(described)}
    group = zarr.create_group(str(folder), zarr_format=3, attributes=root, overwrite=True)
    for name, da in template.grid.coords().items():
        _add_coordinate(group, name, np.asarray(da.values), da.dims, da.attrs)
    if template.time is not None:
        values, time_attrs = encoded_time(template.time)
        _add_coordinate(group, "time", values, ("time",), time_attrs)
    for name, variable in template.variables.items():
        shape, shard, chunk = template.layout(name)
        group.create_array(
            name,
            shape=shape,
            shards=shard,
            chunks=chunk,
            dtype=variable.dtype,
            fill_value=variable.fill,
            dimension_names=variable.dims,
            attributes={**plain(variable.attrs), "grid_mapping": "spatial_ref"},
            compressors=(compressor(variable.dtype), Crc32cCodec()),
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Cc]onsolidated metadata.*")
        zarr.consolidate_metadata(str(folder))


def compressor(dtype: str) -> BloscCodec:
    """The codec of a cube's chunks: the fastest to read at similar size (docs/benchmarks.md)."""
    size = np.dtype(dtype).itemsize
    shuffle: Literal["shuffle", "bitshuffle"] = "shuffle" if size > 1 else "bitshuffle"
    return BloscCodec(typesize=size, cname="lz4", clevel=5, shuffle=shuffle)


def grid_of(attrs: Mapping[str, Any]) -> TargetGrid:
    """The grid from a cube's root attributes."""
    described = attrs["cube"]
    entry = dict(described["grid"])
    pairs = {key: tuple(entry[key]) for key in ("shape", "offset")}
    return TargetGrid(**{**entry, **pairs, "name": described["grid_name"]})
