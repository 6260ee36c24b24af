"""Opening of cubes and stores of locations, as a Dataset or as the metadata that writers need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults, InputError, bad_input
from pipeline.cube.lazy import guarded_variable, lazy_variable, readable
from pipeline.cube.metadata import (
    LOCATIONS_AGAIN,
    ROOT,
    Damage,
    arrays_of,
    is_sharded,
    metadata_damage,
    root_metadata,
)
from pipeline.cube.shards import ShardLayout
from pipeline.cube.template import grid_of
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.tiles import Tile, tile_grid


def _no_store(path: Path) -> InputError:
    hint = "In a run, `stefaland run CONFIG` makes what is missing."
    return bad_input(str(path), "no store", "a cube", hint)


def refuse_damaged(path: Path, damage: Sequence[Damage]) -> None:
    """Raise `InputError` with every damaged file of a store's metadata and coordinates, if any."""
    root = root_metadata(path)
    has_locations = not isinstance(root, Damage) and "cube" not in root["attributes"]
    hint = f"`stefaland verify {path} --repair` makes the next run write it again."
    if has_locations:
        hint = LOCATIONS_AGAIN
    faults = Faults()
    for one in damage:
        faults.add(str(path / one.file), one.detail, "the file as it was written", hint)
    faults.raise_if_any()


def open_cube(path: str | Path) -> xr.Dataset:
    """The cube, or store of locations, as a lazy Dataset without Dask; `spatial_ref` is a coord.

    The values of a cube are read from its shards, and checked, at every access. `InputError` where
    there is no store, or its metadata or coordinates are damaged.

    >>> from tempfile import mkdtemp
    >>> from pipeline.cube.template import CubeVariable, cube_template
    >>> from pipeline.cube.write import create_cube
    >>> grid = TargetGrid.from_bounds("two", "EPSG:4326", (0, 0, 4, 4), 2.0)
    >>> variables = {"clay": CubeVariable(("y", "x"), "float32", {"units": "1"})}
    >>> path = Path(mkdtemp()) / "cube.zarr"
    >>> _ = create_cube(path, cube_template(grid, None, variables, 2), {})
    >>> dict(open_cube(path).sizes)
    {'y': 2, 'x': 2}
    """
    path = Path(path)
    if not path.is_dir():
        raise _no_store(path)
    refuse_damaged(path, metadata_damage(path))
    with readable(str(path)):
        # Not decode_coords="all", which mistakes the time axis's `climatology` flag for a variable.
        ds = xr.open_zarr(path, chunks=None, mask_and_scale=False)
        text = [name for name, da in ds.coords.items() if da.dtype.kind == "T"]
        # As plain NumPy text, because few libraries support StringDType yet.
        texts = {n: ds[n].copy(data=np.array(ds[n].values.tolist(), str)) for n in text}
    ds = ds.set_coords([name for name in ("spatial_ref",) if name in ds]).assign_coords(texts)
    if "cube" not in ds.attrs:
        plain = [name for name in ds.variables if name not in (*ds.xindexes, *texts)]
        ds = ds.assign({n: guarded_variable(ds[n].variable, path / str(n)) for n in plain})
    # All at once: each assignment compares all variables, of which there may be hundreds.
    found = {name: ds.variables[name] for name in ds.data_vars}
    for name, variable in found.items():
        if "cube" in ds.attrs:
            array = path / str(name)
            variable = found[name] = lazy_variable(variable, array, ShardLayout.read(array))
        if "grid_mapping" in variable.attrs:
            variable.encoding["grid_mapping"] = variable.attrs.pop("grid_mapping")
    ds = ds.assign(found)
    if bands := ds.attrs.get("cube", {}).get("bands"):
        ds = ds.assign_coords(band=("band", np.array(bands, str)))
    ds.encoding["source"] = str(path)
    return ds


def cube_grid(cube: str | Path | xr.Dataset) -> TargetGrid:
    """The grid of a cube, bit for bit as it was created."""
    ds = cube if isinstance(cube, xr.Dataset) else open_cube(cube)
    return grid_of(ds.attrs)


@dataclass(frozen=True)
class Store:
    """The metadata of a cube on disk: grid, tile size, times and layouts by variable."""

    path: Path
    grid: TargetGrid
    tile: tuple[int, int]
    time: np.ndarray | None
    layouts: Mapping[str, ShardLayout]

    @property
    def time_shard(self) -> int:
        """Time steps in a shard of the variables with a time axis; 1 if there are none."""
        lengths = {v.shard[0] for v in self.layouts.values() if "time" in v.dims}
        return max(lengths, default=1)

    def owns(self, tile: Tile) -> bool:
        """Whether `tile` is one of the tiles that fill this store."""
        (rows, cols), (height, width) = self.grid.shape, self.tile
        top, left = tile.row * height, tile.col * width
        expected = slice(top, min(top + height, rows)), slice(left, min(left + width, cols))
        return (tile.rows, tile.cols) == expected


def read_store(path: str | Path) -> Store:
    """The metadata of the cube at `path`, cached in each process; `InputError` for no cube."""
    path = Path(path)
    if not path.is_dir():
        raise _no_store(path)
    try:
        stat = (path / ROOT).stat()
    except OSError:
        refuse_damaged(path, metadata_damage(path))
        raise
    return _read_store(path, stat.st_ino, stat.st_mtime_ns)


@lru_cache(maxsize=16)
def _read_store(path: Path, _inode: int, _modified: int) -> Store:
    ds = open_cube(path)
    if "cube" not in ds.attrs:
        raise bad_input(str(path), "a store that is not a cube", "a store made by create_cube")
    rows, cols = ds.attrs["cube"]["tile"]
    time = ds["time"].values if "time" in ds.coords else None
    layouts = {str(name): ShardLayout.read(path / str(name)) for name in ds.data_vars}
    return Store(path, grid_of(ds.attrs), (rows, cols), time, layouts)


def stored_tile(path: Path, grid: TargetGrid) -> tuple[int, int] | None:
    """The size (rows, cols) of the tiles of the cube at `path`; None where none has this grid."""
    store = bare_store(path)
    return store.tile if store is not None and store.grid == grid else None


def bare_store(path: Path) -> Store | None:
    """The cube from the root's metadata alone, without times; None where they are damaged."""
    root = root_metadata(path)
    if isinstance(root, Damage) or "cube" not in root["attributes"]:
        return None
    try:
        layouts = {
            n: ShardLayout.from_metadata(meta)
            for n, meta in arrays_of(root).items()
            if is_sharded(meta)
        }
        rows, cols = root["attributes"]["cube"]["tile"]
        return Store(path, grid_of(root["attributes"]), (rows, cols), None, layouts)
    except (KeyError, IndexError, TypeError, ValueError, InputError):
        return None


def cube_tiles(path: str | Path) -> list[Tile]:
    """The tiles that fill a cube, without halo."""
    store = read_store(path)
    return tile_grid(store.grid, store.tile)
