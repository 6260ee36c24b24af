"""Regridding of any canonical Dataset onto any target grid, NaN-aware, with coverage.

`regrid` chooses the operator (`weights` where both grids are rectilinear in one CRS, else `warp`)
and reads lazy variables in blocks. Blocks, tiles and threads change no bit of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input, nearest_name
from pipeline.core.formulas.angles import period_of
from pipeline.core.system.threads import default_threads
from pipeline.grid.axes import common_axes
from pipeline.grid.crs import crs_of
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.window import source_window
from pipeline.regridding import buffers
from pipeline.regridding import classes as categories
from pipeline.regridding.blocks import blocks, leading, read_window, time_blocks
from pipeline.regridding.operators import (  # fmt: skip
    Operator,
    Separable,
    apply_bands,
    apply_sparse,
    run_all,
)
from pipeline.regridding.weights import axis_weights

__all__ = ["METHODS", "operator_for", "regrid", "source_window"]

METHODS = {
    "conservative": "area: mean", "mean": "area: mean", "std": "area: standard_deviation",
    "mode": "area: mode", "fractions": "area: mean", "circular_mean": "area: mean",
    "bilinear": "area: point", "nearest": "area: point",
}  # fmt: skip
"""Methods of `regrid` and the CF cell method of the result of each."""

_SMALLEST = 1e-12  # coverage below this counts as none


def regrid(
    ds: xr.Dataset,
    target_grid: TargetGrid,
    method: str,
    min_coverage: float = 0.5,
    *,
    require_overlap: bool = True,
    threads: int | None = None,
) -> xr.Dataset:
    """Every variable of `ds` on the target grid, plus `<name>_coverage`; dims (..., y, x).

    `ds` is canonical: dims (..., y, x) with 1-D `y` and `x` (either direction, any longitude
    frame) in the CRS of `spatial_ref`, or 2-D `lat` and `lon` (curvilinear), or it has dims
    (..., cell) with polygons, bounds or centres (`elements`). Missing values are NaN and means are
    over valid values; the result is NaN where less than `min_coverage` of a cell is valid, or
    nothing. Coverage is the valid fraction of the cell's area, float32, 0 to 1, with the dims of
    its variable.

    Methods: `conservative` and `mean` (area-weighted mean), `std` (area-weighted standard
    deviation), `bilinear`, `nearest`, `circular_mean` (directions in degrees or radians, or values
    with an attribute `period`),
    `mode` (the class with the largest area; the smaller code on a tie) and `fractions` (one
    variable `<name>_fraction_<label>` for each class of `flag_values`, fraction of the valid area).

    Results of float64 data are float64, all others float32. Means of float32 data between grids of
    one CRS are merged in float32, by differences, with weights of 24 bits; all other sums are in
    float64. `InputError` for an unknown method, missing dims, or where nothing overlaps (unless
    `require_overlap` is False: then all NaN with coverage 0).

    >>> fine = TargetGrid.from_bounds("fine", "EPSG:4326", (0, 0, 4, 4), 1.0)
    >>> rain = xr.DataArray(np.arange(16.0).reshape(4, 4), {"y": fine.y, "x": fine.x}, ("y", "x"))
    >>> coarse = TargetGrid.from_bounds("coarse", "EPSG:4326", (0, 0, 4, 4), 2.0)
    >>> regrid(rain.to_dataset(name="rain"), coarse, "mean")["rain"].values.round(2).tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    if method not in METHODS:
        raise bad_input(
            "method", f'"{method}"', "one of " + ", ".join(METHODS), nearest_name(method, METHODS)
        )
    if not 0 <= min_coverage <= 1:
        raise bad_input("min_coverage", str(min_coverage), "a fraction between 0 and 1")
    space = ("cell",) if "cell" in ds.dims and "site" not in ds.coords else ("y", "x")
    names = [name for name, da in ds.data_vars.items() if {*space} <= set(da.dims)]
    if not names:
        raise bad_input(
            "regrid", f"variables {', '.join(map(str, ds.data_vars))} without dims y and x",
            "at least one variable with dims (..., y, x)", "Canonicalise the source first",
        )  # fmt: skip
    operator = operator_for(ds, target_grid, method)
    if require_overlap and not operator.overlaps():
        raise bad_input(
            f'grid "{target_grid.name}"', f"no overlap of {target_grid.bounds} with the source",
            "a target grid that the source covers at least in part",
            "Compare the bounds and the CRS of both",
        )  # fmt: skip
    # A coverage that equals the limit but for its rounding counts as reaching it.
    limit = max(min_coverage * (1 - 1e-9), _SMALLEST)
    job = _Job(operator, method, limit, threads or default_threads())
    coords = {k: c.variable for k, c in ds.coords.items() if not {*space} & set(c.dims)}
    coords.update((k, c.variable) for k, c in target_grid.coords().items())
    result: dict[str, xr.Variable] = {}
    for name in names:
        da = ds[name].transpose(..., *space)
        dims = (*da.dims[: -len(space)], "y", "x")
        for key, array, attrs in _regrid_variable(da, str(name), job):
            result[key] = xr.Variable(dims, array, attrs)
    return xr.Dataset(result, coords, {k: v for k, v in ds.attrs.items() if k != "crs"})


