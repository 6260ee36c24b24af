"""`Extremes`: the least and greatest stored numbers, which may mean missing without saying so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SIZES = (
    *(10.0**digits - 1 for digits in range(2, 11)), 99.9, 99.99, 999.9, 999.99, 9999.9,
    8888.0, 9996.0, 9997.0, 9998.0, 255.0, 32767.0, 32768.0, 65535.0, 2147483647.0, 2147483648.0,
    4294967295.0, 1e15, 1e20, 9.999e20,
)  # fmt: skip
"""Sizes of numbers by which files usually mark missing values; of larger ones any is suspicious."""
HUGE = 1e30
"""Size that no quantity has."""
FEW = 10
"""Number of values below which nothing is certain about their distribution."""
MOST = 6
"""Different numbers at either end that are kept."""
LEAST = 50.0
"""Size from which other whole numbers may mean missing."""
TYPICAL = 9999.0
"""Size from which a positive number that lies alone is hardly a value."""


def number_text(number: float) -> str:
    """Return a number with as many digits as float32 needs, at least nine for whole ones.

    >>> number_text(float(np.float32(1e20))), number_text(-999999999.0)
    ('1e+20', '-999999999')
    """
    if abs(number) < 1e10 and number == np.rint(number):
        return f"{number:.0f}"
    digits = next((n for n in (7, 8) if np.float32(f"{number:.{n}g}") == np.float32(number)), 9)
    return f"{number:.{digits}g}"


@dataclass(frozen=True)
class Undeclared:
    """A stored number that may mean missing, and the fraction of the valid values that it is."""

    number: float
    share: float
    is_certain: bool

    @property
    def text(self) -> str:
        """The number with as many digits as it needs."""
        return number_text(self.number)

    def __str__(self) -> str:
        return f"{100 * self.share:.3g} % of the values are {self.text}"


@dataclass
class Extremes:
    """The least and greatest different values of one variable, added up while they are read.

    >>> found = Extremes()
    >>> found.add(np.array([-9999, 3.5, 7.0, 12.0]))
    >>> [str(one) for one in found.undeclared()]
    ['25 % of the values are -9999']
    """

    scale: float = 1.0
    offset: float = 0.0
    """Packing that a reader has applied: value = scale · number + offset."""
    dtype: Any = None
    """Type of the numbers in the file."""
    seen: int = 0
    low: dict[float, int] = field(default_factory=dict)
    high: dict[float, int] = field(default_factory=dict)
    """Least and greatest values, and how often they occur."""

    def describe(self, encoding: Mapping[Any, Any], dtype: Any) -> None:
        """Take the packing and type from a variable's encoding, or else its type as it is read."""
        self.scale = float(np.ravel(encoding.get("scale_factor", 1.0))[0])
        self.offset = float(np.ravel(encoding.get("add_offset", 0.0))[0])
        self.dtype = np.dtype(encoding.get("dtype", dtype))

    def add(self, values: np.ndarray) -> None:
        """Count the least and greatest of the values, up to one that is no usual code."""
        valid = int(np.count_nonzero(values == values))
        self.seen += valid
        if valid:
            self._add(values, self.low, np.fmin)
            self._add(values, self.high, np.fmax)

    def _add(self, values: np.ndarray, found: dict[float, int], end: Any) -> None:
        for step in range(MOST):
            extreme = end.reduce(values, None)
            if np.isnan(extreme):
                break
            count = int(np.count_nonzero(values == extreme))
            found[float(extreme)] = found.get(float(extreme), 0) + count
            if step and not self._is_code(float(extreme)):
                break
            values = values[values > extreme] if end is np.fmin else values[values < extreme]
            if not values.size:
                break
        for value in sorted(found, reverse=end is np.fmin)[: max(0, len(found) - 2 * MOST)]:
            del found[value]

    def _number(self, value: float) -> float:
        """Return the stored number of a value."""
        number = (value - self.offset) / self.scale
        for size in SIZES:  # values are float32, which holds seven digits
            if abs(abs(number) - size) <= 1e-6 * size and not self._exceeds(
                np.copysign(size, number)
            ):
                return float(np.copysign(size, number))
        return number

    def _exceeds(self, number: float) -> bool:
        """Whether the numbers of the file cannot be so large."""
        if self.dtype is None or np.dtype(self.dtype).kind not in "iu":
            return False
        limits = np.iinfo(self.dtype)
        return not limits.min <= number <= limits.max

    def _is_limit(self, number: float) -> bool:
        if self.dtype is None or np.dtype(self.dtype).kind not in "iu":
            return False
        limits = np.iinfo(self.dtype)
        return number in (limits.max, limits.min) and number != 0

    def _is_code(self, value: float) -> bool:
        number = self._number(value)
        known = np.isclose(abs(number), SIZES, rtol=1e-6, atol=0).any()
        return bool(known or abs(number) >= HUGE or self._is_limit(number))

    def undeclared(self) -> list[Undeclared]:
        """Return the numbers that lie apart from all others, as those that mean missing do."""
        counts = {**self.low, **self.high}
        codes = [value for value in sorted(counts) if self._is_code(value)]
        rest = [value for value in sorted(counts) if value not in codes]
        found = []
        for value in codes:
            kind = self._kind(value, counts, rest)
            if kind is not None:
                number = self._number(value)
                found.append(
                    Undeclared(number, counts[value] / self.seen, kind and self.seen >= FEW)
                )
        return found + self._alone(counts, rest)

    def _kind(self, value: float, counts: Mapping[float, int], rest: list[float]) -> bool | None:
        """Return whether a usual code certainly means missing; None if it may well be a value."""
        number = self._number(value)
        if not rest:
            return True if number < 0 or abs(number) >= TYPICAL else None
        distance, span = max(rest[0] - value, value - rest[-1]), rest[-1] - rest[0]
        if distance <= 0:
            return None
        near = rest[0] if value < rest[0] else rest[-1]
        is_apart = distance > span or (value < 0 <= rest[0])
        if is_apart:
            is_large = number < 0 or abs(number) >= TYPICAL or self._is_limit(number)
            return is_large and (len(rest) > 1 or number < 0 or abs(number) >= TYPICAL)
        is_crowded = counts[value] >= 10 * counts[near] and counts[value] > 10
        return False if 2 * distance > span or (is_crowded and self._is_limit(number)) else None

    def _alone(self, counts: Mapping[float, int], rest: list[float]) -> list[Undeclared]:
        """Return an extreme that repeats and lies far from the others, although no usual code."""
        if len(rest) < 4:
            return []
        found = []
        for end, near, far in ((rest[0], rest[1], rest[-1]), (rest[-1], rest[-2], rest[0])):
            number = self._number(end)
            is_marker = abs(number) >= LEAST and number == np.rint(number)
            most = (3 if is_marker else 1) * abs(far - near)
            if (is_marker or number == 0) and counts[end] > 1 and abs(end - near) > most:
                found.append(Undeclared(number, counts[end] / self.seen, False))
        return found
