"""Compiled overlap areas of rings, which bound polygons, and the cells of a rectilinear grid.

Called from `outlines`. Rings have straight sides between their vertices. Areas are accumulated side
by side (signed areas to the right of each side, then a running sum along each row): the cost is
proportional to the number of vertices and of cells touched, and cells within a polygon need no
clipping. On the sphere x and y are longitude and latitude and an area is ∫ dx d(sin y), which is
integrated along each side in closed form: no vertex has to be added.
"""

from __future__ import annotations

import numpy as np

from pipeline.core.compiled import compiled
from pipeline.regridding.kernels.polygons import _close_ring, _interval, _range

_RADIANS = np.pi / 180.0


@compiled
def _height(y0, y1, on_sphere):  # type: ignore[no-untyped-def]
    """Height of an interval: y1 - y0, or on the sphere sin y1 - sin y0 without cancellation."""
    if not on_sphere:
        return y1 - y0
    return 2 * np.cos((y0 + y1) / 2 * _RADIANS) * np.sin((y1 - y0) / 2 * _RADIANS)


@compiled
def _moment(x0, y0, x1, y1, on_sphere):  # type: ignore[no-untyped-def]
    """Integral of x over the height of a side from (x0, y0) to (x1, y1)."""
    whole = (x0 + x1) / 2 * _height(y0, y1, on_sphere)
    if not on_sphere:
        return whole
    # About its middle the side is x = u dx/dy, and ∫ u cos(m + u) du = -2 sin m (sin h - h cos h).
    half, middle = (y1 - y0) / 2 * _RADIANS, (y0 + y1) / 2 * _RADIANS
    if half > 0.01:
        rest = (np.sin(half) - half * np.cos(half)) / half
    else:
        rest = half * half / 3 * (1 - half * half / 10)
    return whole - (x1 - x0) * np.sin(middle) * rest


@compiled
def _add_side(  # type: ignore[no-untyped-def]
    x0, y0, x1, y1, sign, x_edges, y_edges, j0, i0, on_sphere, area, cover
):
    """Adds one side, upwards: the area to its right in its cells, and `cover` for cells beyond."""
    n_rows, n_cols = area.shape
    low, high = max(y0, y_edges[i0]), min(y1, y_edges[i0 + n_rows])
    if low >= high:
        return
    slope = (x1 - x0) / (y1 - y0)
    i = _interval(y_edges, low)
    while low < high and i < i0 + n_rows:
        end = min(high, y_edges[i + 1])
        # The ends of a side keep their exact positions: neighbours share them.
        xa = x0 if low == y0 else x0 + slope * (low - y0)
        xb = x1 if end == y1 else x0 + slope * (end - y0)
        left, right = min(xa, xb), max(xa, xb)
        row = i - i0
        # Column -1 stands for what lies west of the window: it covers all of the row.
        j = j0 - 1 if left < x_edges[j0] else _interval(x_edges, left)
        y_left, y_right = (low, end) if xa <= xb else (end, low)
        while j < j0 + n_cols:
            a = left if j < j0 else max(left, x_edges[j])
            b = min(right, x_edges[j + 1])
            if b >= a:
                ya = y_left if a <= left else y0 + (a - x0) / slope
                yb = y_right if b >= right else y0 + (b - x0) / slope
                x_low, y_low, x_high, y_high = (a, ya, b, yb) if ya <= yb else (b, yb, a, ya)
                y_low, y_high = max(y_low, low), min(y_high, end)
                if y_high > y_low:
                    height = _height(y_low, y_high, on_sphere)
                    cover[row, j - j0 + 1] += sign * height
                    if j >= j0:
                        moment = _moment(x_low, y_low, x_high, y_high, on_sphere)
                        area[row, j - j0] += sign * (x_edges[j + 1] * height - moment)
            if b >= right:
                break
            j += 1
        low = end
        i += 1


