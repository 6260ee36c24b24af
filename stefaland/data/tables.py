"""Datasets and data frames as the arrays of a cell table, checked before anything is computed.

`CellData.from_dataset` and `CellData.from_dataframe` are made of these functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.errors import Faults, nearest_name

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

Names = str | Sequence[str]
LABELS = ("group", "region")

ROWS_BYTES = 1 << 20
"""Bytes of the result that are written at a time, so that they stay in a core's cache."""


def as_tuple(names: Names) -> tuple[str, ...]:
    """Names as a tuple; a single name may be a string."""
    return (names,) if isinstance(names, str) else tuple(names)


def interleaved(columns: Sequence[NDArray[Any]]) -> Tensor:
    """Tensor [..., V], float32, of the arrays [...] of V variables."""
    whole = np.empty((*columns[0].shape, len(columns)), np.float32)
    # Some rows of all variables at a time: one variable at a time would pass over the whole result.
    step = max(1, ROWS_BYTES * len(columns[0]) // max(1, whole.nbytes))
    for start in range(0, len(whole), step):
        for i, column in enumerate(columns):
            whole[start : start + step, ..., i] = column[start : start + step]
    return torch.from_numpy(whole)


def arrays_of_dataset(
    table: xr.Dataset,
    *,
    forcings: Names,
    statics: Names,
    target: Names,
    categorical: Names,
    filled: str | None,
) -> dict[str, Any]:
    """The fields of a `CellData`; `InputError` lists all variables that the dataset lacks."""
    roles = {
        "forcings": as_tuple(forcings),
        "statics": as_tuple(statics),
        "target": as_tuple(target),
        "categorical": as_tuple(categorical),
    }
    _check_dataset(table, roles, filled)
    wanted = [name for names in roles.values() for name in names] + [filled] * (filled is not None)
    # Other variables are dropped first: stacking a lazy variable would read all of it.
    cells = _with_cells(table[list(dict.fromkeys(wanted))].assign_coords(table.coords))
    lonlat = np.stack([cells["lon"].values, cells["lat"].values], 1).astype(np.float32)
    codes = _codes(cells, roles["categorical"]) if roles["categorical"] else None
    return {
        "forcings": _stacked(cells, roles["forcings"], ("cell", "time")),
        "statics": _stacked(cells, roles["statics"], ("cell",)),
        "cell": torch.from_numpy(cells["cell"].values.astype(np.int64)),
        "lonlat": torch.from_numpy(lonlat),
        "time": cells["time"].values,
        "forcing_names": roles["forcings"],
        "static_names": roles["statics"],
        "target": _stacked(cells, roles["target"], ("cell", "time")) if roles["target"] else None,
        "target_names": roles["target"],
        "categorical": codes,
        "categorical_names": roles["categorical"],
        "filled": None if filled is None else torch.from_numpy(cells[filled].values == 1),
        **{name: cells[name].values for name in LABELS if name in cells.coords},
    }


def _check_dataset(
    table: xr.Dataset, roles: Mapping[str, tuple[str, ...]], filled: str | None
) -> None:
    faults = Faults()
    space_dims = ("cell",) if "cell" in table.dims else ("y", "x")
    if not {"time", *space_dims} <= set(table.dims):
        faults.add(
            "dataset", f"dims ({', '.join(map(str, table.dims))})", "(time, cell) or (time, y, x)",
            'Rename them, such as table.rename(lat="y", lon="x").',
        )  # fmt: skip
        faults.raise_if_any()
    allowed = {
        "forcings": [{"time", *space_dims}],
        "statics": [{*space_dims}],
        "target": [{"time", *space_dims}, {*space_dims}],
        "categorical": [{*space_dims}],
        "filled": [{*space_dims}],
    }
    wanted = [(role, name) for role, names in roles.items() for name in names]
    wanted += [("filled", filled)] if filled is not None else []
    for role, name in wanted:
        where, known = f"dataset: {name} ({role})", list(map(str, table.data_vars))
        if name not in table.data_vars:
            expected = f"one of {', '.join(known)}"
            faults.add(where, "no such variable", expected, nearest_name(name, known))
            continue
        da = table[name]
        if set(da.dims) not in allowed[role]:
            dims = " or ".join(f"({', '.join(_in_order(dims))})" for dims in allowed[role])
            faults.add(where, f"dims ({', '.join(map(str, da.dims))})", f"dims {dims}")
        if da.dtype.kind not in "biuf":
            faults.add(where, f"values of type {da.dtype}", "numbers")
    _check_coordinates(table, space_dims, faults)
    faults.raise_if_any()


def _check_coordinates(table: xr.Dataset, space_dims: tuple[str, ...], faults: Faults) -> None:
    if "time" not in table.coords or table["time"].dtype.kind != "M":
        found = f"of type {table['time'].dtype}" if "time" in table.coords else "no coordinate"
        faults.add("dataset: time", found, "a coordinate of type datetime64",
                   "Decode it with xarray.decode_cf or pandas.to_datetime.")  # fmt: skip
    if "cell" in table.coords and table["cell"].dtype.kind not in "iu":
        faults.add("dataset: cell", f"of type {table['cell'].dtype}", "whole numbers")
    for name in ("lon", "lat"):
        if name not in table.coords and not (space_dims == ("y", "x") and _is_geographic(table)):
            faults.add(
                f"dataset: {name}", "no coordinate", f"degrees with dims ({', '.join(space_dims)})",
                "Assign it with table.assign_coords; TargetGrid.lonlat() has those of a grid.",
            )  # fmt: skip


def _in_order(dims: set[str]) -> list[str]:
    return [dim for dim in ("time", "cell", "y", "x") if dim in dims]


def _is_geographic(table: xr.Dataset) -> bool:
    """Whether `y` and `x` are latitudes and longitudes by their CF attributes."""
    return all(
        dim in table.coords
        and (attrs := table[dim].attrs).get("standard_name", name) == name
        and str(attrs.get("units", "")).startswith("degree")
        for dim, name in (("y", "latitude"), ("x", "longitude"))
    )


def _with_cells(table: xr.Dataset) -> xr.Dataset:
    """The dataset with dim `cell` and its coordinates; ids of grid cells are flat indices."""
    if "cell" not in table.dims:
        table = table.stack(cell=("y", "x"), create_index=False)
        if "lon" not in table.coords:
            table = table.assign_coords(lon=table["x"], lat=table["y"])
        return table.assign_coords(cell=np.arange(table.sizes["cell"]))
    return table if "cell" in table.coords else table.assign_coords(
        cell=np.arange(table.sizes["cell"])
    )  # fmt: skip


def _stacked(table: xr.Dataset, names: Sequence[str], dims: tuple[str, ...]) -> Tensor:
    """Tensor [..., V], float32, with these dims; variables without time repeat over time."""
    if not names:
        return torch.zeros((*(table.sizes[dim] for dim in dims), 0))
    columns = []
    for name in names:
        da = table[name]
        if "time" in dims and "time" not in da.dims:
            da = da.expand_dims(time=table["time"])
        columns.append(da.transpose(*dims).values)
    return interleaved(columns)


def _codes(table: xr.Dataset, names: Sequence[str]) -> Tensor:
    """Class codes [N, K], int64, -1 where missing; raises `InputError` for other numbers."""
    faults, columns = Faults(), []
    for name in names:
        values = np.nan_to_num(table[name].values.astype(np.float64), nan=-1.0)
        wrong = values[(values % 1 != 0) | (values < -1)]
        if wrong.size:
            faults.add(f"dataset: {name} (categorical)", f"{wrong[0]:g} ({wrong.size} such values)",
                       "class codes from 0, and -1 or NaN where they are missing")  # fmt: skip
        columns.append(values)
    faults.raise_if_any()
    return torch.from_numpy(np.stack(columns, -1).astype(np.int64))


def dataset_of_frame(
    frame: pd.DataFrame, *, over_time: Names, fixed: Names, site: str, time: str
) -> xr.Dataset:
    """Dataset with dims (time, cell) and (cell,) of a data frame with a row per site and time.

    `fixed` columns have one value per site, as have `lon` and `lat` and, where they are present,
    `group` and `region`. Integer sites are the cell ids; others are numbered in sorted order.
    Raises `InputError` for absent columns, rows that repeat a site and time, and `fixed` columns
    that vary at a site.
    """
    if not {site, time} <= set(frame.columns):
        frame = frame.reset_index()
    labels = [name for name in LABELS if name in frame.columns]
    series, constant = as_tuple(over_time), (*as_tuple(fixed), "lon", "lat", *labels)
    _check_frame(frame, series, constant, site, time)
    by_site = frame.groupby(site, sort=True)[list(constant)]
    table: xr.Dataset = frame.set_index([time, site])[list(series)].to_xarray()
    table = table.merge(by_site.first().to_xarray()).rename({site: "cell", time: "time"})
    if table["cell"].dtype.kind not in "iu":
        table = table.assign_coords(cell=np.arange(table.sizes["cell"]))
    return table.set_coords(["lon", "lat", *labels])


def _check_frame(
    frame: pd.DataFrame, series: tuple[str, ...], constant: tuple[str, ...], site: str, time: str
) -> None:
    faults, known = Faults(), list(map(str, frame.columns))
    for name in dict.fromkeys((site, time, *series, *constant)):
        if name not in known:
            expected = f"one of {', '.join(known)}"
            faults.add(f"data frame: {name}", "no such column", expected, nearest_name(name, known))
    faults.raise_if_any()
    repeated = int(frame.duplicated([site, time]).sum())
    if repeated:
        faults.add("data frame", f"{repeated} rows of a site and time that another row has",
                   "one row of each site and time")  # fmt: skip
    varying = frame.groupby(site)[list(constant)].nunique() > 1
    for name in constant:
        sites = list(varying.index[varying[name]])
        if sites:
            faults.add(f"data frame: {name}", f"several values at {len(sites)} sites ({sites[0]})",
                       "one value per site")  # fmt: skip
    faults.raise_if_any()
