"""Compiled overlap areas of polygons and the cells of a rectilinear grid; exact for straight edges.

Called from `warp`. Areas are accumulated edge by edge (signed trapezoids to the right of each edge,
then a running sum along each row), so that the cost is proportional to the number of cells touched.
"""

from __future__ import annotations

import numpy as np

from pipeline.core.compiled import compiled

_POLE = 1.0 - 1e-14


@compiled
def _close_ring(x, z, turn, ring_x, ring_z):  # type: ignore[no-untyped-def]
    """Writes a ring of longitudes and sines unwrapped across the seam; returns its length.

    Vertices on a pole take the longitudes of both neighbours, and a ring around a pole is completed
    along the pole that it encloses.
    """
    size, first = x.size, 0
    # Begin at a vertex that is not on a pole, where longitude is undefined.
    while first < size - 1 and abs(z[first]) > _POLE:
        first += 1
    ring_x[0], ring_z[0] = x[first], z[first]
    n, lon, at_pole = 1, x[first], False
    for step in range(1, size + 1):
        v = (first + step) % size
        if abs(z[v]) > _POLE:
            if not at_pole:
                ring_x[n], ring_z[n] = lon, z[v]
                n += 1
            at_pole = True
            continue
        # The nearest of all equal longitudes: sides are shorter than half a turn.
        lon = lon + (x[v] - lon + turn / 2) % turn - turn / 2
        if at_pole:
            ring_x[n], ring_z[n] = lon, ring_z[n - 1]
            n += 1
            at_pole = False
        ring_x[n], ring_z[n] = lon, z[v]
        n += 1
    # The ring ends at its first longitude: an ordinary ring, whose last vertex repeats the first.
    if abs(lon - ring_x[0]) < turn / 2:
        return n - 1
    # Else it encloses the pole of its hemisphere: two vertices along the pole close it.
    pole = 1.0 if ring_z[:n].sum() > 0.0 else -1.0
    ring_x[n], ring_z[n] = lon, pole
    ring_x[n + 1], ring_z[n + 1] = ring_x[0], pole
    return n + 2


@compiled
def _range(values):  # type: ignore[no-untyped-def]
    """Smallest and largest of the values; NaN and NaN if one of them is not finite."""
    low, high = values[0], values[0]
    for v in values:
        low, high = min(low, v), max(high, v)
        if not np.isfinite(v):
            return np.nan, np.nan
    return low, high


@compiled
def _interval(edges, value):  # type: ignore[no-untyped-def]
    """Index of the interval that holds the value; the first or the last one beyond the ends."""
    low, high = 0, edges.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if edges[middle] <= value:
            low = middle
        else:
            high = middle
    return low


@compiled
def _add_edge(x0, z0, x1, z1, x_edges, z_edges, i0, j0, area, cover):  # type: ignore[no-untyped-def]
    """Adds one directed edge: the area to its right in its cells, and `cover` for cells beyond."""
    if z0 == z1:
        return
    # Upward edges add and downward edges subtract, so that the area between two sides remains,
    # whichever way the ring turns; each edge is then followed upwards.
    sign = 1.0 if z1 > z0 else -1.0
    if z1 < z0:
        x0, z0, x1, z1 = x1, z1, x0, z0
    slope = (x1 - x0) / (z1 - z0)
    top, bottom = max(z0, z_edges[i0]), min(z1, z_edges[i0 + area.shape[0]])
    if top >= bottom:
        return
    i = _interval(z_edges, top)
    n_cols = area.shape[1]
    while top < bottom:
        end = min(bottom, z_edges[i + 1])
        xa, xb = x0 + slope * (top - z0), x0 + slope * (end - z0)
        left, right = min(xa, xb), max(xa, xb)
        row = i - i0
        span = end - top
        j = j0
        # `cover` holds what the edge adds to every cell to its right; an edge west of the window
        # adds nothing else.
        if left >= x_edges[j0]:
            j = _interval(x_edges, left)
        elif right > x_edges[j0]:
            cover[row, 0] += sign * span * (x_edges[j0] - left) / (right - left)
        else:
            cover[row, 0] += sign * span
            j = j0 + n_cols
        while j < j0 + n_cols and x_edges[j] <= right:
            a, b = max(left, x_edges[j]), min(right, x_edges[j + 1])
            share = max(b - a, 0.0) / (right - left) if right > left else 1.0
            # Within the cell: the trapezoid between the edge and the cell's right side.
            part = sign * span * share
            area[row, j - j0] += part * (x_edges[j + 1] - (a + b) / 2)
            cover[row, j - j0 + 1] += part
            if right == left:
                break
            j += 1
        top = end
        i += 1
        if i >= i0 + area.shape[0]:
            break


