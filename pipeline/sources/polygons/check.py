"""check_polygons(): comparison of a file of polygons with its catalog entry.

Columns are read whole, outlines only where the grids are, and of large files the first ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import shapely
import xarray as xr

from pipeline.core.errors import Faults, bad_input
from pipeline.entries.source import Source, Variable
from pipeline.grid.crs import is_geographic_crs
from pipeline.grid.target_grid import TargetGrid
from pipeline.readers.vector import described, layers_of, path_of, read_columns
from pipeline.regridding.elements import OUTLINES, check_method, check_share, element_operator
from pipeline.sources.canonical import decoding_of
from pipeline.sources.check_metadata import SourceInfo
from pipeline.sources.computed.tally import Tally, ValueSummary
from pipeline.sources.crop import Window
from pipeline.sources.polygons.cells import (
    OUTLINE,
    check_columns,
    class_or_number,
    crs_of_polygons,
    is_classes,
    open_polygon_cells,
)

MOST = 20_000
"""Polygons of one window whose outlines are checked."""
_CELLS = 32  # rows and columns of the grid on which polygons are laid to find overlaps


def check_polygons(
    source: Source,
    variables: Mapping[str, Variable],
    windows: Callable[[str], Sequence[Window]] | None,
    faults: Faults,
) -> SourceInfo:
    """Compare columns, CRS and outlines of a source of polygons with its entry; adds all faults.

    `windows` are those of the grids in the CRS of the file, by default all of the file. Raises
    `InputError` where nothing can be compared.
    """
    check_columns(source)
    crs, found = crs_of_polygons(source), described(source)
    where = f'source "{source.name}", {source.files[0]}'
    (west, south, east, north), path = found["total_bounds"], path_of(source)
    notes: tuple[str, ...] = ()
    values: list[ValueSummary] = []
    if not str(found["geometry_type"]).endswith(("Polygon", "Polygon Z", "Unknown")):
        faults.add(where, f"geometries {found['geometry_type']}", "polygons")
    elif not found["features"]:
        faults.add(where, "no polygons", "at least one")
    elif is_geographic_crs(crs) and (max(-south, north) > 90.5 or max(-west, east) > 540):
        faults.add(
            f"{where}: crs", f"outlines up to {max(-west, east):g}, {max(-south, north):g}",
            "degrees", "Set `crs` to that of the outlines, and `wrong_in_file: [crs]`.",
        )  # fmt: skip
    else:
        found_notes, values = _check_values(source, variables, where, faults)
        notes = tuple(found_notes)
    if not faults.faults:
        chosen = [None] if windows is None else list(dict.fromkeys(windows(crs)))
        parts = [open_polygon_cells(source, window, MOST) for window in chosen]
        if not any(ds.coords[OUTLINES].size for ds in parts):
            raise bad_input(where, "no polygons that can be read", "at least one in the region")
        for ds in parts:
            check_method(ds, source.method if source.method != "conservative" else "mean", where)
            _check_overlaps(ds)
        layers = layers_of(source)
        notes += _notes(parts)
        if len(layers) > 1:
            notes += (f"the first layer, {layers[0]}, of {', '.join(layers)} is read",)
    return SourceInfo(
        name=source.name,
        shape=(int(found["features"]),),
        bounds=(float(west), float(south), float(east), float(north)),
        resolution=(0.0, 0.0),
        bytes=sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file()),
        crs=crs,
        checked=1.0,
        notes=notes,
        values=tuple(values),
    )


def _check_values(
    source: Source, variables: Mapping[str, Variable], where: str, faults: Faults
) -> tuple[list[str], list[ValueSummary]]:
    """Return notes on the values, and what they are.

    Adds a fault for each variable without units or valid values, or with values out of range.
    """
    notes: list[str] = []
    summaries: list[ValueSummary] = []
    columns = sorted({entry.name for entry in source.variables.values()} - {OUTLINE})
    frame = read_columns(source, columns)
    for name, entry in source.variables.items():
        if entry.name == OUTLINE or name not in variables:
            continue
        if entry.units is None and not is_classes(source):
            faults.add(f"{where}: {name}", "no units in the file", "units",
                       "Set `units` in the catalog.")  # fmt: skip
            continue
        values, attrs = class_or_number(frame[entry.name], source)
        da = xr.DataArray(values, dims="cell", name=entry.name, attrs=attrs)
        with faults.collecting():
            decoding, tally = decoding_of(da, source, name, variables[name]), Tally()
            decoding = replace(decoding, tally=tally)
            decoded = decoding.finish(decoding.values(values), None)
            tally.check_stored(variables[name], f"{where}: {name}", faults)
            notes += [f"{name}: {text}" for text in tally.remarks]
            tally.add_values(decoded)
            if not is_classes(source):
                summaries.append(tally.summary(name, variables[name].units))
            if not np.isfinite(decoded).any():
                faults.add(f"{where}: {name}", "no valid value", "a column with values",
                           "Check the column, and nodata and classes of the entry.")  # fmt: skip
    return notes, summaries


def _check_overlaps(ds: xr.Dataset) -> None:
    """Raise `InputError` where the polygons cover much of their extent more than once."""
    outlines, attrs = ds.coords[OUTLINES].values, ds.coords[OUTLINES].attrs
    if not len(outlines):
        return
    crs = str(attrs["crs"])
    if attrs["overlaps"] != "normalise":
        check_share(_twice(outlines), str(attrs["where"]))
    west, south, east, north = shapely.total_bounds(outlines)
    if is_geographic_crs(crs):
        south, north, east = max(south, -90.0), min(north, 90.0), min(east, west + 360.0)
    if not (east > west and north > south):
        return
    grid = TargetGrid(
        name="overlaps", crs=crs, west=west, north=north, dx=(east - west) / _CELLS,
        dy=(north - south) / _CELLS, shape=(_CELLS, _CELLS),
    )  # fmt: skip
    element_operator(ds, grid, "mean")


def _twice(outlines: np.ndarray) -> float:
    """Return the fraction of the area that is of polygons with a point within another one.

    Small polygons far apart, such as lakes, never fill the cells of a grid.
    """
    known = outlines[~shapely.is_missing(outlines)]
    areas = shapely.area(known)
    point, _ = shapely.STRtree(known).query(shapely.point_on_surface(known), predicate="within")
    count = np.bincount(point, minlength=known.size)
    return float((areas * (1.0 - 1.0 / np.maximum(count, 1))).sum() / max(areas.sum(), 1e-30))


def _notes(parts: Sequence[xr.Dataset]) -> tuple[str, ...]:
    repaired = max((int(ds.coords[OUTLINES].attrs["repaired"]) for ds in parts), default=0)
    count = max((ds.sizes["cell"] for ds in parts), default=0)
    if not repaired:
        return ()
    return (f"{repaired} of {count} polygons are not valid (self-intersections) and are repaired",)
