"""Soil texture: fractions that sum to 1 and the USDA class of each cell.

Upstream: predicted sand, silt and clay. Downstream: `mosaic`, `geotiff` with the legend
`usda_texture`. Limits after the Soil Survey Manual (USDA Handbook 18, 2017, chapter 3).
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from pipeline.legend import NODATA_CODE
from stefaland.errors import bad_input

FRACTIONS = ("sand", "silt", "clay")
CLASSES = (
    *("clay", "silty clay", "sandy clay", "clay loam", "silty clay loam", "sandy clay loam"),
    *("loam", "silt loam", "sandy loam", "silt", "loamy sand", "sand"),
)
"""Names of the classes; the code of the first is 1."""


def texture(ds: xr.Dataset, tolerance: float = 0.1) -> xr.Dataset:
    """`sand`, `silt` and `clay` scaled to sum to 1, and `texture_class`, all with the same dims.

    Fractions are float32, NaN wherever one of them is missing or negative or their sum is further
    than `tolerance` from 1; classes are uint8 codes of `CLASSES`, 255 where missing. `InputError`
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
    attrs = {
        "long_name": "USDA soil texture class",
        "flag_values": list(range(1, len(CLASSES) + 1)),
        "flag_meanings": " ".join(name.replace(" ", "_") for name in CLASSES),
    }
    codes = like.copy(data=usda_class(*parts))
    codes.attrs = attrs
    return result.assign(texture_class=codes)


def closed(
    sand: np.ndarray, silt: np.ndarray, clay: np.ndarray, tolerance: float = 0.1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mass fractions scaled to sum to 1, float32; NaN where they cannot be fractions of a whole."""
    parts = [np.asarray(part, np.float64) for part in (sand, silt, clay)]
    total = parts[0] + parts[1] + parts[2]
    valid = np.abs(total - 1) <= tolerance  # False where one is NaN
    for part in parts:
        valid &= part >= 0
    scale = np.where(valid, total, np.nan)
    first, second, third = ((part / scale).astype(np.float32) for part in parts)
    return first, second, third


def usda_class(sand: np.ndarray, silt: np.ndarray, clay: np.ndarray) -> np.ndarray:
    """Codes of `CLASSES` for fractions that sum to 1; uint8, 255 where one is missing."""
    # Percent to six digits: limits are whole numbers and must not depend on float32 noise.
    a, i, c = (np.round(np.asarray(p, np.float64) * 100, 6) for p in (sand, silt, clay))
    rules = {
        "sand": i + 1.5 * c < 15,
        "loamy sand": (i + 1.5 * c >= 15) & (i + 2 * c < 30),
        "sandy loam": (i + 2 * c >= 30) & (((c >= 7) & (c < 20) & (a > 52)) | ((c < 7) & (i < 50))),
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
