"""Polygons of a vector source: those that contain locations, and those of sites by their ids.

They serve folds that hold out whole regions, and maps of basins with their scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import geopandas
import numpy as np

from pipeline.core.errors import Faults, bad_input, listed, nearest_name
from pipeline.entries.source import Source
from pipeline.readers.registry import driver_of, read_files
from pipeline.sources.open import check_files


def read_polygons(source: Source) -> geopandas.GeoDataFrame:
    """The source's polygons in EPSG:4326; `InputError` where the file is missing or unreadable."""
    driver, faults = driver_of(source), Faults()
    if driver.returns != "polygons":
        raise bad_input(
            f'source "{source.name}": driver', f"{driver.name}, a reader of {driver.returns}",
            "a reader of polygons, such as vector",
        )  # fmt: skip
    check_files(source, faults)
    faults.raise_if_any()
    frame: geopandas.GeoDataFrame = read_files(source)
    return frame


def polygons_with(source: Source, column: str) -> geopandas.GeoDataFrame:
    """The source's polygons in EPSG:4326; `InputError` where they lack the column."""
    frame = read_polygons(source)
    if column not in frame:
        known = [str(name) for name in frame.columns]
        raise bad_input(
            f'source "{source.name}", {source.files[0]}', f"columns {', '.join(known)}",
            f'a column "{column}"', nearest_name(column, known),
        )  # fmt: skip
    return frame


def polygons_of(source: Source, column: str, ids: Sequence[str]) -> geopandas.GeoSeries:
    """[N] polygon of each id in `column`, in EPSG:4326; leading zeros are ignored.

    `InputError` lists the ids without a polygon.
    """
    frame = polygons_with(source, column)
    shapes = frame.geometry.groupby(frame[column].map(_key).to_numpy()).agg(
        lambda parts: parts.union_all()
    )
    without = [name for name in ids if _key(name) not in shapes.index]
    if without:
        raise bad_input(
            f'source "{source.name}", {source.files[0]}: {column}',
            f"sites without a polygon, {listed(without)}", "a polygon of every scored site",
        )  # fmt: skip
    return geopandas.GeoSeries(shapes.loc[[_key(name) for name in ids]].to_list(), crs=frame.crs)


def _key(name: object) -> str:
    text = str(name).strip().removesuffix(".0")  # a whole number of a DBF may be read as a float
    return text.lstrip("0") or "0" if text.isdigit() else text


def region_labels(lon: np.ndarray, lat: np.ndarray, source: Source, column: str) -> np.ndarray:
    """[N] text: `column` of the polygon that contains each location, else of the nearest one.

    `InputError` for an unknown column.
    """
    frame = polygons_with(source, column)
    index = frame.sindex
    points = geopandas.points_from_xy(lon, lat)
    labels = np.full(len(points), "", dtype=object)
    location, polygon = index.query(points, predicate="intersects")
    labels[location[::-1]] = frame[column].to_numpy()[polygon[::-1]]
    outside = np.flatnonzero(labels == "")
    if outside.size:
        found, nearest = index.nearest(points[outside], return_all=False)
        labels[outside[found]] = frame[column].to_numpy()[nearest]
    return labels.astype(str)
