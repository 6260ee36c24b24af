"""The cells that pretrained an encoder, recorded with it, and compared with held-out cells.

An encoder is used by runs that did not pretrain it: each compares its folds with this record by the
rules of `carried_folds`, those for cells of other tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import LIBRARY_ERRORS, Faults, InputError, bad_input
from pipeline.core.settings import Frozen, validated
from pipeline.cube.template import grid_of
from stefaland.data.cell_data import period_steps
from stefaland.folds.split import Fold
from workflows.inputs.carried_folds import check_further, touching

KEY = "pretraining_cells"
"""Key of `data.json` under which an encoder has its record."""
MOST_CELLS = 1 << 28
"""Largest number of cells of a recorded grid, far above those of any that pretrains."""
DECIMALS = 4
"""Number of decimals of recorded coordinates, which is 11 m."""


class PretrainingCells(Frozen):
    """The cells of one cube that trained or validated a pretraining."""

    cube: str
    """Name of the cube in the run that pretrained."""
    period: tuple[str, str]
    """First and last day that were read."""
    grid: dict[str, Any] | None = None
    """The cube's grid as in its root attributes; None for a table of sites."""
    runs: tuple[tuple[int, int], ...] = ()
    """Cells of a grid: first flat index and number of each run of consecutive ones."""
    sites: tuple[int, ...] = ()
    """Ids of sites."""
    lon: tuple[float, ...] = ()
    lat: tuple[float, ...] = ()
    """Coordinates of the sites in degrees."""

    @property
    def count(self) -> int:
        """Number of the cells."""
        return len(self.sites) + sum(count for _, count in self.runs)

    def are(self, others: PretrainingCells) -> bool:
        """Whether both are the same cells of the same days, by their ids and by where they are.

        Ids alone do not tell: tables of two regions may number their cells alike.
        """
        if self.period != others.period or (self.grid is None) != (others.grid is None):
            return False
        one, other = self.table(), others.table()
        return np.array_equal(one["cell"], other["cell"]) and all(
            np.allclose(one[name], other[name], rtol=0, atol=2 * 10**-DECIMALS)
            for name in ("lon", "lat")
        )

    def table(self) -> xr.Dataset:
        """The cells with their coordinates, each a group of its own, as `carried_folds` reads them.

        Ids of sites are those of another run, and are compared with nothing. Raises `ValueError`
        for cells outside the grid.
        """
        ids, attrs = np.array(self.sites, np.int64), {}
        lon, lat = np.array(self.lon), np.array(self.lat)
        if self.grid is not None:
            attrs = {"cube": self.grid}
            grid = grid_of(attrs)
            size = grid.shape[0] * grid.shape[1]
            if any(first < 0 or count < 0 or first + count > size for first, count in self.runs):
                raise ValueError(f"cells outside the grid of {size} cells")
            if size > MOST_CELLS or self.count > size:
                raise ValueError(f"{self.count} cells of a grid of {size} cells")
            cells = (np.arange(first, first + count) for first, count in self.runs)
            ids = np.concatenate([ids[:0], *cells])
            lon, lat = (values.ravel()[ids] for values in grid.lonlat())
        meaning = {"of": "cells of a given encoder"}
        coords = {
            "cell": ("cell", ids), "lon": ("cell", lon), "lat": ("cell", lat),
            "group": ("cell", ids, meaning),
        }  # fmt: skip
        return xr.Dataset(coords=coords, attrs=attrs)


def record(cube: str, index: xr.Dataset, fold: Fold) -> dict[str, Any]:
    """The cells of a cube that pretrain on a fold, as plain values for `data.json`.

    `index` holds the labelled cells of the cube.
    """
    chosen = index.isel(cell=np.isin(index["cell"].values, [*fold.train, *fold.validation]))
    days = index["time"].values.astype("datetime64[D]")
    when = period_steps(days, fold.train_period)
    made: dict[str, Any] = {"cube": cube, "period": [str(days[when][0]), str(days[when][-1])]}
    ids = chosen["cell"].values.astype(np.int64)
    if "cube" in index.attrs:
        ids = np.sort(ids)
        starts = np.flatnonzero(np.diff(ids, prepend=-2) != 1)
        counts = np.diff([*starts, len(ids)])
        return made | {"grid": index.attrs["cube"],
                       "runs": np.stack([ids[starts], counts], 1).tolist()}  # fmt: skip
    places = {name: np.round(chosen[name].values.astype(float), DECIMALS).tolist()
              for name in ("lon", "lat")}  # fmt: skip
    return made | {"sites": ids.tolist(), **places}


def records(stored: Any, where: str) -> list[PretrainingCells]:
    """The records in the content of an encoder's `data.json`; empty where it has none.

    Raises `InputError` for records that are none.
    """
    found = stored.get(KEY, [])
    if not isinstance(found, list):
        raise bad_input(f"{where}: {KEY}", type(found).__name__, "a list with one entry per cube")
    seen = [validated(PretrainingCells, one, f"{where}: {KEY}.{i}") for i, one in enumerate(found)]
    for i, cells in enumerate(seen):
        try:
            cells.table()
        except LIBRARY_ERRORS as error:
            reason = f"{type(error).__name__}: {error}"
            raise bad_input(f"{where}: {KEY}.{i}", reason, "cells of a grid, or sites") from None
    return seen


def check_seen(
    folder: str, fold: Fold, table: xr.Dataset, seen: Iterable[PretrainingCells], hint: str = ""
) -> None:
    """Raise `InputError` for recorded cells which a run that holds out `fold` would leave out.

    `table` has the labelled cells of the fold. A fold of days alone leaves out none, but its test
    days at the same ground.
    """
    faults = Faults()
    for cells in seen:
        try:
            if fold.kind == "time":
                _check_days(fold, table, cells)
            else:
                other = cells.table()
                everything = replace(
                    fold, train=other["cell"].values, validation=fold.validation[:0]
                )
                check_further(fold, everything, table, other)
        except InputError as error:
            for fault in error.faults:
                where = f"{folder}: cells of {cells.cube} for fold {fold.name}"
                faults.add(where, fault.found, fault.expected, hint)
    faults.raise_if_any()


def _check_days(fold: Fold, table: xr.Dataset, cells: PretrainingCells) -> None:
    first, last = fold.test_period or ("", "")
    if fold.test_period and cells.period[0] <= last and first <= cells.period[1]:
        count = int(touching(fold, table, cells.table()).sum())
        if count:
            raise bad_input(
                fold.name, f"{count} cells that pretrain on {cells.period[0]} to "
                f"{cells.period[1]}, with test days at the same ground", "none",
            )  # fmt: skip
