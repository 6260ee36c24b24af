"""Files of polygons (whatever GDAL reads as vectors) as GeoDataFrames.

Upstream: catalog entries with the driver `vector`. Downstream: `sites.regions`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import geopandas
import pyogrio

from pipeline.core.errors import bad_input
from pipeline.entries.source import Source
from pipeline.readers.driver import Driver


def open_polygons(source: Source) -> geopandas.GeoDataFrame:
    """The polygons and their columns in EPSG:4326; `InputError` for a file that cannot be read."""
    return _read(source.files[0])


@lru_cache(maxsize=4)
def _read(path: Path) -> geopandas.GeoDataFrame:
    try:
        return geopandas.read_file(path).to_crs("EPSG:4326")
    except (OSError, pyogrio.errors.DataSourceError) as error:
        raise bad_input(str(path), str(error), "a file of polygons") from None


DRIVER = Driver("vector", open_polygons, gives="polygons")
