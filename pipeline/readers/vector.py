"""Polygons in any vector format that GDAL reads, as GeoDataFrames (driver `vector`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import shapely

from pipeline.core.addresses import AnyPath
from pipeline.core.archives.unpacked_files import member_copy
from pipeline.core.cache import copy_beside
from pipeline.core.errors import LIBRARY_ERRORS, bad_input
from pipeline.core.files import version_of
from pipeline.core.settings import Frozen
from pipeline.entries.source import Source
from pipeline.readers.common.first_bytes import (
    JSON,
    PARQUET,
    TABLE,
    TEXT,
    VECTORS,
    XML,
    format_of,
)  # fmt: skip
from pipeline.readers.common.refusals import check_format, unreadable
from pipeline.readers.driver import Driver, common_options, own_options
from pipeline.readers.geoparquet import columns_of, info_of, needs_pyarrow, polygons_of
from pipeline.readers.guards.vectors import check_vector

OTHERS = (XML, JSON, TABLE, TEXT, PARQUET, "a Feather table")
"""Formats of which GDAL reads some, such as GPX and tables with outlines as texts."""
SHAPEFILE = (".dbf", ".shx", ".prj", ".cpg")
"""Suffixes of the files that belong to a shapefile."""
UNREADABLE = (
    pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, shapely.errors.ShapelyError,
)  # fmt: skip
Bounds = tuple[float, float, float, float]
Result = TypeVar("Result")


class VectorOptions(Frozen):
    """Options of an entry with the driver `vector`."""

    layer: str | None = None
    """Layer of the file; by default its first."""
    overlaps: Literal["refuse", "normalise"] = "refuse"
    """Whether polygons that overlap are refused, or weighted by their areas in a cell, whose sum is
    then the area of their union: 0.5 and 0.75 that cover all of the cell become 0.4 and 0.6. What
    is not refused, up to 2 % of the area, counts for each polygon, up to the whole cell."""


def open_polygons(source: Source) -> geopandas.GeoDataFrame:
    """Return the polygons and their columns in EPSG:4326; raises `InputError` if unreadable."""
    path = source.files[0]
    if path.exists():
        path_of(source)
    return _whole(path, _layer(source), version_of(path) if path.exists() else ())


def path_of(source: Source) -> Path:
    """Return the path on disk; the files that belong to a remote shapefile lie beside it.

    Raises `InputError` for a file that leads to others.
    """
    path = _local(source.files[0])
    check_vector(path, f'source "{source.name}", {source.files[0]}', common_options(source).trust)
    return path


def _local(path: AnyPath) -> Path:
    copy = member_copy(path)
    if not isinstance(path, Path) and path.suffix == ".shp":
        copy_beside(path, copy, [path.stem + suffix for suffix in SHAPEFILE])
    return copy


def described(source: Source) -> dict[str, Any]:
    """Return what pyogrio reports of the layer without reading it: fields, dtypes, crs, bounds."""
    path = path_of(source)
    stamp = version_of(path)
    return _readable(path, lambda: _info(path, _layer(source), stamp))


def layers_of(source: Source) -> tuple[str, ...]:
    """Return the names of the layers among which the entry chooses none; () if it names one."""
    if _layer(source) is not None or needs_pyarrow(path_of(source)):
        return ()
    path = path_of(source)
    return _readable(path, lambda: tuple(str(name) for name, _ in pyogrio.list_layers(path)))


def read_columns(source: Source, columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of all polygons without their outlines."""
    path = path_of(source)
    if not columns:
        return pd.DataFrame(index=range(int(described(source)["features"])))
    if needs_pyarrow(path):
        return columns_of(path, columns)
    return _readable(
        path,
        lambda: pyogrio.read_dataframe(
            path, layer=_layer(source), columns=list(columns), read_geometry=False
        ),
    )


def distinct_values(source: Source, column: str) -> tuple[Any, ...]:
    """Return the different values of a column of the whole file, in ascending order; no missing."""
    stamp = version_of(path_of(source))
    return _distinct(source, _layer(source), column, stamp)