def operator_for(ds: xr.Dataset, target_grid: TargetGrid, method: str) -> Operator:
    """The operator from the grid of `ds` to the target grid, for `method`."""
    kind = method if method in {"bilinear", "nearest"} else "area"
    if "y" in ds.coords and "x" in ds.coords and ds["y"].ndim == ds["x"].ndim == 1:
        x, y = (ds[d].values.astype(float).tobytes() for d in ("x", "y"))
        separable = _separable(x, y, crs_of(ds), target_grid, kind)
        if separable is not None:
            return separable
    if "cell" in ds.dims and "y" not in ds.coords:
        from pipeline.regridding.elements import element_operator

        return element_operator(ds, target_grid, method)
    from pipeline.regridding import warp

    return warp.warp_operator(ds, target_grid, kind)


@lru_cache(maxsize=64)
def _separable(x: bytes, y: bytes, crs: str, grid: TargetGrid, kind: str) -> Separable | None:
    """The separable operator or None; cached for the other variables and times of a tile."""
    axes = common_axes(np.frombuffer(x), np.frombuffer(y), crs, grid)
    if axes is None:
        return None
    (source_y, source_x), (target_y, target_x) = axes
    return Separable(axis_weights(source_y, target_y, kind), axis_weights(source_x, target_x, kind))


def _floats(values: np.ndarray) -> np.ndarray:
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float32)


_Change = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Job:
    """Operator, method, smallest coverage of a valid result and number of threads of a regrid."""

    operator: Operator
    method: str
    limit: float
    threads: int


def _regrid_variable(
    da: xr.DataArray, name: str, job: _Job
) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
    """Names, arrays (..., Y, X) and attributes of one variable's results, its coverage last."""
    lead = leading(da)
    shape = (math.prod(lead), *job.operator.shape)
    dtype = np.float64 if da.dtype == np.float64 else np.float32
    coverage = buffers.empty(shape, np.float32)
    attrs = {**da.attrs, "cell_methods": METHODS[job.method], "grid_mapping": "spatial_ref"}
    attrs["ancillary_variables"] = f"{name}_coverage"
    if job.method in {"std", "fractions"}:
        attrs = {k: v for k, v in attrs.items() if not k.startswith(("valid_", "flag_"))}
    full = (*lead, *job.operator.shape)
    if job.method == "fractions":
        classes = categories.classes_of(da, name)
        fractions = buffers.empty((len(classes), *shape), np.float32)
        _classes(da, name, job, np.array(list(classes)), fractions, coverage)
        for fraction, label in zip(fractions, classes.values(), strict=True):
            long_name = f"share of the valid area that is {name} {label}"
            class_attrs = {**attrs, "units": "1", "long_name": long_name}
            yield f"{name}_fraction_{label}", fraction.reshape(full), class_attrs
    else:
        out = buffers.empty(shape, dtype)
        if job.method == "mode":
            _classes(da, name, job, None, out[None], coverage)
        elif job.method == "std":
            _sparse(da, job, out, coverage)
        elif job.method == "circular_mean":
            _circular(da, name, job, out, coverage)
        else:
            _means(da, job, out, coverage)
        yield name, out.reshape(full), attrs
    long_name = f"share of the cell's area with valid {name}"
    coverage_attrs = {"units": "1", "long_name": long_name, "grid_mapping": "spatial_ref"}
    yield f"{name}_coverage", coverage.reshape(full), coverage_attrs


