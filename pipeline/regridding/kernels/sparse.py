"""Compiled loops over sparse matrices: one pass over the source, NaN-aware, sums in float64.

Called from `regrid`, `operators`, `points` and `cube.cells`, from several threads at once (they
release the GIL). Each output is summed by one thread in an order that follows from the weights
alone, so that block sizes and thread counts change no bit.
"""

from __future__ import annotations

import numpy as np

from pipeline.core.compiled import compiled

_SERIES = 64


@compiled
def take_series(values, index, out, positions):  # type: ignore[no-untyped-def]
    """Copies columns `index` (n,) of `values` (t, cell) to rows `positions` (n,) of `out` (N, t).

    Columns are copied in groups of a few cache lines, because whole columns would miss the cache at
    every step.
    """
    for first in range(0, index.size, _SERIES):
        last = min(first + _SERIES, index.size)
        for t in range(values.shape[0]):
            for c in range(first, last):
                out[positions[c], t] = values[t, index[c]]


@compiled
def sparse_mean(values, begin, index, weight, min_coverage, first, out, coverage):  # type: ignore[no-untyped-def]
    """Weighted means by rows of a sparse matrix.

    `values` (t, source cell); row j of the matrix has the entries `begin[j]:begin[j + 1]` of
    `index` and `weight`; writes target cells from `first` on of `out`, `coverage` (t, cell).
    """
    for t in range(values.shape[0]):
        for j in range(begin.size - 1):
            n, d = 0.0, 0.0
            for e in range(begin[j], begin[j + 1]):
                x = np.float64(values[t, index[e]])
                if x == x:
                    n += weight[e] * x
                    d += weight[e]
            # A target cell without valid source has n / d = 0 / 0, but `min_coverage` is above 0.
            coverage[t, first + j] = d
            out[t, first + j] = n / d if d >= min_coverage else np.nan


@compiled
def sparse_std(values, begin, index, weight, min_coverage, first, out, coverage):  # type: ignore[no-untyped-def]
    """Weighted population standard deviations, 0 for constants; arguments of `sparse_mean`."""
    for t in range(values.shape[0]):
        for j in range(begin.size - 1):
            n, d, origin, begun = 0.0, 0.0, 0.0, False
            for e in range(begin[j], begin[j + 1]):
                x = np.float64(values[t, index[e]])
                if x == x:
                    # Squares of differences from a value of the cell itself are exactly 0 where
                    # values are constant.
                    if not begun:
                        origin, begun = x, True
                    n += weight[e] * (x - origin)
                    d += weight[e]
            coverage[t, first + j] = d
            out[t, first + j] = np.nan
            if d >= min_coverage:
                # A second pass over the same values, which are in the cache, instead of sums of
                # squares, whose difference would lose significant digits.
                mean, square = n / d, 0.0
                for e in range(begin[j], begin[j + 1]):
                    x = np.float64(values[t, index[e]])
                    if x == x:
                        square += weight[e] * (x - origin - mean) ** 2
                out[t, first + j] = np.sqrt(square / d)


@compiled
def sparse_classes(codes, begin, index, weight, areas, total):  # type: ignore[no-untyped-def]
    """Area of each class by target cell, undivided; sparse matrix of `sparse_mean`.

    `codes` int16 (t, source cell), -1 where missing; writes `areas` (t, cell, class) and their
    sum `total` (t, cell), both as fractions of the target cell.
    """
    for t in range(codes.shape[0]):
        for j in range(begin.size - 1):
            areas[t, j, :] = 0.0
            d = 0.0
            for e in range(begin[j], begin[j + 1]):
                code = codes[t, index[e]]
                if code >= 0:
                    areas[t, j, code] += weight[e]
                    d += weight[e]
            total[t, j] = d


@compiled
def outer_count(wy, wx, begin):  # type: ignore[no-untyped-def]
    """Fills `begin` (Y * X + 1,) of the sparse matrix that `outer_fill` writes."""
    # Counted first, so that arrays have the right length and threads can fill any part of them.
    begin[0] = 0
    for i in range(wy.shape[1]):
        for j in range(wx.shape[1]):
            n_rows, n_cols = 0, 0
            for k in range(wy.shape[0]):
                n_rows += wy[k, i] > 0.0
            for k in range(wx.shape[0]):
                n_cols += wx[k, j] > 0.0
            cell = i * wx.shape[1] + j
            begin[cell + 1] = begin[cell] + n_rows * n_cols


@compiled
def outer_fill(rows, wy, cols, wx, width, begin, index, weight):  # type: ignore[no-untyped-def]
    """Entries of the outer product of two band matrices; source rows are `width` cells long."""
    for i in range(wy.shape[1]):
        for j in range(wx.shape[1]):
            e = begin[i * wx.shape[1] + j]
            for k in range(wy.shape[0]):
                if wy[k, i] > 0.0:
                    for m in range(wx.shape[0]):
                        if wx[m, j] > 0.0:
                            index[e] = rows[k, i] * width + cols[m, j]
                            weight[e] = wy[k, i] * wx[m, j]
                            e += 1
