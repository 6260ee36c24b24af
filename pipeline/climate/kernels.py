"""Compiled sums over the time steps of many cells, in float64 and in the order of the steps.

Each cell is summed alone, so that the sizes of blocks change no bit.
"""

from __future__ import annotations

import numpy as np

from pipeline.core.compiled import compiled

WEIGHT, SINE, COSINE, SINE_SINE, COSINE_COSINE, SINE_COSINE, X, X_SINE, X_COSINE = range(9)
"""Rows of the sums of `add_cycle`: weights times these."""
SUMS = 9


@compiled
def add_cycle(values, weight, sine, cosine, slot, sums, seen):  # type: ignore[no-untyped-def]
    """Adds `values` (t, cell) to `sums` (SUMS, cell), and marks slots with a value in `seen`.

    `weight`, `sine`, `cosine` and `slot` (t,) belong to the steps; `seen` is (slot, cell).
    """
    for t in range(values.shape[0]):
        w, s, c, k = weight[t], sine[t], cosine[t], slot[t]
        for i in range(values.shape[1]):
            x = np.float64(values[t, i])
            if x == x:
                seen[k, i] = 1
                sums[0, i] += w
                sums[1, i] += w * s
                sums[2, i] += w * c
                sums[3, i] += w * s * s
                sums[4, i] += w * c * c
                sums[5, i] += w * s * c
                sums[6, i] += w * x
                sums[7, i] += w * x * s
                sums[8, i] += w * x * c


@compiled
def add_snow(rain, temperature, threshold, sums):  # type: ignore[no-untyped-def]
    """Adds to `sums` (2, cell) all precipitation and that of steps below `threshold`.

    `rain` and `temperature` are (t, cell); steps without both count for nothing.
    """
    for t in range(rain.shape[0]):
        for i in range(rain.shape[1]):
            x, warmth = np.float64(rain[t, i]), temperature[t, i]
            if x == x and warmth == warmth:
                sums[0, i] += x
                if warmth < threshold:
                    sums[1, i] += x


@compiled
def add_runs(values, limit, is_high, before, days, runs):  # type: ignore[no-untyped-def]
    """Counts days at or above `limit` (cell,), or below it, and the runs of such days.

    `values` is (t, cell); `before` (cell,) is whether the step before the first was such a day, and
    is updated. A missing day ends a run.
    """
    for t in range(values.shape[0]):
        for i in range(values.shape[1]):
            x = np.float64(values[t, i])
            # Comparisons with a missing value are False.
            counts = x >= limit[i] if is_high else x < limit[i]
            if counts:
                days[i] += 1
                if not before[i]:
                    runs[i] += 1
            before[i] = counts
