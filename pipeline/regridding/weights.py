"""One-dimensional weights between a source axis and a target axis.

Outer products of the weights along y and x are those of the grid. Weights depend on the absolute
positions of the two cells alone, never on the window, so that results of any tiling are identical.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipeline.grid.axes import PER_DEGREE, Axis

_STEPS = 1 << 24  # float32 resolves steps of 2^-24 below 1


@lru_cache(maxsize=64)
def kernel_tables(
    y: AxisWeights, x: AxisWeights, kind: str, dtype: np.dtype
) -> tuple[tuple, tuple]:
    """Arguments `down` and `across` of `columns_first` (kind "point") or `rows_first` ("area")."""
    if kind == "point":
        return _bands(y, 2, dtype), _beside(x, dtype)
    return _bands(y, -(-y.weight.shape[0] // 3) * 3, dtype), _strided(x, dtype)


def _bands(axis: AxisWeights, count: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Source cells and weights, both (count, target); unused entries have weight 0."""
    missing = max(0, count - axis.weight.shape[0])
    # Bands added to reach the count read a cell that is in the cache anyway, with weight 0.
    index = np.pad(axis.index, ((0, missing), (0, 0)), mode="edge")
    index = np.where(np.arange(index.shape[0])[:, None] < axis.weight.shape[0], index, index[0])
    return index, rounded(np.pad(axis.weight, ((0, missing), (0, 0))), dtype)


