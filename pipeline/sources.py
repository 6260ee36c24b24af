"""open_source(): a catalog entry's files as a lazy Dataset, as found, cropped to a window.

Upstream: catalog.py. Downstream: canonical.py, which renames, rescales and checks. `openers` has
one opener per driver, `source_checks` compares what they open with the entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from pipeline.catalog import Source, Variable, read_variables
from pipeline.classic_netcdf import missing_bytes
from pipeline.layout import Layout, cell_size, is_geographic_crs, layout
from pipeline.openers import INSTALL, OPENERS
from pipeline.source_checks import SourceInfo, check_opened
from stefaland.errors import Faults, InputError, few, nearest_name

__all__ = ["SourceInfo", "Window", "check_files", "check_source", "open_source",
           "source_coordinates"]  # fmt: skip

Window = tuple[float, float, float, float]
"""west, south, east, north in the source's CRS (of a curvilinear source or a table: degrees)."""
MARGIN = 2.0
"""Cells kept around a window, for methods that look at neighbours."""
MOST_TOLD = 12
"""Missing files that are told one by one: a year of months."""


def open_source(
    source: Source, window: Window | None = None, margin: float | None = None
) -> xr.Dataset:
    """The source's variables under their file names, lazy where the format allows.

    Dims as in the file; npz has (time, y, x), a table (time, cell). A `window` crops to the cells
    that overlap it and `margin` cells more (by default what the source's method looks at; degrees
    for a table), to all longitudes where that crosses the file's seam. Raises `InputError` for
    missing files and variables.
    """
    faults = Faults()
    check_files(source, faults)
    faults.raise_if_any()
    ds = OPENERS[source.driver](source)
    return ds if window is None else _cropped(ds, source, window, margin)


def check_files(source: Source, faults: Faults) -> bool:
    """Add a fault for each file that is missing, empty or cut short; tells if all are whole."""
    bad = len(faults.faults)
    there = {path: None for path in source.files if path.exists()}
    if not (source.may_lack_files and there):
        _tell_missing(source, [path for path in source.files if path not in there], faults)
    for path in there:
        where = f'source "{source.name}", {path}'
        if path.is_file() and path.stat().st_size == 0:
            faults.add(where, "an empty file", "the data of the catalog entry", INSTALL)
        elif path.is_file() and (cut := missing_bytes(path)) is not None:
            faults.add(
                where, "the first {:,} bytes of a truncated file".format(*cut),
                "the {1:,} bytes or more that its header declares".format(*cut),
                "Fetch it again.",
            )  # fmt: skip
    return len(faults.faults) == bad


def _tell_missing(source: Source, missing: Sequence[Path], faults: Faults) -> None:
    """A fault for each missing file, or one for many of a series."""
    if len(missing) > MOST_TOLD:
        cure = "Fetch them, name in `time: {years, period}` what there is, or say `gaps: missing`."
        faults.add(
            f'source "{source.name}", {source.uri}',
            f"no such files: {few(path.name for path in missing)}",
            f"{len(source.files)} files, one a step", cure if source.time.years else INSTALL,
        )  # fmt: skip
        return
    for path in missing:
        where = f'source "{source.name}", {path}'
        faults.add(where, "no such file", "the data of the catalog entry", INSTALL)


def check_source(
    source: Source, faults: Faults, variables: Mapping[str, Variable] | None = None
) -> SourceInfo | None:
    """Compare the files with the entry, reading metadata and a few values; adds all faults found.

    `variables` are the canonical ones, by default those of the packaged `variables.yml`. Gives
    None where the files cannot be opened or the driver has no grid.
    """
    if not check_files(source, faults) or source.driver not in OPENERS:
        return None
    known = read_variables() if variables is None else variables
    for name in source.variables:
        if variables is not None and name not in known:
            faults.add(
                f'source "{source.name}", {source.files[0]}: {name}',
                "no canonical variable of this name", "a name from variables.yml",
                nearest_name(name, known),
            )  # fmt: skip
    try:
        return check_opened(OPENERS[source.driver](source), source, known, faults)
    except InputError as error:
        faults.faults += error.faults
        return None


def source_coordinates(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of the source's cells as found, float64; 1-D."""
    ds = open_source(source)
    places = layout(ds, source)
    return ds[places.x].values.astype(np.float64), ds[places.y].values.astype(np.float64)


def _cropped(ds: xr.Dataset, source: Source, window: Window, margin: float | None) -> xr.Dataset:
    if source.is_table:
        reach = margin or 0.0
        inside = _inside(ds["lon"].values, ds["lat"].values, window, (reach, reach))
        return ds.isel(cell=np.flatnonzero(inside))
    if margin is None:
        margin = MARGIN if source.method in ("bilinear", "nearest") else 0.0
    # The centre of a cell that overlaps the window lies within half a cell of it.
    margin += 0.5 - 1e-9
    places = layout(ds, source)
    if places.is_curvilinear:
        return _cropped_curvilinear(ds, places, window, margin)
    y, x = (ds[name].values.astype(np.float64) for name in (places.y, places.x))
    step = (margin * cell_size(x), margin * cell_size(y))
    west, south, east, north = window
    rows = _run((y >= south - step[1]) & (y <= north + step[1]))
    if is_geographic_crs(source.crs):
        cols = _run((x - west + step[0]) % 360.0 <= min(east - west + 2 * step[0], 360.0))
    else:
        cols = _run((x >= west - step[0]) & (x <= east + step[0]))
    return ds.isel({places.y: rows, places.x: cols})


def _cropped_curvilinear(
    ds: xr.Dataset, places: Layout, window: Window, margin: float
) -> xr.Dataset:
    """The smallest box of rows and columns with every cell that may overlap the window."""
    lat, lon = (
        ds[str(name)].transpose(places.y, places.x).values.astype(np.float64)
        for name in (places.lat, places.lon)
    )
    # Rows may run any way: the larger step either way is on the safe side. Round a pole a cell
    # spans all longitudes, and so does the reach.
    tall = max(float(np.nanmax(np.abs(np.diff(lat, axis=a)), initial=0.0)) for a in (0, 1))
    turns = [np.abs((np.diff(lon, axis=a) + 180) % 360 - 180) for a in (0, 1)]
    wide = max(float(np.nanmax(turn, initial=0.0)) for turn in turns)
    inside = _inside(lon, lat, window, (margin * wide, margin * tall))
    rows, cols = (_run(np.asarray(inside.any(axis)), holes=True) for axis in (1, 0))
    return ds.isel({places.y: rows, places.x: cols})


def _inside(
    lon: np.ndarray, lat: np.ndarray, window: Window, reach: tuple[float, float]
) -> np.ndarray:
    """Where places lie in the window and its reach (x, y) in degrees, any longitude frame."""
    west, south, east, north = window
    inside = (lat >= south - reach[1]) & (lat <= north + reach[1])
    return inside & ((lon - west + reach[0]) % 360.0 <= min(east - west + 2 * reach[0], 360.0))


def _run(inside: np.ndarray, holes: bool = False) -> slice:
    """The positions where `inside` is True as one slice; all where they are not one run."""
    places = np.flatnonzero(inside)
    if not places.size:
        # A window beyond the source: two cells that do not meet it, so that it comes out missing.
        return slice(0, 2)
    first, last = int(places[0]), int(places[-1]) + 1
    if last - first != places.size and not holes:
        return slice(0, inside.size)
    # One more on each side: a single row or column would not tell its own width.
    return slice(max(0, first - 1), last + 1)
