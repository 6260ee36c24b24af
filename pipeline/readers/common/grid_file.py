"""with_grid_file(): latitudes and longitudes of cells that are in a file of their own."""

from __future__ import annotations

from itertools import product
from typing import Any

import xarray as xr

from pipeline.core.addresses import path_of
from pipeline.core.archives.unpacked_files import plain_copy
from pipeline.core.errors import bad_input
from pipeline.entries.source import Source
from pipeline.grid.unstructured import centre_names, mesh_variables
from pipeline.readers.common.dims import CURVILINEAR
from pipeline.readers.common.first_bytes import NETCDF
from pipeline.readers.common.refusals import unreadable
from pipeline.readers.driver import common_options
from pipeline.readers.guards.hdf5 import check_hdf5


def with_grid_file(ds: xr.Dataset, source: Source) -> xr.Dataset:
    """Return the variables with the coordinates, and corners, of their cells in `grid_file`.

    The cells are those of a dimension (or, of 2-D latitudes and longitudes, two) of the same size.
    Raises `InputError` for a file that cannot be read or that has no coordinates of so many cells.
    """
    name = source.options.get("grid_file")
    if not name:
        return ds
    path: Any = path_of(str(name))
    where = f'source "{source.name}", {path}'
    try:
        copy = plain_copy(path)
        check_hdf5(copy, where, common_options(source).trust)
        grid = xr.open_dataset(copy, decode_times=False, engine="netcdf4")
    except (OSError, ValueError, RuntimeError, EOFError) as error:
        raise unreadable(where, path, error, "a NetCDF file of the grid", *NETCDF) from None
    dims = dict.fromkeys(dim for da in ds.data_vars.values() for dim in da.dims)
    for dim, own in product(dims, grid.sizes):
        if grid.sizes[own] != ds.sizes[dim]:
            continue
        pair = centre_names(grid, [own], source.lat, source.lon)
        if pair is not None:
            names = mesh_variables(grid, [own], source.lat, source.lon)
            return _with(ds, grid, sorted({*pair, *names}), {own: dim})
    fields = [_field(grid, which, getattr(source, which)) for which in ("lat", "lon")]
    if fields[0] and fields[1]:
        rows, cols = (grid[fields[0]].dims[axis] for axis in (0, 1))
        found = [[dim for dim in dims if ds.sizes[dim] == grid.sizes[of]] for of in (rows, cols)]
        if found[0] and [dim for dim in found[1] if dim != found[0][0]]:
            x = next(dim for dim in found[1] if dim != found[0][0])
            return _with(ds, grid, [str(name) for name in fields], {rows: found[0][0], cols: x})
    sizes = ", ".join(f"{dim} of {size}" for dim, size in grid.sizes.items())
    cells = ", ".join(f"{dim} of {ds.sizes[dim]}" for dim in dims)
    raise bad_input(
        where, f"no latitudes and longitudes along any of {cells} (dimensions {sizes})",
        f"those of the cells of {source.files[0]}",
        "Correct `options: {grid_file: …}`, or name their variables: `lat: …, lon: …`.",
    )  # fmt: skip


def _with(ds: xr.Dataset, grid: xr.Dataset, names: list[str], dims: dict[Any, Any]) -> xr.Dataset:
    """Return `ds` with variables of the grid as coordinates, whose `dims` are renamed."""
    renamed = (
        grid[names]
        .reset_coords()
        .rename_dims({own: dim for own, dim in dims.items() if own != dim})
    )
    ds = ds.drop_vars([name for name in ds.coords if str(name) in names])
    return ds.assign_coords({name: renamed.variables[name] for name in names})


def _field(grid: xr.Dataset, which: str, named: str | None) -> str | None:
    """Return the name of the 2-D latitudes or longitudes of a grid, None if it has none."""
    standard, units = CURVILINEAR[which]
    for key, variable in grid.variables.items():
        name = str(key)
        known = variable.attrs.get("standard_name") == standard
        known |= variable.attrs.get("units") == units or name.lower() in (which, standard)
        if variable.ndim == 2 and (name == named if named else known):
            return name
    return None
