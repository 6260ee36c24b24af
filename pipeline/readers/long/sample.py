"""Which files of a long series are looked at whole before any is read, and how many were.

The others are looked at when their values are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import numpy as np

LONG = 64
"""Number of files above which a series is long."""
SPREAD, ODD_SIZES = 32, 32
"""Number of files that are looked at whole: evenly spread, and at most because of their sizes."""
ODD = 2.0
"""Ratio to the median size from which on a size is odd."""
_EVERY: ContextVar[bool] = ContextVar("every_file", default=False)


class Looked(Protocol):
    """A long series with its number of files, and of those that were looked at."""

    @property
    def counts(self) -> tuple[int, int]:
        """Files looked at, and all files."""


_SEEN: ContextVar[dict[int, Looked] | None] = ContextVar("long_series", default=None)


@contextmanager
def every_file(wanted: bool = True) -> Iterator[None]:
    """Within the context, each file of each series is looked at whole if this is `wanted`."""
    token = _EVERY.set(wanted)
    try:
        yield
    finally:
        _EVERY.reset(token)


def is_long(count: int) -> bool:
    """Whether only a sample is looked at of a series of so many files."""
    return count > LONG and not _EVERY.get()


@contextmanager
def noting() -> Iterator[dict[int, Looked]]:
    """Collect within the context the long series that are opened."""
    seen: dict[int, Looked] = {}
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


def note(series: Looked) -> None:
    """Add a series that is opened to those that `noting` collects."""
    seen = _SEEN.get()
    if seen is not None:
        seen[id(series)] = series


def chosen_files(sizes: Sequence[int]) -> list[int]:
    """Return the positions of the files to look at: first, last, evenly spread, and odd sizes.

    >>> chosen_files([100] * 5000)[:3], len(chosen_files([100] * 5000))
    ([0, 161, 322], 32)
    """
    count = len(sizes)
    spread = np.unique(np.linspace(0, count - 1, min(count, SPREAD)).astype(int))
    ratios = np.log(np.maximum(sizes, 1) / max(1.0, float(np.median(sizes))))
    odd = np.flatnonzero(np.abs(ratios) > np.log(ODD))
    odd = odd[np.argsort(-np.abs(ratios[odd]), kind="stable")[:ODD_SIZES]]
    return [int(at) for at in np.union1d(spread, odd)]
