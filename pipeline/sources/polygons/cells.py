"""open_polygon_cells(): the polygons of a catalog entry with variables, as cells of a Dataset.

Values are those of the file's columns; `canonicalise` converts and checks them, and the outlines
travel beside them to `regridding.elements`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import shapely
import xarray as xr

from pipeline.core.errors import Faults, bad_input, nearest_name
from pipeline.entries.nodata import codes_of, ranges_of
from pipeline.entries.source import Source
from pipeline.grid.crs import is_geographic_crs
from pipeline.grid.same_crs import same_crs
from pipeline.readers.registry import driver_of
from pipeline.readers.vector import (
    Bounds,
    described,
    distinct_values,
    layers_of,
    read_polygons,
)
from pipeline.regridding.classes import class_label
from pipeline.regridding.elements import OUTLINES
from pipeline.sources.crop import Window

OUTLINE = "geometry"
"""Name of a variable that is 1 within the polygons and 0 outside of them."""
MOST_CLASSES = 256
_TURN = 360.0
_SAME = 1e-6  # degrees


def has_polygon_cells(source: Source) -> bool:
    """Whether an entry of polygons has variables, so that its columns can be regridded."""
    return driver_of(source).returns == "polygons" and bool(source.variables)


def open_polygon_cells(
    source: Source, window: Window | Callable[[str], Window] | None = None, most: int | None = None
) -> xr.Dataset:
    """Return the polygons that meet the window, or the first `most`; dims (cell,).

    Variables are columns of the file, text classes as their index; the coordinate `geometry` holds
    the outlines, repaired where they are not valid, in the CRS of its attribute `crs`. Raises
    `InputError` for columns that are missing or have another type, and for a CRS that is missing or
    is not that of the entry.
    """
    check_columns(source)
    crs = crs_of_polygons(source)
    box = window(crs) if callable(window) else window
    boxes = None if box is None else _boxes(box, described(source)["total_bounds"], crs)
    columns = sorted({entry.name for entry in source.variables.values()} - {OUTLINE})
    frame = read_polygons(source, columns, boxes, most)
    _check_areas(frame.geometry.to_numpy(), source)
    outlines, count = repaired(frame.geometry.to_numpy())
    kept = ~(shapely.is_missing(outlines) | shapely.is_empty(outlines))
    frame, outlines = frame[kept], outlines[kept]
    _check_sides(outlines, crs, source)
    arrays = {name: class_or_number(frame[name], source) for name in columns}
    if any(entry.name == OUTLINE for entry in source.variables.values()):
        # One more element stands for what lies outside of all polygons.
        outlines = np.concatenate([outlines, np.array([None])])
        arrays = {name: (np.append(values, np.nan), attrs) for name, (values, attrs)
                  in arrays.items()}  # fmt: skip
        arrays[OUTLINE] = np.append(np.ones(len(frame)), 0.0), {"units": "1"}
    attrs = {
        "crs": crs, "overlaps": source.options.get("overlaps", "refuse"), "repaired": count,
        "where": f'source "{source.name}", {source.files[0]}',
    }  # fmt: skip
    variables = {name: xr.Variable("cell", *value) for name, value in arrays.items()}
    return xr.Dataset(variables).assign_coords({OUTLINES: ("cell", outlines, attrs)})


def check_columns(source: Source) -> None:
    """Raise `InputError` with all columns of an entry that are missing or have another type."""
    where, faults = f'source "{source.name}", {source.files[0]}', Faults()
    if driver_of(source).name != "vector":
        raise bad_input(where, f"driver {source.driver}", "vector, to regrid polygons")
    if len(source.files) != 1:
        raise bad_input(where, f"{len(source.files)} files", "one file of polygons",
                        "Write an entry for each, and one with `merge` of them.")  # fmt: skip
    dtypes: dict[str, str] = described(source)["dtypes"]
    layers = layers_of(source)
    of_layer = f" Of the layers {', '.join(layers)} it is the first: set `options: {{layer: …}}`."
    for name, entry in source.variables.items():
        if entry.is_computed:
            faults.add(
                f"{where}: {name}", "a mask, transform or expression", "a column of the polygons",
                "Compute the column in a GIS, or list `nodata`.",
            )  # fmt: skip
        if entry.is_computed or entry.name == OUTLINE:
            continue
        if entry.name not in dtypes:
            faults.add(
                f"{where}: {name}", f"columns {', '.join(dtypes) or 'none'}",
                f'a column "{entry.name}"',
                (nearest_name(entry.name, dtypes)
                 or f"`name: {OUTLINE}` stands for the polygons: 1 within them, 0 outside.")
                + of_layer * (len(layers) > 1),
            )  # fmt: skip
        elif not is_classes(source) and not re.match("u?int|float|bool", dtypes[entry.name]):
            faults.add(
                f"{where}: {name}", f"a column of {dtypes[entry.name]}", "numbers",
                "Set `kind: categorical` and `method: fractions` (or mode) for classes, or convert"
                " the column to numbers in a GIS.",
            )  # fmt: skip
        elif is_classes(source):
            with faults.collecting():
                classes_of_column(source, entry.name)
    faults.raise_if_any()


def is_classes(source: Source) -> bool:
    """Whether the columns of a source hold classes."""
    return source.kind == "categorical" or bool(source.classes)


def classes_of_column(source: Source, column: str) -> dict[str, tuple[Any, ...]]:
    """Return the values of each class: `classes` of the entry, or else each value is a class.

    Where no code is a value of the column but all labels are, the labels are the codes. Raises
    `InputError` where neither is, and for too many classes.
    """
    where = f'source "{source.name}", {source.files[0]}: {column}'
    values = distinct_values(source, column)
    shown = ", ".join(map(str, values[:20])) + (", …" if len(values) > 20 else "")
    if source.classes:
        found = {_key(value) for value in values}
        codes = [code for group in source.classes.values() for code in group]
        if not found & {_key(code) for code in codes}:
            # Numbers cannot be values of a column of texts: there the labels are the values.
            if found >= {_key(label) for label in source.classes}:
                return {label: (label,) for label in source.classes}
            text = ", ".join(map(str, codes[:20]))
            raise bad_input(
                where, f"values {shown}", f"the codes {text} of `classes`",
                f"Codes are values of the column, as in `classes: {{{class_label(str(values[0]))}:"
                f" [{values[0]}]}}`; without `classes` each value is a class.",
            )  # fmt: skip
        return dict(source.classes)
    values = tuple(value for value in values if not _is_missing(value, column, source))
    labels = [class_label(str(value)) for value in values]
    if len(values) > MOST_CLASSES or len(set(labels)) < len(labels):
        raise bad_input(
            where, f"{len(values)} values {shown}", f"up to {MOST_CLASSES} different classes",
            "List the values of each class in `classes`.",
        )  # fmt: skip
    return {label: (value,) for label, value in zip(labels, values, strict=True)}


def _key(value: Any) -> str:
    """Return a value as the text of a code: 1, 1.0 and "1" are one code."""
    text = str(value).strip()
    try:
        return f"{float(text):.12g}"
    except ValueError:
        return text


def _is_missing(value: Any, column: str, source: Source) -> bool:
    """Whether a value is a blank text, or `nodata` of a variable of the column lists it."""
    if isinstance(value, str) and not value.strip():
        return True
    entries = [entry for entry in source.variables.values() if entry.name == column]
    if any(_key(value) == _key(code) for entry in entries for code in codes_of(entry.nodata)):
        return True
    ranges = [limits for entry in entries for limits in ranges_of(entry.nodata)]
    return not isinstance(value, str) and any(low <= value <= high for low, high in ranges)


def class_or_number(column: pd.Series, source: Source) -> tuple[np.ndarray, dict[str, Any]]:
    """Return a column as numbers, or as the index of each class, NaN if missing; and attributes.

    Of classes the attribute `classes` lists the labels and the index of each.
    """
    if not is_classes(source):
        values = column.to_numpy()
        return (values.astype(np.uint8) if values.dtype == bool else values), {}
    name = str(column.name)
    classes = classes_of_column(source, name)
    index = {_key(code): i for i, codes in enumerate(classes.values()) for code in codes}
    found = {
        value: np.nan if _is_missing(value, name, source) else index.get(_key(value), np.nan)
        for value in column.dropna().unique()
    }
    attrs = {"units": "1", "classes": {label: (i,) for i, label in enumerate(classes)}}
    return column.map(found).to_numpy(np.float32), attrs


def crs_of_polygons(source: Source) -> str:
    """Return the CRS of the outlines: the file's, with which an entry's own `crs` must agree."""
    found, where = described(source)["crs"], f'source "{source.name}", {source.files[0]}: crs'
    is_named = "crs" in source.model_fields_set
    if source.overrides("crs") or (found is None and is_named):
        return source.crs
    if found is None:
        raise bad_input(where, "none", "the CRS of the outlines", "Set `crs` of the entry.")
    if is_named and not same_crs(str(found), source.crs):
        raise bad_input(
            where, str(found)[:100], source.crs,
            "Correct `crs`, or set `wrong_in_file: [crs]` if the file is wrong.",
        )  # fmt: skip
    return str(found)


def repaired(outlines: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the outlines with those that are not valid, such as bow ties, made valid, and how
    many these are."""
    wrong = ~(shapely.is_valid(outlines) | shapely.is_missing(outlines))
    if wrong.any():
        outlines = outlines.copy()
        outlines[wrong] = shapely.make_valid(
            outlines[wrong], method="structure", keep_collapsed=False
        )
    collections = np.flatnonzero(
        shapely.get_type_id(outlines) == shapely.GeometryType.GEOMETRYCOLLECTION
    )
    if collections.size:
        outlines = outlines.copy()
        for index in collections:
            parts = shapely.get_parts(shapely.get_parts(outlines[index]))
            outlines[index] = shapely.union_all(parts[shapely.get_dimensions(parts) == 2])
    is_area = np.isin(shapely.get_type_id(outlines), (3, 6, -1))
    outlines = np.where(is_area, outlines, np.full(outlines.shape, None))
    return outlines, int(wrong.sum())


