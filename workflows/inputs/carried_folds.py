"""Folds of the target's cells for the cells that pretrain: what is held out there is held out here.

Upstream: folds.py, whose tables are labelled (cells.py). Groups are matched where both tables mean
the same by them, and ground always: another cube has other cells for the same places.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.cube.template import grid_of
from pipeline.grid.target_grid import TargetGrid
from pipeline.sites.shared_ground import cells_over_cells, cells_with_sites, sites_in_cells
from stefaland.folds.leakage import shown
from stefaland.folds.split import Fold, near
from workflows.inputs.cells import SITES

SAME_PLACE_KM = 0.1
"""Sites of two tables that lie so near each other are one: tables give places to three decimals."""


def carried_fold(fold: Fold, table: xr.Dataset, other: xr.Dataset) -> Fold:
    """`fold`, made on `table`, for the cells of `other`.

    What has the group of a part's cells is of that part; where the two tables number different
    things, what shares ground with them. Cells that share ground with a held-out cell in another
    way, lie in its buffer, or share a group with one are dropped. All others train: they have no
    target that could leak. A fold of kind `time` holds out days alone: every cell is in all parts.
    """
    cell = other["cell"].values.astype(np.int64)
    if fold.kind == "time":
        return replace(fold, train=cell, validation=cell, test=cell)
    match = Match(table, other)
    test = match.held(fold.test)
    dropped = ~test & (
        match.held(fold.dropped) | match.ground(fold.dropped) | touching(fold, table, other)
    )
    validation = match.held(fold.validation) & ~test & ~dropped
    beside = match.ground(fold.validation) | match.of_groups(validation)
    dropped |= beside & ~test & ~validation
    train = ~(test | dropped | validation)
    return replace(
        fold, train=cell[train], validation=cell[validation], test=cell[test], dropped=cell[dropped]
    )


def touching(fold: Fold, table: xr.Dataset, other: xr.Dataset) -> np.ndarray:
    """[m] True for cells of `other` that know of a test cell: by group, ground or in its buffer."""
    match = Match(table, other)
    held = match.held(fold.test)
    places = match.lonlat(other)
    tested = match.lonlat(table)[np.isin(table["cell"].values, fold.test)]
    # Of a coarse cell the centre may be far from the test cell within.
    close = near(places, np.concatenate([tested, places[held]]), fold.buffer_km)
    touched: np.ndarray = held | match.of_groups(held) | match.ground(fold.test) | close
    return touched


def check_carried(fold: Fold, carried: Fold, table: xr.Dataset, other: xr.Dataset) -> None:
    """Raise `InputError` where `carried` trains or validates on a cell that knows of a test one."""
    if fold.kind == "time":
        return
    cell = other["cell"].values.astype(np.int64)
    seen = np.union1d(carried.train, carried.validation)
    leaks = np.intersect1d(cell[touching(fold, table, other)], seen)
    if leaks.size:
        raise bad_input(
            f"fold {fold.name}: pretraining",
            f"{leaks.size} cells ({shown(leaks)}) that pretrain share a group or ground with a "
            f"test cell, or lie within {fold.buffer_km:g} km of one",
            "none",
        )


@dataclass(frozen=True)
class Match:
    """Cells of `table` by id → which cells of `other` [m] are meant."""

    table: xr.Dataset
    other: xr.Dataset

    def held(self, ids: np.ndarray) -> np.ndarray:
        """By group where both tables number the same, else by ground; sites by both."""
        meaning, other = (of["group"].attrs.get("of") for of in (self.table, self.other))
        if meaning != other:
            return self.ground(ids)
        groups = np.asarray(self.table["group"].values)[np.isin(self.table["cell"].values, ids)]
        same = np.isin(np.asarray(self.other["group"].values), np.unique(groups))
        # Two tables may give one site two numbers.
        return same | self.ground(ids) if meaning == SITES else same

    def of_groups(self, chosen: np.ndarray) -> np.ndarray:
        """The cells of `other` in the groups of the `chosen` ones."""
        group = np.asarray(self.other["group"].values)
        return np.isin(group, np.unique(group[chosen]))

    def ground(self, ids: np.ndarray) -> np.ndarray:
        """By overlapping cells; of tables of sites by the cell that a site lies in."""
        chosen = np.isin(self.table["cell"].values, ids)
        flat = self.other["cell"].values.astype(np.int64)
        places = self.lonlat(self.table)[chosen]
        own, other = _grid(self.table), _grid(self.other)
        if own is None:
            if other is None:
                return near(self.lonlat(self.other), places, SAME_PLACE_KM)
            return cells_with_sites(places, other)[flat]
        cells = self.table["cell"].values.astype(np.int64)[chosen]
        if other is None:
            return sites_in_cells(own, cells, self.lonlat(self.other))
        return cells_over_cells(own, cells, other)[flat]

    @staticmethod
    def lonlat(table: xr.Dataset) -> np.ndarray:
        """[n, 2] degrees."""
        return np.stack([table["lon"].values, table["lat"].values], 1)


def _grid(table: xr.Dataset) -> TargetGrid | None:
    """The grid of a cube's cells; None of sites."""
    return grid_of(table.attrs) if "cube" in table.attrs else None
