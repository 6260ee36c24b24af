"""transformed(): a stored variable with the transform of its entry applied to each value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.entries.source import Source
from pipeline.entries.source_variable import SourceVariable
from pipeline.entries.values import Lookup
from pipeline.readers.common.packing import UNPACKED
from pipeline.sources.computed.elementwise import elementwise
from pipeline.sources.computed.lookups import lookup_table
from pipeline.sources.computed.operands import named
from pipeline.sources.computed.tally import Tally
from pipeline.sources.decode import COMPUTED, unpacking_of

DIVISOR = 127.5
"""Divisor of the packed embeddings of AlphaEarth (Brown et al. 2025, arXiv 2507.22291)."""
KEPT = ("grid_mapping", "cell_methods", "long_name")
"""Attributes that hold for transformed values too."""


def square_signed(values: np.ndarray) -> np.ndarray:
    """Return sign(x) · (x / 127.5)², in the type of `values`.

    >>> square_signed(np.array([-127.5, 63.75]))
    array([-1.  ,  0.25])
    """
    parts = values / values.dtype.type(DIVISOR)
    return np.copysign(parts * parts, parts)


def power10(values: np.ndarray) -> np.ndarray:
    """Return 10 to the power of x, in the type of `values`."""
    return np.power(values.dtype.type(10), values)


NAMED: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "square_signed": square_signed, "power10": power10,
}  # fmt: skip
LARGEST = {"square_signed": DIVISOR, "power10": 37.0}
"""Largest number, of either sign, that each transform takes; float32 holds 10 to its power."""


def _check_size(values: np.ndarray, largest: float, where: str) -> None:
    """Raise `InputError` for values that can only mean missing ones."""
    lowest, highest = np.fmin.reduce(values, None), np.fmax.reduce(values, None)
    if lowest < -largest or highest > largest:
        raise bad_input(
            where, f"values from {lowest:g} to {highest:g}", f"-{largest:g} to {largest:g}",
            "List the stored numbers that mean missing in `nodata` of the variable.",
        )  # fmt: skip


def transformed(
    da: xr.DataArray, entry: SourceVariable, source: Source, tally: Tally | None, where: str
) -> xr.DataArray:
    """Return the values of a variable after its entry's transform; lazy, float32 or wider.

    Stored numbers that a lookup does not know become missing and are counted in `tally`.
    """
    unpacking = unpacking_of(da, entry, source, where)
    wide = np.float64 if da.dtype == np.float64 else np.float32
    if isinstance(entry.transform, Lookup):
        stored = entry.model_copy(update={"as_stored": True})
        missing = unpacking_of(da, stored, source.model_copy(update={"classes": {}}), where)
        table = lookup_table(entry.transform, entry.name, f"{where}: lookup")

        def compute(values: np.ndarray) -> np.ndarray:
            found, known = table(values)
            if tally is not None and not known.all():
                marked = np.isnan(missing.values(values, np.float64))
                tally.add_unknown(values[~known & ~marked])
            return found

    else:
        transform, largest = NAMED[str(entry.transform)], LARGEST[str(entry.transform)]

        def compute(values: np.ndarray) -> np.ndarray:
            unpacked = unpacking.values(values, wide)
            _check_size(unpacked, largest, f"{where}: {entry.transform}")
            return transform(unpacked)

    return computed([da], compute, wide, da.attrs)


def computed(
    operands: Sequence[xr.DataArray],
    compute: Callable[..., np.ndarray],
    dtype: Any,
    attrs: Mapping[Any, Any],
) -> xr.DataArray:
    """Return `compute(*operands)` as a lazy variable whose missing values are NaN."""
    attrs = {key: value for key, value in attrs.items() if key in KEPT}
    encoding = {UNPACKED: True, COMPUTED: True}
    largest = max(operands, key=lambda da: da.ndim)
    if "preferred_chunks" in largest.encoding:
        encoding["preferred_chunks"] = largest.encoding["preferred_chunks"]
    variables = [da.variable for da in operands]
    return named(elementwise(variables, compute, dtype, attrs, encoding))
