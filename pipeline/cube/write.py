"""Creation of cubes, Zarr v3 stores made from a template, and writing of their tiles.

A shard holds the whole time axis (or a block of times) of one tile of one variable, and is written
in full by exactly one task. A store holds no time stamps, so that a resumed run produces the same
bytes; DESIGN.md lists the other invariants.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults, bad_input, nearest_name
from pipeline.core.files import (
    FileSet,
    make_folder,
    new_folder,
    remove_stale_partials,
    write_bytes,
    writing,
)
from pipeline.cube.integrity import Problem, verify_cube
from pipeline.cube.locations import write_locations
from pipeline.cube.metadata import ROOT, Damage, arrays_of, metadata_damage, root_metadata
from pipeline.cube.open import Store, cube_grid, cube_tiles, open_cube, read_store, refuse_damaged
from pipeline.cube.shards import EncodedShard, digest, encode_shard, shard_file
from pipeline.cube.template import CubeTemplate, CubeVariable, cube_template, write_template
from pipeline.grid.tiles import Tile

__all__ = [
    "CubeTemplate", "CubeVariable", "Problem", "create_cube", "cube_grid", "cube_template",
    "cube_tiles", "open_cube", "read_store", "verify_cube", "write_locations", "write_tile",
]  # fmt: skip

UNCOMPARED = ("versions", "code")
"""Root attributes that may differ between a store and the template it is resumed with."""


def create_cube(path: str | Path, template: CubeTemplate, attrs: Mapping[str, Any]) -> None:
    """Write the store's metadata and coordinates, whole or not at all; no array values.

    An existing store of the same template is kept with its values, and files of metadata or
    coordinates that are missing are written again; `InputError` lists the differences of another.
    """
    path = Path(path)
    make_folder(path.parent)
    remove_stale_partials(path.parent, f"{path.name}.*")
    if not path.exists():
        with (
            suppress(FileExistsError),  # another part of the run created it first: compare with it
            writing(path),
            new_folder(path, replace=False) as folder,
        ):
            write_template(folder, template, attrs)
            return
    # Missing files (`hole`) can be written from the template; the user decides about changed ones.
    refuse_damaged(path, [one for one in metadata_damage(path) if one.kind != "hole"])
    # Written and compared as files, so that a template need not be read back from a store.
    with tempfile.TemporaryDirectory() as folder_name:
        wanted = Path(folder_name) / path.name
        write_template(wanted, template, attrs)
        differences = _differences(wanted, path)
        if not differences:
            _write_lost(wanted, path)
    if differences:
        raise bad_input(
            str(path),
            f"a store that differs in {', '.join(differences[:5])}",
            "a store of the same grid, times, variables and settings",
            "Remove it, or choose another name for this run.",
        )


def _comparable(file: Path) -> Any:
    if file.name != "zarr.json":
        return file.read_bytes()
    meta = json.loads(file.read_text())
    # The root's copy of the metadata of the arrays, which are compared themselves.
    meta.pop("consolidated_metadata", None)
    for key in UNCOMPARED:
        meta.get("attributes", {}).pop(key, None)
    return meta


def _differences(wanted: Path, found: Path) -> list[str]:
    """Names of the arrays (or `attributes`) in which two stores' templates differ.

    A file that is missing in `found` is no difference, unless `found` never had the array.
    """
    names = {file.parent.name for root in (wanted, found) for file in root.glob("*/zarr.json")}
    # The root lists the arrays of the store: a missing one that it lists was lost, one that it does
    # not list belongs to another template.
    known = root_metadata(found)
    had = names if isinstance(known, Damage) else {*arrays_of(known)}
    differing = [] if _same(wanted, found, ROOT) else ["attributes"]
    for name in sorted(names):
        files = [f.relative_to(wanted) for f in (wanted / name).rglob("*") if f.is_file()]
        if (
            not files
            or name not in had
            or not all(_same(wanted, found, str(file)) for file in files)
        ):
            differing.append(name)
    return differing


def _same(wanted: Path, found: Path, name: str) -> bool:
    a, b = wanted / name, found / name
    return not b.exists() or (b.is_file() and _comparable(a) == _comparable(b))


def _write_lost(wanted: Path, path: Path) -> None:
    """Copy the files of a template that the store lacks."""
    files = [file.relative_to(wanted) for file in wanted.rglob("*") if file.is_file()]
    # The root last: without it the store counts as damaged until all files are there.
    lost = [file for file in files if not (path / file).exists()]
    for file in sorted(lost, key=lambda file: (file == Path(ROOT), file)):
        with writing(path):
            write_bytes(path / file, [(wanted / file).read_bytes()])


def write_tile(path: str | Path, tile: Tile, ds: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Write the tile's core of every variable in `ds`, dims (time?, y, x), as whole shards.

    Returns for each variable `valid`, `min`, `max` and `shards`: the digest of each shard, or ""
    for one without values, which is not written. `InputError`, before anything is written, where
    `ds` is not exactly the tile or would fill only part of a shard.
    """
    path = Path(path)
    store = read_store(path)
    start = _guard(store, tile, ds)
    with writing(path), FileSet() as files:
        return {
            name: _write_variable(store, tile, ds[name], start, files)
            for name in sorted(map(str, ds.data_vars))
        }


