"""grouped(): variables in the groups of an HDF5 or NetCDF-4 file, with named axes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import h5py
import xarray as xr

from pipeline.core.errors import Faults, bad_input, listed, nearest_name
from pipeline.entries.source import Source
from pipeline.readers.common.attributes import with_cf_attributes
from pipeline.readers.common.dims import USUAL
from pipeline.readers.hdf.hdf_eos import eos_axes

PHONY = "phony_dim"
"""Beginning of the names that the NetCDF library gives to dimensions without a name."""
OpenGroup = Callable[[str], xr.Dataset]


def is_complete(ds: xr.Dataset, names: Sequence[str]) -> bool:
    """Whether a group has all variables `names`, along dimensions that have names."""
    dims = {str(dim) for name in names if name in ds.variables for dim in ds[name].dims}
    return set(names) <= set(ds.variables) and not any(dim.startswith(PHONY) for dim in dims)


def grouped(
    file: Any, open_group: OpenGroup, names: Sequence[str], group: str | None, source: Source,
    where: str,
) -> xr.Dataset:  # fmt: skip
    """Return the variables `names` of an HDF5 `file` under these names, with coordinates; lazy.

    A name is a path in the file, such as Grid/precipitation, or in its `group`; a name that is no
    path is sought in all groups. `open_group` returns a group as it is, "" the root. Coordinates
    are those of the group and of the groups above it. Dimensions without a name are recognised by
    attributes, by the metadata of HDF-EOS or by their sizes. Raises `InputError` with all names
    that are not found, or found more than once, and for groups on different grids.
    """
    with h5py.File(file, "r") as opened:
        known = _paths(opened)
    if not any("/" in path for path in known) and not set(names) <= set(known):
        return open_group("")  # which lacks a variable, as its reader reports
    faults = Faults()
    paths = {name: _located(name, known, group, where, faults) for name in names}
    faults.raise_if_any()
    parts = []
    for folder in dict.fromkeys(_folder(path) for path in paths.values()):
        bases = {_base(path): name for name, path in paths.items() if _folder(path) == folder}
        ds = _named_axes(_inherited(open_group, folder), list(bases), folder, open_group, source,
                         where)  # fmt: skip
        named = [n for n in (source.lat, source.lon, source.dims.get("time")) if n and "/" in n]
        bases |= {_base(name): name for name in named if _base(name) in ds.variables}
        renamed = {base: name for base, name in bases.items() if base != name}
        parts.append(with_cf_attributes(ds).rename(renamed))
    try:
        return xr.merge(parts, compat="equals", join="exact", combine_attrs="override")
    except (xr.MergeError, ValueError) as error:
        raise bad_input(
            where, f"groups on different grids ({str(error).splitlines()[0]})",
            "variables on one grid", "Move those of each group to a separate entry.",
        ) from None  # fmt: skip


def _paths(file: h5py.File) -> list[str]:
    """Return the paths of all arrays of a file."""
    found: list[str] = []

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(path)

    file.visititems(visit)
    return found


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _located(
    name: str, known: Sequence[str], group: str | None, where: str, faults: Faults
) -> str:  # fmt: skip
    """Return the path of a variable; adds a fault if there is none or more than one."""
    folder = f"{group.strip('/')}/" if group else ""
    wanted = name.strip("/")
    for exact in (folder + wanted, wanted):
        if exact in known:
            return exact
    inside = [path for path in known if path.startswith(folder)]
    found = [path for path in inside if path.endswith(f"/{wanted}")]
    if len(found) == 1:
        return found[0]
    if found:
        faults.add(where, f'several variables "{name}", {listed(found)}', "one of them",
                   "Name it by its path, or its group: `options: {group: …}`.")  # fmt: skip
        return ""
    close = nearest_name(name, [*inside, *map(_base, inside)])
    place = f' in the group "{group}"' if group else ""
    faults.add(where, f"variables {listed(inside or known)}", f'a variable "{name}"{place}', close)
    return ""


def _inherited(open_group: OpenGroup, folder: str) -> xr.Dataset:
    """Return a group, and those variables of the groups above it that may be coordinates."""
    ds = open_group(folder)
    while folder:
        folder = _folder(folder)
        for name, variable in open_group(folder).variables.items():
            fits = all(ds.sizes.get(dim, size) == size for dim, size in variable.sizes.items())
            if name not in ds.variables and fits and _locates(str(name), variable):
                ds[name] = variable
    return ds


def _locates(name: str, variable: xr.Variable) -> bool:
    """Whether a variable may be a coordinate: 1-D or a scalar, or latitudes or longitudes."""
    is_position = re.search("lat|lon", name.lower()) is not None
    return variable.ndim < 2 or (variable.ndim == 2 and is_position)


def _named_axes(
    ds: xr.Dataset, names: Sequence[str], folder: str, open_group: OpenGroup, source: Source,
    where: str,
) -> xr.Dataset:  # fmt: skip
    """Return the variables `names` with their coordinates along dimensions that have names."""
    dims = dict.fromkeys(str(dim) for name in names for dim in ds[name].dims)
    unnamed = [dim for dim in dims if dim.startswith(PHONY)]
    axes: dict[str, xr.DataArray] = {}
    if unnamed:
        axes = _by_attribute(ds, names) or eos_axes(ds, names, folder, open_group)
        axes = axes or _by_size(ds, unnamed, source, where)
    elif any(dim not in ds.variables for dim in dims):
        axes = eos_axes(ds, names, folder, open_group)
    for dim, axis in axes.items():
        name = dim if dim in source.dims.values() else str(axis.name)
        ds = ds.drop_vars(name, errors="ignore").rename({dim: name} if dim != name else {})
        ds = ds.assign_coords({name: (name, axis.values, axis.attrs)})
    for name in {source.dims.get("time", ""), *USUAL["time"]} & {*map(str, ds.variables)}:
        if name not in ds.dims and ds[name].ndim == 1 and ds[name].size == 1:
            ds = ds.assign_coords({name: ds[name].variable[0]})
    within = {dim for name in names for dim in ds[name].dims}
    beside = [
        name for name, v in ds.variables.items()
        if name not in names and set(v.dims) <= within and _locates(str(name), v)
    ]  # fmt: skip
    return ds[[*names, *beside]].set_coords(beside)


def _by_attribute(ds: xr.Dataset, names: Sequence[str]) -> dict[str, xr.DataArray]:
    """Return the axes that the attribute DimensionNames lists, as in files of GPM."""
    axes: dict[str, xr.DataArray] = {}
    for name in names:
        texts = str(ds[name].attrs.get("DimensionNames", "")).split(",")
        if len(texts) == ds[name].ndim:
            pairs = zip(map(str, ds[name].dims), texts, strict=True)
            axes |= {dim: ds[text] for dim, text in pairs if text in ds.variables}
    return axes


def _by_size(
    ds: xr.Dataset, unnamed: Sequence[str], source: Source, where: str
) -> dict[str, xr.DataArray]:
    """Return the 1-D coordinate of each unnamed dimension, which has its number of values."""
    beside = {"y": source.lat, "x": source.lon, "time": None}
    axes: dict[str, xr.DataArray] = {}
    for axis, usual in USUAL.items():
        declared = source.dims.get(axis)  # type: ignore[call-overload]
        names = (beside[axis], declared, *usual)
        name = next((n for n in names if n in ds.variables and ds[n].ndim == 1), None)
        if name is None:
            continue
        fits = [dim for dim in unnamed if ds.sizes[dim] == ds[name].size]
        others = [dim for dim in fits if dim not in source.dims.values()]
        fits = [declared] if declared in fits else others
        if len(fits) > 1 or any(dim in axes for dim in fits):
            raise bad_input(
                f"{where}: {name}", f"dimensions {', '.join(unnamed)}, of which several have "
                f"{ds[name].size} values and none a name", "the dimension of each coordinate",
                "Name them in the entry, such as `dims: {y: phony_dim_0, x: phony_dim_1}`.",
            )  # fmt: skip
        axes |= dict.fromkeys(fits, ds[name])
    return axes
