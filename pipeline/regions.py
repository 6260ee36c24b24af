"""region_labels(): the polygon that each place lies in, or the nearest one off every shore.

Upstream: a vector source of the catalog. Downstream: folds that hold out whole regions.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import geopandas
import numpy as np
import pyogrio

from pipeline.catalog import Source
from pipeline.sources import check_files
from stefaland.errors import Faults, bad_input, nearest_name


def read_polygons(source: Source) -> geopandas.GeoDataFrame:
    """The source's polygons in EPSG:4326; `InputError` where the file is missing or unreadable."""
    faults = Faults()
    check_files(source, faults)
    faults.raise_if_any()
    return _read(source.files[0])


@lru_cache(maxsize=4)
def _read(path: Path) -> geopandas.GeoDataFrame:
    try:
        return geopandas.read_file(path).to_crs("EPSG:4326")
    except (OSError, pyogrio.errors.DataSourceError) as error:
        raise bad_input(str(path), str(error), "a file of polygons") from None


def region_labels(lon: np.ndarray, lat: np.ndarray, source: Source, column: str) -> np.ndarray:
    """[N] text: `column` of the polygon that holds each place, else of the nearest polygon.

    `InputError` for an unknown column.
    """
    frame = read_polygons(source)
    if column not in frame:
        known = [str(name) for name in frame.columns]
        raise bad_input(
            f'source "{source.name}", {source.files[0]}', f"columns {', '.join(known)}",
            f'a column "{column}"', nearest_name(column, known),
        )  # fmt: skip
    index = frame.sindex
    points = geopandas.points_from_xy(lon, lat)
    labels = np.full(len(points), "", dtype=object)
    place, polygon = index.query(points, predicate="intersects")
    labels[place[::-1]] = frame[column].to_numpy()[polygon[::-1]]
    outside = np.flatnonzero(labels == "")
    if outside.size:
        found, nearest = index.nearest(points[outside], return_all=False)
        labels[outside[found]] = frame[column].to_numpy()[nearest]
    return labels.astype(str)
