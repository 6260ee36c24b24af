"""Compiled loop of `bands`: moments of one band in a single pass; imported at first use."""

from __future__ import annotations

import numpy as np

from pipeline.core.compiled import compiled


@compiled
def moments(values, nodata):  # type: ignore[no-untyped-def]
    """Count, mean, sum of squared deviations, minimum and maximum of valid cells; dims (y, x)."""
    count, total, squares = 0, 0.0, 0.0
    low, high, shift = np.inf, -np.inf, 0.0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            value = np.float64(values[i, j])
            if np.isnan(value) or value == nodata:
                continue
            if count == 0:
                shift = value  # near the mean, so that squares keep their significant digits
            count += 1
            total += value - shift
            squares += (value - shift) ** 2
            low, high = min(low, value), max(high, value)
    if count == 0:
        return 0, 0.0, 0.0, low, high
    return count, shift + total / count, max(0.0, squares - total * total / count), low, high
