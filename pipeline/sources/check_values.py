"""check_values(): whether a source's values can be read, exist and are in range.

Small sources are read completely; of larger ones a sample that is spread over time and space.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, prod

import numpy as np
import xarray as xr
from xarray.core import indexing

from pipeline.core.errors import Faults, bad_input
from pipeline.entries.source import Source, Variable
from pipeline.readers.common.packing import UNPACKED
from pipeline.sources.arrays.aggregate import Decoded, decoded
from pipeline.sources.axes import axes_of
from pipeline.sources.canonical import decoding_of, in_order, plan_of
from pipeline.sources.computed.tally import Tally
from pipeline.sources.decode import Decoding

WHOLE_BYTES = 256 * 2**20
"""Size (as float32) up to which sources are read completely, which takes seconds."""
SLAB_BYTES = 64 * 2**20
"""Bytes of stored values read at once."""
BLOCK = 256
"""Rows and columns of a sampled block, which has up to four time steps."""
SAMPLED_BLOCKS = 16
"""Number of blocks read of larger sources, and more only until one of them has a value."""
NORM_TOLERANCE, NORM_SHARE = 0.05, 0.01
"""Difference of a unit vector's norm from 1, for packed components, and the fraction of cells that
may differ by more."""
NO_VALUE = "no valid value"
"""What was found in a variable all of whose values are missing."""


@dataclass(frozen=True)
class _Series:
    """Stored numbers and canonical values of one variable, both lazy."""

    stored: xr.Variable
    decoding: Decoding
    values: xr.Variable
    chunk: int
    """Number of canonical steps (or rows) in one chunk of the file."""

    @property
    def bytes(self) -> int:
        """Bytes of the stored numbers as float32."""
        return 4 * self.stored.size


def check_values(
    ds: xr.Dataset,
    parts: Sequence[xr.Dataset],
    source: Source,
    variables: Mapping[str, Variable],
    faults: Faults,
    tallies: Mapping[str, Tally],
    sampled: bool = False,
) -> float:
    """Return the fraction of the values in `parts` that was read; adds a fault for each variable.

    `ds` is the whole source: its last values must be readable, and each variable must have valid
    values. `parts` are the parts of it that the grids need, whose values must be in range; what is
    changed in them is counted in the `tallies` of their variables. Large sources are `sampled`, and
    others if that is wanted.
    """
    names = [name for name in source.variables if name in variables]
    size = read = 0
    for name in names:
        with faults.collecting():
            series = [_series(part, source, name, variables[name], tallies[name]) for part in parts]
            total = len(names) * sum(one.bytes for one in series)
            blocks = _sample if sampled or total > WHOLE_BYTES else _slabs
            _last_values(_series(ds, source, name, variables[name]))
            has_values = False
            tallies[name].days = _days(ds, source, name)
            for one in series:
                size += one.values.size
                for block in blocks(one):
                    values = one.values[block].values
                    read += values.size
                    tallies[name].add_values(values)
                    has_values |= bool(np.isfinite(values).any())
            tallies[name].check_stored(variables[name], series[0].decoding.where, faults)
            if not (has_values or _has_values(_series(ds, source, name, variables[name]))):
                faults.add(series[0].decoding.where, NO_VALUE, "a variable with values",
                           "Check the file, and nodata, mask and classes.")  # fmt: skip
    if source.unit_norm and names:
        with faults.collecting():
            _check_norm([_series(parts[0], source, name, variables[name]) for name in names])
    return min(1.0, read / size) if size else 1.0


def _check_norm(components: Sequence[_Series]) -> None:
    """Raise `InputError` if the vectors of a sample of cells do not have norm 1."""
    norms: list[np.ndarray] = []
    for block in _sample(components[0]):
        squares = sum(one.values[block].values.astype(np.float64) ** 2 for one in components)
        norms.append(np.sqrt(np.asarray(squares)).ravel())
    found = np.concatenate(norms)
    found = found[np.isfinite(found)]
    off = np.abs(found - 1.0) > NORM_TOLERANCE
    if found.size and off.mean() > NORM_SHARE:
        raise bad_input(
            components[0].decoding.where.rpartition(":")[0],
            f"vectors of {len(components)} components and norm {np.median(found):.3g} (median)",
            "norm 1 in nearly all cells, as `unit_norm` states",
            "Check that all components are listed, and `transform`, scale and nodata of the entry;"
            " those of AlphaEarth have `transform: square_signed`.",
        )  # fmt: skip


def _days(ds: xr.Dataset, source: Source, name: str) -> float | None:
    """Return the length of a variable's series in days; None without times."""
    axes = axes_of(ds, source)
    time = "time" if axes is None else axes.time
    plan = plan_of(ds, source, axes) if time in ds[source.opened_name(name)].dims else None
    return None if plan is None else float((plan.lengths * plan.expected).sum())


