"""Small GRIB files, as weather services write them; without eccodes, tests that use them skip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MISSING = 9999.0


def grid(north: float, west: float, step: float, rows: int, columns: int) -> dict[str, Any]:
    """Keys of a regular grid by the centre of its northwestern cell; rows run southwards."""
    return {
        "Ni": columns, "Nj": rows, "latitudeOfFirstGridPointInDegrees": north,
        "latitudeOfLastGridPointInDegrees": north - (rows - 1) * step,
        "longitudeOfFirstGridPointInDegrees": west,
        "longitudeOfLastGridPointInDegrees": west + (columns - 1) * step,
        "iDirectionIncrementInDegrees": step, "jDirectionIncrementInDegrees": step,
    }  # fmt: skip


def make_grib(
    path: Path, messages: Iterable[tuple[Mapping[str, Any], np.ndarray]], edition: int
) -> None:
    """Write messages, each of its keys and a field [rows, columns], NaN where missing."""
    eccodes = pytest.importorskip("eccodes", reason="GRIB files are written with eccodes")
    pytest.importorskip("cfgrib", reason="GRIB files are read with cfgrib")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for keys, field in messages:
            message = eccodes.codes_grib_new_from_samples(f"regular_ll_sfc_grib{edition}")
            for key, value in keys.items():
                eccodes.codes_set(message, key, value)
            eccodes.codes_set(message, "bitmapPresent", int(np.isnan(field).any()))
            eccodes.codes_set(message, "missingValue", MISSING)
            eccodes.codes_set(message, "bitsPerValue", 24)
            eccodes.codes_set_values(message, np.nan_to_num(field, nan=MISSING).ravel())
            eccodes.codes_write(message, file)
            eccodes.codes_release(message)
