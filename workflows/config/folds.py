"""The `folds` section of a run's settings: which locations and days are held out.

Downstream: config.py has it in `RunConfig`; folds.py makes the folds.
"""

from __future__ import annotations

from datetime import date
from itertools import combinations
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.core.settings import Frozen

PARTS = ("train", "validation", "test")


def _iso_day(value: Any) -> str:
    """A date as YYYY-MM-DD, so that dates compare as text; YAML reads them as dates."""
    try:
        return date.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise ValueError(f'"{value}", which is no date such as 1999-12-31') from None


class Regions(Frozen):
    """Contiguous regions by name: polygons of a vector source, or a label that sites carry."""

    source: str | None = None
    column: str = "region"
    folds: dict[str, tuple[str, ...]] = Field(default_factory=dict)


Day = Annotated[str, BeforeValidator(_iso_day)]
Period = tuple[Day, Day]


class FoldSettings(Frozen):
    """What is held out (spec §8): whole regions (PUR), random groups (PUB), blocks, or a time.

    Periods are inclusive ISO dates. Kind `time` needs all three; with another kind they hold out
    locations and days at once (PUB in a later period).
    """

    kind: Literal["regions", "groups", "blocks", "time"]
    k: int = Field(3, ge=2)
    seed: int = 0
    validation_share: float = Field(0.1, gt=0, lt=1)
    buffer_km: float = Field(0.0, ge=0)
    block_deg: float = Field(5.0, gt=0, le=180)
    """Side of a block, degrees; for kind blocks."""
    min_cells: int = Field(20, gt=0)
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
        given = self.periods
        needed = PARTS if self.kind == "time" else ("train", "test") if given else ()
        wrong = [f"{part}_period is not set" for part in needed if part not in given]
        for part, (first, last) in given.items():
            if first > last:
                wrong.append(f"{part}_period ends ({last}) before it begins ({first})")
        for one, other in combinations(given, 2):
            if given[one][0] <= given[other][1] and given[other][0] <= given[one][1]:
                wrong.append(f"{one}_period and {other}_period share days")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self
