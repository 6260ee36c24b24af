"""joined(): many files as one lazy time series, of which each is read when its steps are needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from pipeline.core.errors import LIBRARY_ERRORS, Faults, InputError
from pipeline.core.system.time_limit import reading
from pipeline.core.units import same_units
from pipeline.core.untrusted.safe_json import parse_json
from pipeline.entries.source import Source
from pipeline.grid.crs import declared_crs, is_geographic_crs, parsed
from pipeline.grid.same_crs import OF_CELL, SMALLEST, Bounds, crs_distance
from pipeline.grid.unstructured import centre_names
from pipeline.readers.common.dims import cell_size, layout
from pipeline.readers.common.packing import UNPACKED
from pipeline.readers.common.refusals import damaged
from pipeline.readers.common.shared_cells import shared_cells
from pipeline.times.cell_methods import method_of_time

COMPARED = 4096
"""Number of the cells of an unstructured grid whose locations are compared between files."""
SAME_CELL = 0.001
"""Fraction of a cell by which rounded coordinates of two files may differ."""
CHUNK_STARTS = "chunk_starts"
"""Key in the encoding of a variable of many files: the steps at which its stored chunks begin."""
SEPARATE = "Move the files that differ to a separate entry"


def check_alike(
    datasets: Sequence[xr.Dataset], time: str, source: Source, names_crs: bool = False
) -> dict[str, xr.Variable]:
    """Return the coordinates of the cells of a curvilinear grid, from all files; else none.

    Raises `InputError` with all differences of grids, CRS, dimensions, units and cell methods.
    """
    faults, paths = Faults(), _paths(datasets)
    _check_grids(datasets, time, source, faults)
    cells = {} if faults.faults else shared_cells(datasets, source, faults)
    if not source.overrides("crs"):
        texts = [_crs_text(ds) for ds in datasets]
        same = _same_crs(names_crs, _extent(datasets[0], source))
        _check(texts, paths, same, source, "crs", f"{SEPARATE}.", faults)
    for name, entry in source.variables.items():
        arrays = [ds.variables[entry.name] for ds in datasets]
        dims = [", ".join(map(str, da.dims)) for da in arrays]
        _check(dims, paths, _same_dims, source, f"{name}: dimensions", f"{SEPARATE}.", faults)
        if not source.classes and not source.overrides("units"):
            texts = [str(da.attrs.get("units", "")) for da in arrays]
            if entry.units:
                # Files without units have those of the entry, so they do not differ.
                texts = [text or next(filter(None, texts), "") for text in texts]
            hint = f"{SEPARATE}, or set `wrong_in_file: [units]` if only the text is wrong."
            _check(texts, paths, _same_units, source, f"{name}: units", hint, faults)
        if source.time.daily and not entry.cell_method:
            methods = [str(da.attrs.get("cell_methods", "")) for da in arrays]
            hint = "Set `cell_method` of the variable in the catalog."
            _check(
                methods, paths, _same_method(time), source, f"{name}: cell_methods", hint, faults
            )
    faults.raise_if_any()
    return cells


def _check_grids(
    datasets: Sequence[xr.Dataset], time: str, source: Source, faults: Faults
) -> None:  # fmt: skip
    first, paths = datasets[0], _paths(datasets)
    for ds, path in zip(datasets[1:], paths[1:], strict=True):
        for name in dict.fromkeys(str(dim) for da in first.values() for dim in da.dims):
            if name != time and not _same_axis(first, ds, name):
                faults.add(
                    f'source "{source.name}", {path}',
                    f'"{name}" that differs from {paths[0]}', "files on one grid",
                    "Move the files on another grid to a separate entry.",
                )  # fmt: skip
        if faults.faults:
            return


def _same_axis(first: xr.Dataset, other: xr.Dataset, dim: str) -> bool:
    if first.sizes[dim] != other.sizes.get(dim):
        return False
    if dim not in first.coords:
        return _same_centres(first, other, dim)
    if dim not in other.coords:
        return False
    one, two = first[dim].values, other[dim].values
    if one.dtype.kind not in "iuf" or two.dtype.kind not in "iuf":
        return bool(np.array_equal(one, two))
    return bool(np.allclose(one, two, rtol=0, atol=SAME_CELL * cell_size(one), equal_nan=True))


def _same_centres(first: xr.Dataset, other: xr.Dataset, dim: str) -> bool:
    """Whether a sample of the cells along a dimension is at the same locations."""
    names = centre_names(first, [dim])
    if names is None or not {*names} <= {*map(str, other.coords)}:
        return True
    some = slice(None, None, max(1, first.sizes[dim] // COMPARED))
    return all(np.array_equal(first[n][some].values, other[n][some].values) for n in names)


def _check(
    texts: Sequence[str], paths: Sequence[str], same: Callable[[str, str], bool], source: Source,
    what: str, hint: str, faults: Faults,
) -> None:  # fmt: skip
    """Add one fault with the first file whose text differs in meaning from that of the first."""
    alike = {text: same(texts[0], text) for text in set(texts) - {texts[0]}}
    differ = [path for path, text in zip(paths, texts, strict=True)
              if not alike.get(text, True)]  # fmt: skip
    if not differ:
        return
    found = texts[paths.index(differ[0])]
    more = f" and in {len(differ) - 1} more files" if len(differ) > 1 else ""
    faults.add(
        f'source "{source.name}", {differ[0]}: {what}', f'"{_short(found)}"{more}',
        f'"{_short(texts[0])}" as in {paths[0]}', hint,
    )  # fmt: skip


def _paths(datasets: Sequence[xr.Dataset]) -> list[str]:
    return [ds.encoding["source"] for ds in datasets]


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}…"


def _same_dims(first: str, other: str) -> bool:
    return set(first.split(", ")) == set(other.split(", "))


def _same_units(first: str, other: str) -> bool:
    try:
        return same_units(first, other)
    except ValueError:
        return False


def _same_method(time: str) -> Callable[[str, str], bool]:
    axes = ("time", time)
    return lambda first, other: method_of_time(first, axes) == method_of_time(other, axes)


def _crs_text(ds: xr.Dataset) -> str:
    """Return the CRS of a file as WKT; empty if it declares none that pyproj understands."""
    for name in ds.coords:
        attrs = ds.variables[name].attrs
        if wkt := attrs.get("crs_wkt") or attrs.get("spatial_ref"):
            return str(wkt)
        if "grid_mapping_name" in attrs:
            plain = {key: np.asarray(value).tolist() for key, value in attrs.items()}
            return _wkt(json.dumps(plain, sort_keys=True, default=str))
    declared = declared_crs(ds)
    return "" if declared is None else str(declared.to_wkt())


@lru_cache(maxsize=64)
def _wkt(grid_mapping: str) -> str:
    """Return the WKT of a grid mapping's attributes (JSON), cached because files mostly agree."""
    try:
        return str(pyproj.CRS.from_cf(parse_json(grid_mapping)).to_wkt())
    except (pyproj.exceptions.CRSError, KeyError):
        return ""