def merged_summary(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of a variable (see `write_tile`) for two blocks of times together."""
    both = [part for part in (first, second) if part["valid"]]
    merged: dict[str, Any] = {"valid": first["valid"] + second["valid"]}
    if both:
        merged |= {"min": min(p["min"] for p in both), "max": max(p["max"] for p in both)}
    return {**merged, "shards": [*first["shards"], *second["shards"]]}


def _guard(store: Store, tile: Tile, ds: xr.Dataset) -> int:
    """Position of the first time of `ds`; `InputError` unless `ds` is exactly shards of `tile`."""
    where, faults = f"{store.path}, tile {tile.name}", Faults()
    if not store.owns(tile):
        # Raised alone, because with a wrong tile all coordinates below are wrong too.
        faults.add(where, f"rows {tile.rows}, columns {tile.cols}", "a whole tile of the store",
                   "Shards are written whole: use the tiles of cube_tiles(path).")  # fmt: skip
        faults.raise_if_any()
    window = store.grid.window(tile.rows, tile.cols)
    for dim, wanted, step in (("y", window.y, window.dy), ("x", window.x, window.dx)):
        label, expected = f"{where}, coordinate {dim}", f"{wanted.size} values from {wanted[0]}"
        if dim not in ds.coords:
            faults.add(label, "none", expected)
        elif ds[dim].shape != wanted.shape or abs(ds[dim].values - wanted).max() > 1e-6 * step:
            faults.add(label, f"{ds[dim].size} values from {ds[dim].values[0]}", expected)
    for name, da in ds.data_vars.items():
        layout = store.layouts.get(str(name))
        label = f"{where}, variable {name}"
        if layout is None:
            faults.add(label, "no such variable in the store", "a variable of its template",
                       nearest_name(str(name), store.layouts))  # fmt: skip
        elif da.dims != layout.dims:
            faults.add(label, f"dims {da.dims}", f"dims {layout.dims}")
        elif da.dtype.kind != np.dtype(layout.dtype).kind:
            faults.add(label, f"type {da.dtype}", f"type {np.dtype(layout.dtype)}")
    faults.raise_if_any()
    layouts = [store.layouts[str(name)] for name, da in ds.data_vars.items() if "time" in da.dims]
    lengths = [layout.shard[0] for layout in layouts]
    return _first_time(store, where, ds, lengths[0]) if lengths else 0


def _first_time(store: Store, where: str, ds: xr.Dataset, length: int) -> int:
    """Position in the store of the first time of `ds`; `InputError` for parts of shards."""
    assert store.time is not None
    label, known = f"{where}, coordinate time", f"{store.time[0]} to {store.time[-1]}"
    if "time" not in ds.coords or not ds["time"].size:
        raise bad_input(label, "none", f"times of the store, {known}")
    times = ds["time"].values
    # A block of times may begin and end only at a shard, or at the end of the axis: writing part of
    # a shard would need to read it first, and two tasks could do so at once.
    first = int(np.searchsorted(store.time, times[0]))
    last = first + times.size
    if not np.array_equal(store.time[first:last], times):
        raise bad_input(
            label, f"{times.size} times from {times[0]}", f"times of the store, {known}"
        )
    if first % length or (last % length and last != store.time.size):
        raise bad_input(
            label,
            f"times {first} to {last} of {store.time.size}, which would cut a shard",
            f"whole blocks of {length} times",
        )
    return first


def _write_variable(
    store: Store, tile: Tile, da: xr.DataArray, start: int, files: FileSet
) -> dict[str, Any]:
    """Encode the variable's shards of this tile, one per block of times, into `files`."""
    layout, array, block = store.layouts[str(da.name)], store.path / str(da.name), da.values
    length = layout.shard[0]
    parts: dict[tuple[int, ...], np.ndarray] = {(tile.row, tile.col): block}
    if block.ndim == 3:
        # The third dimension is time or band; one shard holds all bands.
        start = start if "time" in layout.dims else 0
        parts = {
            ((start + at) // length, tile.row, tile.col): block[at : at + length]
            for at in range(0, block.shape[0], length)
        }
    valid, low, high, digests = 0, math.inf, -math.inf, []
    for position, part in parts.items():
        shard = encode_shard(part, layout)
        digests.append(_add_shard(files, shard_file(array, position), shard))
        valid, low, high = valid + shard.valid, min(low, shard.minimum), max(high, shard.maximum)
    summary = {"valid": valid, "min": low, "max": high} if valid else {"valid": 0}
    return {**summary, "shards": digests}


def _add_shard(files: FileSet, file: Path, shard: EncodedShard) -> str:
    """Add one shard to `files`, or remove its file where it has no values; returns its digest."""
    if not shard.pieces:
        # The tile may have had values before; an absent shard reads as missing values.
        file.unlink(missing_ok=True)
        return ""
    remove_stale_partials(file.parent, f"{file.name}.*")
    files.add(file, shard.pieces)
    return digest(shard.pieces)
