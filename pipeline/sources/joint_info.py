"""joint_info(): contents of the parts of a source, such as tiles, as those of one source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyproj

from pipeline.entries.source import Source
from pipeline.grid.crs import is_geographic_crs
from pipeline.sources.check_metadata import SourceInfo
from pipeline.sources.computed.tally import joint_summaries
from pipeline.sources.crop import Window


def joint_info(source: Source, infos: Sequence[SourceInfo]) -> SourceInfo:
    """Return one `SourceInfo` of all parts: their bounds, times, bytes and checked fraction.

    Bounds are in the CRS of the parts, or in degrees if they have several; the resolution is that
    of the first, and the shape that of the bounds in its cells.
    """
    first = infos[0]
    if len({info.crs for info in infos}) > 1:
        infos = [replace(info, bounds=bounds_in_degrees(info), crs="EPSG:4326") for info in infos]
    bounds = union([info.bounds for info in infos])
    times = [time for info in infos if info.times is not None for time in info.times]
    size = sum(info.bytes for info in infos)
    checked = sum(info.checked * info.bytes for info in infos)
    dx, dy = first.resolution
    shape = (round((bounds[3] - bounds[1]) / dy), round((bounds[2] - bounds[0]) / dx)) if dx else ()
    return SourceInfo(
        name=source.name,
        shape=shape or first.shape,
        bounds=bounds,
        resolution=first.resolution,
        bytes=size,
        times=(min(times), max(times)) if times else None,
        crs=infos[0].crs,
        checked=checked / size if size else 1.0,
        notes=tuple(dict.fromkeys(note for info in infos for note in info.notes)),
        values=joint_summaries(one for info in infos for one in info.values),
    )


def union(bounds: Sequence[Window]) -> Window:
    """Return the smallest bounds that hold all."""
    west, south, east, north = zip(*bounds, strict=True)
    return min(west), min(south), max(east), max(north)


def bounds_in_degrees(info: SourceInfo) -> Window:
    """Return the bounds of a source in degrees; the east is above 180 across the antimeridian."""
    if is_geographic_crs(info.crs):
        return info.bounds
    to_degrees = pyproj.Transformer.from_crs(info.crs, "EPSG:4326", always_xy=True)
    west, south, east, north = to_degrees.transform_bounds(*info.bounds, densify_pts=21)
    return west, south, east if east >= west else east + 360.0, north
