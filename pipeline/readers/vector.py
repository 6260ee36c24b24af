"""Polygons in any vector format that GDAL reads, as GeoDataFrames (driver `vector`)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import geopandas
import pyogrio

from pipeline.core.errors import bad_input
from pipeline.entries.source import Source
from pipeline.readers.driver import Driver


def open_polygons(source: Source) -> geopandas.GeoDataFrame:
    """Return the polygons and their columns in EPSG:4326; raises `InputError` if unreadable."""
    return _read(source.files[0])


@lru_cache(maxsize=4)
def _read(path: Path) -> geopandas.GeoDataFrame:
    try:
        return geopandas.read_file(path).to_crs("EPSG:4326")
    except (OSError, pyogrio.errors.DataSourceError) as error:
        raise bad_input(str(path), str(error), "a file of polygons") from None


DRIVER = Driver(name="vector", open=open_polygons, returns="polygons")
