"""mosaic_of(): the tiles of a source whose files lie on different grids.

Files of a glob, a list or a folder that lie on the same grid are a series in time; files on
different grids are tiles, of which each may be a series. The grid of each file is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import xarray as xr

from pipeline.core.errors import Faults, bad_input
from pipeline.core.files import version_of
from pipeline.entries.file_series import Series
from pipeline.entries.source import Source
from pipeline.entries.source_grid import OF_FILE
from pipeline.entries.values import Operand
from pipeline.grid.crs import is_geographic_crs, named_crs
from pipeline.grid.same_crs import same_crs
from pipeline.readers.common.dims import cell_size
from pipeline.readers.registry import driver_of
from pipeline.sources.arrays.resets import opened, prepared
from pipeline.sources.axes import axes_of
from pipeline.sources.canonical import plan_of
from pipeline.sources.check_metadata import SourceInfo
from pipeline.sources.common_times import merged_times
from pipeline.sources.crop import Window
from pipeline.sources.joint_info import union
from pipeline.sources.polygons.cells import has_polygon_cells

KNOWN_FILES = 1 << 17
"""Number of files whose grids a process keeps."""
_SAME = 1e-2  # fraction of a cell within which the cells of two tiles are on one lattice


class TileSource(Source):
    """The entry of one tile: that of the mosaic with only the files of the tile."""

    only: Series

    def __hash__(self) -> int:
        return hash((self.name, self.files[0]))

    @property
    def series(self) -> Series:
        """Paths of the tile's files at each step."""
        return self.only

    def beside(self, operand: Operand) -> Source:
        """Return the entry of an operand's files: of several, those in the places of the tile's."""
        whole = Source.model_construct(**{k: v for k, v in dict(self).items() if k != "only"})
        other = whole.beside(operand)
        if operand.uri is None:
            return TileSource.model_construct(**dict(other), only=self.only)
        if len(other.files) == 1:
            return other
        ours, theirs = whole.series, other.series
        if any(len(theirs.get(step, ())) != len(paths) for step, paths in ours.items()):
            raise bad_input(
                f'source "{self.name}", {other.address}', f"{len(other.files)} files",
                f"one beside each of the {len(whole.files)} files of {whole.address}",
            )  # fmt: skip
        only = {
            step: tuple(theirs[step][ours[step].index(path)] for path in paths)
            for step, paths in self.only.items()
        }
        return TileSource.model_construct(**dict(other), only=only)


@dataclass(frozen=True, kw_only=True)
class FileGrid:
    """The grid of one file: bounds (west, south, east, north), cell size, and all that differs."""

    crs: str
    bounds: Window
    cell: tuple[float, float]
    shape: tuple[int, int]
    axes: bytes
    """The coordinates of a rectilinear grid; empty for a curvilinear one, which are compared when
    its files are joined."""
    times: bytes
    """The times as stored; empty without a time axis."""

    @property
    def key(self) -> tuple[str, tuple[int, int], bytes]:
        """What the files of one tile share."""
        return self.crs, self.shape, self.axes


@dataclass(frozen=True, kw_only=True, eq=False)
class Mosaic:
    """Tiles of a source in the order of its files, with their grids and common times."""

    sources: tuple[TileSource, ...]
    grids: tuple[FileGrid, ...]
    times: np.ndarray | None
    """Times of all tiles together; None without a time axis."""

    def within(self, window: Callable[[str], Window], margin: float) -> list[TileSource]:
        """The tiles of which a part lies in the window or within `margin` cells of it."""
        windows = {crs: window(crs) for crs in {grid.crs for grid in self.grids}}
        return [
            source
            for source, grid in zip(self.sources, self.grids, strict=True)
            if _meets(grid, windows[grid.crs], margin)
        ]

    def sample(
        self, windows: Callable[[str], Sequence[Window]] | None, count: int
    ) -> list[TileSource]:
        """Some tiles, evenly spread over those that meet one of the windows, or over all."""
        tiles: Sequence[TileSource] = self.sources
        if windows is not None:
            boxes = {crs: windows(crs) for crs in {grid.crs for grid in self.grids}}
            met = [
                source
                for source, grid in zip(self.sources, self.grids, strict=True)
                if any(_meets(grid, box, 0.0) for box in boxes[grid.crs])
            ]
            tiles = met or tiles
        chosen = np.unique(np.linspace(0, len(tiles) - 1, min(count, len(tiles))).round())
        return [tiles[int(i)] for i in chosen]

    def described(self, info: SourceInfo, sampled: int) -> SourceInfo:
        """The contents of all tiles, of which `info` has those of a sample."""
        if len({grid.crs for grid in self.grids}) > 1:
            return info
        bounds = union([grid.bounds for grid in self.grids])
        dx, dy = info.resolution
        return replace(
            info,
            bounds=bounds,
            shape=(round((bounds[3] - bounds[1]) / dy), round((bounds[2] - bounds[0]) / dx))
            if dx
            else info.shape,
            bytes=round(info.bytes * len(self.sources) / sampled),
            checked=info.checked * sampled / len(self.sources),
        )


