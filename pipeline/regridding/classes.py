"""Class codes of categorical rasters: which there are, and what their areas say of a cell.

Used by `regrid` for the methods `mode` and `fractions`.
"""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input

_MOST_CLASSES = 4096
_UNKNOWN = -2


def classes_of(da: xr.DataArray, name: str) -> dict[int, str]:
    """Codes and labels of a categorical variable from `flag_values` and `flag_meanings`.

    Without `flag_values` all of the data is read for its codes, which are their own labels; a
    part of a raster may then hold fewer classes than the whole.
    """
    flags = da.attrs.get("flag_values")
    if flags is None:
        found: set[int] = set()
        for row in range(0, da.sizes["y"], 1024):
            present = np.unique(da.isel(y=slice(row, row + 1024)).values)
            found.update(int(code) for code in present[present == present])
        return {code: _label(str(code)) for code in sorted(found)}
    if isinstance(flags, str):
        flags = flags.replace(",", " ").split()
    codes = [int(code) for code in np.atleast_1d(np.asarray(flags))]
    meanings = da.attrs.get("flag_meanings")
    labels = meanings.split() if isinstance(meanings, str) else list(meanings or map(str, codes))
    if len(labels) != len(codes) or len(set(codes)) != len(codes):
        raise bad_input(
            name, f"{len(codes)} flag_values and {len(labels)} flag_meanings",
            "as many meanings as distinct values",
        )  # fmt: skip
    return {code: _label(label) for code, label in zip(codes, labels, strict=True)}


def class_index(
    values: np.ndarray, classes: np.ndarray | None, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Position of every value among the classes, int16, -1 where missing; and the classes.

    `InputError` for values that are no whole numbers, or not among `classes` where given.
    """
    if values.dtype.kind == "f":
        valid = values == values
        codes = np.where(valid, values, 0).astype(np.int64)
        if (codes[valid] != values[valid]).any():
            raise bad_input(name, "values that are no whole numbers", "class codes")
    else:
        valid, codes = np.True_, values
    present = codes[valid] if valid.size > 1 else codes
    low, high = (int(present.min()), int(present.max())) if present.size else (0, 0)
    if classes is None:
        classes = np.arange(low, min(high, low + _MOST_CLASSES) + 1)
    low, high = min(low, int(classes.min())), max(high, int(classes.max()))
    if high - low >= 1 << 16 or classes.size > _MOST_CLASSES:
        raise bad_input(
            name, f"codes {low}..{high}", f"fewer than {_MOST_CLASSES} classes",
            "Is this variable continuous?",
        )  # fmt: skip
    table = np.full(high - low + 1, _UNKNOWN, np.int16)
    table[classes - low] = np.arange(classes.size)
    offset = codes.astype(np.int64) - low if low else codes
    index = table[np.where(valid, offset, 0)] if valid.size > 1 else table[offset]
    if valid.size > 1:
        index[~valid] = -1
    if index.min(initial=0) == _UNKNOWN:
        strange = ", ".join(str(code) for code in np.unique(codes[index == _UNKNOWN])[:10])
        raise bad_input(
            name, f"codes {strange}", "codes of flag_values",
            "Name them in the catalog entry, as a class or as nodata",
        )  # fmt: skip
    return index, classes


def shares(areas: np.ndarray, total: np.ndarray, known: np.ndarray, least: float) -> np.ndarray:
    """Share of the valid area; dims (class, t, cell), NaN where `total` < `least`.

    `areas` (t, cell, class), `total` (t, cell).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where((total >= least)[..., None], areas / total[..., None], np.nan)
    return np.moveaxis(share, -1, 0)


def commonest(areas: np.ndarray, total: np.ndarray, known: np.ndarray, least: float) -> np.ndarray:
    """The code with most of the area, the smaller on a tie; dims (1, t, cell), NaN if missing."""
    most = areas.max(axis=-1, keepdims=True)
    winner = (areas >= most - 1e-9 * np.maximum(total, least)[..., None]).argmax(axis=-1)
    return np.where(total >= least, known[winner].astype(float), np.nan)[None]


def _label(text: str) -> str:
    """A label fit for a variable name."""
    return re.sub(r"\W+", "_", text.strip().lower()).strip("_") or "unnamed"
