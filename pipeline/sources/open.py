"""open_source(): the files of a catalog entry as a lazy Dataset, cropped to a window.

Names and values are those of the file; `canonicalise` renames, rescales and checks them.
`check_source` compares the files with the entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyproj
import xarray as xr
from scipy.spatial import cKDTree

from pipeline.catalog.catalog import read_variables
from pipeline.catalog.variables import check_names
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source, Variable
from pipeline.grid.crs import is_geographic_crs, unit_vectors
from pipeline.grid.curvilinear import Locator
from pipeline.grid.same_crs import same_crs
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.window import source_window
from pipeline.readers.long.sample import Looked, noting
from pipeline.readers.registry import driver_of
from pipeline.readers.remote.references import is_references
from pipeline.sources.arrays.resets import check_resets, prepared
from pipeline.sources.axes import axes_of
from pipeline.sources.canonical import canonicalise
from pipeline.sources.check_files import check_files
from pipeline.sources.check_metadata import SourceInfo, check_opened
from pipeline.sources.check_values import NO_VALUE, check_values
from pipeline.sources.computed.tally import Tally
from pipeline.sources.crop import MARGIN, Window, cropped
from pipeline.sources.joint_info import joint_info
from pipeline.sources.plausible import plausibility_note
from pipeline.sources.polygons.cells import has_polygon_cells, is_classes, open_polygon_cells
from pipeline.sources.polygons.check import check_polygons
from pipeline.sources.tiles import check_merged_times, mosaic_of

__all__ = [
    "SourceInfo", "Window", "check_files", "check_source", "nearest_cells", "open_source",
    "read_bytes",
]  # fmt: skip

SAMPLED_TILES = 16
"""Number of tiles of a mosaic whose metadata and values are compared with the entry."""


def open_source(
    source: Source,
    window: Window | Callable[[str], Window] | None = None,
    margin: float | None = None,
    *,
    on: TargetGrid | None = None,
) -> xr.Dataset:
    """Return the source's variables under their file names, lazy if the format allows it.

    Dims are those of the file; npz has (time, y, x), a table (time, cell). `window`, bounds or a
    function that returns them for the CRS of the source's coordinates, crops to the cells that
    overlap it and `margin` cells more (by default as the source's method needs; degrees for a
    table), or to all longitudes if it crosses the first meridian of the file. With a target grid
    `on`, the result is the part that any method needs to regrid the source onto it, in canonical
    form (`canonicalise`). Raises `InputError` for missing files and variables.

    >>> from tempfile import mkdtemp
    >>> path, at = Path(mkdtemp()) / "rain.nc", np.arange(0.5, 4)
    >>> rain = xr.DataArray(np.ones((4, 4)), {"lat": at, "lon": at}, ("lat", "lon"), "rain")
    >>> rain.to_netcdf(path)
    >>> entry = {"name": "gauges", "uri": str(path), "driver": "netcdf",
    ...          "variables": {"precipitation": {"name": "rain", "units": "cm/day"}}}
    >>> source = Source.model_validate(entry)
    >>> list(open_source(source).data_vars)
    ['rain']
    >>> grid = TargetGrid.from_bounds("corner", "EPSG:4326", (0, 0, 2, 2), 1.0)
    >>> open_source(source, on=grid)["precipitation"].attrs["units"]
    'mm/day'
    """
    faults = Faults()
    check_files(source, faults)
    faults.raise_if_any()
    if has_polygon_cells(source):
        ds = open_polygon_cells(source, window if on is None else partial(source_window, on))
        return ds if on is None else canonicalise(ds, source, read_variables())
    ds = prepared(source)
    if on is not None:
        ds = cropped(ds, source, partial(source_window, on), MARGIN)
        return canonicalise(ds, source, read_variables())
    return ds if window is None else cropped(ds, source, window, margin)


def check_source(
    source: Source,
    faults: Faults,
    variables: Mapping[str, Variable] | None = None,
    windows: Callable[[str], Sequence[Window]] | None = None,
    *,
    values: bool = True,
) -> SourceInfo | None:
    """Compare metadata and values of the files with the entry; adds all faults found.

    `variables` are the canonical ones, by default those of the packaged `variables.yml`. Values
    are checked within the `windows` for the source's CRS, by default everywhere: all values of
    small sources, a sample of large ones; without `values` only those that show whether totals
    run on. Returns None if the files cannot be opened or the driver has no variables.
    """
    check_part = partial(check_source, variables=variables, windows=windows, values=values)
    if source.merge:
        return _check_parts(source, source.members, faults, check_part)
    driver = driver_of(source)
    if not check_files(source, faults):
        return None
    if not (driver.has_variables or has_polygon_cells(source)):
        return None
    known = {**(read_variables() if variables is None else variables), **source.own_variables}
    check_names(source, known, f'source "{source.name}", {source.files[0]}', faults)
    try:
        if has_polygon_cells(source):
            return check_polygons(source, known, windows, faults)
        if (mosaic := mosaic_of(source)) is not None:
            sample = mosaic.sample(windows, SAMPLED_TILES)
            info = _check_parts(source, sample, faults, check_part)
            return info and mosaic.described(info, len(sample))
        tallies = {name: Tally() for name in source.variables}
        with noting() as long:
            ds, before = prepared(source, tallies), len(faults.faults)
        info = check_opened(ds, source, known, faults)
        if len(faults.faults) == before:
            for name in [name for name in source.variables if name in known]:
                with faults.collecting():
                    check_resets(ds, source, name, known[name])
        if len(faults.faults) > before or not values:
            return info
        chosen = (
            []
            if windows is None or driver_of(source).returns == "sites"
            else _outermost(windows(info.crs))
        )
        parts = [cropped(ds, source, window, None) for window in chosen] or [ds]
        checked = check_values(ds, parts, source, known, faults, tallies, sampled=bool(long))
        notes = [
            f"{name}: {note}"
            for name, tally in tallies.items()
            if name in known
            for note in (*tally.notes(known[name].units), plausibility_note(known[name], tally))
            if note
        ]
        summaries = tuple(
            tally.summary(name, known[name].units)
            for name, tally in tallies.items()
            if name in known and tally.read and not is_classes(source)
        )
        notes = [*info.notes, *notes, *_looked_at(long)]
        return replace(info, checked=checked, notes=tuple(notes), values=summaries)
    except InputError as error:
        faults.faults += error.faults
        return None


def _looked_at(series: Mapping[int, Looked]) -> list[str]:
    """Return a note for each series of which some files are not looked at yet."""
    return [
        f"{looked:,} of {count:,} files looked at whole; each of the others is compared with the"
        " first when it is read, or by `stefaland check --all-files`"
        for looked, count in dict.fromkeys(one.counts for one in series.values())
        if looked < count
    ]


def _check_parts(
    source: Source,
    parts: Sequence[Source],
    faults: Faults,
    check: Callable[[Source, Faults], SourceInfo | None],
) -> SourceInfo | None:
    """Check each part of a source, and that their times agree; None if one cannot be opened.

    Tiles without a valid value, such as those of sea, are no fault unless all are.
    """
    infos, found, empty = [], Faults(), []
    for part in parts:
        of_part = Faults()
        infos.append(check(part, of_part))
        empty.append([fault for fault in of_part.faults if fault.found == NO_VALUE])
        found.faults += [fault for fault in of_part.faults if fault.found != NO_VALUE]
    if source.merge or all(empty):
        found.faults += [fault for of_part in empty for fault in of_part]
    known = [info for info in infos if info is not None]
    if source.merge and not found.faults:
        with found.collecting():
            check_merged_times(source)
    faults.faults += found.faults
    return joint_info(source, known) if len(known) == len(infos) else None


def _outermost(windows: Sequence[Window]) -> list[Window]:
    """Return the windows that lie within no other window, without duplicates."""

    def within(a: Window, b: Window) -> bool:
        return b[0] <= a[0] and b[1] <= a[1] and b[2] >= a[2] and b[3] >= a[3]

    unique = list(dict.fromkeys(windows))
    return [a for a in unique if not any(a != b and within(a, b) for b in unique)]


def read_bytes(
    source: Source, window: Window | Callable[[str], Window], counts: tuple[int, int]
) -> int:
    """Return the approximate bytes of files read by `counts` (rows, cols) tiles that fill `window`.

    This is the size of the files times the fraction that the window covers. A chunk that overlaps
    several tiles counts for each, as each decodes it; archives and tables are read once, complete.
    Remote Zarr stores and references are not listed: their size is that of the decoded values.
    """
    if source.merge:
        return sum(read_bytes(part, window, counts) for part in source.members)
    if callable(window) and (mosaic := mosaic_of(source)) is not None:
        needed = mosaic.within(window, MARGIN)
        return sum(_bytes_on_disk(path) for one in needed for path in one.opened_files)
    size = sum(_bytes_on_disk(path) for path in source.opened_files)
    driver = driver_of(source)
    if driver.returns in ("sites", "polygons") or not driver.is_lazy:
        return size
    whole = open_source(source)
    if driver.name == "zarr" and not all(_is_on_disk(path) for path in source.opened_files):
        size = sum(whole[source.opened_name(name)].nbytes for name in source.variables)
    axes = axes_of(whole, source)
    if axes is None:
        return size
    ds = cropped(whole, source, window, None)
    da = whole[source.opened_name(next(iter(source.variables)))]
    fraction = 1.0
    for dim, tiles in zip((axes.y, axes.x), counts, strict=True):
        chunk = da.encoding.get("preferred_chunks", {}).get(dim, 1)
        read = min(whole.sizes[dim], ds.sizes[dim] / tiles + chunk - 1)
        fraction *= tiles * read / whole.sizes[dim]
    return round(size * fraction)


def _is_on_disk(path: Path) -> bool:
    """Whether the chunks of a Zarr store lie under its path on this machine."""
    return isinstance(path, Path) and not is_references(path)


def _bytes_on_disk(path: Path) -> int:
    """Return the size of a file, or of all files of a Zarr store on disk."""
    if not isinstance(path, Path):
        return path.stat().st_size
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def nearest_cells(source: Source, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Return the index of the source's cell nearest to each point (degrees); dims (point,).

    Cells are counted row by row.
    """
    ds = open_source(source)
    axes = axes_of(ds, source)
    if axes is None:
        tree = cKDTree(unit_vectors(ds["lon"].values, ds["lat"].values))
        return np.asarray(tree.query(unit_vectors(lon, lat))[1])
    if axes.is_curvilinear:
        fields = (ds[str(name)].transpose(axes.y, axes.x) for name in (axes.lon, axes.lat))
        col, row = Locator(*(field.values.astype(np.float64) for field in fields)).locate(lon, lat)
        rows, cols = ds.sizes[axes.y], ds.sizes[axes.x]
        row, col = (
            np.clip(np.rint(np.nan_to_num(v)), 0, size - 1).astype(int)
            for v, size in ((row, rows), (col, cols))
        )
        return row * cols + col
    if not same_crs("EPSG:4326", axes.crs):
        to_source = pyproj.Transformer.from_crs("EPSG:4326", axes.crs, always_xy=True)
        lon, lat = (np.asarray(v) for v in to_source.transform(lon, lat))
    x, y = (ds[name].values.astype(np.float64) for name in (axes.x, axes.y))
    across = lon[:, None] - x
    if is_geographic_crs(axes.crs):
        across = (across + 180.0) % 360.0 - 180.0
    return np.abs(lat[:, None] - y).argmin(1) * x.size + np.abs(across).argmin(1)
