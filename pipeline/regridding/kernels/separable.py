"""Compiled loops of the separable engine: weighted means of rows and columns, NaN-aware.

Called from `engine`, on blocks and from several threads at once (they release the GIL). Means are
merged as West (1979) does, by differences from the mean so far: constants come back exactly, and
float32 is enough for float32 data. Source cells are taken by threes from the first that a
target cell meets, so windows, blocks and threads change no bit.

A source is `flat`, the memory from its first cell on, with the strides of time and rows in cells:
windows of larger arrays need not be copied. All arrays are borrowed from the caller: to count their
users Numba has instructions that wait for every streamed store.
"""

from __future__ import annotations

import numpy as np
from numba import uint64

from pipeline.core.compiled import compiled
from pipeline.regridding.kernels.intrinsics import LINE, borrowed, copy_pair, fence
from pipeline.regridding.kernels.streaming import AT_ONCE, fetch, on_a_line, send

_ONE, _TWO = uint64(1), uint64(2)
_PIECE = 256  # columns of a row for which the next rows are asked together


@compiled
def _of_three(x, y, z, a, b, c, zero):  # type: ignore[no-untyped-def]
    """Mean and weight of three values, by differences from the first that weighs something."""
    # Differences of equal values are 0, so that a constant comes back as it is; and of values that
    # are large and close together they keep the digits that a sum would lose.
    origin = x if a > zero else (y if b > zero else z)
    n = a * (x - origin) + b * (y - origin) + c * (z - origin)
    d = a + b + c
    return (origin + n / d if d > zero else zero), d


@compiled
def _three_rows(flat, ra, rb, rc, wa, wb, wc, zero, mean, weight, first, stop):  # type: ignore[no-untyped-def]
    # Unsigned, for Numba asks of a signed index whether it counts from the end. `x == x` is False
    # for NaN alone, which then weighs nothing: no branch, so that the loop fills vectors.
    a, b, c = uint64(ra), uint64(rb), uint64(rc)
    for i in range(first, stop):
        j = uint64(i)
        x, y, z = flat[a + j], flat[b + j], flat[c + j]
        mean[j], weight[j] = _of_three(
            x if x == x else zero, y if y == y else zero, z if z == z else zero,
            wa if x == x else zero, wb if y == y else zero, wc if z == z else zero, zero,
        )  # fmt: skip


@compiled
def _three_more_rows(flat, ra, rb, rc, wa, wb, wc, zero, mean, weight, first, stop):  # type: ignore[no-untyped-def]
    a, b, c = uint64(ra), uint64(rb), uint64(rc)
    for i in range(first, stop):
        j = uint64(i)
        x, y, z = flat[a + j], flat[b + j], flat[c + j]
        more, d = _of_three(
            x if x == x else zero, y if y == y else zero, z if z == z else zero,
            wa if x == x else zero, wb if y == y else zero, wc if z == z else zero, zero,
        )  # fmt: skip
        # West (1979): the mean so far moves towards the new one by the new one's part of the
        # weight.
        both = weight[j] + d
        mean[j] = mean[j] + d / both * (more - mean[j]) if both > zero else zero
        weight[j] = both


@compiled
def _merge_rows(flat, begin, step, rows, wy, ahead, k, i, zero, mean, weight):  # type: ignore[no-untyped-def]
    """Merges bands k..k + 2 of target row i, and asks memory for the rows that come `ahead`.

    It asks a piece at a time: many requests at once wait for each other, and the sums with them.
    """
    wa, wb, wc = wy[k, i], wy[k + 1, i], wy[k + 2, i]
    # The first three bands always run, even if they weigh nothing: they set `mean` and `weight`.
    if k > 0 and not wa + wb + wc > zero:
        return
    ra, rb, rc = (
        begin + rows[k, i] * step,
        begin + rows[k + 1, i] * step,
        begin + rows[k + 2, i] * step,
    )
    # While this piece is summed, memory brings the same piece of the rows that come next.
    for c in range(0, mean.size, _PIECE):
        stop = min(c + _PIECE, mean.size)
        for band in range(k, k + 3):
            if ahead[band, i] >= 0:
                fetch(flat, begin + ahead[band, i] * step + c, stop - c)
        if k == 0:
            _three_rows(flat, ra, rb, rc, wa, wb, wc, zero, mean, weight, c, stop)
        else:
            _three_more_rows(flat, ra, rb, rc, wa, wb, wc, zero, mean, weight, c, stop)


