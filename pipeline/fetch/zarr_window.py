"""The chunks of a Zarr store that meet the bounds and the period of an order, as a local store.

Chunks are copied as they are, so that values, codecs and fill values stay those of the provider.
The local store ends with them: beyond them nothing looks like data. A later order adds to a store.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import xarray as xr
import zarr

from pipeline.core.addresses import path_of
from pipeline.core.errors import bad_input, nearest_name
from pipeline.core.files import (
    make_folder,
    new_folder,
    write_bytes,
    write_json,
    write_text,
)
from pipeline.fetch.order import Order, Period
from pipeline.fetch.zarr_metadata import Array, read_arrays
from pipeline.fetch.zarr_store import NOTE, Store, joined_note, wanted_arrays

Span = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """The part of a store that is wanted: arrays, and first and last index (exclusive) by dim."""

    arrays: dict[str, Array]
    spans: dict[str, Span]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, Array] = field(default_factory=dict)
    """Arrays of the coordinates of the dims."""

    @property
    def digest(self) -> str:
        """Digest of the axes of the store: chunks of a store that grew are not mixed with older."""
        lengths = [[name, dict(array.document)] for name, array in sorted(self.axes.items())]
        return hashlib.sha256(json.dumps(lengths, sort_keys=True).encode()).hexdigest()[:16]

    def chunks(self) -> list[tuple[str, str]]:
        """Return names of arrays and keys of the chunks of the window."""
        return [
            (name, array.key(index))
            for name, array in self.arrays.items()
            for index in self._indexes(array)
        ]

    def _indexes(self, array: Array) -> Iterable[tuple[int, ...]]:
        ranges = []
        for dim, chunk in zip(array.dims, array.chunks, strict=True):
            first, last = self.spans[dim]
            ranges.append(range(first // chunk, -(-last // chunk)))
        return product(*ranges)

    def renamed(self, array: Array) -> Iterable[tuple[str, str]]:
        """Yield the keys of an array's chunks in the provider's store and in the local one."""
        for index in self._indexes(array):
            pairs = zip(index, array.dims, array.chunks, strict=True)
            local = tuple(i - self.spans[dim][0] // chunk for i, dim, chunk in pairs)
            yield array.key(index), array.key(local)


def find_window(order: Order, store: Store) -> Window:
    """Return the part of a store that an order and the local store together have.

    Reads metadata and coordinates of the provider's store. Raises `InputError` for variables that
    it does not have and for bounds or a period without any cell or step.
    """
    remote = path_of(store.address)
    found, attributes = read_arrays(remote)
    note = store.note
    names = list(dict.fromkeys([*wanted_arrays(order), *note.get("arrays", ())]))
    for name in names:
        if name not in found:
            raise bad_input(store.address, f'no array "{name}"', f"one of {', '.join(found)}",
                            nearest_name(name, found))  # fmt: skip
    arrays = {name: found[name] for name in names}
    lengths = {dim: n for a in arrays.values() for dim, n in zip(a.dims, a.shape, strict=True)}
    axes = {dim: found[dim] for dim in lengths if dim in found and found[dim].dims == (dim,)}
    _fetch_axes(store, axes)
    values = _decoded(store)
    spans = {dim: (0, length) for dim, length in lengths.items()}
    spans |= _spans(order, store, values)
    spans = {dim: _hull(spans[dim], note.get("spans", {}).get(dim)) for dim in spans}
    return Window(arrays, _aligned(spans, arrays), attributes, axes)


def _hull(span: Span, other: Span | None) -> Span:
    return (min(span[0], other[0]), max(span[1], other[1])) if other else span


def _aligned(spans: Mapping[str, Span], arrays: Mapping[str, Array]) -> dict[str, Span]:
    """Return the spans enlarged until they begin and end with chunks of all arrays."""
    result = dict(spans)
    while True:
        before = dict(result)
        for array in arrays.values():
            for dim, chunk, length in zip(array.dims, array.chunks, array.shape, strict=True):
                first, last = result[dim]
                last = min(-(-last // chunk) * chunk, length)
                result[dim] = (first // chunk * chunk, last)
        if result == before:
            return result


def _fetch_axes(store: Store, axes: Mapping[str, Array]) -> None:
    """Copy the coordinate arrays whole into a small store of their own."""
    folder = store.partial / "axes.zarr"
    shutil.rmtree(folder, ignore_errors=True)
    remote = path_of(store.address)
    version = next(iter(axes.values())).version if axes else 2
    root = {"zarr_format": version} | ({"node_type": "group"} if version == 3 else {})
    make_folder(folder)
    write_json(folder / ("zarr.json" if version == 3 else ".zgroup"), root)
    for name, array in axes.items():
        for file, document in array.files(array.shape).items():
            write_json(folder / name / file, document)
        for index in range(-(-array.shape[0] // array.chunks[0])):
            key = array.key((index,))
            path = folder / name / key
            make_folder(path.parent)
            write_bytes(path, [(remote / f"{name}/{key}").read_bytes()], durable=False)


def _decoded(store: Store) -> xr.Dataset:
    with xr.open_zarr(store.partial / "axes.zarr", consolidated=False, chunks=None) as found:
        return found.load()


def _spans(order: Order, store: Store, axes: xr.Dataset) -> dict[str, Span]:
    dims, source = order.source.dims, order.source
    spans = {}
    time = dims.get("time", "time")
    if order.period and time in axes:
        spans[time] = _steps(axes[time].values, order.period)
    bounds = order.bounds
    if bounds is not None:
        crs = pyproj.CRS.from_user_input(source.crs)
        if not crs.is_geographic:
            to = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
            bounds = to.transform_bounds(*bounds, densify_pts=21)
        names = {axis: dims.get(axis, axis) for axis in ("y", "x")}
        missing = [name for name in names.values() if name not in axes]
        if missing:
            raise bad_input(store.address, f"no coordinate {missing[0]}",
                            f"one of {', '.join(map(str, axes))}",
                            "Correct `dims` of the entry.")  # fmt: skip
        x = axes[names["x"]].values
        x = (x + 180) % 360 - 180 if crs.is_geographic else x
        spans[names["y"]] = _cells(axes[names["y"]].values, bounds[1], bounds[3])
        spans[names["x"]] = _cells(x, bounds[0], bounds[2])
    for dim, (first, last) in spans.items():
        if first >= last:
            what = "--period" if dim == time else "--bounds"
            raise bad_input(f"{store.address}: {dim}", "no step or cell within them", what)
    return spans


def _steps(times: np.ndarray, period: Period) -> Span:
    """Return the steps of the days of a period, and of the midnight that ends the last one."""
    first, last = (np.datetime64(day.isoformat()) for day in period)
    inside = np.flatnonzero((times >= first) & (times <= last + np.timedelta64(1, "D")))
    return (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)


def _cells(centres: np.ndarray, low: float, high: float) -> Span:
    """Return the cells whose centres lie between two limits, and one more on either side."""
    inside = np.flatnonzero((centres >= low) & (centres <= high))
    if not inside.size:
        # Bounds smaller than a cell lie between two centres.
        distance = np.abs(centres - (low + high) / 2)
        gap = np.abs(np.diff(centres)).max(initial=0)
        inside = np.flatnonzero((distance == distance.min()) & (distance <= gap))
    if not inside.size:
        return 0, 0
    return max(int(inside[0]) - 1, 0), min(int(inside[-1]) + 2, len(centres))


def keep_chunks(store: Store, window: Window) -> None:
    """Let the chunks of the local store count as fetched, so that an addition fetches no more.

    Chunks of another state of the provider's store are fetched anew.
    """
    note, mark = store.note, store.partial / "axes.txt"
    if not mark.is_file() or mark.read_text() != window.digest:
        shutil.rmtree(store.partial / "chunks", ignore_errors=True)
        write_text(mark, window.digest)
    if note.get("axes") != window.digest:
        return
    spans = {dim: (int(a), int(b)) for dim, (a, b) in note["spans"].items()}
    arrays = {name: window.arrays[name] for name in note["arrays"]}
    old = Window(arrays, spans)
    for name, array in arrays.items():
        for key, local in old.renamed(array):
            _link(store.path / name / local, store.chunk(name, key))


def fetch_chunk(store: Store, array: str, key: str) -> int:
    """Fetch a chunk unless it is there, and return its bytes; 0 for one that the store leaves out.

    A chunk that is left out has the fill value of the array.
    """
    path = store.chunk(array, key)
    if path.exists():
        return 0
    try:
        content = (path_of(store.address) / f"{array}/{key}").read_bytes()
    except FileNotFoundError:
        content = b""
    make_folder(path.parent)
    write_bytes(path, [content], durable=False)
    return len(content)


def finish(order: Order, store: Store, window: Window) -> None:
    """Make the local store of the chunks; it replaces the present one when it is complete."""
    make_folder(store.path.parent)
    with new_folder(store.path) as folder:
        with xr.open_zarr(
            store.partial / "axes.zarr", consolidated=False, chunks=None, decode_cf=False
        ) as axes:
            inside = {dim: slice(*window.spans[dim]) for dim in axes.dims}
            cut = axes.isel(inside).load()
        for variable in cut.variables.values():
            variable.encoding = {}
        version = next(iter(window.arrays.values())).version
        spans = {dim: list(span) for dim, span in window.spans.items()}
        part = {"axes": window.digest, "arrays": list(window.arrays), "spans": spans}
        note = json.dumps({**joined_note(order, store), **part})
        cut.assign_attrs({**window.attributes, NOTE: note}).to_zarr(
            folder, zarr_format=version, consolidated=False
        )
        for name, array in window.arrays.items():
            shape = tuple(b - a for a, b in map(window.spans.__getitem__, array.dims))
            for file, document in array.files(shape).items():
                write_json(folder / name / file, document)
            for key, local in window.renamed(array):
                chunk = store.chunk(name, key)
                if chunk.stat().st_size:
                    _link(chunk, folder / name / local)
        if version == 2:
            zarr.consolidate_metadata(folder)
    shutil.rmtree(store.partial)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no such links."""
    make_folder(target.parent)
    if target.exists() or not source.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
