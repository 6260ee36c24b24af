"""Folds by kind: periods, random groups (PUB), whole regions (PUR), spatial blocks.

Each fold is checked for leaks as soon as it is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import Faults, bad_input, listed, nearest_name
from stefaland.data.cell_data import CellData
from stefaland.folds.fold import Fold, Kind, Locations, Period, near
from stefaland.folds.leakage import check_fold


def _validation(
    train: NDArray[np.bool_], groups: NDArray[Any], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Mask of whole groups drawn from `train` until they hold the fraction `share` of its cells."""
    labels, inverse = np.unique(groups[train], return_inverse=True)
    sizes = np.bincount(inverse, minlength=len(labels))
    order = rng.permutation(len(labels))
    filled = np.cumsum(sizes[order])
    wanted = max(1, int(np.searchsorted(filled, share * train.sum()) + 1))
    wanted = min(wanted, max(len(labels) - 1, 0))
    return train & np.isin(groups, labels[order[:wanted]])


def _blocks(lonlat: NDArray[np.float64], side: float) -> NDArray[np.int64]:
    """Label [N] of the square of `side` degrees in which each location [N, 2] lies."""
    block = np.floor(lonlat / side).astype(np.int64)
    labels: NDArray[np.int64] = block[:, 0] * 1_000_000 + block[:, 1]
    return labels


def _balanced(labels: NDArray[Any], sizes: NDArray[np.int64], k: int) -> dict[Any, int]:
    """Part 0 to k - 1 of each label; the largest labels come first, into the smallest part."""
    load = np.zeros(k, dtype=np.int64)
    part = {}
    for i in np.argsort(-sizes, kind="stable"):
        part[labels[i]] = int(np.argmin(load))
        load[part[labels[i]]] += sizes[i]
    return part


def _parts(
    kind: Kind, at: Locations, k: int, rng: np.random.Generator, block_deg: float,
    regions: Mapping[str, Sequence[str]] | None,
) -> dict[str, tuple[NDArray[np.bool_], tuple[str, ...]]]:  # fmt: skip
    """Test cells (a mask) and held-out labels by fold name."""
    if kind == "regions":
        if at.region is None:
            raise bad_input("folds", "cells without region labels", "a region for every cell")
        labels, counts = np.unique(at.region.astype(str), return_counts=True)
        if regions:
            _check_regions(regions, labels.tolist())
            chosen = {name: tuple(members) for name, members in regions.items()}
        else:
            part = _balanced(labels, counts, min(k, len(labels)))
            chosen = {
                f"region{i}": tuple(str(x) for x in labels if part[x] == i)
                for i in range(min(k, len(labels)))
            }
        return {n: (np.isin(at.region.astype(str), m), m) for n, m in chosen.items()}
    keys = _blocks(at.lonlat, block_deg) if kind == "blocks" else at.groups
    labels, inverse = np.unique(keys, return_inverse=True)
    if len(labels) < k:
        raise bad_input("folds", f"{len(labels)} groups", f"at least k = {k}")
    # Random among groups of equal size; large groups first, so that folds get similar sizes.
    order = rng.permutation(len(labels))
    part = _balanced(np.arange(len(labels))[order], np.bincount(inverse)[order], k)
    assigned = np.array([part[label] for label in range(len(labels))])
    return {f"{kind[:-1]}{i}": (assigned[inverse] == i, ()) for i in range(k)}


def _check_regions(regions: Mapping[str, Sequence[str]], known: Sequence[str]) -> None:
    faults = Faults()
    for fold, members in regions.items():
        for name in members:
            if name not in known:
                faults.add(
                    f"fold {fold}: region {name}", "no such label", f"one of {listed(known)}",
                    nearest_name(name, known),
                )  # fmt: skip
    faults.raise_if_any()


def make_folds(
    kind: Kind,
    at: Locations | CellData,
    *,
    k: int = 5,
    seed: int = 0,
    validation_share: float = 0.1,
    buffer_km: float = 0.0,
    block_deg: float = 5.0,
    min_cells: int = 1,
    validation_by: Literal["groups", "blocks"] = "groups",
    regions: Mapping[str, Sequence[str]] | None = None,
    train_period: Period | None = None,
    validation_period: Period | None = None,
    test_period: Period | None = None,
    warmup_days: int = 0,
) -> list[Fold]:
    """The folds of a kind over the locations `at`, each checked for leaks.

    `time` is one fold of all cells with separate periods; `groups` holds out random groups (PUB),
    `regions` whole regions by label (PUR), `blocks` squares of `block_deg` degrees. Periods may be
    combined with any kind. Cells within `buffer_km` of a test cell, or in its group, are left out.
    Validation cells are random groups, or with `validation_by` blocks of the same size.
    The test reads `warmup_days` before its period. Raises `InputError` for fewer than `min_cells`
    cells in a part, for unknown regions, and for periods that share a day.

    >>> from stefaland.data.example import example_cells
    >>> cells = example_cells()
    >>> folds = make_folds("groups", cells, k=3)
    >>> [fold.name for fold in folds], len(folds[0].test)
    (['group0', 'group1', 'group2'], 4)
    """
    if isinstance(at, CellData):
        at = Locations(at.cell.numpy(), at.lonlat.numpy().astype(float), at.group, at.region)
    rng = np.random.default_rng((seed, 0xF01D))
    periods: dict[str, Any] = {
        "train_period": train_period,
        "validation_period": validation_period,
        "test_period": test_period,
        "warmup_days": warmup_days,
    }
    if kind == "time":
        everything = np.sort(at.cell)
        fold = Fold(
            name="time", kind=kind, train=everything, validation=everything, test=everything,
            **periods,
        )  # fmt: skip
        check_fold(fold, at, min_cells=min_cells)
        return [fold]
    folds = []
    faults = Faults()
    clusters = at.groups
    if validation_by == "blocks":
        # A group that lies in two blocks stays whole: it belongs to the block of its first cell.
        _, firsts, group = np.unique(at.groups, return_index=True, return_inverse=True)
        clusters = _blocks(at.lonlat, block_deg)[firsts][group]
    for name, (test, held_out) in _parts(kind, at, k, rng, block_deg, regions).items():
        shared = np.isin(at.groups, np.unique(at.groups[test])) & ~test
        close = near(at.lonlat, at.lonlat[test], buffer_km) & ~test
        dropped = shared | close
        train = ~test & ~dropped
        validation = _validation(train, clusters, validation_share, rng)
        parts = {
            "train": train & ~validation, "validation": validation, "test": test,
            "dropped": dropped,
        }  # fmt: skip
        ids: dict[str, Any] = {part: np.sort(at.cell[chosen]) for part, chosen in parts.items()}
        fold = Fold(name=name, kind=kind, **ids, **periods, buffer_km=buffer_km, held_out=held_out)
        with faults.collecting():
            check_fold(fold, at, min_cells=min_cells)
        folds.append(fold)
    faults.raise_if_any()
    return folds


__all__ = ["Fold", "Locations", "Period", "check_fold", "make_folds", "near"]
