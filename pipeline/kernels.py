"""Compiled loops of the two engines: one pass over the source, NaN-aware, sums in float64.

Called from `regrid`, `warp` and `cells`, on blocks and from several threads at once (they release
the GIL). Every output is summed by one thread in one order that follows from the weights alone, so
block sizes and thread counts change no bit. Compiled at first use and kept on disk.
"""

from __future__ import annotations

import numpy as np
from numba import uint64

from pipeline.compiled import compiled

_ONE, _TWO = uint64(1), uint64(2)
_SERIES = 64


@compiled
def _add_three_rows(a, b, c, wa, wb, wc, num, den):  # type: ignore[no-untyped-def]
    for j in range(num.size):
        x, y, z = np.float64(a[j]), np.float64(b[j]), np.float64(c[j])
        n = (wa * x if x == x else 0.0) + (wb * y if y == y else 0.0)
        d = (wa if x == x else 0.0) + (wb if y == y else 0.0)
        num[j] = n + (wc * z if z == z else 0.0)
        den[j] = d + (wc if z == z else 0.0)


@compiled
def _add_one_row(a, wa, num, den):  # type: ignore[no-untyped-def]
    for j in range(num.size):
        x = np.float64(a[j])
        num[j] += wa * x if x == x else 0.0
        den[j] += wa if x == x else 0.0


@compiled
def _add_three_columns(num, den, start, weight, top, bottom):  # type: ignore[no-untyped-def]
    for j in range(top.size):
        s = uint64(start[j])
        w0, w1, w2 = weight[0, j], weight[1, j], weight[2, j]
        top[j] = w0 * num[s] + w1 * num[s + _ONE] + w2 * num[s + _TWO]
        bottom[j] = w0 * den[s] + w1 * den[s + _ONE] + w2 * den[s + _TWO]


@compiled
def _add_columns(num, den, start, weight, top, bottom):  # type: ignore[no-untyped-def]
    bands = weight.shape[0]
    for j in range(top.size):
        s = uint64(start[j])
        n, d = weight[0, j] * num[s], weight[0, j] * den[s]
        for k in range(1, bands):
            n += weight[k, j] * num[s + uint64(k)]
            d += weight[k, j] * den[s + uint64(k)]
        top[j], bottom[j] = n, d


@compiled
def _divide(top, bottom, least, out, coverage):  # type: ignore[no-untyped-def]
    for j in range(top.size):
        d = bottom[j]
        coverage[j] = d
        mean = out.dtype.type(top[j] / d)
        out[j] = mean if d >= least else out.dtype.type(np.nan)


@compiled
def rows_first(values, rows, wy, start, wx, least, part, out, coverage):  # type: ignore[no-untyped-def]
    """Weighted means, rows summed before columns: for cells coarser than the source.

    `values` (t, y, x); `rows` int64 and `wy` (Ky >= 3, Y); `start` uint32 (X,) and `wx` (Kx, X),
    bands of columns that go round at the end; `least` the smallest coverage that counts; writes
    the target rows `part` (first, stop) of `out` and `coverage` (t, Y, X).
    """
    width, bands = values.shape[2], wx.shape[0]
    num, den = np.zeros(width + bands), np.zeros(width + bands)
    top, bottom = np.empty(out.shape[2]), np.empty(out.shape[2])
    for t in range(values.shape[0]):
        for i in range(part[0], part[1]):
            _add_three_rows(
                values[t, rows[0, i]], values[t, rows[1, i]], values[t, rows[2, i]],
                wy[0, i], wy[1, i], wy[2, i], num[:width], den[:width],
            )  # fmt: skip
            for k in range(3, rows.shape[0]):
                if wy[k, i] != 0.0:
                    _add_one_row(values[t, rows[k, i]], wy[k, i], num[:width], den[:width])
            for j in range(bands):
                num[width + j], den[width + j] = num[j % width], den[j % width]
            if bands == 3:
                _add_three_columns(num, den, start, wx, top, bottom)
            else:
                _add_columns(num, den, start, wx, top, bottom)
            _divide(top, bottom, least, out[t, i], coverage[t, i])


@compiled
def _taken(row, columns, into):  # type: ignore[no-untyped-def]
    for j in range(columns.size):
        into[j] = row[uint64(columns[j])]


@compiled
def _two_columns(left, right, wl, wr, num, den):  # type: ignore[no-untyped-def]
    for j in range(num.size):
        x, y = np.float64(left[j]), np.float64(right[j])
        num[j] = (wl[j] * x if x == x else 0.0) + (wr[j] * y if y == y else 0.0)
        den[j] = (wl[j] if x == x else 0.0) + (wr[j] if y == y else 0.0)


