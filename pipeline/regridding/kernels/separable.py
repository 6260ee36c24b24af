"""Compiled loops of separable operators: weighted means of rows and columns, NaN-aware.

Called from `operators`, from several threads at once (they release the GIL); DESIGN.md explains
them. A source is `flat`, the memory from its first cell on, with the strides of time and rows in
cells, so that windows of larger arrays need not be copied.
"""

from __future__ import annotations

import numpy as np
from numba import uint64

from pipeline.core.compiled import compiled

_ONE, _TWO = uint64(1), uint64(2)


@compiled
def _mean_of_three(x, y, z, a, b, c, zero):  # type: ignore[no-untyped-def]
    """Mean and weight of three values, from differences to the first with a positive weight."""
    # Differences of equal values are 0, so that a constant is reproduced exactly; and differences
    # of values that are large and close together keep the digits that a sum would lose.
    origin = x if a > zero else (y if b > zero else z)
    n = a * (x - origin) + b * (y - origin) + c * (z - origin)
    d = a + b + c
    return (origin + n / d if d > zero else zero), d


@compiled
def _three_rows(flat, ra, rb, rc, wa, wb, wc, zero, mean, weight):  # type: ignore[no-untyped-def]
    # Unsigned, because Numba tests whether a signed index is negative. `x == x` is False for NaN
    # alone, which gets weight 0: without a branch, so that the loop is vectorised.
    a, b, c = uint64(ra), uint64(rb), uint64(rc)
    for i in range(mean.size):
        j = uint64(i)
        x, y, z = flat[a + j], flat[b + j], flat[c + j]
        mean[j], weight[j] = _mean_of_three(
            x if x == x else zero, y if y == y else zero, z if z == z else zero,
            wa if x == x else zero, wb if y == y else zero, wc if z == z else zero, zero,
        )  # fmt: skip


@compiled
def _three_more_rows(flat, ra, rb, rc, wa, wb, wc, zero, mean, weight):  # type: ignore[no-untyped-def]
    a, b, c = uint64(ra), uint64(rb), uint64(rc)
    for i in range(mean.size):
        j = uint64(i)
        x, y, z = flat[a + j], flat[b + j], flat[c + j]
        more, d = _mean_of_three(
            x if x == x else zero, y if y == y else zero, z if z == z else zero,
            wa if x == x else zero, wb if y == y else zero, wc if z == z else zero, zero,
        )  # fmt: skip
        # West (1979): the mean so far moves towards the new one by the fraction of the total weight
        # that is new.
        both = weight[j] + d
        mean[j] = mean[j] + d / both * (more - mean[j]) if both > zero else zero
        weight[j] = both


@compiled
def _merge_rows(flat, begin, step, rows, wy, k, i, zero, mean, weight):  # type: ignore[no-untyped-def]
    """Merges bands k..k + 2 of target row i."""
    wa, wb, wc = wy[k, i], wy[k + 1, i], wy[k + 2, i]
    # The first three bands always run, even with weight 0: they initialise `mean` and `weight`.
    if k > 0 and not wa + wb + wc > zero:
        return
    ra, rb, rc = (
        begin + rows[k, i] * step,
        begin + rows[k + 1, i] * step,
        begin + rows[k + 2, i] * step,
    )
    if k == 0:
        _three_rows(flat, ra, rb, rc, wa, wb, wc, zero, mean, weight)
    else:
        _three_more_rows(flat, ra, rb, rc, wa, wb, wc, zero, mean, weight)


@compiled
def _three_columns(  # type: ignore[no-untyped-def]
    means, weights, at, shares, width, zero, limit, min_coverage, mean, m, weight, w
):
    # Exactly three bands, the usual case, are finished here: sums, limits and result in one pass.
    a, b, c = uint64(at[0]), uint64(at[1]), uint64(at[2])
    n, m, w = uint64(width), uint64(m), uint64(w)
    for i in range(width):
        j = uint64(i)
        found, d = _mean_of_three(
            means[a + j], means[b + j], means[c + j], shares[j] * weights[a + j],
            shares[n + j] * weights[b + j], shares[n + n + j] * weights[c + j], zero,
        )  # fmt: skip
        weight[w + j] = d if d < limit else limit
        mean[m + j] = found if d >= min_coverage else mean.dtype.type(np.nan)


@compiled
def _three_more_columns(means, weights, at, k, shares, zero, mean, weight):  # type: ignore[no-untyped-def]
    a, b, c = uint64(at[k]), uint64(at[k + 1]), uint64(at[k + 2])
    n = uint64(mean.size)
    # `shares` holds the weights (band, target cell) in one piece: a band begins every n cells.
    o, p, q = uint64(k) * n, uint64(k + 1) * n, uint64(k + 2) * n
    for i in range(mean.size):
        j = uint64(i)
        more, d = _mean_of_three(
            means[a + j], means[b + j], means[c + j], shares[o + j] * weights[a + j],
            shares[p + j] * weights[b + j], shares[q + j] * weights[c + j], zero,
        )  # fmt: skip
        both = weight[j] + d
        mean[j] = mean[j] + d / both * (more - mean[j]) if both > zero else zero
        weight[j] = both


