"""Folds: which cells and times train, validate and test; made by kind and checked for leaks.

A fold is a JSON file in the run folder, so that a result can be repeated. Downstream: train.py,
finetune.py, baselines.py and the scores take only their own part of it (spec §8).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from stefaland.errors import Faults, InputError, bad_input, nearest_name

EARTH_RADIUS_KM = 6371.0088
Kind = Literal["temporal", "groups", "regions", "blocks"]
Period = tuple[str, str]
Ids = NDArray[np.int64]


def _none() -> Ids:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Fold:
    """A named partition in space and time; cell ids are int64, periods are inclusive ISO dates."""

    name: str
    kind: Kind
    train: Ids
    validation: Ids
    test: Ids
    dropped: Ids = field(default_factory=_none)
    """Cells left out of everything: in the buffer, or sharing a group with a test cell."""
    train_period: Period | None = None
    validation_period: Period | None = None
    test_period: Period | None = None
    buffer_km: float = 0.0
    held_out: tuple[str, ...] = ()
    """Labels of the regions that are tested."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Fold:
        """What `to_dict` gave."""
        values = dict(stored)
        for name in ("train", "validation", "test", "dropped"):
            values[name] = np.asarray(values[name], dtype=np.int64)
        for name in ("train_period", "validation_period", "test_period", "held_out"):
            values[name] = None if values[name] is None else tuple(values[name])
        return cls(**values)

    def save(self, path: str | Path) -> Path:
        """Write the fold as JSON, whole or not at all."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        temporary.write_text(json.dumps(self.to_dict()))
        os.replace(temporary, target)
        return target

    @classmethod
    def load(cls, path: str | Path) -> Fold:
        """Read a fold; `InputError` where the file is none."""
        try:
            return cls.from_dict(json.loads(Path(path).read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise bad_input(str(path), f"{type(error).__name__}: {error}", "a fold file") from None


@dataclass(frozen=True, eq=False)
class Locations:
    """What a fold may depend on: ids, places and labels of N cells, never their values."""

    cell: Ids
    lonlat: NDArray[np.float64]
    """[N, 2] degrees east and north."""
    group: NDArray[Any] | None = None
    """[N] label of what neighbours share; by default every cell is its own group."""
    region: NDArray[Any] | None = None

    @property
    def groups(self) -> NDArray[Any]:
        """[N] group labels."""
        return self.cell if self.group is None else self.group


def near(lonlat: NDArray[Any], others: NDArray[Any], km: float) -> NDArray[np.bool_]:
    """[n] True for places within `km` (great circle) of any of `others` [m, 2]."""
    if not len(others) or not len(lonlat) or km <= 0:
        return np.zeros(len(lonlat), bool)
    chord = 2 * np.sin(min(km / EARTH_RADIUS_KM, np.pi) / 2)
    distance, _ = cKDTree(_unit_vectors(others)).query(
        _unit_vectors(lonlat), distance_upper_bound=chord * (1 + 1e-12)
    )
    return np.isfinite(distance)


def _unit_vectors(lonlat: NDArray[Any]) -> NDArray[np.float64]:
    lon, lat = np.deg2rad(np.asarray(lonlat, dtype=np.float64)).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def _validation(
    train: NDArray[np.bool_], groups: NDArray[Any], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Whole groups drawn from the training side until they hold `share` of its cells."""
    labels, place = np.unique(groups[train], return_inverse=True)
    sizes = np.bincount(place, minlength=len(labels))
    order = rng.permutation(len(labels))
    filled = np.cumsum(sizes[order])
    wanted = max(1, int(np.searchsorted(filled, share * train.sum()) + 1))
    wanted = min(wanted, max(len(labels) - 1, 0))
    return train & np.isin(groups, labels[order[:wanted]])


def _balanced(labels: NDArray[Any], sizes: NDArray[np.int64], k: int) -> dict[Any, int]:
    """Labels → one of k parts of about equal size: the largest first, into the emptiest part."""
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
    """Fold name → (test cells, held-out labels)."""
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
    if kind == "blocks":
        block = np.floor(at.lonlat / block_deg).astype(np.int64)
        keys = block[:, 0] * 1_000_000 + block[:, 1]
    else:
        keys = at.groups
    labels, place = np.unique(keys, return_inverse=True)
    if len(labels) < k:
        raise bad_input("folds", f"{len(labels)} groups", f"at least k = {k}")
    # Groups of one size are dealt at random; large ones first, so that folds are of like size.
    order = rng.permutation(len(labels))
    part = _balanced(np.arange(len(labels))[order], np.bincount(place)[order], k)
    assigned = np.array([part[label] for label in range(len(labels))])
    return {f"{kind[:-1]}{i}": (assigned[place] == i, ()) for i in range(k)}