@compiled
def overlaps(x, z, turn, x_edges, x_cell, z_edges, z_cell, width):  # type: ignore[no-untyped-def]
    """Fractions of polygons in the cells of a grid: `begin`, `index`, `weight` of a sparse matrix.

    `x`, `z` (polygon, vertex) in units whose product is area; `turn` the period of x or 0.
    `x_edges`, `z_edges` ascending; `x_cell`, `z_cell` the array column and row of each interval,
    -1 for gaps; `width` the number of columns. With a period, `x_edges` reach from half a turn
    before 0 to one and a half after. Polygons with a vertex that is not finite have no entries.
    """
    n = x.shape[0]
    begin = np.zeros(n + 1, np.int64)
    index, weight = np.empty(max(16, 8 * n), np.int64), np.empty(max(16, 8 * n))
    ring_x, ring_z = np.empty(2 * x.shape[1] + 4), np.empty(2 * x.shape[1] + 4)
    size = 0
    for p in range(n):
        begin[p] = size
        vertices = x.shape[1]
        if not (np.isfinite(_range(x[p])[0]) and np.isfinite(_range(z[p])[0])):
            continue
        if turn > 0.0:
            vertices = _close_ring(x[p], z[p], turn, ring_x, ring_z)
        else:
            ring_x[:vertices], ring_z[:vertices] = x[p], z[p]
        rx, rz = ring_x[:vertices], ring_z[:vertices]
        if turn > 0.0:
            # Shifted by whole turns until its west end lies within half a turn of 0: `x_edges` span
            # all such rings.
            rx -= np.floor((_range(rx)[0] + turn / 2) / turn) * turn
        (west, east), (top, bottom) = _range(rx), _range(rz)
        if east <= x_edges[0] or west >= x_edges[-1]:
            continue
        if bottom <= z_edges[0] or top >= z_edges[-1]:
            continue
        j0, j1 = _interval(x_edges, west), _interval(x_edges, east)
        i0, i1 = _interval(z_edges, top), _interval(z_edges, bottom)
        area = np.zeros((i1 - i0 + 1, j1 - j0 + 1))
        cover = np.zeros((i1 - i0 + 1, j1 - j0 + 2))
        whole = 0.0
        for v in range(vertices):
            w = (v + 1) % vertices
            # Relative to the first vertex: products of small differences keep their digits.
            whole += (rx[v] - rx[0]) * (rz[w] - rz[0]) - (rx[w] - rx[0]) * (rz[v] - rz[0])
            _add_edge(rx[v], rz[v], rx[w], rz[w], x_edges, z_edges, i0, j0, area, cover)
        whole = abs(whole) / 2
        needed = size + area.size
        # Doubled, so that the total cost of copying is proportional to the number of entries.
        if needed > index.size:
            more = max(needed, 2 * index.size)
            longer_index, longer_weight = np.empty(more, np.int64), np.empty(more)
            longer_index[:size], longer_weight[:size] = index[:size], weight[:size]
            index, weight = longer_index, longer_weight
        for i in range(area.shape[0]):
            running = 0.0
            for j in range(area.shape[1]):
                running += cover[i, j]
                step = x_edges[j0 + j + 1] - x_edges[j0 + j]
                # `running` sums the edges further west, which add the full width of the cell.
                share = abs(area[i, j] + running * step) / whole
                if share > 1e-13 and x_cell[j0 + j] >= 0 and z_cell[i0 + i] >= 0:
                    index[size] = z_cell[i0 + i] * width + x_cell[j0 + j]
                    weight[size] = share
                    size += 1
    begin[n] = size
    return begin, index[:size].copy(), weight[:size].copy()
