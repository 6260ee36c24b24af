"""canonical_parts(): the parts of a source that a target grid needs, each in canonical form.

A plain entry is one part. An entry that is made of others has those of each, and a mosaic its tiles
in the window, of which those on one lattice are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from pipeline.entries.source import Source, Variable
from pipeline.sources.canonical import LOAD_BYTES, canonicalise
from pipeline.sources.common_times import merged_times
from pipeline.sources.crop import MARGIN, Window
from pipeline.sources.open import open_source
from pipeline.sources.tile_arrays import joined_tiles
from pipeline.sources.tiles import mosaic_of


@dataclass(frozen=True, kw_only=True, eq=False)
class SourcePart:
    """A part of a source: its entry, its canonical Dataset, and the times of the whole entry."""

    source: Source
    ds: xr.Dataset
    times: np.ndarray | None


def opened_parts(
    source: Source, window: Callable[[str], Window], margin: float | None = None
) -> list[tuple[Source, xr.Dataset]]:
    """Each entry or tile of a source with its files opened and cropped as by `open_source`.

    Of a mosaic these are the tiles that the window meets, or the first if it meets none.
    """
    return [
        (one, open_source(one, window, margin))
        for part in source.parts
        for one in _needed(part, window, margin)
    ]


def _needed(
    source: Source, window: Callable[[str], Window], margin: float | None
) -> Sequence[Source]:
    mosaic = mosaic_of(source)
    if mosaic is None:
        return (source,)
    return mosaic.within(window, MARGIN if margin is None else margin) or mosaic.sources[:1]


def canonical_parts(
    source: Source,
    variables: Mapping[str, Variable],
    window: Callable[[str], Window],
    margin: float | None = None,
    load_bytes: int = LOAD_BYTES,
) -> list[SourcePart]:
    """The parts of a source in a window, as `opened_parts`, in canonical form (`canonicalise`).

    Variables above `load_bytes`, of all tiles of a mosaic together, stay lazy.
    """
    parts = []
    for entry in source.parts:
        opened = opened_parts(entry, window, margin)
        load = load_bytes // len(opened)
        tiles = [canonicalise(ds, one, variables, load_bytes=load) for one, ds in opened]
        mosaic = mosaic_of(entry)
        for ds in tiles if mosaic is None else joined_tiles(tiles):
            own = ds["time"].values if "time" in ds.dims else None
            times = own if mosaic is None else mosaic.times
            parts.append(SourcePart(source=entry, ds=ds, times=times))
    return parts


def times_of(source: Source, parts: Sequence[SourcePart]) -> xr.DataArray | None:
    """The times of a source with these parts, with the attributes of the first; None without."""
    axes = [part.times for part in parts if part.times is not None]
    if not axes:
        return None
    attrs = next(part.ds["time"].attrs for part in parts if "time" in part.ds.coords)
    same = all(np.array_equal(axes[0], other, equal_nan=True) for other in axes[1:])
    plain = same and not (source.merge and source.time.period)
    values = axes[0] if plain else merged_times(source, axes)
    return xr.DataArray(values, dims="time", attrs=attrs)


def is_whole(parts: Sequence[SourcePart], times: xr.DataArray | None) -> bool:
    """Whether there is one part, which has all times of its source."""
    if len(parts) != 1 or times is None:
        return len(parts) == 1
    return bool(np.array_equal(parts[0].ds["time"].values, times.values, equal_nan=True))


def in_steps(ds: xr.Dataset, steps: slice) -> xr.Dataset:
    """Some steps of a Dataset; variables without time only with the first step."""
    ds = _varying(ds) if steps.start else ds
    return ds.isel(time=steps) if "time" in ds.dims else ds


def at_steps(ds: xr.Dataset, times: xr.DataArray | None, steps: slice) -> xr.Dataset:
    """The steps of a part that are among some steps of its source; its first if none is."""
    if times is None or "time" not in ds.dims:
        return in_steps(ds, steps)
    found = np.flatnonzero(np.isin(ds["time"].values, times.values[steps]))
    first, last = (int(found[0]), int(found[-1])) if found.size else (0, 0)
    ds = _varying(ds) if steps.start else ds
    return ds.isel(time=slice(first, last + 1))


def _varying(ds: xr.Dataset) -> xr.Dataset:
    return ds.drop_vars([name for name, da in ds.data_vars.items() if "time" not in da.dims])


def on_times(ds: xr.Dataset, times: xr.DataArray | None, steps: slice) -> xr.Dataset:
    """A regridded part at some steps of its source, NaN in those that the part does not have."""
    if times is None or "time" not in ds.dims:
        return ds
    wanted = times[steps]
    return ds.reindex(time=wanted.values).assign_coords(time=wanted)
