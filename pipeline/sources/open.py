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
from pipeline.core.addresses import ask_heads, public_uri
from pipeline.core.errors import Faults, InputError, listed
from pipeline.core.system.paths import unfit_path, unreadable_path
from pipeline.entries.file_series import has_glob, named_part, padded
from pipeline.entries.source import Source, Variable
from pipeline.grid.crs import is_geographic_crs, unit_vectors
from pipeline.grid.curvilinear import Locator
from pipeline.grid.same_crs import same_crs
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.window import source_window
from pipeline.readers.common.refusals import missing_hint
from pipeline.readers.common.truncated import missing_bytes
from pipeline.readers.registry import driver_of, files_of
from pipeline.readers.remote.references import is_references
from pipeline.sources.arrays.resets import prepared
from pipeline.sources.axes import axes_of
from pipeline.sources.canonical import canonicalise
from pipeline.sources.check_metadata import SourceInfo, check_opened
from pipeline.sources.check_values import NO_VALUE, check_values
from pipeline.sources.computed.tally import Tally
from pipeline.sources.crop import MARGIN, Window, cropped
from pipeline.sources.joint_info import joint_info
from pipeline.sources.plausible import plausibility_note
from pipeline.sources.polygons.cells import has_polygon_cells, open_polygon_cells
from pipeline.sources.polygons.check import check_polygons
from pipeline.sources.tiles import check_merged_times, mosaic_of

__all__ = [
    "SourceInfo", "Window", "check_files", "check_source", "nearest_cells", "open_source",
    "read_bytes",
]  # fmt: skip

SAMPLED_TILES = 16
"""Number of tiles of a mosaic whose metadata and values are compared with the entry."""
MAX_LISTED = 12
"""Number of missing files, a year of months, up to which each is a fault of its own."""


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


def check_files(source: Source, faults: Faults) -> bool:
    """Whether all files exist and are complete; adds a fault for each that is not."""
    before = len(faults.faults)
    for uri, part in [(uri, part) for uri in source.uris if (part := named_part(uri))]:
        faults.add(
            f'source "{source.name}", {uri}', "GDAL's name of a part of a file",
            "the address of the file",
            f"Write `uri: {part[0]}`, `name: {part[1]}` in `variables` and the driver of the file "
            "(netcdf for HDF5).",
        )  # fmt: skip
    if len(faults.faults) > before:
        return False
    try:
        _check_each(source, faults)
    except InputError as error:  # of a remote address, which names no source
        for fault in error.faults:
            where = f'source "{source.name}", {fault.where}'
            faults.add(where, fault.found, fault.expected, fault.hint)
    except OSError as error:  # of a folder that is listed, or a file that may not be opened
        where = f'source "{source.name}", {error.filename or source.address}'
        found, hint = unreadable_path(error)
        faults.add(where, found, "the data of the catalog entry", hint)
    return len(faults.faults) == before


def _check_each(source: Source, faults: Faults) -> None:
    files = files_of(source)
    ask_heads(files)
    unfit = {path: why for path in files if isinstance(path, Path) and (why := unfit_path(path))}
    for path, (found, hint) in unfit.items():
        expected = "the data of the catalog entry"
        faults.add(f'source "{source.name}", {path}', found, expected, hint)
    files = [path for path in files if path not in unfit]
    there = {path: None for path in files if path.exists()}
    if not (source.may_lack_files and there):
        _add_missing(source, [path for path in files if path not in there], len(files), faults)
    for path in there:
        where = f'source "{source.name}", {path}'
        if path.is_file() and path.stat().st_size == 0:
            faults.add(where, "an empty file", "the data of the catalog entry", missing_hint(path))
        elif path.is_file() and (cut := missing_bytes(path)) is not None:
            faults.add(
                where, "the first {:,} bytes of a truncated file".format(*cut),
                "the {1:,} bytes or more that its header declares".format(*cut),
                "Download it again.",
            )  # fmt: skip


def _add_missing(source: Source, missing: Sequence[Path], count: int, faults: Faults) -> None:
    """Add a fault for each missing file of `count` files, or one for many of a series."""
    if len(missing) > MAX_LISTED:
        hint = "Download them, limit `time: {years, period}` to these, or set `gaps: missing`."
        faults.add(
            f'source "{source.name}", {source.address}',
            f"no such files: {listed(path.name for path in missing)}",
            f"{count} files, one per step",
            _padding_hint(source) or (hint if source.time.years else missing_hint(missing[0])),
        )  # fmt: skip
        return
    for path in missing:
        found = "no file whose name matches" if has_glob(path.name) else "no such file"
        where = f'source "{source.name}", {path}'
        hint = _padding_hint(source) or missing_hint(path)
        faults.add(where, found, "the data of the catalog entry", hint)


def _padding_hint(source: Source) -> str:
    """Return the hint where files have names with zeros that the keys of the uri lack."""
    uris = tuple(map(padded, source.uris))
    if uris == source.uris:
        return ""
    there = any(path.exists() for path in source.model_copy(update={"uri": uris}).files)
    return (
        f"Write the zeros of its name: `uri: {', '.join(map(public_uri, uris))}`." if there else ""
    )


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
    small sources, a sample of large ones; none without `values`. Returns None if the files cannot
    be opened or the driver has no variables.
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
        ds, before = prepared(source, tallies), len(faults.faults)
        info = check_opened(ds, source, known, faults)
        if len(faults.faults) > before or not values:
            return info
        chosen = (
            []
            if windows is None or driver_of(source).returns == "sites"
            else _outermost(windows(info.crs))
        )
        parts = [cropped(ds, source, window, None) for window in chosen] or [ds]
        checked = check_values(ds, parts, source, known, faults, tallies)
        notes = [
            f"{name}: {note}"
            for name, tally in tallies.items()
            if name in known
            for note in (*tally.notes(known[name].units), plausibility_note(known[name], tally))
            if note
        ]
        return replace(info, checked=checked, notes=(*info.notes, *notes))
    except InputError as error:
        faults.faults += error.faults
        return None


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