def _strided(axis: AxisWeights, dtype: np.dtype) -> tuple[int, np.ndarray, np.ndarray]:
    """Step from band to band (0 where it varies), columns and weights, both (K, target)."""
    # Where every target cell begins a fixed number of source cells after the previous one, the
    # kernel can copy columns by stride instead of by index. Cells without weights fit any step.
    met = np.flatnonzero((axis.weight > 0).any(axis=0))
    start, stride = axis.start, 0
    if met.size > 1:
        step = int((start[met[1]] - start[met[0]]) // (met[1] - met[0])) % axis.size
        regular = start[met[0]] + step * (np.arange(start.size) - met[0])
        if step and ((regular - start)[met] % axis.size == 0).all():
            start, stride = regular, step
    weight = np.pad(axis.weight, ((0, -axis.weight.shape[0] % 3), (0, 0)))
    index = (start + np.arange(weight.shape[0])[:, None]) % axis.size
    return stride, index.astype(np.uint32), rounded(weight, dtype)


def _beside(axis: AxisWeights, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """Left columns, seam columns with their right ones, weights (2, target), right fractions."""
    index, weight = _bands(axis, 2, dtype)
    # The kernel copies two adjacent columns at once; columns over the seam, or reversed, are copied
    # one by one.
    last = max(axis.size, 2) - 1
    joined = (index[0] < last) & ((index[1] == index[0] + 1) | (weight[1] == 0))
    seam = np.flatnonzero(~joined)
    left = np.where(joined, index[0], 0).astype(np.uint32)
    total = weight.sum(axis=0)
    share = np.divide(weight[1], total, out=np.zeros_like(total), where=total > 0)
    return left, seam.astype(np.uint32), index[1, seam].astype(np.uint32), weight, share


def rounded(weight: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Weights (K, target) of `dtype`; those of float32 are multiples of 2^-24 and keep their sum.

    Weights that sum to 1 then do so exactly in any order, and no positive weight becomes 0.
    """
    if dtype != np.float32 or not weight.size:
        return np.ascontiguousarray(weight, dtype)
    # The rounding error of the sum is added to the largest weight, where it matters least.
    steps = np.where(weight > 0, np.maximum(np.rint(weight * _STEPS), 1), 0)
    whole = np.rint(weight.sum(axis=0) * _STEPS)
    steps[weight.argmax(axis=0), np.arange(weight.shape[1])] += whole - steps.sum(axis=0)
    return (steps / _STEPS).astype(np.float32)


@dataclass(frozen=True, eq=False)
class AxisWeights:
    """Bands of weights: target cell j uses source cells `start[j] + k`, k < K, modulo `size`.

    `start` int64 dims (target,), `weight` float64 dims (K, target), `size` the source's length.
    A sum of 1 down a column means that the target cell lies wholly on the source; unused entries
    are 0. `reverse` is True where the array holds the source axis in descending order.
    """

    start: np.ndarray
    weight: np.ndarray
    size: int
    reverse: bool = False

    @property
    def index(self) -> np.ndarray:
        """Array index of each weight's source cell; dims (K, target), int64; first if unused."""
        index = (self.start + np.arange(self.weight.shape[0])[:, None]) % self.size
        index = np.where(self.weight > 0, index, self.start)
        return self.size - 1 - index if self.reverse else index

    @property
    def total(self) -> np.ndarray:
        """Fraction of each target cell that lies on the source; dims (target,)."""
        return self.weight.sum(axis=0)

    def part(self, targets: slice) -> AxisWeights:
        """The weights of some of the target cells."""
        return AxisWeights(self.start[targets], self.weight[:, targets], self.size, self.reverse)


def axis_weights(source: Axis, target: Axis, method: str) -> AxisWeights:
    """Weights of `method` ("area", "bilinear" or "nearest") along one axis."""
    return {"area": _area, "bilinear": _bilinear, "nearest": _nearest}[method](source, target)


def point_weights(source: Axis, position: np.ndarray, method: str) -> AxisWeights:
    """Weights ("bilinear" or "nearest") of the source cells around lattice positions."""
    points = Axis(
        lower=position,
        upper=position,
        centre=position,
        period=source.period,
        latitude=source.latitude,
    )
    return (_bilinear if method == "bilinear" else _nearest)(source, points)


def _turned(source: Axis, position: np.ndarray, first: np.int64) -> np.ndarray:
    """Positions shifted by whole periods into the period that begins at `first`."""
    return first + (position - first) % source.period if source.period else position


def _twice(source: Axis, values: np.ndarray) -> np.ndarray:
    """Positions of the cells over two periods, so that a band may cross the seam."""
    return np.concatenate([values, values + source.period]) if source.period else values


def _measure(lower: np.ndarray, upper: np.ndarray, latitude: bool) -> np.ndarray:
    """Length between lattice positions, or for latitudes the difference of sines (area)."""
    if not latitude:
        return np.maximum(upper - lower, 0).astype(float)
    a, b = np.deg2rad(lower / PER_DEGREE), np.deg2rad(np.maximum(upper, lower) / PER_DEGREE)
    # sin b - sin a without cancellation, however narrow the cell.
    return 2 * np.cos((a + b) / 2) * np.sin((b - a) / 2)


def _area(source: Axis, target: Axis) -> AxisWeights:
    """Overlap of source and target cells, divided by the size of the target cell."""
    # Lattice positions are integers: edges that should coincide do, and no sliver remains.
    lower, upper = _twice(source, source.lower), _twice(source, source.upper)
    begin = _turned(source, target.lower, source.lower[0])
    end = begin + (target.upper - target.lower)
    first = np.searchsorted(upper, begin, side="right")
    last = np.searchsorted(lower, end, side="left")
    count = np.maximum(last - first, 0)
    # All bands at once, dims (K, target); a target cell with fewer source cells has zeros.
    k = np.arange(max(1, int(count.max())))[:, None]
    cell = np.minimum(first + k, lower.size - 1)
    overlap = _measure(
        np.maximum(lower[cell], begin), np.minimum(upper[cell], end), source.latitude
    )
    whole = _measure(begin, end, source.latitude)
    weight = np.where(k < count, overlap / whole, 0.0)
    return _finish(source, first, weight)


def _bilinear(source: Axis, target: Axis) -> AxisWeights:
    """Linear weights of the two nearest source centres; of one beyond the outermost centre."""
    lower, upper, centre = (_twice(source, v) for v in (source.lower, source.upper, source.centre))
    position = _turned(source, target.centre, source.centre[0])
    before = np.searchsorted(centre, position, side="right") - 1
    left, right = np.maximum(before, 0), np.minimum(before + 1, centre.size - 1)
    # Only between cells that touch: values are not interpolated over a gap in the axis.
    joined = (before >= 0) & (right > left) & (upper[left] == lower[right])
    share = (position - centre[left]) / np.maximum(centre[right] - centre[left], 1)
    on_left = (position >= lower[left]) & (position <= upper[left])
    on_right = (position >= lower[right]) & (position <= upper[right]) & ~on_left
    weight = np.where(joined, [1.0 - share, share], [on_left | on_right, np.zeros(share.size)])
    return _finish(source, np.where(joined | on_left, left, right), weight)


def _nearest(source: Axis, target: Axis) -> AxisWeights:
    """The source cell that holds the target's centre."""
    lower, upper = _twice(source, source.lower), _twice(source, source.upper)
    position = _turned(source, target.centre, source.lower[0])
    cell = np.searchsorted(lower, position, side="right") - 1
    inside = (cell >= 0) & (position <= upper[np.maximum(cell, 0)])
    return _finish(source, np.maximum(cell, 0), inside[None].astype(float))


def _finish(source: Axis, start: np.ndarray, weight: np.ndarray) -> AxisWeights:
    empty = ~(weight > 0).any(axis=0)
    start = np.where(empty, 0, start) % source.size
    weight = np.ascontiguousarray(np.where(empty, 0.0, weight), np.float64)
    return AxisWeights(start.astype(np.int64), weight, source.size, source.reverse)
