"""The `folds` section of a run's settings: the locations and days that are held out."""

from __future__ import annotations

from datetime import date
from itertools import combinations
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.core.settings import Frozen, later
from pipeline.core.written.names import PathName

PARTS = ("train", "validation", "test")


def _iso_day(value: Any) -> str:
    """A date (YAML parses them) as the text YYYY-MM-DD, so that dates compare as text."""
    try:
        return date.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise ValueError(f'"{value}", which is not a date such as 1999-12-31') from None


class Regions(Frozen):
    """Contiguous regions by name: polygons of a vector source, or numbers that the cells have."""

    source: str | None = None
    column: str = "region"
    variable: PathName | None = later(None)
    """Static variable of the finetuning cube with the number of each cell's region, such as
    `hydrologic_region`; labels in `folds` are these numbers, as in `{west: ["17", "18"]}`."""
    folds: dict[PathName, tuple[str, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_origin(self) -> Regions:
        if self.source and self.variable:
            raise ValueError("regions have either a source of polygons or a variable of the cells")
        return self


Day = Annotated[str, BeforeValidator(_iso_day)]
Period = tuple[Day, Day]


class FoldSettings(Frozen):
    """Kind of folds: whole regions (PUR), random groups (PUB), blocks, or a period held out.

    Periods are inclusive ISO dates. Kind `time` needs all three; with another kind they hold out
    locations and days together (PUB in a later period).
    """

    kind: Literal["regions", "groups", "blocks", "time"]
    k: int = Field(3, ge=2, le=1000)
    seed: int = 0
    validation_share: float = Field(0.1, gt=0, lt=1)
    buffer_km: float = Field(0.0, ge=0)
    block_deg: float = Field(5.0, gt=0, le=180)
    """Side of a block in degrees, for kind `blocks` and validation by blocks."""
    validation_by: Literal["groups", "blocks"] = later("groups")
    """Validation cells are random groups, as in PUB, or whole blocks, so that a training which is
    tested in other regions ends when it is best away from its training cells."""
    min_cells: int = Field(20, gt=0)
    min_observed: Annotated[float, Field(ge=0, le=1)] = later(0.0)
    """Minimum fraction of the time steps of a part's period that have a target; a cell with fewer
    is in no such part, as with 0.25 for series of which at most 75 % are missing. Each of several
    targets counts by itself: where one has fewer, it alone is left out."""
    regions: Regions = Regions()
    train_period: Period | None = None
    validation_period: Period | None = None
    test_period: Period | None = None

    @property
    def periods(self) -> dict[str, Period]:
        """The periods that are set, by part."""
        named = {part: getattr(self, f"{part}_period") for part in PARTS}
        return {part: period for part, period in named.items() if period is not None}

    @model_validator(mode="after")
    def _periods_agree(self) -> FoldSettings:
        periods = self.periods
        needed = PARTS if self.kind == "time" else ("train", "test") if periods else ()
        wrong = [f"{part}_period is not set" for part in needed if part not in periods]
        for part, (first, last) in periods.items():
            if first > last:
                wrong.append(f"{part}_period ends ({last}) before it begins ({first})")
        for one, other in combinations(periods, 2):
            if periods[one][0] <= periods[other][1] and periods[other][0] <= periods[one][1]:
                wrong.append(f"{one}_period and {other}_period share days")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self