def _extent(ds: xr.Dataset, source: Source) -> tuple[Bounds, float] | None:
    """Return the bounds and the cell size of projected axes in their units; None for others."""
    try:
        axes = layout(ds, source)
    except InputError:
        return None
    if axes.is_curvilinear or is_geographic_crs(axes.crs):
        return None
    x, y = (ds[name].values.astype(float) for name in (axes.x, axes.y))
    bounds = (float(x.min()), float(y.min()), float(x.max()), float(y.max()))
    return bounds, min(cell_size(x), cell_size(y))


def _same_crs(
    names_crs: bool, extent: tuple[Bounds, float] | None
) -> Callable[[str, str], bool]:  # fmt: skip
    def same(first: str, other: str) -> bool:
        if not (first and other):
            return not names_crs
        try:
            one, two = parsed(first), parsed(other)
        except pyproj.exceptions.CRSError:
            return False
        # Grid mappings of plain latitudes and longitudes rarely name a datum.
        plain = not names_crs and one.is_geographic and two.is_geographic
        if plain or one.equals(two, ignore_axis_order=True):
            return True
        if extent is None or one.is_geographic:
            return False
        bounds, cell = extent
        cell *= one.axis_info[0].unit_conversion_factor
        return crs_distance(first, other, bounds) <= max(SMALLEST, OF_CELL * cell)

    return same


class Joined(BackendArray):
    """Variables concatenated along time, lazily; variables without that axis are one step each."""

    def __init__(
        self, pieces: Sequence[xr.Variable], steps: Sequence[int], dtype: Any, where: str
    ) -> None:  # fmt: skip
        self.files = pieces
        self.where = where
        self.begin = np.concatenate([[0], np.cumsum(steps)]).astype(int)
        first = pieces[0]
        has_time = first.dims[0] == "time"
        self.shape = (int(self.begin[-1]), *first.shape[int(has_time) :])
        self.stacked = not has_time
        self.dtype = np.dtype(dtype)

    @property
    def pieces(self) -> Sequence[xr.Variable]:
        """The variable in each file; of a long series only in those that were looked at."""
        looked_at: Sequence[xr.Variable] = getattr(self.files, "looked_at", self.files)
        return looked_at

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        time, rest = key[0], key[1:]
        wanted = range(self.shape[0])[time] if isinstance(time, slice) else range(time, time + 1)
        if not len(wanted):
            return np.empty((0, *self.pieces[0].shape[1:]), self.dtype)[(slice(None), *rest)]
        low, high = min(wanted), max(wanted) + 1
        parts = []
        for index in range(
            int(np.searchsorted(self.begin, low, "right")) - 1,
            int(np.searchsorted(self.begin, high, "left")),
        ):
            begin, end = self.begin[index], self.begin[index + 1]
            steps = slice(int(max(low, begin) - begin), int(min(high, end) - begin))
            piece = self.files[index]
            part = piece[rest] if self.stacked else piece[(steps, *rest)]
            values = values_of(part, self.where)
            parts.append(np.asarray(values[None] if self.stacked else values, self.dtype))
        box = np.concatenate(parts)
        if not isinstance(time, slice):
            return box[0]
        return box[:: time.step] if (time.step or 1) > 0 else box[::-1][:: -time.step]


