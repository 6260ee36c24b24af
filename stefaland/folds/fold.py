"""One fold: which cells and days train, validate and test; and the locations it is made from.

A run stores its folds as JSON files, so that a result can be repeated. `split.py` makes folds,
`leakage.py` checks them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pipeline.core.errors import LIBRARY_ERRORS, bad_input
from pipeline.core.files import write_text
from pipeline.core.settings import Frozen, validated
from pipeline.core.untrusted.safe_json import parse_json

EARTH_RADIUS_KM = 6371.0088
Kind = Literal["time", "groups", "regions", "blocks"]
Period = tuple[str, str]
Ids = NDArray[np.int64]


def no_ids() -> Ids:
    """An empty array of cell ids."""
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False, kw_only=True)
class Fold:
    """A named partition in space and time; cell ids are int64, periods are inclusive ISO dates.

    >>> fold = Fold(name="f", kind="groups", train=np.arange(4), validation=np.array([4]),
    ...             test=np.array([5, 6]))
    >>> len(fold.train), fold.to_dict()["test"]
    (4, [5, 6])
    """

    name: str
    kind: Kind
    train: Ids
    validation: Ids
    test: Ids
    dropped: Ids = field(default_factory=no_ids)
    """Cells left out of all parts: within the buffer, or in the group of a test cell."""
    train_period: Period | None = None
    validation_period: Period | None = None
    test_period: Period | None = None
    buffer_km: float = 0.0
    held_out: tuple[str, ...] = ()
    """Labels of the regions that are held out for testing."""
    warmup_days: int = 0
    """Days before `test_period` that a model reads to predict the first day of the period."""

    @property
    def periods(self) -> dict[str, Period | None]:
        """The period of each part; None stands for the whole time axis."""
        return {
            "train": self.train_period,
            "validation": self.validation_period,
            "test": self.test_period,
        }

    def to_dict(self) -> dict[str, Any]:
        """The fold as plain values for JSON."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Fold:
        """The fold of the values that `to_dict` returns."""
        values = dict(stored)
        for name in ("train", "validation", "test", "dropped"):
            values[name] = _cells(values[name])
        for name in ("train_period", "validation_period", "test_period", "held_out"):
            values[name] = None if values[name] is None else tuple(values[name])
        return cls(**values)

    def save(self, path: str | Path) -> Path:
        """Write the fold as JSON, whole or not at all; returns the path."""
        target = Path(path)
        write_text(target, json.dumps(self.to_dict()))
        return target

    @classmethod
    def load(cls, path: str | Path) -> Fold:
        """Read a fold; raises `InputError` where the file holds none."""
        try:
            stored = parse_json(Path(path).read_text())
            fold = cls.from_dict(stored)
        except LIBRARY_ERRORS as error:
            raise bad_input(str(path), f"{type(error).__name__}: {error}", "a fold file") from None
        about = {name: value for name, value in stored.items() if name in _About.model_fields}
        validated(_About, about, str(path))
        return fold


class _About(Frozen):
    """Types of a stored fold's values, except its cells."""

    name: str
    kind: Kind
    train_period: Period | None = None
    validation_period: Period | None = None
    test_period: Period | None = None
    buffer_km: float = 0.0
    held_out: tuple[str, ...] = ()
    warmup_days: int = 0


def _cells(stored: Any) -> Ids:
    cells = np.asarray(stored)
    if cells.ndim != 1 or (cells.size and cells.dtype.kind not in "iu"):
        raise ValueError("cells that are no list of whole numbers")
    return cells.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Locations:
    """Ids, coordinates and labels of N cells, from which folds are made; never their values."""

    cell: Ids
    lonlat: NDArray[np.float64]
    """Coordinates [N, 2] in degrees east and north."""
    group: NDArray[Any] | None = None
    """Label [N] of what neighbours share (source cell, basin); by default each cell is a group."""
    region: NDArray[Any] | None = None
    """Label [N] of the region."""

    @property
    def groups(self) -> NDArray[Any]:
        """Group labels [N]."""
        return self.cell if self.group is None else self.group


def near(lonlat: NDArray[Any], others: NDArray[Any], km: float) -> NDArray[np.bool_]:
    """Mask [n] of the locations within `km` (great circle) of any of `others` [m, 2]."""
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
