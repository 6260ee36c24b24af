"""What the compiled loops need to know of the two axes: source cells and rounded weights.

Upstream: `weights`. Downstream: `engine`, which hands them to `separable_kernels`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pipeline.weights import AxisWeights

_STEPS = 1 << 24  # parts of 1 that float32 tells apart below 1


@lru_cache(maxsize=64)
def kernel_tables(
    y: AxisWeights, x: AxisWeights, kind: str, dtype: np.dtype
) -> tuple[tuple, tuple]:
    """`down` and `across` of `columns_first` (`kind` "point") or of `rows_first` ("area")."""
    if kind == "point":
        return _bands(y, 2, dtype), _beside(x, dtype)
    rows, weight = _bands(y, -(-y.weight.shape[0] // 3) * 3, dtype)
    return (rows, weight, rows_ahead(rows, weight)), _strided(x, dtype)


def _bands(axis: AxisWeights, count: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Source cells and weights, both (count, target); what a target does not use weighs 0."""
    missing = max(0, count - axis.weight.shape[0])
    index = np.pad(axis.index, ((0, missing), (0, 0)), mode="edge")
    index = np.where(np.arange(index.shape[0])[:, None] < axis.weight.shape[0], index, index[0])
    return index, rounded(np.pad(axis.weight, ((0, missing), (0, 0))), dtype)


def rows_ahead(rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Rows to ask for while three bands are merged: the next three, -1 for what is at hand.

    Dims (a multiple of three, target); after a target's last bands come the next target's first.
    """
    here, weighs = (a.reshape(-1, 3, rows.shape[1]) for a in (rows, weight > 0))
    after = np.full_like(here, -1)
    after[:, :, :-1] = np.where(weighs, here, -1)[:1, :, 1:]
    more = weighs[1:].any(axis=1, keepdims=True)
    after[:-1] = np.where(more, np.where(weighs[1:], here[1:], -1), after[:-1])
    at_hand = (after[:, :, None] == here[:, None]).any(axis=2)
    return np.where(at_hand, -1, after).reshape(rows.shape)


def _strided(axis: AxisWeights, dtype: np.dtype) -> tuple[int, np.ndarray, np.ndarray]:
    """Step from band to band (0 where it varies), columns and weights, both (K, target)."""
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
    """Left columns, seam columns with their right ones, weights (2, target) and right shares."""
    index, weight = _bands(axis, 2, dtype)
    last = max(axis.size, 2) - 1
    joined = (index[0] < last) & ((index[1] == index[0] + 1) | (weight[1] == 0))
    seam = np.flatnonzero(~joined)
    left = np.where(joined, index[0], 0).astype(np.uint32)
    total = weight.sum(axis=0)
    share = np.divide(weight[1], total, out=np.zeros_like(total), where=total > 0)
    return left, seam.astype(np.uint32), index[1, seam].astype(np.uint32), weight, share


def rounded(weight: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Weights (K, target) of `dtype`; those of float32 are multiples of 2^-24 and keep their sum.

    So weights that sum to 1 do so exactly in any order, and none of several becomes 0.
    """
    if dtype != np.float32 or not weight.size:
        return np.ascontiguousarray(weight, dtype)
    steps = np.where(weight > 0, np.maximum(np.rint(weight * _STEPS), 1), 0)
    whole = np.rint(weight.sum(axis=0) * _STEPS)
    steps[weight.argmax(axis=0), np.arange(weight.shape[1])] += whole - steps.sum(axis=0)
    return (steps / _STEPS).astype(np.float32)