def values_of(part: xr.Variable, where: str) -> np.ndarray:
    """Return values of one file, as its encoding names it; `InputError` if they cannot be read."""
    file = part.encoding.get("source")
    try:
        with reading(file or where):
            return np.asarray(part.values)
    except LIBRARY_ERRORS as error:
        raise damaged(f"{where}, {file}", file, error) from None


def joined(
    datasets: Sequence[xr.Dataset], time: str, source: Source, names_crs: bool = False
) -> xr.Dataset:
    """Return the datasets of a source's files concatenated along `time`, in their order; lazy.

    Datasets without that dimension are one step each, and the result has no time coordinate.
    With `names_crs`, every file must declare the same CRS in full. Raises `InputError` for files
    whose grid, CRS, dimensions, units or cell methods differ.
    """
    cells = check_alike(datasets, time, source, names_crs)
    first = datasets[0]
    pieces = {}
    for name, da in first.data_vars.items():
        order = (time, *(dim for dim in da.dims if dim != time))
        variables = [along_time(ds.variables[name], order, time) for ds in datasets]
        pieces[str(name)] = variables, np.result_type(*(piece.dtype for piece in variables))
    coords = {name: c.variable for name, c in first.coords.items() if time not in c.dims} | cells
    if time in first.coords:
        values = np.concatenate([np.atleast_1d(ds[time].values) for ds in datasets])
        coords[time] = xr.Variable(time, values, first[time].attrs)
        coords |= _joined_bounds(datasets, time)
    steps = [ds.sizes.get(time, 1) for ds in datasets]
    return as_series(first, pieces, steps, coords, time, source)


def as_series(
    first: xr.Dataset, pieces: Mapping[str, tuple[Sequence[xr.Variable], Any]],
    steps: Sequence[int], coords: Mapping[Any, xr.Variable], time: str, source: Source,
) -> xr.Dataset:  # fmt: skip
    """Return variables, each with its pieces of so many `steps` and their type, as one dataset."""
    arrays = {}
    for name, (variables, dtype) in pieces.items():
        da = first[name]
        dims = (time, *(dim for dim in da.dims if dim != time))
        array = Joined(variables, steps, dtype, f'source "{source.name}"')
        chunks = da.encoding.get("preferred_chunks", {})
        each = chunks.get(time, 1)
        begin = np.cumsum([0, *steps[:-1]])
        encoding: dict[str, Any] = {
            "preferred_chunks": {**chunks, time: each},
            CHUNK_STARTS: np.concatenate(
                [first + np.arange(0, n, each) for first, n in zip(begin, steps, strict=True)]
            ),
        }
        if UNPACKED in da.encoding:
            encoding[UNPACKED] = True
        arrays[name] = xr.Variable(dims, indexing.LazilyIndexedArray(array), da.attrs, encoding)
    return xr.Dataset(arrays, coords=coords, attrs=first.attrs)


def _joined_bounds(datasets: Sequence[xr.Dataset], time: str) -> dict[Hashable, xr.Variable]:
    """Return the bounds of the times by their name; empty unless every file has them."""
    name = datasets[0][time].attrs.get("bounds")
    if not all(name in ds.coords and time in ds[name].dims for ds in datasets):
        return {}
    parts = [ds[name].transpose(time, ...) for ds in datasets]
    values = np.concatenate([part.values for part in parts])
    return {name: xr.Variable(parts[0].dims, values)}


def along_time(variable: xr.Variable, order: Sequence[Hashable], time: str) -> xr.Variable:
    """Return a file's variable with its dims in an order, and its time axis named `time`; lazy."""
    piece = variable.transpose(*[dim for dim in order if dim in variable.dims])
    if time == "time":
        return piece
    dims = ["time" if dim == time else dim for dim in piece.dims]
    return xr.Variable(dims, piece._data, piece.attrs, piece.encoding, fastpath=True)