def _series(
    ds: xr.Dataset, source: Source, name: str, variable: Variable, tally: Tally | None = None
) -> _Series:
    axes = axes_of(ds, source)
    da = ds[source.opened_name(name)]
    stored = in_order(da, axes, source)
    plan = plan_of(ds, source, axes) if "time" in stored.dims else None
    decoding = replace(decoding_of(da, source, name, variable), tally=tally)
    if tally is not None:
        tally.stored.describe(da.encoding if UNPACKED in da.encoding else {}, da.dtype)
    array = decoded(stored, decoding, plan)
    first = None if axes is None else axes.y if plan is None else axes.time
    chunks = da.encoding.get("preferred_chunks", {})
    chunk = chunks.get(first, 1) // (1 if plan is None else plan.expected)
    values = xr.Variable(array.dims, indexing.LazilyIndexedArray(array))
    return _Series(stored, decoding, values, max(1, chunk))


def _last_values(series: _Series) -> None:
    """Read the last values of each file, which are missing if it is truncated."""
    data = series.stored._data
    pieces = getattr(getattr(data, "array", None), "pieces", None) or [series.stored]
    for piece in pieces:
        Decoded(piece, replace(series.decoding, reductions={}), None).read(
            tuple(slice(max(0, size - 1), size) for size in piece.shape)
        )


def _has_values(series: _Series) -> bool:
    """Whether there is any valid value; reads block by block until one is found."""
    blocks = product(*map(range, _counts(series.values)))
    return any(
        bool(np.isfinite(series.values[_block(series.values, index)].values).any())
        for index in blocks
    )


def _slabs(series: _Series) -> Iterator[tuple[slice, ...]]:
    """Yield the whole variable in slabs of steps (or rows) that are whole chunks of its file."""
    length = series.values.shape[0]
    fit = max(1, SLAB_BYTES * length // max(1, series.bytes))
    step = max(series.chunk, fit // series.chunk * series.chunk)
    for first in range(0, length, step):
        yield (slice(first, first + step),)


def _sample(series: _Series) -> Iterator[tuple[slice, ...]]:
    """Yield blocks spread evenly and independently along every axis by a Kronecker sequence."""
    counts = _counts(series.values)
    ratios = [(5**0.5 - 1) / 2, 2**0.5 - 1, 3**0.5 - 1][: len(counts)]
    seen = set()
    for i in range(min(SAMPLED_BLOCKS, prod(counts))):
        index = tuple(int((i * r) % 1.0 * n) for r, n in zip(ratios, counts, strict=True))
        if index not in seen:
            seen.add(index)
            yield _block(series.values, index)


def _sizes(variable: xr.Variable) -> list[int]:
    return [4 if dim == "time" else BLOCK for dim in variable.dims]


def _counts(variable: xr.Variable) -> list[int]:
    """Return the number of blocks along each axis."""
    return [ceil(n / size) for n, size in zip(variable.shape, _sizes(variable), strict=True)]


def _block(variable: xr.Variable, index: Sequence[int]) -> tuple[slice, ...]:
    """Return the slices of the block with the `index`, which counts blocks along each axis."""
    starts = zip(index, _sizes(variable), strict=True)
    return tuple(slice(i * size, (i + 1) * size) for i, size in starts)
