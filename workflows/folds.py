"""Folds of a run: made on the target's cells, carried over to the cells that pretrain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from stefaland.errors import bad_input
from stefaland.splits import Fold, Locations, make_folds
from workflows.context import Run


def fold_names(run: Run) -> list[str]:
    """Names of the run's folds, in a fixed order; `InputError` where none was made."""
    names = sorted(path.stem for path in (run.folder / "folds").glob("*.json"))
    if not names:
        raise bad_input(str(run.folder / "folds"), "no fold", "the stats stage to have run")
    return names


def locations(table: xr.Dataset) -> Locations:
    """Ids, places and labels of a labelled table."""
    return Locations(
        table["cell"].values.astype(np.int64),
        np.stack([table["lon"].values, table["lat"].values], 1),
        table["group"].values,
        table["region"].values,
    )


def run_folds(run: Run, table: xr.Dataset) -> list[Fold]:
    """The configured folds over a labelled table's cells."""
    settings = run.config.folds
    return make_folds(
        settings.kind,
        locations(table),
        k=settings.k,
        seed=settings.seed,
        validation_share=settings.validation_share,
        buffer_km=settings.buffer_km,
        block_deg=settings.block_deg,
        min_cells=settings.min_cells,
        regions=settings.regions.folds or None,
    )


def carried_fold(fold: Fold, table: xr.Dataset, other: xr.Dataset) -> Fold:
    """`fold`, made on `table`, for the cells of `other`: the same groups are held out.

    Cells whose group is not in the fold train: they have no target that could leak.
    """
    group = np.asarray(other["group"].values)
    cell = other["cell"].values.astype(np.int64)

    def of(ids: np.ndarray) -> np.ndarray:
        chosen = np.isin(table["cell"].values, ids)
        return np.isin(group, np.unique(np.asarray(table["group"].values)[chosen]))

    test = of(fold.test)
    dropped = of(fold.dropped) & ~test
    validation = of(fold.validation) & ~test & ~dropped
    train = ~(test | dropped | validation)
    return replace(
        fold, train=cell[train], validation=cell[validation], test=cell[test], dropped=cell[dropped]
    )


def with_target(fold: Fold, known: np.ndarray) -> Fold:
    """`fold` with the cells alone that have a target at some time, whose ids are `known`."""

    def kept(ids: np.ndarray) -> np.ndarray:
        return ids[np.isin(ids, known)]

    return replace(
        fold, train=kept(fold.train), validation=kept(fold.validation), test=kept(fold.test)
    )