def check_merged_times(source: Source) -> None:
    """Raise `InputError` if the times of the parts of a merged entry do not join to one axis."""
    found = []
    parts = [part for part in source.parts if not has_polygon_cells(part)]  # which have no times
    for part in parts:
        mosaic = mosaic_of(part)
        found += [_times(part, [part])] if mosaic is None else [mosaic.times]
    axes = [times for times in found if times is not None]
    static = [part for part, times in zip(parts, found, strict=True) if times is None]
    timed = [part for part, times in zip(parts, found, strict=True) if times is not None]
    for part in static:
        for other in timed:
            if both := part.variables.keys() & other.variables.keys():
                raise bad_input(
                    f'source "{source.name}", {part.name}: {min(both)}', "no times",
                    f"times, as {other.name} has", "Merge entries with equal dimensions.",
                )  # fmt: skip
    if axes:
        merged_times(source, axes)


def mosaic_of(source: Source) -> Mosaic | None:
    """The mosaic of a source with several files at one step, None if all are on one grid.

    Raises `InputError` for files that cannot be read, and for tiles that the source's method cannot
    join: bilinear between cells of different sizes or positions.
    """
    if source.merge or isinstance(source, TileSource) or driver_of(source).returns != "grid":
        return None
    series = source.opened
    if all(len(paths) < 2 for paths in series.values()):
        return None
    files = tuple(source.opened_files)
    if not all(path.exists() for path in files):
        return None
    return _mosaic(source, files, tuple(map(version_of, files)))


