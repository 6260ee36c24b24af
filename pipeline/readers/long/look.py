"""look(): times, types and shapes in an HDF5 file, without the time that opening it whole takes."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

MOST_TIMES = 1 << 20
"""Number of times of a file above which it is looked at whole."""


@dataclass(frozen=True)
class Look:
    """What is known of one file: type and shape of each variable, and its times as stored."""

    arrays: tuple[tuple[str, tuple[int, ...]], ...]
    times: np.ndarray | None = None
    units: str | None = None
    calendar: str | None = None
    bounds: np.ndarray | None = None


def look(path: Path, names: Sequence[str], time: str | None, bounds: str | None) -> Look | None:
    """Return types and shapes of the variables `names`, and the times with their bounds.

    None for files of other formats, and for those without such arrays in the file itself.
    """
    try:
        file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY)
    except OSError:
        return None
    try:
        found = [_array(file, name) for name in names]
        arrays = tuple((str(array.dtype), tuple(array.shape)) for array in found)
        if time is None:
            return Look(arrays)
        axis = _array(file, time)
        return Look(
            arrays, _numbers(axis), _text(axis, b"units"), _text(axis, b"calendar"),
            None if bounds is None else _numbers(_array(file, bounds)),
        )  # fmt: skip
    except (OSError, RuntimeError, ValueError, TypeError, KeyError):
        return None
    finally:
        file.close()


def _array(file: h5py.h5f.FileID, name: str) -> h5py.h5d.DatasetID:
    """Return an array of the root of a file; `ValueError` for one that a link leads to."""
    key = os.fsencode(name)
    if file.links.get_info(key).type != h5py.h5l.TYPE_HARD:
        raise ValueError(name)
    return h5py.h5d.open(file, key)


def _numbers(array: h5py.h5d.DatasetID) -> np.ndarray:
    """Return the values of an array; `ValueError` if it has others, too many or in other files."""
    stored, dtype, shape = array.get_create_plist(), array.dtype, array.shape
    is_elsewhere = stored.get_layout() == h5py.h5d.VIRTUAL or stored.get_external_count() > 0
    if is_elsewhere or dtype.kind not in "iuf" or math.prod(shape) > MOST_TIMES:
        raise ValueError("no times")
    values = np.empty(shape, dtype)
    array.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values


def _text(array: h5py.h5d.DatasetID, name: bytes) -> str | None:
    if not h5py.h5a.exists(array, name):
        return None
    attribute = h5py.h5a.open(array, name)
    value = np.empty(attribute.shape, attribute.dtype)
    attribute.read(value)
    text = value.reshape(-1)[0]
    return text.decode() if isinstance(text, bytes) else str(text)
