"""What a catalog entry says of the times of a source.

Upstream: catalog.py reads it. Downstream: times.py makes canonical times by it.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from pipeline.core.settings import Frozen


class TimeAxis(Frozen):
    """Times of a source: those of the files, or a climatology of 12 months."""

    kind: Literal["file", "months"] = "file"
    years: tuple[int, int] | None = None
    """First and last year for which `{year}` in the uri stands."""
    period: tuple[date, date] | None = None
    """First and last day that are used, and of which files are needed; by default all. Of a
    climatology the years that it is the mean of, which its maps then tell."""
    step: Literal["hourly", "3-hourly", "6-hourly", "daily", "monthly", "yearly"] | None = None
    """Of the files; by default what most of their times are apart."""
    gaps: Literal["refuse", "missing"] = "refuse"
    """`missing` makes steps that no file has NaN; files of a series may then be missing."""
    calendar: Literal["refuse", "convert"] = "refuse"
    """`convert` brings noleap and 360_day dates into the standard calendar; days that such a
    calendar does not have are missing."""
    daily: bool = False
    """Whether days are made of the files' steps, by each variable's `cell_method`."""
    day_starts: float = Field(0.0, ge=-24, le=24)
    """Hour (in the files' time, mostly UTC) at which a day begins."""
    stamp: Literal["start", "end"] = "start"
    """Whether the files' times are the beginning or the end of their steps."""
    min_share: float = Field(1.0, gt=0, le=1)
    """Least share of a day's steps that must be there; a sum is scaled up to the whole day."""

    @model_validator(mode="after")
    def _ascends(self) -> TimeAxis:
        if self.years and not 1 <= self.years[0] <= self.years[1] <= 9999:
            raise ValueError(f"years from {self.years[0]} to {self.years[1]}")
        return self
