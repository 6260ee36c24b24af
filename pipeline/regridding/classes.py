"""Class codes of categorical rasters, and the fractions and the mode of the classes of a cell.

Used by `regrid` for the methods `mode` and `fractions`.
"""

from __future__ import annotations

import re

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input

_MAX_CLASSES = 4096
_UNKNOWN = -2


def classes_of(da: xr.DataArray, name: str) -> dict[int, str]:
    """Codes and labels of a categorical variable from `flag_values` and `flag_meanings`.

    Without `flag_values` all of the data is read for its codes, which are their own labels; a
    part of a raster may then hold fewer classes than the whole. `InputError` where the numbers of
    values and meanings differ.
    """
    flags = da.attrs.get("flag_values")
    if flags is None:
        found: set[int] = set()
        for row in range(0, da.sizes["y"], 1024):
            present = np.unique(da.isel(y=slice(row, row + 1024)).values)
            found.update(int(code) for code in present[present == present])
        return {code: class_label(str(code)) for code in sorted(found)}
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
    classes = {code: class_label(label) for code, label in zip(codes, labels, strict=True)}
    if len(set(classes.values())) < len(classes):
        raise bad_input(
            name, f"the labels {', '.join(labels)}", "labels that differ in letters or digits"
        )
    return classes


def class_index(
    values: np.ndarray, classes: np.ndarray | None, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Index of the class of every value, int16, -1 where missing; and the class codes.

    `classes` None stands for all codes from the smallest to the largest. `InputError` for values
    that are not whole numbers or not among `classes`, and for too many classes.
    """
    if values.dtype.kind == "f":
        valid = values == values
        codes = np.where(valid, values, 0).astype(np.int64)
        if (codes[valid] != values[valid]).any():
            raise bad_input(name, "values that are not whole numbers", "class codes")
    else:
        valid, codes = np.True_, values
    present = codes[valid] if valid.ndim else codes
    low, high = (int(present.min()), int(present.max())) if present.size else (0, 0)
    if classes is None:
        classes = np.arange(low, min(high, low + _MAX_CLASSES) + 1)
    low, high = min(low, int(classes.min())), max(high, int(classes.max()))
    if high - low >= 1 << 16 or classes.size > _MAX_CLASSES:
        raise bad_input(
            name, f"codes {low}..{high}", f"fewer than {_MAX_CLASSES} classes",
            "Is this variable continuous?",
        )  # fmt: skip
    table = np.full(high - low + 1, _UNKNOWN, np.int16)
    table[classes - low] = np.arange(classes.size)
    offset = codes.astype(np.int64) - low if low else codes
    index = table[np.where(valid, offset, 0)] if valid.ndim else table[offset]
    if valid.ndim:
        index[~valid] = -1
    if index.min(initial=0) == _UNKNOWN:
        unknown = ", ".join(str(code) for code in np.unique(codes[index == _UNKNOWN])[:10])
        raise bad_input(
            name, f"codes {unknown}", "codes of flag_values",
            "Declare them in the catalog entry, as classes or as nodata",
        )  # fmt: skip
    return index, classes


def class_fractions(
    areas: np.ndarray, total: np.ndarray, codes: np.ndarray, min_coverage: float
) -> np.ndarray:
    """Fractions of the valid area by class; dims (class, t, cell), NaN below `min_coverage`.

    `areas` (t, cell, class) and their sum `total` (t, cell) are fractions of the target cell.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        fraction = np.where((total >= min_coverage)[..., None], areas / total[..., None], np.nan)
    return np.moveaxis(fraction, -1, 0)


def most_common_class(
    areas: np.ndarray, total: np.ndarray, codes: np.ndarray, min_coverage: float
) -> np.ndarray:
    """Code of the class with the largest area, the smaller code on a tie; dims (1, t, cell).

    `areas` and `total` are those of `class_fractions`; `codes` (class,). NaN below `min_coverage`.
    """
    largest = areas.max(axis=-1, keepdims=True)
    # Areas that differ by rounding alone are a tie.
    tolerance = 1e-9 * np.maximum(total, min_coverage)[..., None]
    winner = (areas >= largest - tolerance).argmax(axis=-1)
    return np.where(total >= min_coverage, codes[winner].astype(float), np.nan)[None]


def class_label(text: str) -> str:
    """The label in lower case with characters that a variable name may have."""
    return re.sub(r"\W+", "_", text.strip().lower()).strip("_") or "unnamed"