@compiled
def unrolled(x, y, ring):  # type: ignore[no-untyped-def]
    """Rings on the globe with continuous longitudes, and closed along a pole that they enclose.

    `x`, `y` (vertex,) in degrees, `ring` (ring + 1,) the first vertex of each. Returns the same
    three arrays. Each side is the shorter way from one longitude to the next; vertices on a pole
    take the longitudes of both neighbours.
    """
    out_x, out_y = np.empty(2 * x.size + 4 * ring.size), np.empty(2 * x.size + 4 * ring.size)
    begin, size = np.empty_like(ring), 0
    for r in range(ring.size - 1):
        begin[r] = size
        first, last = ring[r], ring[r + 1]
        if last > first:
            # Latitudes in units of a right angle: the poles are at 1 and -1, as those of sines are.
            size += _close_ring(
                x[first:last], y[first:last] / 90.0, 360.0, out_x[size:], out_y[size:]
            )
    begin[-1] = size
    return out_x[:size].copy(), out_y[:size] * 90.0, begin


@compiled
def _longer(values, capacity, size):  # type: ignore[no-untyped-def]
    """Copy of the first `size` values in an array of `capacity`."""
    longer = np.empty(capacity, values.dtype)
    longer[:size] = values[:size]
    return longer


@compiled
def overlay(x, y, ring, owner, is_hole, x_edges, y_edges, turn, on_sphere):  # type: ignore[no-untyped-def]
    """Areas shared by polygons and cells: `cell`, `element` and `area`, with several of a pair.

    Ring r has the vertices `ring[r]:ring[r + 1]` of `x`, `y` and belongs to the polygon `owner[r]`;
    areas of holes are negative. `x_edges`, `y_edges` ascending; cells count row by row from the
    lowest y. With a period `turn`, rings may lie any number of turns away. Rings with a vertex that
    is not finite have no entries.
    """
    n_x = x_edges.size - 1
    capacity, size = max(16, 4 * owner.size), 0
    cell, element = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    shared = np.empty(capacity)
    for r in range(owner.size):
        first, last = ring[r], ring[r + 1]
        if last - first < 3:
            continue
        (west, east), (south, north) = _range(x[first:last]), _range(y[first:last])
        if not (np.isfinite(west) and np.isfinite(south)):
            continue
        if north <= y_edges[0] or south >= y_edges[-1]:
            continue
        begin, end = 0, 1
        if turn > 0.0:
            begin = int(np.floor((x_edges[0] - east) / turn)) + 1
            end = int(np.ceil((x_edges[-1] - west) / turn))
        whole = 0.0
        for v in range(first, last):
            w = v + 1 if v + 1 < last else first
            whole += (x[v] - x[first]) * (y[w] - y[first]) - (x[w] - x[first]) * (y[v] - y[first])
        # The sum is positive for a ring that turns to the left, whose eastern sides run upwards:
        # areas to the right of sides are then counted negative.
        turns = -1.0 if whole > 0.0 else 1.0
        if is_hole[r]:
            turns = -turns
        for k in range(begin, end):
            shift = k * turn
            if east + shift <= x_edges[0] or west + shift >= x_edges[-1]:
                continue
            j0, j1 = _interval(x_edges, west + shift), _interval(x_edges, east + shift)
            i0, i1 = _interval(y_edges, south), _interval(y_edges, north)
            area = np.zeros((i1 - i0 + 1, j1 - j0 + 1))
            cover = np.zeros((i1 - i0 + 1, j1 - j0 + 3))
            for v in range(first, last):
                w = v + 1 if v + 1 < last else first
                if y[v] < y[w]:
                    _add_side(x[v] + shift, y[v], x[w] + shift, y[w], turns, x_edges, y_edges,
                              j0, i0, on_sphere, area, cover)  # fmt: skip
                elif y[v] > y[w]:
                    _add_side(x[w] + shift, y[w], x[v] + shift, y[v], -turns, x_edges, y_edges,
                              j0, i0, on_sphere, area, cover)  # fmt: skip
            needed = size + area.size
            if needed > capacity:
                # Doubled, so that the total cost of copying is proportional to the entries.
                capacity = max(needed, 2 * capacity)
                cell, element = _longer(cell, capacity, size), _longer(element, capacity, size)
                shared = _longer(shared, capacity, size)
            for i in range(area.shape[0]):
                running = cover[i, 0]
                for j in range(area.shape[1]):
                    width = x_edges[j0 + j + 1] - x_edges[j0 + j]
                    found = area[i, j] + running * width
                    running += cover[i, j + 1]
                    if found != 0.0:
                        cell[size] = (i0 + i) * n_x + j0 + j
                        element[size] = owner[r]
                        shared[size] = found
                        size += 1
    return cell[:size].copy(), element[:size].copy(), shared[:size].copy()
