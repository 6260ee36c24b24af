"""Folds made on the finetuning cube, carried over to the cells of the pretraining cube.

The two cubes may have different cells for the same ground. Groups are compared only where both
tables number the same things; overlap on the ground is always compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from scipy.spatial import cKDTree

from pipeline.core.errors import bad_input
from pipeline.cube.template import grid_of
from pipeline.grid.crs import unit_vectors
from pipeline.grid.target_grid import TargetGrid
from pipeline.sites.shared_ground import cells_over_cells, cells_with_sites, sites_in_cells
from stefaland.folds.leakage import shown
from stefaland.folds.split import Fold, near
from workflows.inputs.cells import SITES

SAME_SITE_KM = 0.1
"""Distance below which sites of two tables are one: coordinates have three decimals or fewer."""


def carried_fold(fold: Fold, table: xr.Dataset, other: xr.Dataset) -> Fold:
    """The partition of `fold`, made on `table`, for the cells of `other`.

    A cell belongs to the part whose cells have its group, or share ground with it where the two
    tables number different things. Other cells that share ground or a group with a held-out cell,
    or lie in its buffer, are dropped. All others train: they have no target that could leak. A fold
    of kind `time` holds out days alone, so that every cell is in all parts.
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


def further_fold(fold: Fold, table: xr.Dataset, other: xr.Dataset) -> Fold:
    """`carried_fold`, for a table of other locations than `table`.

    A cell whose nearest cell of `table` is a test cell is dropped too: it lies in a held-out region
    even if no test cell has its ground.
    """
    carried = carried_fold(fold, table, other)
    if fold.kind == "time":
        return carried
    dropped = other["cell"].values.astype(np.int64)[_nearest_is_held(fold, table, other)]
    dropped = np.setdiff1d(dropped, carried.test)
    return replace(
        carried, train=np.setdiff1d(carried.train, dropped),
        validation=np.setdiff1d(carried.validation, dropped),
        dropped=np.union1d(carried.dropped, dropped),
    )  # fmt: skip


def check_further(fold: Fold, further: Fold, table: xr.Dataset, other: xr.Dataset) -> None:
    """Raise `InputError` where cells of a further table train that `further_fold` leaves out."""
    check_carried(fold, further, table, other)
    if fold.kind != "time":
        found = "that pretrain are nearer to a test cell than to any other"
        _check_unseen(fold, further, other, _nearest_is_held(fold, table, other), found)


def _nearest_is_held(fold: Fold, table: xr.Dataset, other: xr.Dataset) -> np.ndarray:
    """Mask [m] of the cells of `other` whose nearest cell of `table` is a test cell."""
    tree = cKDTree(unit_vectors(*Match.lonlat(table).astype(np.float64).T))
    _, nearest = tree.query(unit_vectors(*Match.lonlat(other).astype(np.float64).T))
    held: np.ndarray = np.isin(table["cell"].values, fold.test)[nearest]
    return held


def touching(fold: Fold, table: xr.Dataset, other: xr.Dataset) -> np.ndarray:
    """Mask [m] of cells of `other` in the group, on the ground or in the buffer of a test cell."""
    match = Match(table, other)
    held = match.held(fold.test)
    lonlat = match.lonlat(other)
    tested = match.lonlat(table)[np.isin(table["cell"].values, fold.test)]
    # The centre of a coarse cell may be far from the test cell inside it.
    close = near(lonlat, np.concatenate([tested, lonlat[held]]), fold.buffer_km)
    touched: np.ndarray = held | match.of_groups(held) | match.ground(fold.test) | close
    return touched


def check_carried(fold: Fold, carried: Fold, table: xr.Dataset, other: xr.Dataset) -> None:
    """Raise `InputError` where `carried` trains or validates on a cell that leaks a test cell."""
    if fold.kind != "time":
        found = (
            "that pretrain share a group or ground with a "
            f"test cell, or lie within {fold.buffer_km:g} km of one"
        )
        _check_unseen(fold, carried, other, touching(fold, table, other), found)


def _check_unseen(
    fold: Fold, carried: Fold, other: xr.Dataset, held: np.ndarray, found: str
) -> None:
    """Raise `InputError` with what was `found` where cells of the mask train or validate."""
    cell = other["cell"].values.astype(np.int64)
    leaks = np.intersect1d(cell[held], np.union1d(carried.train, carried.validation))
    if leaks.size:
        raise bad_input(
            f"fold {fold.name}: pretraining", f"{leaks.size} cells ({shown(leaks)}) {found}", "none"
        )


@dataclass(frozen=True)
class Match:
    """The correspondence of cells: masks [m] of the cells of `other` for cell ids of `table`."""

    table: xr.Dataset
    other: xr.Dataset

    def held(self, ids: np.ndarray) -> np.ndarray:
        """Cells matched by group where both tables number the same, else by ground; sites: both."""
        meaning, other = (cells["group"].attrs.get("of") for cells in (self.table, self.other))
        if meaning != other:
            return self.ground(ids)
        groups = np.asarray(self.table["group"].values)[np.isin(self.table["cell"].values, ids)]
        same = np.isin(np.asarray(self.other["group"].values), np.unique(groups))
        # The same site may have different numbers in two tables.
        return same | self.ground(ids) if meaning == SITES else same

    def of_groups(self, chosen: np.ndarray) -> np.ndarray:
        """Cells of `other` in the groups of the `chosen` ones."""
        group = np.asarray(self.other["group"].values)
        return np.isin(group, np.unique(group[chosen]))

    def ground(self, ids: np.ndarray) -> np.ndarray:
        """Cells matched by overlap, or by the cell that holds a site where a table is of sites."""
        chosen = np.isin(self.table["cell"].values, ids)
        flat = self.other["cell"].values.astype(np.int64)
        lonlat = self.lonlat(self.table)[chosen]
        grid, other = _grid(self.table), _grid(self.other)
        if grid is None:
            if other is None:
                return near(self.lonlat(self.other), lonlat, SAME_SITE_KM)
            return cells_with_sites(lonlat, other)[flat]
        cells = self.table["cell"].values.astype(np.int64)[chosen]
        if other is None:
            return sites_in_cells(grid, cells, self.lonlat(self.other))
        return cells_over_cells(grid, cells, other)[flat]

    @staticmethod
    def lonlat(table: xr.Dataset) -> np.ndarray:
        """Longitude and latitude of the cells in degrees, [n, 2]."""
        return np.stack([table["lon"].values, table["lat"].values], 1)


def _grid(table: xr.Dataset) -> TargetGrid | None:
    """The grid of a cube's cells; None for a table of sites."""
    return grid_of(table.attrs) if "cube" in table.attrs else None