@lru_cache(maxsize=32)
def _mosaic(
    source: Source, files: tuple[Path, ...], stamps: tuple[tuple[int, ...], ...]
) -> Mosaic | None:
    steps = {path: step for step, paths in source.opened.items() for path in paths}
    stamp = dict(zip(files, stamps, strict=True))

    def grid_of(path: Path) -> FileGrid:
        return _grid(_tile(source, {steps[path]: (path,)}), stamp[path])

    # Names put tiles or times beside each other: these few differ unless all files are one series.
    probes = {files[i] for i in (0, 1, len(files) // 2, -1)}
    if len({grid_of(path).key for path in probes}) == 1:
        return None
    tiles: dict[tuple[str, tuple[int, int], bytes], list[Path]] = {}
    grids, faults = [], Faults()
    times: dict[Path, bytes] = {}
    for path in files:
        with faults.collecting():
            grid = grid_of(path)
            times[path] = repr(steps[path]).encode() + grid.times
            if grid.key not in tiles:
                grids.append(grid)
            tiles.setdefault(grid.key, []).append(path)
    faults.raise_if_any()
    sources = tuple(_tile(source, _by_step(paths, steps)) for paths in tiles.values())
    if source.method == "bilinear" and (odd := _off_lattice(grids)) is not None:
        raise bad_input(
            f'source "{source.name}", {sources[odd].files[0]}',
            f"cells that do not continue those of {sources[0].files[0]}",
            "tiles of equal cells, for the method bilinear",
            "Set `method: conservative` or nearest, or join the tiles with gdalbuildvrt.",
        )  # fmt: skip
    axes = {tuple(times[path] for path in paths): one
            for one, paths in zip(sources, tiles.values(), strict=True)}  # fmt: skip
    return Mosaic(sources=sources, grids=tuple(grids), times=_times(source, list(axes.values())))


def _tile(source: Source, series: Series) -> TileSource:
    return TileSource.model_construct(**dict(source), only=series)


def _by_step(paths: Sequence[Path], steps: dict[Path, tuple[int, ...]]) -> Series:
    found: dict[tuple[int, ...], tuple[Path, ...]] = {}
    for path in paths:
        found[steps[path]] = (*found.get(steps[path], ()), path)
    return dict(sorted(found.items()))


@lru_cache(maxsize=KNOWN_FILES)
def _grid(source: TileSource, stamp: tuple[int, ...]) -> FileGrid:
    """Return the grid of a source of one file, cached until its time of change is another."""
    return _outlined(source) or _by_coordinates(source)


def _outlined(source: TileSource) -> FileGrid | None:
    """Return the grid from the file's outline, if its driver has one and the entry cuts nothing."""
    outline = driver_of(source).outline
    if outline is None or source.dims or any((*source.trim, *source.trim_start)):
        return None
    try:
        found = outline(source.files[0])
    except OSError:
        return None  # `open` reports why it cannot be read
    if not (found and found.crs):
        return None
    crs = named_crs(found.crs) if source.crs == OF_FILE else source.crs
    if not (source.overrides("crs") or same_crs(found.crs, crs)):
        return None
    return FileGrid(
        crs=crs,
        bounds=found.bounds,
        cell=found.cell,
        shape=found.shape,
        axes=np.array((*found.bounds, *found.cell)).tobytes(),
        times=b"",
    )


def _by_coordinates(source: TileSource) -> FileGrid:
    ds = opened(source)
    axes = axes_of(ds, source)
    if axes is None:
        return _cells(ds)
    has_times = axes.time is not None and axes.time in ds.coords
    times = repr(np.atleast_1d(ds[axes.time].values).tolist()) if has_times else ""
    curvilinear = axes.is_curvilinear
    names = (axes.lon, axes.lat) if curvilinear else (axes.x, axes.y)
    x, y = (ds[str(name)].values.astype(np.float64) for name in names)
    west, south, east, north = (float(f(v)) for f in (np.nanmin, np.nanmax) for v in (x, y))
    dx, dy = (0.0, 0.0) if curvilinear else (cell_size(x), cell_size(y))
    return FileGrid(
        crs=axes.crs,
        bounds=(west - dx / 2, south - dy / 2, east + dx / 2, north + dy / 2),
        cell=(dx, dy),
        shape=(ds.sizes[axes.y], ds.sizes[axes.x]),
        axes=b"" if curvilinear else x.tobytes() + y.tobytes(),
        times=times.encode(),
    )


def _cells(ds: xr.Dataset) -> FileGrid:
    """Return the grid of cells along one dimension, which is that of another file if all are."""
    lon, lat = (np.ascontiguousarray(ds[name].values, np.float64) for name in ("lon", "lat"))
    times = repr(np.atleast_1d(ds["time"].values).tolist()) if "time" in ds.coords else ""
    west, south, east, north = (float(f(v)) for f in (np.nanmin, np.nanmax) for v in (lon, lat))
    return FileGrid(
        crs="EPSG:4326", bounds=(west, south, east, north), cell=(0.0, 0.0), shape=(1, lon.size),
        axes=lon.tobytes() + lat.tobytes(), times=times.encode(),
    )  # fmt: skip


def _times(source: Source, tiles: Sequence[Source]) -> np.ndarray | None:
    """Return the common times of tiles, of which each stands for all with the same times."""
    plans = []
    for tile in tiles:
        ds = prepared(tile)
        plans.append(plan_of(ds, tile, axes_of(ds, tile)))
    found = [plan.values for plan in plans if plan is not None]
    return merged_times(source, found) if found else None


def _meets(grid: FileGrid, window: Window, margin: float) -> bool:
    """Whether a grid has a cell in the window or within `margin` cells of it."""
    west, south, east, north = window
    # Curvilinear cells have no one size: their centres are extended by a degree.
    x, y = (margin * size if size else 1.0 + margin for size in grid.cell)
    left, bottom, right, top = grid.bounds
    if bottom - y > north or top + y < south:
        return False
    if not is_geographic_crs(grid.crs):
        return left - x <= east and right + x >= west
    width = min(right - left + 2 * x, 360.0)
    start = (left - x - west) % 360.0
    return start <= east - west or start + width >= 360.0


def same_lattice(one: FileGrid, other: FileGrid) -> bool:
    """Whether the cells of two grids are parts of one larger regular grid."""
    if one.crs != other.crs or not all((*one.cell, *other.cell)):
        return False
    for axis in (0, 1):
        step = one.cell[axis]
        count = max(*one.shape, *other.shape)
        offset = (other.bounds[axis] - one.bounds[axis]) / step
        if abs(other.cell[axis] - step) * count > _SAME * step:
            return False
        if abs(offset - round(offset)) > _SAME:
            return False
    return True


def _off_lattice(grids: Sequence[FileGrid]) -> int | None:
    """Return the position of the first tile that does not continue the cells of the first."""
    return next((i for i, grid in enumerate(grids) if not same_lattice(grids[0], grid)), None)
