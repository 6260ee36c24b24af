"""`TimeAxis`: the settings of a catalog entry for the times of its source."""

from __future__ import annotations

from datetime import date, datetime
from math import ceil, floor
from typing import Any, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from pipeline.core.settings import Frozen, later


class TimeAxis(Frozen):
    """Times of a source: those of the files, or a climatology of 12 months."""

    kind: Literal["file", "months"] = "file"
    years: tuple[int, int] | None = None
    """First and last year for `{year}` in the uri."""
    period: tuple[date, date] | None = None
    """First and last day that are used and for which files are needed; by default all. For a
    climatology, the period of which it is the mean, which is then stated in the maps."""
    limit: tuple[date, date] | None = later(None)
    """First and last day for which files are read, of which the source may lack any, unlike those
    of `period`. The entries under `merge` have the period of the merged one."""
    start: str | None = later(None)
    """Time of the first step of files without times, such as the bands of a raster (`name:
    "band_[1-12]"`), of which each `step` is one: 2001-01-01 or 2001-01-01T06:00."""
    dates: tuple[str, ...] = later(())
    """Time of each step of files without times, such as [2001-01-01, 2001-01-17]."""
    step: Literal["hourly", "3-hourly", "6-hourly", "daily", "monthly", "yearly"] | None = None
    """Time step of the files; by default the median difference of their times."""
    gaps: Literal["refuse", "missing"] = "refuse"
    """Treatment of steps that no file has: an error, or missing values (NaN). With `missing`, files
    of a series may be absent."""
    calendar: Literal["refuse", "convert"] = "refuse"
    """Treatment of other calendars: an error, or conversion of noleap and 360_day dates to the
    standard calendar, in which days that such a calendar lacks are missing. Dates of a calendar
    that the file calls julian, as those of AppEEARS, stay as they are written."""
    daily: bool = False
    """Whether the files' steps are aggregated to days by each variable's `cell_method`."""
    day_starts: float = Field(0.0, ge=-24, le=24)
    """Hour (in the time zone of the files, mostly UTC) at which a day begins."""
    stamp: Literal["start", "middle", "end"] | None = None
    """Whether the files' times are the start, the middle or the end of their steps: times become
    the start. By default the file's time bounds decide whether they are the end; without bounds
    they are the start, and days are stamped with their day."""
    restamp: Literal["month"] | None = later(None)
    """Period on whose first day steps are stamped: `month`, for monthly data."""
    resets: float | Literal["never"] | tuple[float, ...] | None = later(None)
    """Hours of the day at which values with `cell_method: accumulated` start again from zero, such
    as 0 (ERA5-Land) or [0, 12], or `never`; by default they are found where values fall."""
    min_share: float = Field(1.0, gt=0, le=1)
    """Minimum fraction of a day's steps that must be valid; sums are scaled to the whole day."""

    @field_serializer("stamp")
    def _dumped_stamp(self, stamp: str | None) -> str:
        # Older versions had no other default: dumps and fingerprints of their entries stay as is.
        return stamp or "start"

    @field_validator("start", "dates", mode="before")
    @classmethod
    def _dated(cls, value: Any) -> Any:
        # YAML reads dates as such; they are kept as text, which can state the time of day.
        texts = [str(v) for v in value] if isinstance(value, (list, tuple)) else str(value)
        for text in texts if isinstance(texts, list) else [texts]:
            if value is not None:
                datetime.fromisoformat(text)
        return None if value is None else texts

    @model_validator(mode="after")
    def _declares(self) -> TimeAxis:
        if self.start and not self.step:
            raise ValueError("`start` without `step`, such as monthly")
        if bool(self.start) + bool(self.dates) + (self.kind == "months") > 1:
            raise ValueError("more than one of `start`, `dates` and `kind: months`")
        return self

    @model_validator(mode="after")
    def _ascends(self) -> TimeAxis:
        if self.years and not 1 <= self.years[0] <= self.years[1] <= 9999:
            raise ValueError(
                f"years from {self.years[0]} to {self.years[1]}, not ascending or not in 1 to 9999"
            )
        if any(not 0 <= hour < 24 for hour in self._reset_hours):
            raise ValueError(f"resets {self.resets}, not hours from 0 to 23")
        if self.restamp and self.daily:
            raise ValueError("`restamp` of months with `daily`, which makes days")
        return self

    @property
    def span(self) -> tuple[date, date] | None:
        """First and last day for which files are needed; None for all."""
        if self.period is None or self.limit is None:
            return self.period or self.limit
        return max(self.period[0], self.limit[0]), min(self.period[1], self.limit[1])

    def spare_days(self, has_totals: bool, are_forecasts: bool = False) -> tuple[int, int]:
        """Return the days before and after a period whose files may hold values of its days.

        `has_totals` is whether there are running totals, which need the times at both ends, and
        `are_forecasts` whether the files may be named by the start of a forecast of some days.
        """
        before = after = 5 * (self.calendar == "convert")
        may_end = self.stamp == "end" or has_totals
        if self.daily or self.limit:
            # The bounds of the times may show that they are the ends of their steps.
            may_end |= self.stamp is None
        size = 31 if self.step == "monthly" else 1
        if not self.daily:
            return before + size * has_totals, after + size * may_end
        late = self.day_starts / 24
        before += max(0, ceil(-late)) + max(has_totals, 2 * are_forecasts)
        return before, after + max(0, floor(late) + 1 if may_end else ceil(late))

    @property
    def reset_seconds(self) -> tuple[int, ...] | None:
        """Seconds of the day at which running totals start again; None if the entry is silent."""
        if self.resets is None:
            return None
        return tuple(round(hour * 3600) for hour in self._reset_hours)

    @property
    def _reset_hours(self) -> tuple[float, ...]:
        hours = self.resets if isinstance(self.resets, tuple) else (self.resets,)
        return tuple(hour for hour in hours if isinstance(hour, int | float))