def _means(
    da: xr.DataArray, job: _Job, out: np.ndarray, coverage: np.ndarray, change: _Change = _floats
) -> None:
    """Weighted means of the changed values; fused kernels where the operator is separable."""
    if not isinstance(job.operator, Separable):
        _sparse(da, job, out, coverage, change)
        return
    kind = "point" if job.method in {"bilinear", "nearest"} else "area"
    for times, rows in blocks(da, job.operator):
        operator, window = job.operator.part(rows).within
        values = change(read_window(da, times, window))
        whole = rows == slice(0, out.shape[1])
        parts = [a[times] if whole else np.empty_like(a[times, rows]) for a in (out, coverage)]
        apply_bands(operator, kind, values, job.limit, parts[0], parts[1], job.threads)
        if not whole:
            out[times, rows], coverage[times, rows] = parts


def _sparse(
    da: xr.DataArray, job: _Job, out: np.ndarray, coverage: np.ndarray, change: _Change = _floats
) -> None:
    """Means or standard deviations by strips of a sparse matrix."""
    from pipeline.regridding.kernels import sparse as kernels

    kernel = kernels.sparse_std if job.method == "std" else kernels.sparse_mean

    def work(rows: slice) -> None:
        matrix, window = job.operator.matrix(rows)
        first = rows.start * out.shape[2]
        for times in time_blocks(da, window):
            values = change(read_window(da, times, window))
            apply_sparse(kernel, matrix, values, job.limit, first, out[times], coverage[times])

    run_all(work, job.operator.strips(), job.threads)


def _classes(
    da: xr.DataArray, name: str, job: _Job, classes: np.ndarray | None,
    out: np.ndarray, coverage: np.ndarray,
) -> None:  # fmt: skip
    """Writes the fractions of `classes` to `out` (class, t, Y, X), or the mode where None."""
    from pipeline.regridding.kernels import sparse as kernels

    def work(rows: slice) -> None:
        matrix, window = job.operator.matrix(rows)
        for times in time_blocks(da, window):
            values = read_window(da, times, window)
            codes, known = categories.class_index(values, classes, name)
            shape = (codes.shape[0], rows.stop - rows.start, out.shape[3])
            areas = np.empty((shape[0], shape[1] * shape[2], known.size))
            total = np.empty(areas.shape[:2])
            flat = codes.reshape(shape[0], -1)
            kernels.sparse_classes(flat, matrix.begin, matrix.index, matrix.weight, areas, total)
            coverage[times, rows] = total.reshape(shape)
            mode = classes is None
            reduce = categories.most_common_class if mode else categories.class_fractions
            result = reduce(areas, total, known, job.limit)
            out[:, times, rows] = result.reshape(-1, *shape)

    run_all(work, job.operator.strips(), job.threads)


def _circular(
    da: xr.DataArray, name: str, job: _Job, out: np.ndarray, coverage: np.ndarray
) -> None:
    """Mean direction from mean sine and cosine; NaN where directions cancel out."""
    units = str(da.attrs.get("units", "degree"))
    turn = period_of(units, da.attrs.get("period"), name)
    radians = 2 * np.pi / turn
    sine, cosine = np.empty(out.shape), np.empty(out.shape)
    _means(da, job, sine, coverage, lambda values: np.sin(values.astype(np.float64) * radians))
    _means(da, job, cosine, coverage, lambda values: np.cos(values.astype(np.float64) * radians))
    angle = np.arctan2(sine, cosine) * (turn / (2 * np.pi))
    angle = np.where(angle < 0, angle + turn, angle).astype(out.dtype)
    angle[angle >= out.dtype.type(turn)] = 0
    angle[np.hypot(sine, cosine) < 1e-9] = np.nan
    out[:] = angle
