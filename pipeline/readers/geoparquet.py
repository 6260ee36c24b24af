"""GeoParquet files of polygons, read with pyarrow where GDAL has no driver for Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyarrow
import pyogrio

from pipeline.core.errors import bad_input
from pipeline.core.files import version_of
from pipeline.readers.common.first_bytes import PARQUET, format_of

Bounds = tuple[float, float, float, float]


def needs_pyarrow(path: Path) -> bool:
    """Whether a file is Parquet, which the GDAL of pyogrio cannot read."""
    return format_of(path) == PARQUET and "Parquet" not in pyogrio.list_drivers()


def info_of(path: Path) -> dict[str, Any]:
    """Return what `pyogrio.read_info` returns of other files: fields, dtypes, crs, bounds."""
    frame = _whole(path, version_of(path))
    columns = frame.drop(columns=frame.geometry.name)
    kinds = frame.geometry.geom_type.dropna().unique()
    return {
        "fields": np.array(columns.columns, dtype=object),
        "dtypes": [str(dtype) for dtype in columns.dtypes],
        "crs": None if frame.crs is None else frame.crs.to_wkt(),
        "total_bounds": tuple(frame.total_bounds.tolist()),
        "features": len(frame),
        "geometry_type": kinds[0] if len(kinds) == 1 else "Unknown",
    }


def columns_of(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of all polygons without their outlines."""
    return pd.DataFrame(_whole(path, version_of(path))[list(columns)])


def polygons_of(
    path: Path, columns: Sequence[str], boxes: Sequence[Bounds] | None, most: int | None
) -> geopandas.GeoDataFrame:
    """Return the first `most` polygons that meet any of `boxes` (all of them with None)."""
    frame = _whole(path, version_of(path))
    if boxes is not None:
        bounds, meets = frame.bounds.to_numpy(), np.zeros(len(frame), bool)
        for west, south, east, north in boxes:
            meets |= (bounds[:, 0] <= east) & (bounds[:, 2] >= west) \
                & (bounds[:, 1] <= north) & (bounds[:, 3] >= south)  # fmt: skip
        frame = frame[meets]
    return frame[[*columns, frame.geometry.name]][:most]


@lru_cache(maxsize=2)
def _whole(path: Path, stamp: tuple[int, ...]) -> geopandas.GeoDataFrame:
    try:
        return geopandas.read_parquet(path)
    except (ValueError, KeyError, pyarrow.ArrowException) as error:
        raise bad_input(
            str(path), f"a Parquet file without outlines ({str(error).partition('. ')[0]})",
            "GeoParquet, whose metadata name the column of the outlines",
            "If they are points with latitudes and longitudes, set `driver: table`; write polygons"
            " with `GeoDataFrame.to_parquet` or `ogr2ogr OUT.gpkg IN`.",
        ) from None  # fmt: skip
