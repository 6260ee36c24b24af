"""What the values of a variable show of its units, where the file states none."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pipeline.drafts.known import unique_units
from pipeline.drafts.text import DECIDE
from pipeline.entries.variable import Variable

SAMPLE = 512
"""Positions along each dimension at which values are looked at, spread evenly."""


def sample_of(da: xr.DataArray) -> np.ndarray:
    """Return values spread evenly over an array, float64; NaN where the file says missing."""
    take = {dim: slice(None, None, -(-size // SAMPLE)) for dim, size in da.sizes.items()}
    stored = da.isel(take).values
    values = stored.astype(float)
    for key in ("_FillValue", "missing_value"):
        for code in np.ravel(da.attrs.get(key, ())):
            values[stored == code] = np.nan
    scale, offset = da.attrs.get("scale_factor", 1.0), da.attrs.get("add_offset", 0.0)
    return np.asarray(values * float(scale) + float(offset)).ravel()


def guess_units(
    settings: dict[str, Any], key: str, variable: Variable, values: np.ndarray
) -> list[str]:
    """Set `units` where the values fit one usual unit alone; returns what a person must decide."""
    known = values[np.isfinite(values)]
    shown = f"values from {known.min():g} to {known.max():g}" if known.size else "no values"
    found, tried = unique_units(variable, known)
    if found is not None:
        settings["units"] = found
        others = " or ".join(units for units in tried if units != found)
        why = f"its {shown} are possible in {found}, not in {others}" if others else ""
        why = why or f"{found} is usual"
        return [f"{DECIDE}the file states no units; {why}."]
    return [f"{DECIDE}the file states no units of {key}, and its {shown} do not show them: write"
            f" `units: …`, such as {' or '.join(tried)}."]  # fmt: skip
