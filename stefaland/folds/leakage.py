"""Checks of a fold: every leak from test to training that can be found, as one `InputError`.

Every training checks its fold and statistics here first, and so do the stages that read stored
folds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import Faults
from stefaland.data.cell_data import CellData, fit_normaliser
from stefaland.data.normalise import Normaliser, Scaling
from stefaland.folds.fold import Fold, Locations, near

TOLERANCE = 1e-5
"""Allowed difference of statistics, in standard deviations: larger than any rounding."""


def check_fold(fold: Fold, at: Locations, min_cells: int = 1) -> None:
    """Raise `InputError` for the leaks of `check_parts`, unknown cells, and parts too small."""
    faults = Faults()
    where = f"fold {fold.name}"
    for name in ("train", "validation", "test"):
        count = len(getattr(fold, name))
        if count < (min_cells if name != "validation" else 1):
            need = f"at least {min_cells}" if name != "validation" else "at least 1"
            faults.add(f"{where}: {name}", f"{count} cells", need, "Make fewer or other folds.")
    ids = np.concatenate([fold.train, fold.validation, fold.test])
    unknown = ids[~np.isin(ids, at.cell)]
    if len(unknown):
        found = f"{len(unknown)} cells that do not exist ({shown(unknown)})"
        faults.add(where, found, "cells of the table")
    with faults.collecting():
        check_parts(fold, at)
    faults.raise_if_any()


def check_parts(fold: Fold, at: Locations) -> None:
    """Raise `InputError` with every leak: cells, groups and days of two parts, cells in a buffer.

    `at` may lack cells of the fold, such as its test cells where a table is for training alone.
    """
    faults = Faults()
    where = f"fold {fold.name}"
    _check_periods(fold, where, faults)
    if fold.kind != "time":
        _check_space(fold, at, where, faults)
    faults.raise_if_any()


def shown(ids: NDArray[Any]) -> str:
    """The first five ids as text, for a message."""
    first = ", ".join(str(one) for one in ids[:5])
    return f"{first}, …" if len(ids) > 5 else first


def _check_periods(fold: Fold, where: str, faults: Faults) -> None:
    """Add the days that windows of two parts share; a test window begins with its warm-up."""
    spans = {}
    for name, period in fold.periods.items():
        if period is None:
            if fold.kind == "time" and name != "validation":
                faults.add(where, f"no {name} period", "two periods that do not overlap")
            continue
        first, last = np.array(period, "datetime64[D]")
        if first > last:
            faults.add(
                f"{where}: {name}", f"{period[0]} to {period[1]}", "a first day before the last"
            )
            continue
        spans[name] = first, last
    warmup = np.timedelta64(fold.warmup_days, "D")
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        if one not in spans or other not in spans:
            continue
        (first, last), (begin, end) = spans[one], spans[other]
        read = begin - warmup if other == "test" else begin
        if first <= end and begin <= last:
            found = f"days in both ({first} to {last} and {begin} to {end})"
            faults.add(f"{where}: {one} and {other}", found, "periods that do not overlap")
        elif first <= end and read <= last:
            faults.add(
                f"{where}: {one} and {other}",
                f"days in both: the test reads from {read} on ({fold.warmup_days} days of warm-up)",
                "windows that do not overlap",
                f"Start test_period on {last + warmup + 1} or later, or lower warmup_steps.",
            )


def _check_space(fold: Fold, at: Locations, where: str, faults: Faults) -> None:
    index = {
        name: np.isin(at.cell, getattr(fold, name)) for name in ("train", "validation", "test")
    }
    pairs = (("train", "test"), ("validation", "test"), ("train", "validation"))
    for one, other in pairs:
        a, b = index[one], index[other]
        both = np.intersect1d(getattr(fold, one), getattr(fold, other))
        if len(both):
            found = f"{len(both)} shared cells ({shown(both)})"
            faults.add(f"{where}: {one} and {other}", found, "none")
        groups = np.intersect1d(at.groups[a], at.groups[b])
        if len(groups):
            found = f"{len(groups)} shared groups ({shown(groups)})"
            faults.add(f"{where}: {one} and {other}", found, "none")
        if other == "test" and fold.buffer_km > 0:
            close = at.cell[a][near(at.lonlat[a], at.lonlat[b], fold.buffer_km)]
            if len(close):
                near_by = f"within {fold.buffer_km:g} km of a test cell"
                faults.add(f"{where}: {one}", f"{len(close)} cells {near_by} ({shown(close)})",
                           "none")  # fmt: skip


def check_table(fold: Fold, data: CellData) -> None:
    """Check the parts with the coordinates and groups of a cell table (`check_parts`)."""
    lonlat = data.lonlat.numpy().astype(np.float64)
    check_parts(fold, Locations(data.cell.numpy(), lonlat, data.group, data.region))


def check_statistics(
    data: CellData, fold: Fold, normaliser: Normaliser, names: Iterable[str]
) -> None:
    """Raise `InputError` for scalings that are not those of the training cells and period alone.

    The scalings of `names` are computed again from `data`, each under its own transform.
    """
    wanted = tuple(names)
    normaliser.require(wanted)
    transforms = {name: normaliser.scalings[name].transform for name in wanted}
    recomputed = fit_normaliser(data, data.rows(fold.train), fold.train_period, transforms, wanted)
    faults = Faults()
    for name in wanted:
        found, expected = normaliser.scalings[name], recomputed.scalings[name]
        if not _alike(found, expected):
            faults.add(
                f"fold {fold.name}: statistics of {name}",
                f"mean {found.mean:.6g} and std {found.std:.6g}",
                f"{expected.mean:.6g} and {expected.std:.6g}, those of its training part",
                "They include cells or days of another part: run `stefaland stats CONFIG "
                "--restart`.",
            )
    faults.raise_if_any()


def check_scaler(normaliser: Normaliser, pretrained: Normaliser, names: Iterable[str]) -> None:
    """Raise `InputError` for inputs whose scaling is not that of the pretrained encoder."""
    faults = Faults()
    known: Mapping[str, Scaling] = normaliser.scalings
    for name in names:
        scaling = pretrained.scalings.get(name)
        if name in known and scaling is not None and not _alike(known[name], scaling):
            faults.add(
                f"scaler of {name}",
                f"mean {known[name].mean:.6g} and std {known[name].std:.6g}, computed again",
                f"{scaling.mean:.6g} and {scaling.std:.6g}, those the encoder was pretrained with",
                "Pass statistics of the target alone.",
            )
    faults.raise_if_any()


def _alike(one: Scaling, other: Scaling) -> bool:
    gap = max(abs(one.mean - other.mean), abs(one.std - other.std))
    return one.transform == other.transform and gap <= TOLERANCE * other.std