def _boxes(window: Bounds, bounds: Bounds, crs: str) -> list[Bounds]:
    """Return the window in the longitudes of a file with the `bounds`, in parts if need be."""
    if not is_geographic_crs(crs):
        return [window]
    west, south, east, north = window
    turns = [turn for turn in (-_TURN, 0.0, _TURN)
             if west + turn <= bounds[2] and east + turn >= bounds[0]]  # fmt: skip
    return [(west + turn, south, east + turn, north) for turn in turns]


def _check_areas(outlines: np.ndarray, source: Source) -> None:
    """Raise `InputError` if none of the geometries has an area."""
    kinds = shapely.get_type_id(outlines)
    if kinds.size and not np.isin(kinds, (-1, 3, 6, 7)).any():
        raise bad_input(
            f'source "{source.name}", {source.files[0]}',
            f"geometries {shapely.GeometryType(int(kinds[0])).name.title()}", "polygons",
        )  # fmt: skip


def _check_sides(outlines: np.ndarray, crs: str, source: Source) -> None:
    """Raise `InputError` for sides of more than half a turn, whose direction is unknown."""
    if not is_geographic_crs(crs):
        return
    parts, polygon = shapely.get_parts(outlines, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    at, of = shapely.get_coordinates(rings, return_index=True)
    step = np.abs(np.diff(at[:, 0]))
    wide = (step > _TURN / 2 + _SAME) & (np.abs(step - _TURN) > _SAME) & (of[1:] == of[:-1])
    wide &= np.abs(at[1:, 1]) < 90.0 - _SAME
    if wide.any():
        raise bad_input(
            f'source "{source.name}", {source.files[0]}',
            f"{np.unique(polygon[part[of[1:][wide]]]).size} polygons with sides of up to"
            f" {step[wide].max():.4g} degrees of longitude",
            "sides of at most 180 degrees: longer ones mean either way around the globe",
            "Cut the polygons at 180 degrees (ogr2ogr -wrapdateline), or add vertices.",
        )  # fmt: skip
