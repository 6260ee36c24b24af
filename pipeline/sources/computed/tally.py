"""`Tally`: counts of the values that an entry changes or removes, for the report of a check."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.core.errors import Faults, listed
from pipeline.entries.source import Variable
from pipeline.sources.computed.undeclared import Extremes


@dataclass(frozen=True, kw_only=True)
class ValueSummary:
    """What was found in the values of a variable that were read, in canonical units."""

    variable: str
    units: str
    least: float
    """Least valid value; infinite without one, as the greatest is."""
    greatest: float
    total: float
    """Sum of the valid values."""
    valid: int
    """Number of valid values."""
    read: int
    """Number of values, the missing ones included."""

    @property
    def mean(self) -> float:
        """Mean of the valid values; NaN without one."""
        return self.total / self.valid if self.valid else math.nan

    @property
    def missing(self) -> float:
        """Fraction of the values that are missing; NaN if none were read."""
        return 1 - self.valid / self.read if self.read else math.nan


def joint_summaries(summaries: Iterable[ValueSummary]) -> tuple[ValueSummary, ...]:
    """Return one summary for each variable of those of several parts."""
    joint: dict[str, ValueSummary] = {}
    for one in summaries:
        before = joint.get(one.variable)
        joint[one.variable] = (
            one
            if before is None
            else replace(
                one,
                least=min(before.least, one.least),
                greatest=max(before.greatest, one.greatest),
                total=before.total + one.total,
                valid=before.valid + one.valid,
                read=before.read + one.read,
            )
        )
    return tuple(joint.values())


@dataclass
class Tally:
    """Counts for one variable, added up while its values are read."""

    seen: int = 0
    """Valid values before masks."""
    masked: int = 0
    """Valid values that masks removed."""
    undefined: int = 0
    """Values that an expression does not define, although all of its operands are valid."""
    clipped: int = 0
    """Values outside of the valid range that were set to its limit."""
    unknown: dict[float, int] = field(default_factory=dict)
    """Stored numbers that a table that is looked up does not have, and how often they occur."""
    farthest: float = 0.0
    """Largest distance of a clipped value from the limit, in canonical units."""

    read: int = 0
    """Values that were read, in canonical units, the missing ones included."""
    valid: int = 0
    """Valid ones of these."""
    total: float = 0.0
    """Sum of the valid ones."""
    least: float = math.inf
    greatest: float = -math.inf
    days: float | None = None
    """Length in days of the series; None without times, NaN if unknown."""
    stored: Extremes = field(default_factory=Extremes)
    """Least and greatest values before scale, offset and units of the entry."""
    operands: dict[str, Extremes] = field(default_factory=dict)
    """The same for each operand of an expression."""
    remarks: list[str] = field(default_factory=list)
    """Further texts for the report."""

    def add_values(self, values: np.ndarray) -> None:
        """Count canonical `values`, add the valid ones up, and keep their least and greatest."""
        there = np.isfinite(values)
        self.read += values.size
        self.valid += int(there.sum())
        self.total += float(values.sum(dtype=np.float64, where=there))
        self.least = float(values.min(initial=self.least, where=there))
        self.greatest = float(values.max(initial=self.greatest, where=there))

    def summary(self, name: str, units: str) -> ValueSummary:
        """Return what was found in the values of the variable `name`."""
        return ValueSummary(
            variable=name, units=units, least=self.least, greatest=self.greatest,
            total=self.total, valid=self.valid, read=self.read,
        )  # fmt: skip

    def check_stored(self, variable: Variable, where: str, faults: Faults) -> None:
        """Add a fault, or a remark, for each number that seems to mean missing undeclared.

        It is a fault where no valid range states that a value may be so large.
        """
        setting = "`nodata: {}` of the variable"
        found = [("", setting, one) for one in self.stored.undeclared() if not self.operands]
        for name, extremes in self.operands.items():
            setting = f"`operands: {{{{{name}: {{{{name: …, nodata: {{}}}}}}}}}}`"
            found += [(f" of {name}", setting, one) for one in extremes.undeclared()]
        for of, setting, one in found:
            text, hint = (
                f"{100 * one.share:.3g} % of the values{of} are {one.text}",
                setting.format(one.text),
            )
            if one.is_certain and variable.valid_range is None:
                faults.add(
                    where, f"{text}, far from all others", "values without undeclared missing ones",
                    f"Set {hint}; if it is a value, set `valid_range` in the definition of the"
                    " variable.",
                )  # fmt: skip
            else:
                self.remarks.append(
                    f"{text}, apart from all others; if it means missing, set {hint}"
                )

    def add_mask(self, values: np.ndarray, kept: np.ndarray) -> None:
        """Count the valid `values` and those of them that are not `kept`."""
        valid = values == values
        self.seen += int(valid.sum())
        self.masked += int((valid & ~kept).sum())

    def add_undefined(self, values: np.ndarray, operands: Iterable[np.ndarray]) -> None:
        """Count the missing `values` of which all operands (broadcastable) are valid."""
        undefined = np.isnan(values)
        if undefined.any():
            for operand in operands:
                undefined = undefined & (operand == operand)
            self.undefined += int(undefined.sum())

    def add_clipped(self, distances: np.ndarray) -> None:
        """Count values by their distances [N] from the limit, NaN for those that are within it."""
        count = int(np.isfinite(distances).sum())
        if count:
            self.clipped += count
            self.farthest = max(self.farthest, float(np.nanmax(distances)))

    def add_unknown(self, stored: np.ndarray) -> None:
        """Count stored numbers [N] without a row in the table."""
        for key, count in zip(*np.unique(stored, return_counts=True), strict=True):
            self.unknown[float(key)] = self.unknown.get(float(key), 0) + int(count)

    def notes(self, units: str) -> list[str]:
        """Return a text on each count that is not zero."""
        notes = []
        if self.seen:
            notes.append(f"the mask removes {100 * self.masked / self.seen:.3g} % of the values")
        if self.undefined:
            notes.append(f"the expression is not defined for {self.undefined} values, now missing")
        if self.unknown:
            count = sum(self.unknown.values())
            numbers = listed(f"{key:.15g}" for key in sorted(self.unknown))
            notes.append(f"{count} cells are missing: the table lacks their numbers, {numbers}")
        if self.clipped:
            notes.append(f"{self.clipped} values clipped, by at most {self.farthest:.3g} {units}")
        return [*notes, *self.remarks]
