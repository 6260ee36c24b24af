"""`SourceVariable`: how one canonical variable is stored in the files of an entry."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.core.settings import later
from pipeline.entries.nodata import Codes
from pipeline.entries.values import PACKING, Computed
from pipeline.entries.variable import Variable


class SourceVariable(Computed):
    """Name and packing of one canonical variable in the files."""

    name: str = ""
    """Name in the files, such as `tp` or `band_1`; of an `expression`, the expression itself; of
    polygons a column, or `geometry` for 1 within them and 0 outside."""
    units: str | None = None
    """Units of the file's values after scale and offset; by default those the file declares."""
    scale: float = 1.0
    offset: float = 0.0
    """Offset in value = scale · stored + offset, applied after the packing declared in the file."""
    nodata: Codes | None = None
    """Stored value that means missing, if the file does not declare it; or several values and
    ranges, such as `[-9999, 254, [240, 250]]`."""
    clip: Annotated[float, Field(ge=0)] = later(0.0)
    """Distance outside of the variable's valid range, in canonical units, within which values are
    set to its limit, such as 1e-6 mm/day for -1e-9; days are clipped after their aggregation."""
    above_is_missing: float | None = None
    """Threshold above which values are an undeclared fill value."""
    define: Variable | None = later(None)
    """Definition of the canonical variable (`long_name`, `units`, …), if `variables.yml` has none
    of this name."""
    records: tuple[str, ...] = ()
    """Variables over which a faulty conversion spread the time steps of this one: the first step of
    each, then the second step of each and so on, are all steps of layer 0, then of layer 1, …"""
    layer: int = 0
    """Layer that is read from `records`."""
    cell_method: Literal["sum", "mean", "minimum", "maximum", "accumulated"] | None = None
    """Method that aggregates shorter steps to days; by default the `cell_methods` of the file.
    Values that are `accumulated` are totals since a reset (`time.resets`), up to their time: the
    amounts between two times are their differences."""
    bucket: float | None = later(None)
    """Total in the file's units after which accumulated values start again (`bucket_mm` of WRF)."""
    probabilities: str | None = None
    """Variable with the probabilities of the levels that this variable has along its last axis; the
    value is the mean of that distribution."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, settings: Any) -> Any:
        if isinstance(settings, Mapping) and settings.get("expression"):
            return {"name": settings["expression"], **settings}
        return settings

    @model_validator(mode="after")
    def _whole(self) -> SourceVariable:
        if not self.name:
            raise ValueError("neither `name` nor `expression`")
        if not isfinite(self.scale) or not isfinite(self.offset) or self.scale == 0:
            raise ValueError(
                f"scale {self.scale:g} and offset {self.offset:g}, with which no value is known"
            )
        if self.is_computed:
            packing = {key: getattr(self, key) for key in PACKING}
            self.check_computed(self.name, self.units, packing)
        return self


def check_codes(variables: Mapping[str, SourceVariable]) -> None:
    """Raise `ValueError` for settings of numbers in variables whose values are codes of classes."""
    for name, entry in variables.items():
        used = [key for key in ("scale", "offset", "above_is_missing", "clip")
                if getattr(entry, key) != SourceVariable.model_fields[key].default]  # fmt: skip
        if used:
            raise ValueError(
                f"{' and '.join(used)} of {name} beside `classes`, whose codes are stored numbers;"
                " list the codes as they are in the file"
            )
