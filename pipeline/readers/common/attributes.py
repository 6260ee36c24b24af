"""with_cf_attributes(): attributes of packing, missing values and units under their CF names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

CF_NAMES = {
    "units": "units", "unit": "units", "scalefactor": "scale_factor", "addoffset": "add_offset",
    "codemissingvalue": "missing_value", "missingvalue": "missing_value",
    "fillvalue": "missing_value", "nodata": "missing_value", "nodatavalue": "missing_value",
}  # fmt: skip
"""CF name of an attribute by the letters of its name: ScaleFactor, SCALE_FACTOR, Fill Value."""
LINEAR = {"slope": "scale_factor", "intercept": "add_offset"}
"""Names that mean packing only if a variable has both."""
OFFSET = "offset"
"""Name that means the offset of packed values only beside a scale factor."""
MISSING = {"missing_value", "_FillValue"}


def with_cf_attributes(ds: xr.Dataset, names: Iterable[str] | None = None) -> xr.Dataset:
    """Return `ds` whose variables `names` (default all) have attributes under their CF names too.

    An attribute that has its CF name already stays as it is.
    """
    for name in ds.variables if names is None else names:
        if name in ds.variables:
            variable = ds.variables[name]
            added = _added(variable.attrs, variable.dtype.kind in "iuf")
            if added:
                ds[name].attrs = {**variable.attrs, **added}
    return ds


def _added(attrs: Mapping[Any, Any], has_numbers: bool) -> dict[str, Any]:
    """Return the attributes under CF names that a variable lacks."""
    letters = {str(key): re.sub("[^a-z]", "", str(key).lower()) for key in attrs}
    meaning = dict(CF_NAMES)
    if {*LINEAR} <= {*letters.values()}:
        meaning |= LINEAR
    if "scalefactor" in letters.values():
        meaning[OFFSET] = "add_offset"
    added: dict[str, Any] = {}
    for key, plain in letters.items():
        standard = meaning.get(plain)
        there = MISSING if standard == "missing_value" else {standard}
        if standard is None or there & {*attrs} or not (has_numbers or standard == "units"):
            continue
        if standard == "missing_value":
            known = [*added.get(standard, ())]
            added[standard] = [*known, *(_number(value) for value in np.ravel(attrs[key]))]
        else:
            value = np.ravel(attrs[key])[0]
            added.setdefault(standard, value if standard == "units" else _number(value))
    return added


def _number(value: Any) -> Any:
    """Return a number, which may be stored as text; other text as it is, for readers to refuse."""
    if not isinstance(value, str | bytes):
        return value
    text = value.decode() if isinstance(value, bytes) else value
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
