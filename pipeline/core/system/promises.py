"""Refusals of data that a header promises and memory cannot hold, before any is taken."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import psutil

from pipeline.core.errors import Faults, bad_input

LONGEST_AXIS = 1 << 27
"""Number of labels of an axis, which are read whole, above which it is no axis of real data."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def shown_bytes(count: float) -> str:
    """Return a number of bytes as text.

    >>> shown_bytes(1 << 42)
    '4.0 TiB'
    """
    power = min(len(_UNITS) - 1, int(math.log2(max(1.0, count)) // 10))
    return f"{count / 1024**power:.{1 if power else 0}f} {_UNITS[power]}"


def require_room(where: str, shape: Sequence[int], itemsize: int, what: str) -> None:
    """Raise `InputError` for an array that is read at once and larger than the free memory.

    `what` names it, such as "a chunk".
    """
    size, free = math.prod(map(int, shape)) * itemsize, psutil.virtual_memory().available
    if size > free:
        text = " x ".join(map(str, shape))
        raise bad_input(
            where, f"{what} of {text} values, which takes {shown_bytes(size)}",
            f"at most the {shown_bytes(free)} of free memory",
            "The header may be damaged. Otherwise write the data in smaller chunks.",
        )  # fmt: skip


def check_axes(where: str, sizes: Mapping[Any, int], labelled: Any) -> None:
    """Raise `InputError` for dimensions too long for the labels that a file has for them.

    Zarr stores may also hold names of dimensions that are no text, which are refused.
    """
    faults = Faults()
    for name, size in sizes.items():
        if not isinstance(name, str):
            faults.add(
                f"{where}: dimensions", f"the name {name!r}", "names that are texts",
                "The metadata may be damaged: download the store again.",
            )  # fmt: skip
        if size > LONGEST_AXIS and name in labelled:
            faults.add(
                f"{where}: {name}", f"an axis of {size:,} labels",
                f"at most {LONGEST_AXIS:,}", "The header may be damaged: download the file again.",
            )  # fmt: skip
    faults.raise_if_any()


def check_chunk(where: str, encoding: Mapping[Any, Any], dtype: np.dtype[Any]) -> None:
    """Raise `InputError` for a variable whose encoding has chunks that are empty or too large."""
    chunk = encoding.get("chunksizes") or encoding.get("chunks")
    if isinstance(chunk, tuple) and all(isinstance(size, int | np.integer) for size in chunk):
        if any(size < 1 for size in chunk):
            raise bad_input(
                where, f"chunks of {' x '.join(map(str, chunk))} values", "chunks that hold values",
                "The header may be damaged: download the data again.",
            )  # fmt: skip
        require_room(where, chunk, np.dtype(encoding.get("dtype", dtype)).itemsize, "a chunk")