def read_polygons(
    source: Source, columns: Sequence[str], boxes: Sequence[Bounds] | None, most: int | None = None
) -> geopandas.GeoDataFrame:
    """Return the polygons that meet any of `boxes`, in the CRS of the file and in its order.

    With None they are all polygons, or the first `most`. Outlines have no heights.
    """
    path = path_of(source)
    if needs_pyarrow(path):
        frame = polygons_of(path, columns, boxes, most)
        return frame.set_geometry(shapely.force_2d(frame.geometry.to_numpy()), crs=frame.crs)
    options = {"layer": _layer(source), "columns": list(columns), "fid_as_index": True}
    if boxes is None:
        wanted: list[dict[str, Any]] = [{"max_features": most}]
    else:
        wanted = [{"bbox": box, "max_features": most} for box in boxes] or [{"max_features": 0}]
    frames = [
        _readable(path, partial(pyogrio.read_dataframe, path, **options, **more)) for more in wanted
    ]
    frame = pd.concat(frames) if len(frames) > 1 else frames[0]
    frame = frame[~frame.index.duplicated()].sort_index()
    return frame.set_geometry(shapely.force_2d(frame.geometry.to_numpy()), crs=frame.crs)


def _layer(source: Source) -> str | None:
    return VectorOptions.model_validate(own_options(source)).layer


def _readable(path: AnyPath, read: Callable[[], Result]) -> Result:
    where, expected = str(path), "a file of polygons"
    check_format(where, path, expected, *VECTORS, *OTHERS)
    try:
        return read()
    except (*LIBRARY_ERRORS, *UNREADABLE) as error:
        if lacking := _lacking(_local(path)):
            hint = "A shapefile is several files of one name: copy or rename them together."
            raise bad_input(where, f"a shapefile without {lacking}", expected, hint) from None
        if isinstance(error, pyogrio.errors.DataLayerError):
            names = ", ".join(str(name) for name, _ in pyogrio.list_layers(path))
            hint = "Correct `options: {layer: …}`."
            raise bad_input(
                where, f"{error}; its layers are {names}", "one of its layers", hint
            ) from None
        raise unreadable(where, path, error, expected, *VECTORS) from None


def _lacking(path: Path) -> str:
    """Return what a shapefile cannot be read without and does not have; "" for other files."""
    if format_of(path) != "a shapefile":
        return ""
    if path.suffix.lower() != ".shp":
        return "`.shp` at the end of its name"
    ends = [end for end in (".shx", ".dbf") if not path.with_suffix(end).is_file()]
    return " and ".join(path.with_suffix(end).name for end in ends)


@lru_cache(maxsize=16)
def _info(path: Path, layer: str | None, stamp: tuple[int, ...]) -> dict[str, Any]:
    info = (
        info_of(path) if needs_pyarrow(path) else
        pyogrio.read_info(path, layer=layer, force_feature_count=True, force_total_bounds=True)
    )  # fmt: skip
    return {**info, "dtypes": dict(zip(info["fields"], info["dtypes"], strict=True))}


@lru_cache(maxsize=64)
def _distinct(
    source: Source, layer: str | None, column: str, stamp: tuple[int, ...]
) -> tuple[Any, ...]:
    values = read_columns(source, [column])[column].dropna().unique()
    return tuple(np.sort(values).tolist())


@lru_cache(maxsize=4)
def _whole(path: AnyPath, layer: str | None, stamp: tuple[int, ...]) -> geopandas.GeoDataFrame:
    def read() -> geopandas.GeoDataFrame:
        local = _local(path)
        if needs_pyarrow(local):
            return polygons_of(local, list(info_of(local)["fields"]), None, None)
        return geopandas.read_file(local, layer=layer)

    return _readable(path, lambda: read().to_crs("EPSG:4326"))


DRIVER = Driver(
    name="vector", open=open_polygons, returns="polygons", options=VectorOptions
)  # fmt: skip
