"""Windows drawn by their targets: first a target of the site, then a window that holds it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class TargetWindows:
    """The steps with a target of each row, and the windows among which one is drawn for a step.

    Every target of a row is equally probable, also the first and last ones of a record, which few
    windows hold. A row without a target in any window gets any window.
    """

    steps: NDArray[np.int64]
    """Steps with a target of all rows, those of the first row first."""
    offsets: NDArray[np.int64]
    """Begin [n + 1] of each row's part of `steps`."""
    starts: tuple[int, int]
    """First start, and number of starts."""
    window: int
    warmup: int
    """Number of leading steps of a window without targets that count."""
    every: int = 1
    """Windows begin at every n-th start, or for steps that none of these holds at any start."""
    cyclic: bool = False

    @classmethod
    def of(
        cls, known: NDArray[np.bool_], *, starts: tuple[int, int], window: int, warmup: int,
        every: int = 1, cyclic: bool = False,
    ) -> TargetWindows:  # fmt: skip
        """The windows of rows with a target at `known` [n, T].

        >>> known = np.array([[False, True, False, False], [False, False, False, True]])
        >>> windows = TargetWindows.of(known, starts=(0, 3), window=2, warmup=0)
        >>> windows.draw(np.array([1, 1]), np.random.default_rng(0)).tolist()
        [2, 2]
        """
        within = known.copy()
        if not cyclic:
            within[:, : starts[0] + warmup] = False
            within[:, sum(starts) + window - 1 :] = False
        rows, steps = np.nonzero(within)
        offsets = np.searchsorted(rows, np.arange(len(known) + 1))
        return cls(
            steps=steps, offsets=offsets, starts=starts, window=window, warmup=warmup,
            every=every, cyclic=cyclic,
        )  # fmt: skip

    def draw(self, rows: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
        """Random starts of a window for each of `rows`, which may be repeated."""
        first, count = self.starts
        target, position = generator.random(len(rows)), generator.random(len(rows))
        numbers = self.offsets[rows + 1] - self.offsets[rows]
        index = self.offsets[rows] + (target * numbers).astype(np.int64)
        step = np.append(self.steps, 0)[np.where(numbers > 0, index, len(self.steps))]
        low, high = step - self.window + 1, step - self.warmup
        if not self.cyclic:
            low, high = np.maximum(low, first), np.minimum(high, first + count - 1)
        low, high = (np.where(numbers > 0, at, other)
                     for at, other in ((low, first), (high, first + count - 1)))  # fmt: skip
        whole = first - (first - low) // self.every * self.every
        windows = (high - whole) // self.every + 1
        begin, number, step = (
            np.where(windows > 0, one, other)
            for one, other in ((whole, low), (windows, high - low + 1), (self.every, 1))
        )
        drawn: NDArray[np.int64] = begin + (position * number).astype(np.int64) * step
        return drawn % count if self.cyclic else drawn
