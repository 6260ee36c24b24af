"""with_missing_values(): the attributes of a Zarr store with the values that mean missing.

Zarr's `fill_value` is what chunks hold that were never written; CF's attribute `_FillValue` is what
means missing. xarray writes the latter as `fill_value` of format 2, and so reads any `fill_value`
of format 2 as missing, although 0 is merely what zarr takes where a program names none.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr


def with_missing_values(ds: xr.Dataset, arrays: Mapping[str, Any]) -> xr.Dataset:
    """Return the undecoded `ds` of a store's `arrays` with the `_FillValue` that are meant.

    That is the attribute `_FillValue` where there is one, or else a `fill_value` other than 0, in
    both formats. Where 0 is meant without the attribute, the entry has to name it (`nodata: 0`).
    """
    for name, variable in ds.variables.items():
        if variable.dtype.kind not in "iuf":
            continue
        missing = _missing(arrays[str(name)])
        variable.attrs.pop("_FillValue", None)
        if missing is not None:
            variable.attrs["_FillValue"] = missing
    return ds


def _missing(array: Any) -> Any:
    """Return the number that means missing in an array, in its type; None if there is none."""
    declared = array.attrs.get("_FillValue")
    if declared is None:
        return array.fill_value if array.fill_value else None
    number = _number(declared) if isinstance(declared, str) else np.ravel(declared)[0]
    if np.isnan(number) and array.dtype.kind != "f":
        return None
    return np.array(number).astype(array.dtype)[()]


def _number(text: str) -> float:
    """Return a number that xarray wrote as the base64 of its bytes, or as a text such as NaN."""
    try:
        return float(text)
    except ValueError:
        return float(struct.unpack("<d", base64.standard_b64decode(text))[0])
