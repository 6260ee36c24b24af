"""Exact spacing of regular coordinates that are stored in single precision.

In float32 a global axis with 0.1° spacing ends at 359.95001: it would not be periodic, and every
cell would overlap its neighbour a little.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

_EVEN = 1e-9  # fraction of a step up to which spacing counts as regular


def sharpened(values: np.ndarray) -> np.ndarray:
    """Return coordinates in float64, regular ones of float32 exactly regular; dims (cell,).

    Coordinates that are irregular, or already exactly regular, keep their bits.
    """
    exact = np.asarray(values, np.float64)
    found = edge_and_step(exact)
    if found is None:
        return exact
    edge, step = found
    # Whole numbers and one division: each coordinate is rounded once.
    scale = 2 * step.denominator * edge.denominator
    first, half = int(edge * scale), int(step * scale / 2)
    return np.asarray((first + half * (2 * np.arange(exact.size) + 1)) / scale, np.float64)


def edge_and_step(values: np.ndarray) -> tuple[Fraction, Fraction] | None:
    """Return the first edge and the signed step of regular float32 coordinates, else None.

    They are the simplest fractions (1/12, 0.05) that reproduce all coordinates within rounding;
    None also if the coordinates are already exactly regular.
    """
    exact = np.asarray(values, np.float64)
    if exact.size < 3 or not np.isfinite(exact).all():
        return None
    with np.errstate(over="ignore"):
        single = exact.astype(np.float32)
    if not np.array_equal(single.astype(np.float64), exact):
        return None
    count = exact.size - 1
    step = (exact[-1] - exact[0]) / count
    rounding = float(np.spacing(np.abs(single).max()))
    uneven = np.abs(np.diff(exact) - step).max() > _EVEN * abs(step)
    if not uneven or rounding > abs(step) / 4:
        return None
    simple = _simplest(step - 2 * rounding / count, step + 2 * rounding / count)
    residual = exact - float(simple) * (np.arange(exact.size) + 0.5)
    low, high = residual.max() - rounding, residual.min() + rounding
    return (_simplest(low, high), simple) if low <= high else None


def _simplest(low: float, high: float) -> Fraction:
    """Return the fraction with the smallest denominator between two numbers."""
    if low <= 0 <= high:
        return Fraction(0)
    if high < 0:
        return -_simplest(-high, -low)
    return _between(Fraction(low), Fraction(high))


def _between(low: Fraction, high: Fraction) -> Fraction:
    """Return the simplest fraction between two positive ones, by the Stern-Brocot tree."""
    whole = -(-low.numerator // low.denominator)
    if whole <= high:
        return Fraction(whole)
    below = whole - 1
    return below + 1 / _between(1 / (high - below), 1 / (low - below))
