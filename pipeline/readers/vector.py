"""Polygons in any vector format that GDAL reads, as GeoDataFrames (driver `vector`)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import geopandas
import pyogrio

from pipeline.core.addresses import AnyPath
from pipeline.core.archives.unpacked_files import member_copy
from pipeline.core.cache import copy_beside
from pipeline.core.errors import bad_input
from pipeline.entries.source import Source
from pipeline.readers.driver import Driver, NoOptions

SHAPEFILE = (".dbf", ".shx", ".prj", ".cpg")
"""Suffixes of the files that belong to a shapefile."""


def open_polygons(source: Source) -> geopandas.GeoDataFrame:
    """Return the polygons and their columns in EPSG:4326; raises `InputError` if unreadable."""
    return _read(source.files[0])


@lru_cache(maxsize=4)
def _read(path: AnyPath) -> geopandas.GeoDataFrame:
    try:
        return geopandas.read_file(_local(path)).to_crs("EPSG:4326")
    except (OSError, pyogrio.errors.DataSourceError) as error:
        raise bad_input(str(path), str(error), "a file of polygons") from None


def _local(path: AnyPath) -> Path:
    """Return the path on disk; the files that belong to a remote shapefile lie beside it."""
    copy = member_copy(path)
    if not isinstance(path, Path) and path.suffix == ".shp":
        copy_beside(path, copy, [path.stem + suffix for suffix in SHAPEFILE])
    return copy


DRIVER = Driver(name="vector", open=open_polygons, returns="polygons", options=NoOptions)
