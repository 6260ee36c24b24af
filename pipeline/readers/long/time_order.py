"""Names, time axis and order in time of the files of a series."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.entries.source import Source
from pipeline.readers.common.dims import USUAL


def named(ds: xr.Dataset, path: Path) -> xr.Dataset:
    """Return the dataset with its path in the encodings, for messages on its values."""
    for encoding in (ds.encoding, *(variable.encoding for variable in ds.variables.values())):
        encoding["source"] = str(path)
    return ds


def time_name(source: Source, ds: xr.Dataset) -> str:
    """Return the name of the time axis, or of the time coordinate of a file without an axis."""
    declared = source.dims.get("time")
    usual = (name for names in (ds.dims, ds.coords) for name in USUAL["time"] if name in names)
    return declared or next(usual, "time")


def time_order(times: Sequence[np.ndarray], paths: Sequence[str], where: str) -> list[int]:
    """Return the positions of the files by their times; `InputError` for times that overlap."""
    spans = [(values.min(), values.max()) for values in map(np.atleast_1d, times)]
    order = sorted(range(len(spans)), key=lambda index: spans[index])
    for one, two in pairwise(order):
        if spans[two][0] <= spans[one][1]:
            first, second = (f"{_span(spans[i])} in {paths[i]}" for i in (one, two))
            raise bad_input(
                where, f"{first} and {second}", "times that no two files share",
                "Name only one of the two in this entry.",
            )  # fmt: skip
    return order


def _span(span: tuple[Any, Any]) -> str:
    first, last = (str(time).removesuffix("00:00:00.000000000").rstrip("T") for time in span)
    return first if first == last else f"{first} to {last}"
