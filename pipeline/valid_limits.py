"""valid_limits(): what a variable's `valid_range`, `valid_min` and `valid_max` let through.

CF section 2.5.1: values outside are missing. Downstream: `packing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.core.errors import bad_input

LIMITS = ("valid_range", "valid_min", "valid_max")
CURE = "Correct the file, or say `wrong_in_file: [nodata]` and give `nodata` in the entry."


def numbers(attrs: Mapping[Any, Any], key: str, where: str) -> np.ndarray:
    """[n] the numbers of an attribute in its own type; `InputError` for anything else."""
    values = np.ravel(attrs[key])
    if values.dtype.kind not in "iuf" or not values.size:
        raise bad_input(where, f'{key} "{attrs[key]}"', "numbers", CURE)
    return values


def valid_limits(
    attrs: Mapping[Any, Any], dtype: np.dtype[Any], where: str
) -> tuple[float, float]:  # fmt: skip
    """(least, greatest) of the unpacked values; infinite where nothing is said.

    `dtype` is that of the stored numbers, in which limits are given; floats for packed integers are
    of unpacked values (NetCDF User Guide, attribute conventions).
    """
    found = [numbers(attrs, key, where)[0] if key in attrs else None for key in LIMITS[1:]]
    if "valid_range" in attrs:
        given = numbers(attrs, "valid_range", where)
        if given.size != 2:
            raise bad_input(where, f"valid_range {attrs['valid_range']}", "two numbers", CURE)
        found = list(given)
    low, high = (
        sign * np.inf if limit is None or np.isnan(limit) else _as_meant(limit, dtype)
        for limit, sign in zip(found, (-1, 1), strict=True)
    )
    if low > high:
        raise bad_input(where, f"valid values from {low:g} to {high:g}", "the least first", CURE)
    if "scale_factor" not in attrs and "add_offset" not in attrs:
        return low, high
    scale, offset = float(attrs.get("scale_factor", 1)), float(attrs.get("add_offset", 0))
    if dtype.kind in "iu" and any(v is not None and v.dtype.kind == "f" for v in found):
        # Unpacking rounds by far less than a step of the packed numbers.
        slack = abs(scale) / 10
        return low - slack, high + slack
    slack = 0.5 if dtype.kind in "iu" else 0.0
    ends = sorted(((low - slack) * scale + offset, (high + slack) * scale + offset))
    if dtype.kind == "f":
        ends = [ends[0] - 1e-6 * abs(ends[0]), ends[1] + 1e-6 * abs(ends[1])]
    return ends[0], ends[1]


def _as_meant(limit: Any, dtype: np.dtype[Any]) -> float:
    """A limit as the data's type holds it; unsigned ones may be stored as signed."""
    if dtype.kind == "f":
        return float(dtype.type(limit))
    if dtype.kind == "u" and limit < 0 and limit.dtype.kind == "i":
        return float(np.array(limit, f"i{dtype.itemsize}").view(dtype))
    return float(limit)
