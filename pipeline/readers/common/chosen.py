"""chosen(): the variables that an entry names, out of everything that a file holds."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from pipeline.core.errors import Faults, nearest_name
from pipeline.entries.source import Source
from pipeline.readers.common.wrf_coordinates import plain_coordinates


def chosen(ds: xr.Dataset, source: Source, path: Path) -> xr.Dataset:
    """The entry's variables, and latitudes, longitudes and times as coordinates.

    Time steps that are dealt out among several variables (`records`) are put together again.
    Raises `InputError` with all variables that the file lacks.
    """
    faults = Faults()
    names = [variable.name for variable in source.variables.values()]
    for name in names:
        if name not in ds:
            known = [str(known) for known in ds.data_vars]
            faults.add(
                f'source "{source.name}", {path}', f"variables {', '.join(known) or 'none'}",
                f'a variable "{name}"', nearest_name(name, known),
            )  # fmt: skip
    faults.raise_if_any()
    named = (source.lat, source.lon, source.dims.get("time"))
    places = {str(n) for n in named if n in ds.variables}
    places |= {
        str(n)
        for n in ds.variables
        if ds[n].ndim == 2 and ds[n].attrs.get("standard_name") in ("latitude", "longitude")
    }
    mappings = {str(ds[n].attrs.get("grid_mapping", "")).split(":")[0] for n in names}
    kept = places | {name for name in mappings if name in ds.variables}
    found = ds.set_coords(sorted(kept))[names]
    return _redealt(ds, plain_coordinates(found, source, f'source "{source.name}", {path}'), source)


def _redealt(ds: xr.Dataset, found: xr.Dataset, source: Source) -> xr.Dataset:
    """The variables whose time steps are dealt out among several, put together again."""
    time = source.dims.get("time", "time")
    for entry in source.variables.values():
        if not entry.records:
            continue
        spread = xr.concat([ds[name].load() for name in entry.records], "record")
        dealt = spread.transpose(time, "record", ...).values
        steps = dealt.shape[0]
        flat = dealt.reshape(-1, *dealt.shape[2:])[entry.layer * steps : (entry.layer + 1) * steps]
        template = ds[entry.name].transpose(time, ...)
        found[entry.name] = template.copy(data=flat)
    return found