@compiled
def _three_columns(means, weights, at, shares, width, zero, most, least, mean, m, weight, w):  # type: ignore[no-untyped-def]
    # Three bands alone, the usual case, are finished here: sums, limits and result in one pass.
    a, b, c = uint64(at[0]), uint64(at[1]), uint64(at[2])
    n, m, w = uint64(width), uint64(m), uint64(w)
    for i in range(width):
        j = uint64(i)
        found, d = _of_three(
            means[a + j], means[b + j], means[c + j], shares[j] * weights[a + j],
            shares[n + j] * weights[b + j], shares[n + n + j] * weights[c + j], zero,
        )  # fmt: skip
        weight[w + j] = d if d < most else most
        mean[m + j] = found if d >= least else mean.dtype.type(np.nan)


@compiled
def _three_more_columns(means, weights, at, k, shares, zero, mean, weight):  # type: ignore[no-untyped-def]
    a, b, c = uint64(at[k]), uint64(at[k + 1]), uint64(at[k + 2])
    n = uint64(mean.size)
    # `shares` holds the weights (band, target cell) in one piece: a band begins every n cells.
    o, p, q = uint64(k) * n, uint64(k + 1) * n, uint64(k + 2) * n
    for i in range(mean.size):
        j = uint64(i)
        more, d = _of_three(
            means[a + j], means[b + j], means[c + j], shares[o + j] * weights[a + j],
            shares[p + j] * weights[b + j], shares[q + j] * weights[c + j], zero,
        )  # fmt: skip
        both = weight[j] + d
        mean[j] = mean[j] + d / both * (more - mean[j]) if both > zero else zero
        weight[j] = both


@compiled
def _finish(mean, weight, least, one, out, n, coverage, m):  # type: ignore[no-untyped-def]
    n, m = uint64(n), uint64(m)
    for i in range(mean.size):
        j = uint64(i)
        d = weight[j]
        coverage[m + j] = d if d < one else one
        out[n + j] = mean[j] if d >= least else out.dtype.type(np.nan)


@compiled
def _deal(row, begin, stride, count, into, at, length):  # type: ignore[no-untyped-def]
    """`into[p * length + at + q] = row[begin + stride * q + p]` for q < count and p < stride."""
    # A band takes every `stride`-th value of the row. Dealt out by the remainder of their position,
    # the values of a band lie side by side, and the sums load whole vectors. Halving the resolution
    # is the usual case: written out, it needs no inner loop.
    if stride == 2:
        b, a, h = uint64(begin), uint64(at), uint64(at + length)
        for i in range(count):
            j = uint64(i)
            into[a + j], into[h + j] = row[b + _TWO * j], row[b + _TWO * j + _ONE]
        return
    for p in range(stride):
        for q in range(count):
            into[uint64(p * length + at + q)] = row[uint64(begin + p + stride * q)]


