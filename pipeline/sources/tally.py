"""`Tally`: counts of the values that an entry changes or removes, for the report of a check."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Tally:
    """Counts for one variable, added up while its values are read."""

    seen: int = 0
    """Valid values before masks."""
    masked: int = 0
    """Valid values that masks removed."""
    clipped: int = 0
    """Values outside of the valid range that were set to its limit."""
    farthest: float = 0.0
    """Largest distance of a clipped value from the limit, in canonical units."""

    def add_mask(self, values: np.ndarray, kept: np.ndarray) -> None:
        """Count the valid `values` and those of them that are not `kept`."""
        valid = values == values
        self.seen += int(valid.sum())
        self.masked += int((valid & ~kept).sum())

    def add_clipped(self, distances: np.ndarray) -> None:
        """Count values by their distances [N] from the limit, NaN for those that are within it."""
        count = int(np.isfinite(distances).sum())
        if count:
            self.clipped += count
            self.farthest = max(self.farthest, float(np.nanmax(distances)))

    def notes(self, units: str) -> list[str]:
        """Return a text on each count that is not zero."""
        notes = []
        if self.seen:
            notes.append(f"the mask removes {100 * self.masked / self.seen:.3g} % of valid values")
        if self.clipped:
            notes.append(f"{self.clipped} values clipped, by at most {self.farthest:.3g} {units}")
        return notes
