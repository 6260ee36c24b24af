"""Soil texture: fractions that sum to 1 and the USDA class of each cell.

`mosaic` derives the class on each map's own grid, so that it is the class of the map's fractions;
the legend is `usda_texture`. Limits of the classes are those of the Soil Survey Manual (USDA
Handbook 18, 2017, chapter 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr

from pipeline.core.errors import Fault, Faults, bad_input
from pipeline.maps.legend import NODATA_CODE

FRACTIONS = ("sand", "silt", "clay")
CLASSES = (
    *("clay", "silty clay", "sandy clay", "clay loam", "silty clay loam", "sandy clay loam"),
    *("loam", "silt loam", "sandy loam", "silt", "loamy sand", "sand"),
)
"""Names of the classes; the code of the first is 1."""
CLASS = "texture_class"
CLASS_ATTRS = {
    "long_name": "USDA soil texture class",
    "flag_values": list(range(1, len(CLASSES) + 1)),
    "flag_meanings": " ".join(name.replace(" ", "_") for name in CLASSES),
}


_PARTS = 1e6  # fractions are rounded to 1e-6: ten times the rounding of float32
WHOLE = 1e-6
"""Largest difference of the sum of fractions from 1: float32 rounding."""


def has_fractions(ds: xr.Dataset) -> bool:
    """Whether a map has sand, silt and clay, and therefore a texture class."""
    return all(name in ds for name in FRACTIONS)


def texture(ds: xr.Dataset, tolerance: float = 0.1) -> xr.Dataset:
    """The Dataset with `sand`, `silt` and `clay` scaled to sum to 1, and `texture_class`.

    Fractions are float32, NaN where one of them is missing or negative or their sum differs from 1
    by more than `tolerance`; classes are uint8 codes of `CLASSES`, 255 where missing. `InputError`
    where a fraction is absent.
    """
    missing = [name for name in FRACTIONS if name not in ds]
    if missing:
        raise bad_input("soil texture", f"no {', '.join(missing)}", "sand, silt and clay")
    parts = closed(ds["sand"].values, ds["silt"].values, ds["clay"].values, tolerance)
    like = ds["sand"]
    result = ds.assign(
        {
            name: like.copy(data=part).assign_attrs({**ds[name].attrs, "units": "1"})
            for name, part in zip(FRACTIONS, parts, strict=True)
        }
    )
    codes = like.copy(data=usda_class(*parts))
    codes.attrs = dict(CLASS_ATTRS)
    return result.assign({CLASS: codes})


def closed(
    sand: np.ndarray, silt: np.ndarray, clay: np.ndarray, tolerance: float = 0.1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mass fractions scaled to sum to 1, float32; NaN where they are no composition."""
    parts = [np.asarray(part, np.float64) for part in (sand, silt, clay)]
    total = parts[0] + parts[1] + parts[2]
    valid = np.abs(total - 1) <= tolerance  # False where one is NaN
    for part in parts:
        valid &= part >= 0
    scale = np.where(valid, total, np.nan)
    first, second, third = ((part / scale).astype(np.float32) for part in parts)
    return first, second, third


def usda_class(sand: np.ndarray, silt: np.ndarray, clay: np.ndarray) -> np.ndarray:
    """Codes of `CLASSES` for a composition, which is scaled to sum to 1; uint8.

    The code is 255 where a fraction is missing or none is above 0.
    """
    parts = [np.asarray(part, np.float64) for part in (sand, silt, clay)]
    total = parts[0] + parts[1] + parts[2]
    scale = _PARTS / np.where(total > 0, total, np.nan)
    # Rounded, so that limits do not depend on float32 noise; the third fraction is the remainder,
    # because three rounded fractions could fall between classes that meet in a point.
    a, c = np.round(parts[0] * scale), np.round(parts[2] * scale)
    i = _PARTS - a - c
    a, i, c, fine, finer = (x / (_PARTS / 100) for x in (a, i, c, i + 1.5 * c, i + 2 * c))
    rules = {
        "sand": fine < 15,
        "loamy sand": (fine >= 15) & (finer < 30),
        "sandy loam": (finer >= 30) & (((c >= 7) & (c < 20) & (a > 52)) | ((c < 7) & (i < 50))),
        "loam": (c >= 7) & (c < 27) & (i >= 28) & (i < 50) & (a <= 52),
        "silt loam": ((i >= 50) & (c >= 12) & (c < 27)) | ((i >= 50) & (i < 80) & (c < 12)),
        "silt": (i >= 80) & (c < 12),
        "sandy clay loam": (c >= 20) & (c < 35) & (i < 28) & (a > 45),
        "clay loam": (c >= 27) & (c < 40) & (a > 20) & (a <= 45),
        "silty clay loam": (c >= 27) & (c < 40) & (a <= 20),
        "sandy clay": (c >= 35) & (a > 45),
        "silty clay": (c >= 40) & (i >= 40),
        "clay": (c >= 40) & (a <= 45) & (i < 40),
    }
    codes = np.full(np.shape(a), NODATA_CODE, np.uint8)
    for number, name in enumerate(CLASSES, start=1):
        codes[rules[name]] = number
    return codes


def texture_faults(paths: Mapping[str, Path]) -> list[Fault]:
    """Faults of published maps of sand, silt, clay and `texture_class`, read together.

    In every cell the fractions must sum to 1 and be all present or all missing, and the class must
    be that of the fractions.
    """
    faults = Faults()
    not_whole = partly = other = 0
    with ExitStack() as stack:
        rasters = {name: stack.enter_context(rasterio.open(paths[name]))
                   for name in (*FRACTIONS, CLASS)}  # fmt: skip
        for _, window in rasters[CLASS].block_windows(1):
            parts = [rasters[name].read(1, window=window).astype(np.float64) for name in FRACTIONS]
            missing = np.isnan(parts)
            partly += int((missing.any(0) & ~missing.all(0)).sum())
            valid = ~missing.any(0)
            not_whole += int((np.abs(sum(parts) - 1.0)[valid] > WHOLE).sum())
            classes = usda_class(*(part.astype(np.float32) for part in parts))
            other += int((rasters[CLASS].read(1, window=window) != classes).sum())
    where = ", ".join(path.name for path in paths.values() if path.suffix == ".tif")
    for count, found, expected in (
        (partly, "with some of the fractions missing", "all three or none"),
        (not_whole, "whose fractions do not sum to 1", f"a sum within {WHOLE:g} of 1"),
        (other, "of another class than their fractions", "the USDA class of the fractions"),
    ):
        if count:
            faults.add(where, f"{count} cells {found}", expected)
    return faults.faults
