"""`Variable`: a canonical variable, as `variables.yml` or an entry defines it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.core.settings import Frozen, Limit, later

TransformName = Literal["none", "log"]


class Variable(Frozen):
    """A canonical variable: its CF names and units, its possible values and how it is used."""

    long_name: str
    units: str
    standard_name: str | None = None
    valid_range: tuple[Limit, Limit] | None = None
    plausible_mean: tuple[Limit, Limit] | None = Field(None, exclude=True)
    """Least and greatest mean that a region can have over a month or more (or, without time, over
    its area); another mean is reported by the check. It decides no result."""
    transform: TransformName = "none"
    """Transform before the z-score; `log` is log10(sqrt(x) + 0.1), as is usual for precipitation
    and streamflow."""
    group: str | None = None
    """Group of static attributes that are masked together in pretraining."""
    since: str | None = later(None)
    """Version after 0.2.0 that added the variable; runs that do not use it are not affected."""