@compiled
def _deal_round(row, first, stride, into, length):  # type: ignore[no-untyped-def]
    """`into[p * length + q] = row[first + stride * q + p]`, going round at the end of the row."""
    q, begin = 0, first
    while q < length:
        # As many whole steps as fit before the row ends, then one step over the seam, and again.
        count = min(length - q, (row.size - begin) // stride)
        _deal(row, begin, stride, count, into, q, length)
        q, begin = q + count, begin + stride * count
        if q < length:
            for p in range(stride):
                into[p * length + q] = row[(begin + p) % row.size]
            q, begin = q + 1, (begin + stride) % row.size


@compiled
def _taken(row, columns, into):  # type: ignore[no-untyped-def]
    for k in range(columns.shape[0]):
        for j in range(columns.shape[1]):
            into[uint64(k * columns.shape[1] + j)] = row[uint64(columns[k, j])]


def rows_scratch(size: int, across: tuple, out: np.ndarray) -> tuple[np.ndarray, ...]:
    """What one call of `rows_first` writes on; `size` is the length of a source row."""
    stride, _, wx = across
    bands, width = wx.shape
    # Band k of all target cells lies in one piece, from at[k] on.
    at = np.arange(bands) * width
    cells = bands * width
    if stride:
        # Bands k and k + stride are the same values, one target cell apart, so that only `stride`
        # lists are dealt out, each longer than the row by the shifts.
        length = width + (bands - 1) // stride
        at = np.arange(bands) % stride * length + np.arange(bands) // stride
        cells = stride * length
    counts = (size, size, cells, cells, width, width, AT_ONCE + width)
    rows = (on_a_line(count, out.dtype) for count in counts)
    return at, *rows, on_a_line(AT_ONCE + width, np.dtype(np.float32))


@compiled
def rows_first(source, down, across, scratch, least, times, part, out, coverage):  # type: ignore[no-untyped-def]
    """Weighted means, rows before columns: for cells coarser than the source.

    `source`: its memory, strides of (time, row) and cells of a row. `down`: source rows int64,
    their weights, and rows to ask for meanwhile or -1 (a multiple of three, Y). `across`: step from
    one target cell's columns to the next one's, 0 where it varies; source columns uint32 and
    weights (a multiple of three, X), neighbours that go round at the end. `least` is the smallest
    coverage that counts. Writes `times` and the target rows `part` (first, stop) of `out` and
    `coverage` (t, Y, X).
    """
    flat, strides, _ = borrowed(source)
    rows, wy, ahead = borrowed(down)
    stride, columns, wx = borrowed(across)
    at, mean, weight, means, weights, total, share, done, covered = borrowed(scratch)
    zero, one, infinite = wx.dtype.type(0), wx.dtype.type(1), wx.dtype.type(np.inf)
    width, bands, height = out.shape[2], wx.shape[0], out.shape[1]
    # Views that `ravel` makes would be counted again, hence `borrowed` before it.
    shares, all_out, all_coverage = wx.ravel(), borrowed(out).ravel(), borrowed(coverage).ravel()
    length = means.size // stride if stride else width
    for t in range(times[0], times[1]):
        begin, n, m = t * strides[0], 0, 0
        to = to_covered = (t * height + part[0]) * width
        for i in range(part[0], part[1]):
            for k in range(0, rows.shape[0], 3):
                _merge_rows(flat, begin, strides[1], rows, wy, ahead, k, i, zero, mean, weight)
            if stride:
                _deal_round(mean, columns[0, 0], stride, means, length)
                _deal_round(weight, columns[0, 0], stride, weights, length)
            else:
                _taken(mean, columns, means)
                _taken(weight, columns, weights)
            # Rows are done: one row of means, with the weight that is behind each. Now its columns.
            if bands == 3:
                _three_columns(
                    means, weights, at, shares, width, zero, one, least, done, n, covered, m
                )
            else:
                # Limits that limit nothing: more bands come, and coverage is known after the last.
                _three_columns(
                    means, weights, at, shares, width, zero, infinite, -infinite, total, 0, share, 0
                )
                for k in range(3, bands, 3):
                    _three_more_columns(means, weights, at, k, shares, zero, total, share)
                _finish(total, share, least, one, done, n, covered, m)
            last = i + 1 == part[1]
            n, to = send(done, n + width, all_out, to, width, last)
            m, to_covered = send(covered, m + width, all_coverage, to_covered, width, last)
    fence()


@compiled
def _copy_pairs(flat, begin, last, left, seam, right, pairs):  # type: ignore[no-untyped-def]
    # Copied before they are summed: loops that load at random fill no vectors.
    for j in range(left.size):
        copy_pair(flat, uint64(begin) + uint64(left[j]), pairs, _TWO * uint64(j))
    for k in range(seam.size):
        at = _TWO * uint64(seam[k])
        pairs[at], pairs[at + _ONE] = flat[begin + last], flat[begin + int(right[k])]


@compiled
def _between_columns(pairs, wx, share, zero, mean, weight, at):  # type: ignore[no-untyped-def]
    n, m = uint64(share.size), uint64(at)
    for i in range(share.size):
        j = uint64(i)
        x, y = pairs[_TWO * j], pairs[_TWO * j + _ONE]
        # NaN where either is; then the other one alone counts, as at a coast.
        between = x + share[j] * (y - x)
        alone = x if x == x else (y if y == y else zero)
        mean[m + j] = between if between == between else alone
        weight[m + j] = (wx[j] if x == x else zero) + (wx[n + j] if y == y else zero)


@compiled
def _between_rows(mean, weight, above, below, wa, wb, width, least, one, out, n, coverage, m):  # type: ignore[no-untyped-def]
    a, b, n, m = uint64(above), uint64(below), uint64(n), uint64(m)
    for i in range(width):
        j = uint64(i)
        heavy = wb * weight[b + j]
        d = wa * weight[a + j] + heavy
        coverage[m + j] = d if d < one else one
        # Without any weight d is 0 and `between` NaN, as it should be.
        between = mean[a + j] + heavy / d * (mean[b + j] - mean[a + j])
        out[n + j] = between if d >= least else out.dtype.type(np.nan)


def columns_scratch(size: int, across: tuple, out: np.ndarray) -> tuple[np.ndarray, ...]:
    """What one call of `columns_first` writes on."""
    width = out.shape[2]
    # Two rows of a pair are kept, above and below, and change places as the target goes on.
    pitch = -(-width // LINE) * LINE  # each of two rows begins on a line
    rows = (on_a_line(n, out.dtype) for n in (2 * pitch, 2 * pitch, 2 * width, AT_ONCE + width))
    return np.empty(2, np.int64), *rows, on_a_line(AT_ONCE + width, np.dtype(np.float32))


@compiled
def columns_first(source, down, across, scratch, least, times, part, out, coverage):  # type: ignore[no-untyped-def]
    """Weighted means of 2 x 2 source cells, columns before rows: for cells finer than the source.

    As `rows_first`, but with two rows, and `across`: the left column of each target cell (the
    right one is the next), target cells between the last column and another, those others, weights
    (2, X), and the right one's part of their sum. A source row is interpolated once for all the
    target rows between it and the next.
    """
    flat, strides, size = borrowed(source)
    rows, wy = borrowed(down)
    left, seam, right, wx, share = borrowed(across)
    held, mean, weight, pairs, done, covered = borrowed(scratch)
    zero, one = wx.dtype.type(0), wx.dtype.type(1)
    width, height, pitch = out.shape[2], out.shape[1], mean.size // 2
    # Only the columns that the target spans are asked for ahead of their use.
    west, count = int(left.min()), int(left.max()) - int(left.min()) + 2
    # Source rows may run either way under the target's: the next one to ask for follows from that.
    onwards = strides[1] if rows[0, part[1] - 1] >= rows[0, part[0]] else -strides[1]
    shares, all_out, all_coverage = wx.ravel(), borrowed(out).ravel(), borrowed(coverage).ravel()
    for t in range(times[0], times[1]):
        held[:], n, m = -1, 0, 0
        to = to_covered = (t * height + part[0]) * width
        for i in range(part[0], part[1]):
            # The row that the next target row shares stays in its place: nothing is copied.
            a = 1 if held[1] == rows[0, i] else 0
            b = a if rows[0, i] == rows[1, i] else 1 - a
            for k in range(2):
                place, row = (a, rows[0, i]) if k == 0 else (b, rows[1, i])
                if held[place] != row:
                    begin = t * strides[0] + row * strides[1]
                    fetch(flat, begin + onwards + west, count)
                    _copy_pairs(flat, begin, size - 1, left, seam, right, pairs)
                    _between_columns(pairs, shares, share, zero, mean, weight, place * pitch)
                    held[place] = row
            _between_rows(
                mean, weight, a * pitch, b * pitch, wy[0, i], wy[1, i], width, least, one,
                done, n, covered, m,
            )  # fmt: skip
            last = i + 1 == part[1]
            n, to = send(done, n + width, all_out, to, width, last)
            m, to_covered = send(covered, m + width, all_coverage, to_covered, width, last)
    fence()