@compiled
def _between_columns(row, cols, wx, left, right, num, den):  # type: ignore[no-untyped-def]
    # Taken before they are summed: loops that load at random fill no vectors.
    _taken(row, cols[0], left)
    _taken(row, cols[1], right)
    _two_columns(left, right, wx[0], wx[1], num, den)


@compiled
def _two_rows(na, da, nb, db, wa, wb, least, out, coverage):  # type: ignore[no-untyped-def]
    for j in range(na.size):
        d = wa * da[j] + wb * db[j]
        coverage[j] = d
        # Divided before it is chosen, in the result's type: so the loop fills whole vectors.
        mean = out.dtype.type((wa * na[j] + wb * nb[j]) / d)
        out[j] = mean if d >= least else out.dtype.type(np.nan)


@compiled
def columns_first(values, rows, wy, cols, wx, least, part, out, coverage):  # type: ignore[no-untyped-def]
    """Weighted means of 2 x 2 source cells, columns before rows: for cells finer than the source.

    As `rows_first`, but `rows` (2, Y) and `cols` uint32 (2, X) name every source cell; a source
    row is interpolated once for all the target rows between it and the next.
    """
    width = out.shape[2]
    num, den = np.empty((2, width)), np.empty((2, width))
    left, right = np.empty(width, values.dtype), np.empty(width, values.dtype)
    held = np.empty(2, np.int64)
    for t in range(values.shape[0]):
        held[:] = -1
        for i in range(part[0], part[1]):
            upper, lower = rows[0, i], rows[1, i]
            # The row that the next target row shares stays in its place: nothing is copied.
            a = 1 if held[1] == upper else 0
            b = a if upper == lower else 1 - a
            if held[a] != upper:
                _between_columns(values[t, upper], cols, wx, left, right, num[a], den[a])
                held[a] = upper
            if held[b] != lower:
                _between_columns(values[t, lower], cols, wx, left, right, num[b], den[b])
                held[b] = lower
            _two_rows(
                num[a], den[a], num[b], den[b], wy[0, i], wy[1, i], least,
                out[t, i], coverage[t, i],
            )  # fmt: skip


@compiled
def take_series(values, index, out, into):  # type: ignore[no-untyped-def]
    """Columns `index` (n,) of `values` (t, cell) into the rows `into` (n,) of `out` (N, t).

    Some at a time, a few cache lines of the source: by whole columns every step would miss.
    """
    for first in range(0, index.size, _SERIES):
        last = min(first + _SERIES, index.size)
        for t in range(values.shape[0]):
            for c in range(first, last):
                out[into[c], t] = values[t, index[c]]


@compiled
def sparse_mean(values, begin, index, weight, least, first, out, coverage):  # type: ignore[no-untyped-def]
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
            coverage[t, first + j] = d
            out[t, first + j] = n / d if d >= least else np.nan


@compiled
def sparse_std(values, begin, index, weight, least, first, out, coverage):  # type: ignore[no-untyped-def]
    """Weighted standard deviations (population); arguments as `sparse_mean`; 0 for constants."""
    for t in range(values.shape[0]):
        for j in range(begin.size - 1):
            n, d, origin, begun = 0.0, 0.0, 0.0, False
            for e in range(begin[j], begin[j + 1]):
                x = np.float64(values[t, index[e]])
                if x == x:
                    if not begun:
                        origin, begun = x, True
                    n += weight[e] * (x - origin)
                    d += weight[e]
            coverage[t, first + j] = d
            out[t, first + j] = np.nan
            if d >= least:
                mean, square = n / d, 0.0
                for e in range(begin[j], begin[j + 1]):
                    x = np.float64(values[t, index[e]])
                    if x == x:
                        square += weight[e] * (x - origin - mean) ** 2
                out[t, first + j] = np.sqrt(square / d)


@compiled
def sparse_classes(codes, begin, index, weight, shares, total):  # type: ignore[no-untyped-def]
    """Area of each class by target cell; sparse matrix as in `sparse_mean`, no division.

    `codes` int16 (t, source cell), -1 where missing; writes `shares` (t, cell, class) and their
    sum `total` (t, cell).
    """
    for t in range(codes.shape[0]):
        for j in range(begin.size - 1):
            shares[t, j, :] = 0.0
            d = 0.0
            for e in range(begin[j], begin[j + 1]):
                code = codes[t, index[e]]
                if code >= 0:
                    shares[t, j, code] += weight[e]
                    d += weight[e]
            total[t, j] = d


@compiled
def outer_count(wy, wx, begin):  # type: ignore[no-untyped-def]
    """Fills `begin` (Y * X + 1,) of the sparse matrix that `outer_fill` writes."""
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
