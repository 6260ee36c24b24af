"""long_series(): thousands of files as one lazy time series, with metadata of like files read once.

Times, types and shapes are read of each file (`look`), a sample is opened whole, and the others are
compared with the first when their values are read. A file that differs is then opened whole and
checked as every file of a short series is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import LIBRARY_ERRORS, Faults, bad_input
from pipeline.core.system.time_limit import reading
from pipeline.entries.source import Source
from pipeline.readers.common.series import along_time, as_series, check_alike, values_of
from pipeline.readers.long.alike import Opened, like_any
from pipeline.readers.long.look import Look, look
from pipeline.readers.long.sample import LONG, chosen_files
from pipeline.readers.long.time_order import named, time_name, time_order

Read = Callable[[Source, Path], xr.Dataset]
Open = Callable[[Source, Path, str], Opened | None]
MOST_KINDS = 8
"""Number of kinds of files, such as months of different lengths, of which one is kept open."""
SMALL_BYTES = 1 << 24
"""Size of a variable of all files up to which its values are kept once they were read."""


@dataclass(eq=False)
class LongSeries:
    """Files of a source in the order of their times, and what is known of those looked at."""

    source: Source
    paths: Sequence[Path]
    read: Read
    open: Open
    time: str
    names_crs: bool
    first: xr.Dataset
    labels: Sequence[np.ndarray | None]
    """Times of each file; None without a time axis."""
    steps: Sequence[int]
    dtypes: Mapping[str, np.dtype[Any]]
    seen: set[int]
    """Positions of the files that were looked at."""
    kinds: list[Opened] = field(default_factory=list)
    known: dict[int, int] = field(default_factory=dict)
    """The kind of each file that was compared with it."""
    odd: dict[int, Mapping[str, xr.Variable]] = field(default_factory=dict)
    """Variables of files that are like no other."""

    @property
    def counts(self) -> tuple[int, int]:
        """Files looked at, and all files."""
        return len(self.seen), len(self.paths)

    def variables(self, at: int) -> Mapping[str, xr.Variable]:
        """Return the variables of a file, lazy; `InputError` for one that does not match."""
        if at in self.odd:
            return self.odd[at]
        path = self.paths[at]
        try:
            number = self.known.get(at)
            if number is not None:
                return self.kinds[number].moved_to(path)
            found = like_any(self.kinds, path)
        except LIBRARY_ERRORS:
            found = None  # the reader has the message
        self.seen.add(at)
        if found is not None:
            self.known[at], variables = found
            return variables
        with reading(path):
            ds = named(self.read(self.source, path), path)
        self._check(ds, at)
        kind = self.open(self.source, path, self.time) if len(self.kinds) < MOST_KINDS else None
        if kind is not None:
            self.known[at] = len(self.kinds)
            self.kinds.append(kind)
        variables = {str(name): da.variable for name, da in ds.data_vars.items()}
        if kind is None:
            self.odd[at] = variables
        return variables

    def _check(self, ds: xr.Dataset, at: int) -> None:
        """Raise `InputError` for a file that does not match the first, or has other times."""
        check_alike([self.first, ds], self.time, self.source, self.names_crs)
        where = f'source "{self.source.name}", {self.paths[at]}'
        labels, has_changed = self.labels[at], ds.sizes.get(self.time, 1) != self.steps[at]
        if labels is not None:
            has_changed |= not np.array_equal(labels, np.atleast_1d(ds[self.time].values))
        if has_changed:
            raise bad_input(f"{where}: {self.time}", "times that have changed",
                            "those when the run began", "Run the same command again.")  # fmt: skip
        for name, dtype in self.dtypes.items():
            if not np.can_cast(ds[name].dtype, dtype, "same_kind"):
                raise bad_input(
                    f"{where}: {name}", f"values of type {ds[name].dtype}",
                    f"{dtype}, as in {self.first.encoding['source']}",
                    "Move the files that differ to a separate entry.",
                )  # fmt: skip


class LongPieces(Sequence[xr.Variable]):
    """One variable in each file of a long series, opened when it is asked for."""

    def __init__(self, series: LongSeries, name: str) -> None:
        self.series = series
        self.name = name
        da = series.first[name]
        self.order = (series.time, *(dim for dim in da.dims if dim != series.time))
        each = da.nbytes // da.sizes.get(series.time, 1)
        self.held: dict[int, xr.Variable] | None = (
            {} if each * sum(series.steps) <= SMALL_BYTES else None
        )

    def __len__(self) -> int:
        return len(self.series.paths)

    def __getitem__(self, at: Any) -> Any:
        if self.held is not None and at in self.held:
            return self.held[at]
        variable = self.series.variables(at)[self.name]
        piece = along_time(variable, self.order, self.series.time)
        if self.held is None:
            return piece
        values = values_of(piece, f'source "{self.series.source.name}"')
        encoding = {"source": str(self.series.paths[at])}
        self.held[at] = xr.Variable(piece.dims, values, piece.attrs, encoding)
        return self.held[at]

    @property
    def looked_at(self) -> list[xr.Variable]:
        """The variable in the files that were looked at."""
        return [self[at] for at in sorted(self.series.seen)]


def long_series(
    source: Source, paths: Sequence[Path], sizes: Sequence[int], read: Read, open_: Open,
    names_crs: bool, by_times: bool,
) -> tuple[xr.Dataset, LongSeries] | None:  # fmt: skip
    """Return the files as one lazy series along time; None if each must be opened whole.

    They are put into the order of their times if `by_times`. `sizes` are bytes. Raises `InputError`
    for files that cannot be read or do not match, as far as they are looked at.
    """
    datasets = _whole(source, paths, read, chosen_files(sizes))
    first = datasets[0]
    time = time_name(source, first)
    kind = open_(source, paths[0], time)
    if kind is None or check_alike([*datasets.values()], time, source, names_crs):
        return None
    if not _reads_alike(kind, paths[max(datasets)], datasets[max(datasets)]):
        return None
    names = [str(name) for name in first.data_vars]
    axis = time if time in first.coords else None
    bounds = _bounds_of(first, axis)
    looks = []
    for path in paths:
        with reading(path):
            looks.append(look(path, names, axis, bounds))
    shapes = [_fits(one, looks[0], first, time) for one in looks]
    odd = [at for at, fits in enumerate(shapes) if not fits and at not in datasets]
    if not shapes[0] or len(odd) > LONG or (by_times and axis is None):
        return None
    if odd:
        datasets |= _whole(source, paths, read, odd)
        check_alike([*datasets.values()], time, source, names_crs)
    steps = _steps(looks, datasets, first, time)
    times = _all_times(looks, datasets, first, axis, bounds)
    if times is None or (axis is not None and [len(one) for one, _ in times] != steps):
        return None
    order = list(range(len(paths)))
    if by_times:
        where = f'source "{source.name}", {source.address}: {time}'
        order = time_order([labels for labels, _ in times], [*map(str, paths)], where)
    dtypes = {name: np.result_type(*(ds[name].dtype for ds in datasets.values())) for name in names}
    series = LongSeries(
        source, [paths[at] for at in order], read, open_, time, names_crs, first,
        labels=[times[at][0] if axis else None for at in order],
        steps=[steps[at] for at in order], dtypes=dtypes,
        seen={order.index(at) for at in datasets}, kinds=[kind],
    )  # fmt: skip
    coords = {n: c.variable for n, c in first.coords.items() if time not in c.dims and n != time}
    if axis is not None:
        labels = np.concatenate([times[at][0] for at in order])
        coords[time] = xr.Variable(time, labels, first[time].attrs)
    if bounds is not None:
        edges = np.concatenate([times[at][1] for at in order])
        coords[bounds] = xr.Variable(first[bounds].dims, edges)
    pieces = {name: (LongPieces(series, name), dtypes[name]) for name in names}
    return as_series(first, pieces, series.steps, coords, time, source), series


def _whole(
    source: Source, paths: Sequence[Path], read: Read, chosen: Iterable[int]
) -> dict[int, xr.Dataset]:
    """Return the chosen files, opened whole; raises `InputError` with all that cannot be read."""
    datasets, faults = {}, Faults()
    for at in chosen:
        with faults.collecting(), reading(paths[at]):
            datasets[at] = named(read(source, paths[at]), paths[at])
    faults.raise_if_any()
    return datasets


def _reads_alike(kind: Opened, path: Path, ds: xr.Dataset) -> bool:
    """Whether the values of another file, if it is like the first, are those of its reader."""
    found = like_any([kind], path)
    ends = [(v[key], ds.variables[name][key]) for name, v in (found[1] if found else {}).items()
            for key in ((0,) * v.ndim, (-1,) * v.ndim)]  # fmt: skip
    return all(np.array_equal(a.values, b.values, equal_nan=True) for a, b in ends)


def _bounds_of(first: xr.Dataset, axis: str | None) -> str | None:
    """Return the name of the bounds of the times; None without any."""
    name = None if axis is None else first[axis].attrs.get("bounds")
    return name if name in first.coords and axis in first[name].dims else None


def _fits(one: Look | None, model: Look | None, first: xr.Dataset, time: str) -> bool:
    """Whether types and shapes of a file, but for the number of its times, are as in the first."""
    if one is None or model is None:
        return False
    for (dtype, shape), (expected, like), da in zip(
        one.arrays, model.arrays, first.data_vars.values(), strict=True
    ):
        dims = zip(da.dims, shape, like, strict=False)
        if dtype != expected or len(shape) != len(like) or len(like) != da.ndim:
            return False
        if any(size != known for dim, size, known in dims if dim != time):
            return False
    return True


def _steps(
    looks: Sequence[Look | None], datasets: Mapping[int, xr.Dataset], first: xr.Dataset, time: str
) -> list[int]:  # fmt: skip
    da = next((da for da in first.data_vars.values() if time in da.dims), None)
    if da is None:
        return [1] * len(looks)
    number, axis = [*first.data_vars].index(da.name), da.dims.index(time)
    return [datasets[at].sizes.get(time, 1) if at in datasets or one is None
            else one.arrays[number][1][axis] for at, one in enumerate(looks)]  # fmt: skip


Times = tuple[np.ndarray, Any]


def _all_times(
    looks: Sequence[Look | None], datasets: Mapping[int, xr.Dataset], first: xr.Dataset,
    axis: str | None, bounds: str | None,
) -> list[Times] | None:  # fmt: skip
    """Return times and bounds of each file; None if those of a look are not those of the reader."""
    if axis is None:
        return [(np.zeros(0), None)] * len(looks)
    if bounds is not None and first[bounds].dims[0] != axis:
        return None
    by_reader: dict[int, Times] = {}
    for at, ds in datasets.items():
        if axis not in ds.coords or (bounds is not None and bounds not in ds.coords):
            return None
        edges = None if bounds is None else ds[bounds].values
        by_reader[at] = (np.atleast_1d(ds[axis].values), edges)
    try:
        found = _decoded(looks, first[axis].dtype.kind in "MO")
    except (ValueError, OverflowError, TypeError):
        return None  # of units that the reader refuses
    for at, (labels, edges) in by_reader.items():
        if at not in found:
            found[at] = (labels, edges)
        elif not (_equal(found[at][0], labels) and (not bounds or _equal(found[at][1], edges))):
            return None
    return [found[at] for at in range(len(looks))]


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)


def _decoded(looks: Sequence[Look | None], are_dates: bool) -> dict[int, Times]:
    """Return times and bounds of looks by their positions; all of one reference date at once."""
    groups: dict[Any, dict[int, Look]] = {}
    for at, one in enumerate(looks):
        if one is not None and one.times is not None:
            key = one.units, one.calendar, one.times.dtype, one.bounds is None
            groups.setdefault(key, {})[at] = one
    found: dict[int, Times] = {}
    for (units, calendar, _, has_none), members in groups.items():
        attrs = {"units": units} | ({} if calendar is None else {"calendar": calendar})
        raw: list[Any] = [np.atleast_1d(np.asarray(one.times)) for one in members.values()]
        ends = np.cumsum([part.size for part in raw])[:-1]
        labels = np.split(_dates(np.concatenate(raw), attrs, are_dates), ends)
        edges: list[Any] = [one.bounds for one in members.values()]
        if not has_none:
            edges = np.split(_dates(np.concatenate(edges), attrs, are_dates), ends)
        found |= dict(zip(members, zip(labels, edges, strict=True), strict=True))
    return found


def _dates(raw: np.ndarray, attrs: Mapping[str, Any], are_dates: bool) -> np.ndarray:
    if not are_dates:
        return raw
    dims = tuple(f"d{number}" for number in range(raw.ndim))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xr.SerializationWarning)
        coder = xr.coders.CFDatetimeCoder(time_unit="ns")
        return np.asarray(coder.decode(xr.Variable(dims, raw, attrs)).values)