def _check_regions(regions: Mapping[str, Sequence[str]], known: Sequence[str]) -> None:
    faults = Faults()
    for fold, members in regions.items():
        for name in members:
            if name not in known:
                hint = nearest_name(name, known)
                faults.add(f"fold {fold}: region {name}", "no such label", ", ".join(known), hint)
    faults.raise_if_any()


def make_folds(
    kind: Kind,
    at: Locations,
    *,
    k: int = 5,
    seed: int = 0,
    validation_share: float = 0.1,
    buffer_km: float = 0.0,
    block_deg: float = 5.0,
    min_cells: int = 1,
    regions: Mapping[str, Sequence[str]] | None = None,
    train_period: Period | None = None,
    validation_period: Period | None = None,
    test_period: Period | None = None,
) -> list[Fold]:
    """The folds of a kind, each checked: `temporal` (one; all cells, periods apart), `groups` (PUB:
    random groups), `regions` (PUR: whole regions, by label), `blocks` (spatial blocks of degrees).

    Cells within `buffer_km` of a test cell, or in its group, train nothing. Raises `InputError`
    for folds with fewer than `min_cells` cells in a part, and for unknown regions.
    """
    rng = np.random.default_rng((seed, 0xF01D))
    periods = (train_period, validation_period, test_period)
    if kind == "temporal":
        everything = np.sort(at.cell)
        fold = Fold(
            "temporal", kind, everything, everything, everything, _none(), *periods
        )  # fmt: skip
        check_fold(fold, at, min_cells=min_cells)
        return [fold]
    folds = []
    faults = Faults()
    for name, (test, held_out) in _parts(kind, at, k, rng, block_deg, regions).items():
        shared = np.isin(at.groups, np.unique(at.groups[test])) & ~test
        close = near(at.lonlat, at.lonlat[test], buffer_km) & ~test
        dropped = shared | close
        train = ~test & ~dropped
        validation = _validation(train, at.groups, validation_share, rng)
        parts = (train & ~validation, validation, test, dropped)
        ids = tuple(np.sort(at.cell[part]) for part in parts)
        fold = Fold(name, kind, ids[0], ids[1], ids[2], ids[3], *periods, buffer_km, held_out)
        try:
            check_fold(fold, at, min_cells=min_cells)
        except InputError as error:
            faults.faults.extend(error.faults)
        folds.append(fold)
    faults.raise_if_any()
    return folds


def check_fold(fold: Fold, at: Locations, min_cells: int = 1) -> None:
    """Raise `InputError` with every leak: shared cells, groups, buffer, days; and empty parts."""
    faults = Faults()
    where = f"fold {fold.name}"
    for name in ("train", "validation", "test"):
        count = len(getattr(fold, name))
        if count < (min_cells if name != "validation" else 1):
            need = f"at least {min_cells}" if name != "validation" else "at least 1"
            faults.add(f"{where}: {name}", f"{count} cells", need, "Use fewer or other folds.")
    if fold.kind == "temporal":
        _check_periods(fold, where, faults)
    else:
        _check_space(fold, at, where, faults)
    faults.raise_if_any()


def _check_periods(fold: Fold, where: str, faults: Faults) -> None:
    named = {
        "train": fold.train_period, "validation": fold.validation_period, "test": fold.test_period
    }  # fmt: skip
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        a, b = named[one], named[other]
        if a is None or b is None:
            if "validation" not in (one, other):
                faults.add(where, "no train or test period", "two periods that do not overlap")
            continue
        first, second = (np.array(p, "datetime64[D]") for p in (a, b))
        if first[0] <= second[1] and second[0] <= first[1]:
            faults.add(
                f"{where}: {one} and {other}",
                f"days in both ({a[0]} to {a[1]} and {b[0]} to {b[1]})",
                "periods apart",
            )


def _check_space(fold: Fold, at: Locations, where: str, faults: Faults) -> None:
    known = np.isin(np.concatenate([fold.train, fold.validation, fold.test]), at.cell)
    if not known.all():
        faults.add(where, f"{int((~known).sum())} cells that do not exist", "cells of the table")
    index = {
        name: np.isin(at.cell, getattr(fold, name)) for name in ("train", "validation", "test")
    }
    pairs = (("train", "test"), ("validation", "test"), ("train", "validation"))
    for one, other in pairs:
        a, b = index[one], index[other]
        both = int((a & b).sum())
        if both:
            faults.add(f"{where}: {one} and {other}", f"{both} shared cells", "none")
        groups = np.intersect1d(at.groups[a], at.groups[b])
        if len(groups):
            shown = ", ".join(str(g) for g in groups[:3])
            faults.add(
                f"{where}: {one} and {other}", f"{len(groups)} shared groups ({shown})", "none"
            )
        if other == "test" and fold.buffer_km > 0:
            close = int(near(at.lonlat[a], at.lonlat[b], fold.buffer_km).sum())
            if close:
                found = f"{close} cells within {fold.buffer_km:g} km of a test cell"
                faults.add(f"{where}: {one}", found, "none")