@compiled
def _finish(mean, weight, min_coverage, one, out, coverage, n):  # type: ignore[no-untyped-def]
    n = uint64(n)
    for i in range(mean.size):
        j = uint64(i)
        d = weight[j]
        coverage[n + j] = d if d < one else one
        out[n + j] = mean[j] if d >= min_coverage else out.dtype.type(np.nan)


@compiled
def _split_by_stride(row, begin, stride, count, target, at, length):  # type: ignore[no-untyped-def]
    """Sets `target[p * length + at + q] = row[begin + stride * q + p]`, q < count, p < stride."""
    # A band uses every `stride`-th value of the row. Sorted by the remainder of their position, the
    # values of a band are adjacent, and the sums load whole vectors. Halving the resolution is the
    # usual case: written out, it needs no inner loop.
    if stride == 2:
        b, a, h = uint64(begin), uint64(at), uint64(at + length)
        for i in range(count):
            j = uint64(i)
            target[a + j], target[h + j] = row[b + _TWO * j], row[b + _TWO * j + _ONE]
        return
    for p in range(stride):
        for q in range(count):
            target[uint64(p * length + at + q)] = row[uint64(begin + p + stride * q)]


@compiled
def _split_periodic(row, first, stride, target, length):  # type: ignore[no-untyped-def]
    """Sets `target[p * length + q] = row[first + stride * q + p]`; the row is periodic."""
    q, begin = 0, first
    while q < length:
        # As many whole steps as fit before the end of the row, then one step over the seam.
        count = min(length - q, (row.size - begin) // stride)
        _split_by_stride(row, begin, stride, count, target, q, length)
        q, begin = q + count, begin + stride * count
        if q < length:
            for p in range(stride):
                target[p * length + q] = row[(begin + p) % row.size]
            q, begin = q + 1, (begin + stride) % row.size


@compiled
def _split_by_index(row, columns, target):  # type: ignore[no-untyped-def]
    for k in range(columns.shape[0]):
        for j in range(columns.shape[1]):
            target[uint64(k * columns.shape[1] + j)] = row[uint64(columns[k, j])]


def rows_scratch(size: int, across: tuple, out: np.ndarray) -> tuple[np.ndarray, ...]:
    """Scratch arrays of one call of `rows_first`; `size` is the length of a source row."""
    stride, _, wx = across
    bands, width = wx.shape
    # Band k of all target cells lies in one piece, from at[k] on.
    at = np.arange(bands) * width
    cells = bands * width
    if stride:
        # Bands k and k + stride are the same values, one target cell apart, so that `stride` lists
        # suffice, each longer than the row by the shifts.
        length = width + (bands - 1) // stride
        at = np.arange(bands) % stride * length + np.arange(bands) // stride
        cells = stride * length
    counts = (size, size, cells, cells, width, width)
    return at, *(np.empty(count, out.dtype) for count in counts)


@compiled
def rows_first(source, down, across, scratch, min_coverage, times, part, out, coverage):  # type: ignore[no-untyped-def]
    """Weighted means, rows before columns: for cells coarser than the source.

    `source`: its memory, strides of (time, row) and cells of a row. `down`: source rows int64 and
    their weights (a multiple of three, Y). `across`: step from one target cell's columns to the
    next one's, 0 where it varies; source columns uint32 and weights (a multiple of three, X),
    periodic. Means of a coverage below `min_coverage` are NaN.
    Writes `times` and the target rows `part` (first, stop) of `out` and `coverage` (t, Y, X).
    """
    flat, strides, _ = source
    rows, wy = down
    stride, columns, wx = across
    at, mean, weight, means, weights, total, share = scratch
    zero, one, infinite = wx.dtype.type(0), wx.dtype.type(1), wx.dtype.type(np.inf)
    width, bands, height = out.shape[2], wx.shape[0], out.shape[1]
    shares, done, covered = wx.ravel(), out.ravel(), coverage.ravel()
    length = means.size // stride if stride else width
    for t in range(times[0], times[1]):
        begin = t * strides[0]
        for i in range(part[0], part[1]):
            for k in range(0, rows.shape[0], 3):
                _merge_rows(flat, begin, strides[1], rows, wy, k, i, zero, mean, weight)
            if stride:
                _split_periodic(mean, columns[0, 0], stride, means, length)
                _split_periodic(weight, columns[0, 0], stride, weights, length)
            else:
                _split_by_index(mean, columns, means)
                _split_by_index(weight, columns, weights)
            # The rows are merged: one row of means and their weights remains, whose columns follow.
            n = (t * height + i) * width
            if bands == 3:
                _three_columns(
                    means, weights, at, shares, width, zero, one, min_coverage, done, n, covered, n
                )
            else:
                # Limits without effect: more bands follow, and coverage is known after the last.
                _three_columns(
                    means, weights, at, shares, width, zero, infinite, -infinite, total, 0, share, 0
                )
                for k in range(3, bands, 3):
                    _three_more_columns(means, weights, at, k, shares, zero, total, share)
                _finish(total, share, min_coverage, one, done, covered, n)


@compiled
def _copy_pairs(flat, begin, last, left, seam, right, pairs):  # type: ignore[no-untyped-def]
    # Copied before they are summed: loops that load by index are not vectorised.
    row = uint64(begin)
    for i in range(left.size):
        j = uint64(i)
        first = row + uint64(left[j])
        pairs[_TWO * j], pairs[_TWO * j + _ONE] = flat[first], flat[first + _ONE]
    for k in range(seam.size):
        at = _TWO * uint64(seam[k])
        pairs[at], pairs[at + _ONE] = flat[begin + last], flat[begin + int(right[k])]


@compiled
def _between_columns(pairs, wx, share, zero, mean, weight, at):  # type: ignore[no-untyped-def]
    n, m = uint64(share.size), uint64(at)
    for i in range(share.size):
        j = uint64(i)
        x, y = pairs[_TWO * j], pairs[_TWO * j + _ONE]
        # NaN where either value is; then the other one counts alone, as at a coast.
        between = x + share[j] * (y - x)
        alone = x if x == x else (y if y == y else zero)
        mean[m + j] = between if between == between else alone
        weight[m + j] = (wx[j] if x == x else zero) + (wx[n + j] if y == y else zero)


@compiled
def _between_rows(  # type: ignore[no-untyped-def]
    mean, weight, above, below, wa, wb, width, min_coverage, one, out, coverage, n
):
    a, b, n = uint64(above), uint64(below), uint64(n)
    for i in range(width):
        j = uint64(i)
        heavy = wb * weight[b + j]
        d = wa * weight[a + j] + heavy
        coverage[n + j] = d if d < one else one
        # Without any weight d is 0 and `between` NaN, as intended.
        between = mean[a + j] + heavy / d * (mean[b + j] - mean[a + j])
        out[n + j] = between if d >= min_coverage else out.dtype.type(np.nan)


def columns_scratch(size: int, across: tuple, out: np.ndarray) -> tuple[np.ndarray, ...]:
    """Scratch arrays of one call of `columns_first`, with the arguments of `rows_scratch`."""
    width = out.shape[2]
    # Two interpolated source rows are kept, above and below, and swap roles as target rows follow.
    return np.empty(2, np.int64), *(np.empty(2 * width, out.dtype) for _ in range(3))


@compiled
def columns_first(source, down, across, scratch, min_coverage, times, part, out, coverage):  # type: ignore[no-untyped-def]
    """Weighted means of 2 x 2 source cells, columns before rows: for cells finer than the source.

    Arguments are those of `rows_first`, but with two rows, and `across`: the left column of each
    target cell (the right one is the next), target cells whose columns are not adjacent, their
    right columns, weights (2, X), and the right one's fraction of their sum. A source row is
    interpolated once for all the target rows between it and the next.
    """
    flat, strides, size = source
    rows, wy = down
    left, seam, right, wx, share = across
    held, mean, weight, pairs = scratch
    zero, one = wx.dtype.type(0), wx.dtype.type(1)
    width, height = out.shape[2], out.shape[1]
    shares, done, covered = wx.ravel(), out.ravel(), coverage.ravel()
    for t in range(times[0], times[1]):
        held[:] = -1
        for i in range(part[0], part[1]):
            # The row that the next target row shares stays in its slot: nothing is copied.
            a = 1 if held[1] == rows[0, i] else 0
            b = a if rows[0, i] == rows[1, i] else 1 - a
            for k in range(2):
                slot, row = (a, rows[0, i]) if k == 0 else (b, rows[1, i])
                if held[slot] != row:
                    begin = t * strides[0] + row * strides[1]
                    _copy_pairs(flat, begin, size - 1, left, seam, right, pairs)
                    _between_columns(pairs, shares, share, zero, mean, weight, slot * width)
                    held[slot] = row
            _between_rows(
                mean, weight, a * width, b * width, wy[0, i], wy[1, i], width, min_coverage, one,
                done, covered, (t * height + i) * width,
            )  # fmt: skip
