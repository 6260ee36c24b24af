"""plausibility_note(): whether the mean of a converted variable is one that a climate can have."""

from __future__ import annotations

from pipeline.entries.source import Variable
from pipeline.sources.computed.tally import Tally

MIN_DAYS = 30.0
"""Length of a series below which weather, and not the climate, decides its mean."""
EITHER = "Check `units` and `scale`, and of totals `cell_method`."


def plausibility_note(variable: Variable, tally: Tally) -> str:
    """Return a text on a mean outside of the variable's `plausible_mean`; empty if it is within.

    The mean is that of the values that were read, which of a short series is not judged.
    """
    if variable.plausible_mean is None or not tally.valid:
        return ""
    if tally.days is not None and not tally.days >= MIN_DAYS:
        return ""
    low, high = variable.plausible_mean
    mean, units = tally.total / tally.valid, variable.units
    if low <= mean <= high:
        return ""
    period = "" if tally.days is None else f" over {tally.days:.0f} days"
    return (
        f"a mean of {mean:.3g} {units}{period}, which is implausible: means of regions are from "
        f"{low:g} to {high:g} {units}. {EITHER}"
    )
