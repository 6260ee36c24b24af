"""Compiled loops of the separable engine: weighted means of rows and columns, NaN-aware.

Called from `engine`, on blocks and from several threads at once (they release the GIL). Means are
merged as West (1979) does, by differences from the mean so far: constants come back exactly, and
float32 is enough for float32 data. Source cells are taken by threes from the first that a
target cell meets, so windows, blocks and threads change no bit.

A source is `flat`, the memory from its first cell on, with the strides of time and rows in cells:
windows of larger arrays need not be copied.
"""

from __future__ import annotations

import numpy as np
from numba import uint64

from pipeline.compiled import compiled
from pipeline.intrinsics import copy_pair, prefetch, stream

_ONE, _TWO = uint64(1), uint64(2)
_LINE = 64  # bytes of a cache line
_AT_ONCE = 1 << 14  # cells that are kept in a cache before they go to memory together


@compiled
def _fetch(flat, begin, count):  # type: ignore[no-untyped-def]
    # Rows are shorter than the pages at which the processor's own fetching ahead begins anew.
    for j in range(0, count, _LINE // flat.itemsize):
        prefetch(flat, begin + j)


@compiled
def _of_three(x, y, z, a, b, c, zero):  # type: ignore[no-untyped-def]
    """Mean and weight of three values, by differences from the first that weighs something."""
    origin = x if a > zero else (y if b > zero else z)
    n = a * (x - origin) + b * (y - origin) + c * (z - origin)
    d = a + b + c
    return (origin + n / d if d > zero else zero), d


@compiled
def _three_rows(flat, ra, rb, rc, wa, wb, wc, zero, mean, weight):  # type: ignore[no-untyped-def]
    a, b, c = uint64(ra), uint64(rb), uint64(rc)
    for i in range(mean.size):
        j = uint64(i)
        x, y, z = flat[a + j], flat[b + j], flat[c + j]
        mean[i], weight[i] = _of_three(
            x if x == x else zero, y if y == y else zero, z if z == z else zero,
            wa if x == x else zero, wb if y == y else zero, wc if z == z else zero, zero,
        )  # fmt: skip


@compiled
def _three_more_rows(flat, ra, rb, rc, wa, wb, wc, zero, mean, weight):  # type: ignore[no-untyped-def]
    a, b, c = uint64(ra), uint64(rb), uint64(rc)
    for i in range(mean.size):
        j = uint64(i)
        x, y, z = flat[a + j], flat[b + j], flat[c + j]
        more, d = _of_three(
            x if x == x else zero, y if y == y else zero, z if z == z else zero,
            wa if x == x else zero, wb if y == y else zero, wc if z == z else zero, zero,
        )  # fmt: skip
        both = weight[i] + d
        mean[i] = mean[i] + d / both * (more - mean[i]) if both > zero else zero
        weight[i] = both


@compiled
def _three_columns(means, weights, at, k, shares, zero, most, least, mean, weight):  # type: ignore[no-untyped-def]
    a, b, c = uint64(at[k]), uint64(at[k + 1]), uint64(at[k + 2])
    n = uint64(mean.size)
    for i in range(mean.size):
        j = uint64(i)
        found, d = _of_three(
            means[a + j], means[b + j], means[c + j], shares[j] * weights[a + j],
            shares[n + j] * weights[b + j], shares[n + n + j] * weights[c + j], zero,
        )  # fmt: skip
        weight[i] = d if d < most else most
        mean[i] = found if d >= least else mean.dtype.type(np.nan)


@compiled
def _three_more_columns(means, weights, at, k, shares, zero, mean, weight):  # type: ignore[no-untyped-def]
    a, b, c = uint64(at[k]), uint64(at[k + 1]), uint64(at[k + 2])
    n = uint64(mean.size)
    for i in range(mean.size):
        j = uint64(i)
        more, d = _of_three(
            means[a + j], means[b + j], means[c + j], shares[j] * weights[a + j],
            shares[n + j] * weights[b + j], shares[n + n + j] * weights[c + j], zero,
        )  # fmt: skip
        both = weight[i] + d
        mean[i] = mean[i] + d / both * (more - mean[i]) if both > zero else zero
        weight[i] = both


@compiled
def _finish(mean, weight, least, one, out, coverage):  # type: ignore[no-untyped-def]
    for j in range(out.size):
        d = weight[j]
        coverage[j] = d if d < one else one
        out[j] = mean[j] if d >= least else out.dtype.type(np.nan)


@compiled
def _deal(row, begin, stride, count, into, at, length):  # type: ignore[no-untyped-def]
    """`into[p * length + at + q] = row[begin + stride * q + p]` for q < count and p < stride."""
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


@compiled
def rows_first(source, down, across, least, times, part, out, coverage):  # type: ignore[no-untyped-def]
    """Weighted means, rows before columns: for cells coarser than the source.

    `source`: its memory, strides of (time, row) and cells of a row. `down`: source rows int64 and
    their weights (a multiple of three, Y). `across`: step from one target cell's columns to the
    next one's, 0 where it varies; source columns uint32 and weights (a multiple of three, X),
    neighbours that go round at the end. `least` is the smallest coverage that counts. Writes
    `times` and the target rows `part` (first, stop) of `out` and `coverage` (t, Y, X).
    """
    flat, strides, size = source
    rows, wy = down
    stride, columns, wx = across
    zero, one, infinite = wx.dtype.type(0), wx.dtype.type(1), wx.dtype.type(np.inf)
    width, bands = out.shape[2], wx.shape[0]
    mean, weight = np.empty(size, wx.dtype), np.empty(size, wx.dtype)
    total, share = np.empty(width, wx.dtype), np.empty(width, wx.dtype)
    # Band k of all target cells lies in one piece, from at[k] on.
    length = width + (bands - 1) // stride if stride else width
    means = np.empty(length * (stride if stride else bands), wx.dtype)
    weights = np.empty(means.size, wx.dtype)
    at = np.arange(bands) * length
    if stride:
        at = np.arange(bands) % stride * length + np.arange(bands) // stride
    shares = wx.ravel()
    for t in range(times[0], times[1]):
        begin = t * strides[0]
        for i in range(part[0], part[1]):
            for k in range(rows.shape[0]):
                if i + 2 < part[1] and wy[k, i + 2] > zero:
                    _fetch(flat, begin + rows[k, i + 2] * strides[1], size)
            for k in range(0, rows.shape[0], 3):
                wa, wb, wc = wy[k, i], wy[k + 1, i], wy[k + 2, i]
                ra = begin + rows[k, i] * strides[1]
                rb = begin + rows[k + 1, i] * strides[1]
                rc = begin + rows[k + 2, i] * strides[1]
                if k == 0:
                    _three_rows(flat, ra, rb, rc, wa, wb, wc, zero, mean, weight)
                elif wa + wb + wc > zero:
                    _three_more_rows(flat, ra, rb, rc, wa, wb, wc, zero, mean, weight)
            if stride:
                _deal_round(mean, columns[0, 0], stride, means, length)
                _deal_round(weight, columns[0, 0], stride, weights, length)
            else:
                _taken(mean, columns, means)
                _taken(weight, columns, weights)
            if bands == 3:
                _three_columns(
                    means, weights, at, 0, shares, zero, one, least, out[t, i], coverage[t, i]
                )
                continue
            _three_columns(means, weights, at, 0, shares, zero, infinite, -infinite, total, share)
            for k in range(3, bands, 3):
                _three_more_columns(means, weights, at, k, shares[k * width :], zero, total, share)
            _finish(total, share, least, one, out[t, i], coverage[t, i])


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
        between = x + share[j] * (y - x)
        alone = x if x == x else (y if y == y else zero)
        mean[m + j] = between if between == between else alone
        weight[m + j] = (wx[j] if x == x else zero) + (wx[n + j] if y == y else zero)


@compiled
def _between_rows(mean, weight, above, below, wa, wb, least, one, out, coverage):  # type: ignore[no-untyped-def]
    a, b = uint64(above), uint64(below)
    for i in range(out.size):
        j = uint64(i)
        heavy = wb * weight[b + j]
        d = wa * weight[a + j] + heavy
        coverage[i] = d if d < one else one
        between = mean[a + j] + heavy / d * (mean[b + j] - mean[a + j])
        out[i] = between if d >= least else out.dtype.type(np.nan)


@compiled
def columns_first(source, down, across, least, times, part, out, coverage):  # type: ignore[no-untyped-def]
    """Weighted means of 2 x 2 source cells, columns before rows: for cells finer than the source.

    As `rows_first`, but with two rows, and `across`: the left column of each target cell (the
    right one is the next), target cells between the last column and another, those others, weights
    (2, X), and the right one's part of their sum. A source row is interpolated once for all the
    target rows between it and the next.
    """
    flat, strides, size = source
    rows, wy = down
    left, seam, right, wx, share = across
    zero, one = wx.dtype.type(0), wx.dtype.type(1)
    width = out.shape[2]
    mean, weight = np.empty(2 * width, wx.dtype), np.empty(2 * width, wx.dtype)
    pairs, shares = np.empty(2 * width, wx.dtype), wx.ravel()
    west, count = int(left.min()), int(left.max()) - int(left.min()) + 2
    onwards = strides[1] if rows[0, part[1] - 1] >= rows[0, part[0]] else -strides[1]
    held = np.empty(2, np.int64)
    height, n = max(1, _AT_ONCE // width), 0
    done, covered = np.empty((height, width), out.dtype), np.empty((height, width), coverage.dtype)
    for t in range(times[0], times[1]):
        held[:] = -1
        for i in range(part[0], part[1]):
            # The row that the next target row shares stays in its place: nothing is copied.
            a = 1 if held[1] == rows[0, i] else 0
            b = a if rows[0, i] == rows[1, i] else 1 - a
            for k in range(2):
                place, row = (a, rows[0, i]) if k == 0 else (b, rows[1, i])
                if held[place] != row:
                    begin = t * strides[0] + row * strides[1]
                    _fetch(flat, begin + onwards + west, count)
                    _copy_pairs(flat, begin, size - 1, left, seam, right, pairs)
                    _between_columns(pairs, shares, share, zero, mean, weight, place * width)
                    held[place] = row
            _between_rows(
                mean, weight, a * width, b * width, wy[0, i], wy[1, i], least, one,
                done[n], covered[n],
            )  # fmt: skip
            n += 1
            if n == height or i + 1 == part[1]:
                to = (t * out.shape[1] + i + 1 - n) * width
                stream(done.ravel(), n * width, out.ravel(), to)
                stream(covered.ravel(), n * width, coverage.ravel(), to)
                n = 0
