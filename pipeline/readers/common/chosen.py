"""chosen(): the variables of a file that a catalog entry names."""

from __future__ import annotations

import re
from collections.abc import Iterable

import xarray as xr

from pipeline.core.addresses import AnyPath
from pipeline.core.errors import Faults, nearest_name
from pipeline.core.system.promises import check_chunk
from pipeline.entries.source import Source
from pipeline.grid.unstructured import mesh_variables
from pipeline.readers.common.dims import USUAL
from pipeline.readers.common.wrf_coordinates import plain_coordinates
from pipeline.times.calendars import standard_labels

FETCHED = "fetched"
"""Attribute of stores that `stefaland fetch` wrote."""


def chosen(ds: xr.Dataset, source: Source, path: AnyPath) -> xr.Dataset:
    """Return the entry's variables, with latitudes, longitudes and times as coordinates.

    Time steps that are spread over several variables (`records`) are put in order again.
    Raises `InputError` with all variables that are missing in the file.
    """
    faults = Faults()
    names = [variable.name for variable in source.variables.values()]
    for name in names:
        if name not in ds:
            known = [str(known) for known in ds.data_vars]
            hint = nearest_name(name, known) or part_hint(name, known) or _fetch_hint(ds)
            faults.add(
                f'source "{source.name}", {path}', f"variables {', '.join(known) or 'none'}",
                f'a variable "{name}"', hint,
            )  # fmt: skip
    faults.raise_if_any()
    where = f'source "{source.name}", {path}'
    for name in dict.fromkeys(names):
        check_chunk(f"{where}: {name}", ds[name].encoding, ds[name].dtype)
    named = (source.lat, source.lon, source.dims.get("time"))
    coordinates = {str(n) for n in named if n in ds.variables}
    coordinates |= {
        str(n)
        for n in ds.variables
        if ds[n].ndim == 2 and ds[n].attrs.get("standard_name") in ("latitude", "longitude")
    }
    mappings = {str(ds[n].attrs.get("grid_mapping", "")).split(":")[0] for n in names}
    kept = coordinates | {name for name in mappings if name in ds.variables}
    found = plain_coordinates(ds.set_coords(sorted(kept))[names], source, where)
    dims = dict.fromkeys(dim for name in names for dim in ds[name].dims)
    mesh = mesh_variables(ds, dims, source.lat, source.lon)
    more = {name: ds.variables[name] for name in sorted(mesh)} | _bounds(ds, found)
    found = found.assign_coords(more)
    return _reordered(ds, found.assign_coords(_relabelled(found)), source)


def part_hint(name: str, known: Iterable[str]) -> str:
    """Return the hint for a name of which an expression has only a part, as before a dash.

    >>> part_hint("soil", ["soil-depth", "rain"])
    'In an expression, "soil-depth" needs another name: `operands: {soil_depth: "soil-depth"}`.'
    """
    whole = next((k for k in known if not k.isidentifier() and name in re.split(r"\W+", k)), None)
    if whole is None:
        return ""
    other = re.sub(r"\W+", "_", whole).strip("_")
    return f'In an expression, "{whole}" needs another name: `operands: {{{other}: "{whole}"}}`.'


def _fetch_hint(ds: xr.Dataset) -> str:
    """Return the hint for a store of which `stefaland fetch` copied some variables."""
    if FETCHED not in ds.attrs:
        return ""
    return (
        "Fetch it too, with `stefaland fetch … --variables`, or leave it out of `variables` in an "
        "entry of your own."
    )


def _relabelled(found: xr.Dataset) -> dict[str, xr.Variable]:
    """Return the coordinates of Julian dates as those of the standard calendar, by name."""
    dated = {str(name): c.variable for name, c in found.coords.items() if c.dtype == object}
    labels = {name: standard_labels(variable.values) for name, variable in dated.items()}
    return {
        name: xr.Variable(dated[name].dims, values, dated[name].attrs)
        for name, values in labels.items()
        if values.dtype != object
    }


def _bounds(ds: xr.Dataset, found: xr.Dataset) -> dict[str, xr.Variable]:
    """Return the CF bounds of the axes of variables, except those of rows and columns, by name."""
    axes = {*found.dims} - {*USUAL["y"], *USUAL["x"]}
    names = [str(found[dim].attrs.get("bounds", "")) for dim in axes if dim in found.coords]
    return {
        name: ds.variables[name]
        for name in names
        if name in ds.variables and found.sizes.keys() & {*ds.variables[name].dims}
    }


def _reordered(ds: xr.Dataset, found: xr.Dataset, source: Source) -> xr.Dataset:
    """Replace variables whose time steps are spread over several `records` by their own steps."""
    time = source.dims.get("time", "time")
    for entry in source.variables.values():
        if not entry.records:
            continue
        spread = xr.concat([ds[name].load() for name in entry.records], "record")
        values = spread.transpose(time, "record", ...).values
        steps, layer = values.shape[0], entry.layer
        flat = values.reshape(-1, *values.shape[2:])[layer * steps : (layer + 1) * steps]
        template = ds[entry.name].transpose(time, ...)
        found[entry.name] = template.copy(data=flat)
    return found
