"""orthogonal(): series of stations with times of their own on one time axis, dims (time, station).

These are the other representations of CF section 9 (discrete sampling geometries): contiguous and
indexed ragged arrays, and arrays (station, observation) with the times of each station.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.readers.common.packing import UNPACKED


def orthogonal(
    ds: xr.Dataset, names: Sequence[str], station: str, time: str, where: str
) -> xr.Dataset:
    """Return the variables `names` by time and station; NaN where a station has no observation.

    Variables with one time axis for all stations stay as they are. Raises `InputError` for counts
    or indices that do not fit the observations, and for two observations of a station at one time.
    """
    if time not in ds.variables:
        return ds
    owner = _owners(ds, station, time, where)
    if owner is None:
        return ds
    dims = ds[time].dims
    stamps = ds[time].values.ravel()
    known = ~np.isnat(stamps) if stamps.dtype.kind == "M" else np.ones(stamps.size, bool)
    times, when = np.unique(stamps[known], return_inverse=True)
    at = when * ds.sizes[station] + owner[known]
    found, counts = np.unique(at, return_counts=True)
    if (counts > 1).any():
        first = divmod(int(found[counts > 1][0]), ds.sizes[station])
        raise bad_input(
            f"{where}: {time}",
            f"{int((counts > 1).sum())} times with two observations of a station, "
            f"such as {times[first[0]]} of station {first[1] + 1}", "one for each time",
            "Remove one of the two.",
        )  # fmt: skip
    arrays = {}
    for name in names:
        if set(ds[name].dims) != set(dims):
            continue
        values = np.full((times.size, ds.sizes[station]), np.nan)
        values.ravel()[at] = ds[name].transpose(*dims).values.ravel()[known]
        unpacked = {key: True for key in (UNPACKED,) if key in ds[name].encoding}
        arrays[name] = xr.Variable((time, station), values, ds[name].attrs, unpacked)
    fixed = [str(name) for name, v in ds.variables.items() if v.dims in ((station,), ())]
    kept = [name for name in fixed if name not in names]
    rest = [name for name in names if name not in arrays]
    return ds[[*kept, *rest]].assign(arrays).assign_coords({time: times})


def _owners(ds: xr.Dataset, station: str, time: str, where: str) -> np.ndarray | None:
    """Return the station of each observation, in order; None if all have the same times."""
    dims = ds[time].dims
    if station in dims and len(dims) == 2:
        number = np.arange(ds.sizes[station])
        shape = ds[time].shape
        return np.broadcast_to(number[:, None] if dims[0] == station else number, shape).ravel()
    if len(dims) != 1 or dims == (station,):
        return None
    for name, variable in ds.variables.items():
        if variable.attrs.get("sample_dimension") == dims[0]:
            counts = np.nan_to_num(variable.values.astype(float)).astype(int)
            if counts.sum() != ds.sizes[dims[0]] or (counts < 0).any():
                raise bad_input(
                    f"{where}: {name}", f"counts that sum to {counts.sum()}",
                    f"the {ds.sizes[dims[0]]} observations",
                )  # fmt: skip
            return np.repeat(np.arange(ds.sizes[station]), counts)
        if variable.attrs.get("instance_dimension") == station and variable.dims == dims:
            index = variable.values.astype(int)
            if index.size and not (index.min() >= 0 and index.max() < ds.sizes[station]):
                raise bad_input(
                    f"{where}: {name}", f"indices from {index.min()} to {index.max()}",
                    f"0 to {ds.sizes[station] - 1}",
                )  # fmt: skip
            return index
    return None
