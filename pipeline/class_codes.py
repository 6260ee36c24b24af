"""places_of(): the codes of a class map as places of their classes, of any type of number.

Downstream: `decoded`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

PIECE = 1 << 15
"""Codes looked up at once: their 8-byte indices stay in the cache."""
LookUp = Callable[[np.ndarray, np.ndarray], None]


def places_of(raw: np.ndarray, classes: Mapping[Any, int]) -> np.ndarray:
    """float32 place of each code's class, NaN for codes of none; dims as in `raw`.

    `classes` has codes in the type of `raw`.
    """
    raw = np.ascontiguousarray(raw)
    out = np.empty(raw.shape, np.float32)
    if raw.dtype.kind in "iu" and raw.dtype.itemsize <= 2:
        look_up = _by_table(raw.dtype, classes)
    elif all(0 <= code < 1 << 16 for code in classes):
        look_up = _by_small_table(classes)
    else:
        look_up = _by_search(raw.dtype, classes)
    flat, into = raw.reshape(-1), out.reshape(-1)
    for begin in range(0, flat.size, PIECE):
        part = slice(begin, begin + PIECE)
        look_up(flat[part], into[part])
    return out


def _by_table(dtype: np.dtype[Any], classes: Mapping[Any, int]) -> LookUp:
    """For 8 and 16 bits: a place for every number that there is, signed ones by their bits."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    table = np.full(1 << 8 * dtype.itemsize, np.nan, np.float32)
    for code, place in classes.items():
        table[np.asarray(code, dtype).view(unsigned)] = place

    def look_up(codes: np.ndarray, out: np.ndarray) -> None:
        native = codes.astype(dtype.newbyteorder("="), copy=False)
        np.take(table, native.view(unsigned), out=out, mode="clip")

    return look_up


def _by_small_table(classes: Mapping[Any, int]) -> LookUp:
    """For wider types with codes of 16 bits: the same table, where the number survives it."""
    narrow = np.dtype(np.uint16)
    by_table = _by_table(narrow, {int(code): place for code, place in classes.items()})

    def look_up(values: np.ndarray, out: np.ndarray) -> None:
        with np.errstate(invalid="ignore"):
            codes = values.astype(narrow)
        by_table(codes, out)
        out[codes != values] = np.nan

    return look_up


def _by_search(dtype: np.dtype[Any], classes: Mapping[Any, int]) -> LookUp:
    """For other types: the next known code, where it is the same."""
    codes = np.array(sorted(classes), dtype)
    # One more place, that of what lies behind all codes.
    places = np.array([*(classes[code] for code in codes), np.nan], np.float32)

    def look_up(values: np.ndarray, out: np.ndarray) -> None:
        at = np.searchsorted(codes, values)
        is_known = np.zeros(values.shape, bool)
        if codes.size:
            is_known = codes[np.minimum(at, codes.size - 1)] == values
        np.copyto(out, np.where(is_known, places[at], np.float32(np.nan)))

    return look_up
